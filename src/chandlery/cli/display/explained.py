"""What `--explain` says of each step when a build is over: where it was found, or why it ran; its key; and what it had of its cache volumes. Pure."""

from chandlery.cli.amounts import age_text, count_text, size_text
from chandlery.cli.display.output_text import harmless
from chandlery.cli.display.summary import cut
from chandlery.events import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.engine.request import BuildResult, StepOutcome
    from chandlery.events import VolumeUsed

_SHOWN_KEY = 19


def explained_lines(result: "BuildResult") -> list[str]:
    lines = []
    for step in result.steps:
        if step.key:
            is_hit = step.outcome == Outcome.CACHED
            why = _found(step) if is_hit else harmless(step.missed)
            lines.append(f"{'cached' if is_hit else 'missed'} {cut(harmless(step.name))}: {why} ({step.key[:_SHOWN_KEY]})")
            lines += [f"       volume {harmless(use.name)}: {_had(use)}" for use in step.volumes]
    return lines


def _found(step: "StepOutcome") -> str:
    origin = dict(step.origin)
    if not origin:
        return "nobody asked, a later step was found"
    parts = ["here" if origin["from"] == "local" else f"from {harmless(origin['from'])}"]
    if origin.get("scope"):
        parts.append(f"scope {harmless(origin['scope'])}")
    if origin.get("writer"):
        parts.append(f"by {harmless(origin['writer'])}")
    if origin.get("age_s"):
        parts.append(age_text(int(origin["age_s"])))
    return ", ".join(parts)


def _had(use: "VolumeUsed") -> str:
    """What was there and was read, what came for it, what it added."""
    amounts = (("read", use.served_files, use.served_bytes), ("fetched", use.fetched_files, use.fetched_bytes), ("added", use.added_files, use.added_bytes))
    return ", ".join(f"{count_text(files, 'file')} {what} ({size_text(size_bytes)})" for what, files, size_bytes in amounts if files > 0) or "nothing"
