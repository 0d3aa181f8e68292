"""`Tally`: what a build has told so far, as the displays and the summary look at it. Not thread-safe: its display locks.

Any order of events is taken: a step that was never started is shown by its number.
"""

from chandlery.events import BuildFinished, BuildStarted, Event, Outcome, StepFinished, StepProgress, StepStarted, VolumeUsed, Warned


class StepView:
    """One step. Times in seconds since the epoch, `finished_at_s` 0 while it runs; `progress` is label -> (done, total, unit)."""

    def __init__(self, number: int, name: str, started_at_s: float) -> None:
        self.number = number
        self.name = name
        self.started_at_s = started_at_s
        self.finished_at_s = 0.0
        self.outcome: Outcome | None = None
        self.detail = ""
        self.error = ""
        self.bytes_moved = 0
        self.progress: dict[str, tuple[int, int, str]] = {}
        self.kind = ""

    def seconds(self, now_s: float) -> float:
        return max(0.0, (self.finished_at_s or now_s) - self.started_at_s)

    def count(self, label: str, part: tuple[int, int, str]) -> None:
        """Progress of one part of what the step is doing: a layer, a blob. What began last is what it is doing."""
        self.kind = _kind(label)
        self.progress[label] = part

    @property
    def is_instruction(self) -> bool:
        """Whether it is a step of the Dockerfile, not of the machinery: what counts as a hit or a miss."""
        place, bracket, _ = self.name.partition("] ")
        numbers = place.rpartition(" ")[2].removeprefix("[").split("/")
        return bool(bracket) and place.startswith("[") and len(numbers) == 2 and all(number.isdigit() for number in numbers)

    def progress_text(self) -> str:
        """ "pushing 31.2MB / 88MB, 2 of 5"."""
        from chandlery.cli.amounts import size_text
        from chandlery.cli.display.output_text import harmless

        done, total, parts_done, parts, unit = self.moved()
        texts = [size_text(number) if unit == "B" else f"{number} {harmless(unit)}" for number in (done, total)]
        amount = f"{texts[0]} / {texts[1]}" if total else texts[0]
        verb = f"{harmless(self.kind)} " if self.kind not in ("", "sha256") else ""
        return f"{verb}{amount}, {parts_done} of {parts}" if parts > 1 and total else f"{verb}{amount}"

    def moved(self) -> tuple[int, int, int, int, str]:
        """(done, total, parts done, parts, unit) of what it is doing now; total 0 where a part's isn't known."""
        parts = [part for label, part in self.progress.items() if _kind(label) == self.kind]
        total = sum(part[1] for part in parts) if all(part[1] for part in parts) else 0
        return sum(part[0] for part in parts), total, sum(1 for done, size, _ in parts if size and done >= size), len(parts), parts[0][2] if parts else "B"


def _kind(label: str) -> str:
    """ "pushing" of "pushing", "compressing" of "compressing layer 2", "sha256" of a digest."""
    return label.partition(" ")[0].partition(":")[0]


class Tally:
    def __init__(self) -> None:
        self.build_id = ""
        self.log_path = ""
        self.scope = self.scope_reason = ""
        self.started_at_s = 0.0
        self.finished_at_s = 0.0
        self.error_code = ""
        self.steps: dict[int, StepView] = {}
        self.warnings: list[str] = []
        self.volumes: dict[str, list[VolumeUsed]] = {}

    def take(self, event: Event) -> None:
        match event:
            case BuildStarted():
                self.build_id, self.log_path, self.started_at_s = event.build_id, event.log_path, event.at_s
                self.scope, self.scope_reason = event.scope, event.scope_reason
            case StepStarted():
                self.step(event.step, event.at_s).name = event.name
            case StepProgress():
                self.step(event.step, event.at_s).count(event.label, (event.done, event.total, event.unit))
            case StepFinished():
                step = self.step(event.step, event.at_s)
                step.finished_at_s, step.outcome, step.detail, step.error, step.bytes_moved = (
                    event.at_s, event.outcome, event.detail, event.error_message or event.error_code, event.bytes_moved,
                )  # fmt: skip
            case VolumeUsed():
                self.volumes.setdefault(event.name, []).append(event)
            case Warned():
                if event.step:
                    self.step(event.step, event.at_s)
                if event.message not in self.warnings:
                    self.warnings.append(event.message)
            case BuildFinished():
                self.finished_at_s, self.error_code = event.at_s, event.error_code
            case _:
                self.step(event.step, event.at_s)

    def step(self, number: int, at_s: float) -> StepView:
        found = self.steps.get(number)
        if found is None:
            found = self.steps[number] = StepView(number, f"step {number}", at_s)
        return found

    def seconds(self, now_s: float) -> float:
        return max(0.0, (self.finished_at_s or now_s) - self.started_at_s) if self.started_at_s else 0.0

    @property
    def has_started(self) -> bool:
        """Whether anything was done, or only something refused: a flag, a Dockerfile's mistake."""
        return bool(self.steps)

    def in_order(self) -> list[StepView]:
        return [self.steps[number] for number in sorted(self.steps)]

    def hits(self) -> tuple[int, int]:
        """(cached, all) of the Dockerfile's steps."""
        own = [step for step in self.steps.values() if step.is_instruction]
        return sum(1 for step in own if step.outcome is Outcome.CACHED), len(own)
