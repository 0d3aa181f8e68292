"""What a step costs, and what independent stages gain."""

from bench import fixtures
from bench.row import Bar, Measured, Row, unique
from bench.sides import Side


class OneStep(Row):
    """Eleven steps less one, divided by ten: what is left is the price of one container."""

    name = "step-host"
    title = "one `RUN true` more, host network"
    unit = "ms"
    bar = Bar(22)
    runs = 5
    network = "host"

    def prepare(self, side: Side) -> None:
        self._steps(side, 1)

    def measure(self, side: Side, run: int) -> Measured:
        one, one_peak = self._steps(side, 1)
        eleven, eleven_peak = self._steps(side, 11)
        return Measured((eleven - one) / 10 * 1000, max(one_peak, eleven_peak))

    def _steps(self, side: Side, count: int) -> tuple[float, int]:
        word = unique()
        steps = "".join(f"RUN true {word} {number}\n" for number in range(count))
        built = side.build(fixtures.small_context(), f"FROM {side.base}\n{steps}", network=self.network)
        return built.seconds, built.peak_bytes


class OneStepDefaultNetwork(OneStep):
    name = "step-default"
    title = "one `RUN true` more, default network"
    bar = Bar(0.2, "docker")
    network = ""


class ParallelStages(Row):
    name = "parallel"
    title = "ten stages of `RUN sleep 1` in parallel, seconds above 1"
    bar = Bar(0.5, "docker")
    runs = 5

    def measure(self, side: Side, run: int) -> Measured:
        word = unique()
        stages = "".join(f"FROM {side.base} AS s{number}\nRUN sleep 1 && echo {word} > /out-{number}\n" for number in range(10))
        gather = "".join(f"COPY --from=s{number} /out-{number} /\n" for number in range(10))
        built = side.build(fixtures.small_context(), f"{stages}FROM {side.base}\n{gather}", network="host")
        return Measured(built.seconds - 1, built.peak_bytes)
