"""The last lines of a build: what it made, how long each step took, what the cache was good for, and where the whole log is.

Pure: from a tally and a result to lines. After a failure it tells what ran before, and what was fetched and shared all the same.
"""

from chandlery.cli.amounts import age_text, count_text, size_text
from chandlery.cli.display.output_text import harmless
from chandlery.cli.display.palette import COLOURLESS, Palette
from chandlery.cli.display.tally import StepView, Tally
from chandlery.engine.request import NEVER_RAN, RUN_ANEW
from chandlery.events import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.engine.request import BuildResult, CacheReport
    from chandlery.errors import ChandleryError
    from chandlery.events import VolumeUsed
    from chandlery.volume.sharing import VolumeReport

_MOST_STEPS = 8
_LONGEST_NAME = 70
_MOST_VOLATILE = 4
_KINDS = {
    "maven-snapshot": "Maven SNAPSHOT", "maven-versions": "the versions of", "npm-dist-tag": "npm's document of", "apt-release": "apt's index",
    "git-ref": "git ref of", "go-versions": "the versions of", "python-index": "the Python index's page of", "plain-volume": "the plain cache volume",
}  # fmt: skip


def summary(tally: Tally, result: "BuildResult | None", now_s: float, *, lists_steps: bool, log_path: str = "", palette: Palette = COLOURLESS) -> list[str]:
    """`lists_steps`: name each step that ran with its seconds. `log_path` is the log's, "" where there is none."""
    volumes = result.cache.volumes if result is not None and result.cache is not None else ()
    lines = [palette.paint(palette.strong, _first(tally, result, now_s, sum(volume.bytes_fetched for volume in volumes)))]
    if result is not None and result.names:
        lines.append(f" image   {', '.join(result.names)}")
    if result is not None and (result.config_digest or result.image_digest):
        lines.append(f" id      {result.config_digest or result.image_digest}")
    if result is not None and result.image_digest not in ("", result.config_digest):
        lines.append(f" digest  {result.image_digest}")
    if tally.scope:
        lines.append(f" cache   scope {harmless(tally.scope)} ({harmless(tally.scope_reason)})")
    if result is not None and result.cache is not None:
        lines += _cache(result.cache)
    if result is not None:
        lines += _hits(result) + [f" missed  {line}" for line in missed_lines(result)[:1]] + _volatile(result)
    lines += _volumes(tally, volumes)
    if lists_steps:
        lines += _steps(tally, now_s)
    lines += [palette.paint(palette.warning, f" warning {harmless(text)}") for text in tally.warnings]
    if log_path:
        lines.append(f" log     {log_path}")
    return lines


def result_of(error: "ChandleryError") -> "BuildResult | None":
    """What a build did that failed; None if it didn't begin."""
    from chandlery.engine.request import BuildResult

    return error.build if isinstance(error.build, BuildResult) else None


def _cache(cache: "CacheReport") -> list[str]:
    """What the others have of this build now."""
    lines = []
    if cache.steps_published:
        lines.append(f" shared  {cache.steps_published} steps, {size_text(cache.bytes_published)}")
    if cache.unpublished:
        lines.append(f" not shared: {'; '.join(harmless(name) for name in cache.unpublished)}")
    return lines


def missed_lines(result: "BuildResult") -> list[str]:
    """Why steps ran, in their order, where more is known than that they never had or were to."""
    told = [step for step in result.steps if step.missed not in ("", NEVER_RAN, RUN_ANEW)]
    return [f"{cut(harmless(step.name))}: {harmless(step.missed)}" for step in told]


