"""Which paths of which input an operation reads: what must be digested for its key, and nothing else."""

from chandlery.graph.mount import BindMount, CacheMount
from chandlery.graph.op import CopyAction, ExecOp, FileOp, Op


def selections(op: Op) -> dict[int, tuple[str, ...]]:
    """Input index -> the selected paths or patterns, in the order of the operation; input 0, the file system changed, is not one of them."""
    found: dict[int, tuple[str, ...]] = {}
    if isinstance(op, FileOp):
        for action in op.actions:
            if isinstance(action, CopyAction):
                found[action.input] = found.get(action.input, ()) + action.sources
    elif isinstance(op, ExecOp):
        for mount in op.mounts:
            if isinstance(mount, BindMount | CacheMount) and mount.input is not None:
                found[mount.input] = (*found.get(mount.input, ()), mount.source)
    return found
