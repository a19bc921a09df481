"""What a search's budget has taught its copy of a table: how far off it was there, and is now."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from nas.errors import TableError
from nas.latency.correction import Correction

__all__ = ["Calibration"]

DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Networks of one latency that were timed. Raises `TableError` for numbers that cannot be."""

    latency_ms: float
    """The budget that they are of."""
    space: str
    """Which space they are of, as whoever timed them names it."""
    networks: int
    low_ms: float
    """What the fastest of them took."""
    high_ms: float
    """And the slowest."""
    bias_before: float
    """Mean relative error of the table for them, before it knew them; above 0: too high."""
    error_before: float
    """Mean absolute relative error, 0..1."""
    error: float
    """The same by corrections that others of them taught."""
    whole: Correction | None = None
    """What the table had until then: the correction for all latencies, if it had one."""

    def __post_init__(self) -> None:
        above_zero = (self.latency_ms, self.low_ms, self.high_ms)
        errors = (self.bias_before, self.error_before, self.error)
        if not all(0 < value < math.inf for value in above_zero) or not all(
            map(math.isfinite, errors)
        ):
            raise TableError(f"a calibration needs finite numbers, latencies above 0, not {self}")

    def __str__(self) -> str:
        side = "high" if self.bias_before > 0 else "low"
        return (
            f"off by {100 * self.error:.1f} % in the mean of {self.networks} networks of "
            f"{self.low_ms:.3g} to {self.high_ms:.3g} ms, each by a correction that the others "
            f"taught; it was {100 * self.error_before:.1f} % off, and "
            f"{100 * abs(self.bias_before):.1f} % too {side} in the mean"
        )

    @classmethod
    def of(
        cls,
        latency_ms: float,
        space: str,
        measured_ms: Sequence[float],
        before: Sequence[float],
        after: Sequence[float],
        whole: Correction | None,
    ) -> "Calibration":
        """By what networks took, and the relative errors of both prices of each."""
        return cls(
            latency_ms=latency_ms,
            space=space,
            networks=len(measured_ms),
            low_ms=round(min(measured_ms), DIGITS),
            high_ms=round(max(measured_ms), DIGITS),
            bias_before=round(fmean(before), DIGITS),
            error_before=round(fmean(map(abs, before)), DIGITS),
            error=round(fmean(map(abs, after)), DIGITS),
            whole=whole,
        )
