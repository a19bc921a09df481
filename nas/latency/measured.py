"""A whole network timed on a device: what an estimate is held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Measured", "TimedHere"]

NOISE = 0.02
"""Relative deviation of a timed network, at least: two measurements may agree by chance."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A network timed as a whole, twice."""

    first_ms: float
    second_ms: float

    @property
    def latency_ms(self) -> float:
        """The mean of both."""
        return (self.first_ms + self.second_ms) / 2

    @property
    def latency_sd_ms(self) -> float:
        """How far the mean may be off: half of what both differ by, at least 2 %."""
        return max(abs(self.first_ms - self.second_ms) / 2, NOISE * self.latency_ms)

    def sure_ms(self, confidence: float) -> float:
        """The latency that is kept with that probability, 0.5 to below 1."""
        return self.latency_ms + NormalDist().inv_cdf(confidence) * self.latency_sd_ms

    def to_json(self) -> dict[str, float]:
        """Plain JSON."""
        return {"latency_ms": self.latency_ms, "latency_sd_ms": self.latency_sd_ms}


@dataclass(frozen=True, kw_only=True)
class TimedHere:
    """What came of timing networks on this machine."""

    measured: Sequence[Measured]
    """One for each network."""
    unreliable: Sequence[str] = ()
    """What makes the timings doubtful, a line each."""