def _hits(result: "BuildResult") -> list[str]:
    """Where the steps came from that other machines made."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for step in result.steps:
        origin = dict(step.origin)
        if origin.get("from", "local") != "local":
            found.setdefault((origin["from"], origin.get("scope", "")), []).append(origin)
    return [f" hits    {_found_text(place, scope, origins)}" for (place, scope), origins in found.items()]


def _found_text(place: str, scope: str, origins: "list[dict[str, str]]") -> str:
    """ "3 steps of app@main from registry://host/cache, by runner-1 and 2 more, the oldest 5 hours ago"."""
    writers = list(dict.fromkeys(origin["writer"] for origin in origins if origin.get("writer")))
    ages = [int(origin["age_s"]) for origin in origins if origin.get("age_s")]
    parts = [f"{count_text(len(origins), 'step')} {f'of {harmless(scope)} ' if scope else ''}from {harmless(place)}"]
    if writers:
        parts.append(f"by {harmless(writers[0])}" + (f" and {len(writers) - 1} more" if len(writers) > 1 else ""))
    if ages:
        parts.append(("the oldest " if len(ages) > 1 else "") + age_text(max(ages)))
    return ", ".join(parts)


def _volatile(result: "BuildResult") -> list[str]:
    """Which steps are reused for a while only, each because of what."""
    lines = []
    told: set[str] = set()
    for step in result.steps:
        for of in dict.fromkeys(item.of for item in step.observed):
            name = of or step.name
            names = [f"{_KINDS.get(item.kind, item.kind)} {item.url}" for item in step.observed if item.of == of]
            if name not in told:
                told.add(name)
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                lines.append(f" volatile {harmless(name)}: {harmless(names[0])}{more}")
    return lines if len(lines) <= _MOST_VOLATILE else [*lines[: _MOST_VOLATILE - 1], f" volatile {len(lines) - _MOST_VOLATILE + 1} more steps"]


def _volumes(tally: Tally, shared: "tuple[VolumeReport, ...]") -> list[str]:
    """A line for each cache volume: what steps read of what was there, what came from other machines, what steps added, and what the others have of it."""
    reports = {report.name: report for report in shared}
    return [
        f" volume  {harmless(name)}: {', '.join(_volume_parts(tally.volumes.get(name, []), reports.get(name)))}"
        for name in dict.fromkeys((*tally.volumes, *reports))
    ]


def _volume_parts(uses: "list[VolumeUsed]", report: "VolumeReport | None") -> list[str]:
    fetched = (report.files_fetched, report.bytes_fetched) if report is not None else (0, 0)
    linked = (report.files_linked, report.bytes_linked) if report is not None else (0, 0)
    amounts = [
        ("read", sum(max(0, use.served_files) for use in uses), sum(max(0, use.served_bytes) for use in uses)),
        ("fetched", *fetched),
        ("found here", *linked),
        ("added", sum(use.added_files for use in uses), sum(use.added_bytes for use in uses)),
        ("shared", *((report.files_published, report.bytes_published) if report is not None else (0, 0))),
    ]
    parts = [f"{count_text(files, 'file')} {what} ({size_text(size_bytes)})" for what, files, size_bytes in amounts if files]
    if report is not None and report.not_published:
        parts.append("not shared")
    return parts or ["nothing read, nothing added"]


def seconds_text(seconds: float) -> str:
    return f"{seconds:.2f}s" if seconds < 1 else f"{seconds:.1f}s"


def _first(tally: Tally, result: "BuildResult | None", now_s: float, fetched_bytes: int) -> str:
    """`fetched_bytes` came for cache volumes."""
    cached, steps = tally.hits()
    moved = sum(step.bytes_moved for step in tally.steps.values()) + fetched_bytes
    is_built = result is not None and not tally.error_code
    word = "Built" if is_built else "Cancelled after" if tally.error_code == "cancelled" else "Failed after"
    parts = [f"{word} {'in ' if is_built else ''}{seconds_text(tally.seconds(now_s))}"]
    if steps:
        parts.append(f"{cached} of {steps} steps cached")
    parts.append(f"{size_text(moved)} moved" if moved else "nothing moved")
    return ", ".join(parts)


def _steps(tally: Tally, now_s: float) -> list[str]:
    """The steps that took time, in their order; the longest ones where they are many, and the rest in one line."""
    ran = [step for step in tally.in_order() if step.outcome is not Outcome.CACHED and (step.is_instruction or step.seconds(now_s) >= 0.05)]
    shown = ran if len(ran) <= _MOST_STEPS else sorted(ran, key=lambda step: -step.seconds(now_s))[: _MOST_STEPS - 1]
    lines = [f"{step.seconds(now_s):7.1f}s {_name(step)}" for step in sorted(shown, key=lambda step: step.number)]
    rest = [step for step in ran if step not in shown]
    if rest:
        lines.append(f"{sum(step.seconds(now_s) for step in rest):7.1f}s in {len(rest)} other steps")
    return lines


def _name(step: StepView) -> str:
    name = cut(harmless(step.name))
    moved = f" ({size_text(step.bytes_moved)} moved)" if step.bytes_moved else ""
    ended = {Outcome.FAILED: "  failed", Outcome.CANCELLED: "  cancelled"}.get(step.outcome or Outcome.DONE, "")
    return name + moved + ended


def cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
