"""Failures of a step, told where they came from: the instruction's file, line and text, and the end of what it said."""

from chandlery.errors import ChandleryError, DockerfileError, InputError, StepFailed
from chandlery.graph.vertex import Vertex

TAIL_LINES = 20


def with_source(failure: ChandleryError, vertex: Vertex, *, log_tail: bytes = b"") -> ChandleryError:
    """The failure with the place of the vertex's instruction added; an input error without a place becomes a DockerfileError."""
    if vertex.source is None:
        return failure
    where = str(vertex.source)
    if isinstance(failure, StepFailed):
        failure.where = failure.where or where
        lines = log_tail.decode("utf-8", "replace").splitlines()
        failure.log_tail = "\n".join(lines[-TAIL_LINES:])
    elif isinstance(failure, DockerfileError):
        failure.where = failure.where or where
    elif isinstance(failure, InputError):
        failure = DockerfileError(failure.message, code=failure.code, hint=failure.hint, where=where)
    if failure.where == where:
        failure.end_line = vertex.source.end_line
    return failure
