"""Medians and what is known of them."""

import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

_ROUNDS = 2000


class Estimate(NamedTuple):
    """A median and the interval that holds it with 95 % confidence, by resampling."""

    median: float
    low: float
    high: float
    count: int

    def text(self, digits: int = 1) -> str:
        if self.count < 2:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}..{self.high:.{digits}f})"


def estimate(values: Sequence[float], seed: int = 1) -> Estimate:
    """The percentile bootstrap; the same for the same values and seed. `values` isn't empty."""
    numbers = random.Random(seed)
    medians = sorted(statistics.median(numbers.choices(values, k=len(values))) for _ in range(_ROUNDS))
    low, high = medians[int(_ROUNDS * 0.025)], medians[int(_ROUNDS * 0.975) - 1]
    return Estimate(statistics.median(values), low, high, len(values))
