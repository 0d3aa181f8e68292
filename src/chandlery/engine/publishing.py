"""When a step's record goes out to the machines that share a cache. Pure.

At once, beside the steps that follow, but for two kinds of steps whose layers would cross the network for nothing: the end of the target stage
where the image is pushed (its layer is on its way to the registry, and can be mounted from there afterwards), and the end of another stage
that had a cache volume. What the volume holds is shared anyway, so running such a step again is cheap; and who builds the same finds the
steps that copied from it first. Only if the build fails is it all there is to share.
"""

from enum import StrEnum

from chandlery.graph.mount import CacheMount, Sharing
from chandlery.graph.op import ExecOp, FileOp
from chandlery.graph.vertex import Graph


class Moment(StrEnum):
    NOW = "now"
    AFTER_PUSH = "after the push"
    IF_FAILED = "if the build fails"

    @property
    def is_certain(self) -> bool:
        """Whether the record goes out of a build that succeeds, too."""
        return self is not Moment.IF_FAILED


def moment_of(graph: Graph, vertex: int, *, is_pushed: bool) -> Moment:
    """When the record of `vertex` goes out; `is_pushed`: an output of the build is a push."""
    wanted = {entry for target in graph.targets for entry in graph.vertices[target].inputs}
    if vertex in wanted:
        return Moment.AFTER_PUSH if is_pushed else Moment.NOW
    return Moment.IF_FAILED if _has_shared_volume(graph, vertex) and not _is_stood_on(graph, vertex) else Moment.NOW


def _has_shared_volume(graph: Graph, vertex: int) -> bool:
    op = graph.vertices[vertex].op
    return isinstance(op, ExecOp) and any(
        isinstance(mount, CacheMount) and mount.sharing is not Sharing.PRIVATE and not mount.is_read_only for mount in op.mounts
    )


def _is_stood_on(graph: Graph, vertex: int) -> bool:
    """Whether a step goes on from this one's file system, rather than copying from it."""
    steps = (item for item in graph.vertices if isinstance(item.op, ExecOp | FileOp))
    return any(step.inputs[:1] == (vertex,) for step in steps)
