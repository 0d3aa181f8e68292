"""What the command costs before it does anything."""

from bench.row import Bar, Measured, Row
from bench.sides import Chandlery, Side


class Version(Row):
    name = "version"
    title = "`chandlery --version`, installed from a wheel"
    unit = "ms"
    bar = Bar(40)
    runs = 30
    only_ours = True

    def measure(self, side: Side, run: int) -> Measured:
        assert isinstance(side, Chandlery)
        shown = side.version()
        return Measured(shown.seconds * 1000, shown.peak_bytes)
