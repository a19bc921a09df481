"""Milliseconds, how they are known, and how far they may be off."""

import math
from dataclasses import dataclass

__all__ = ["LATENCY_COLUMNS", "Estimate"]

LATENCY_COLUMNS = ("measured_ms", "summed_ms", "predicted_ms", "variance_ms2", "common_sd_ms")
"""The additive parts of an estimate."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The time of a layer or a network, in parts that add along the chain."""

    measured_ms: float = 0.0
    """From rows of whole ops."""
    summed_ms: float = 0.0
    """From rows of kernels."""
    predicted_ms: float = 0.0
    """From the device model, interpolated between rows, or from a row that was apportioned."""
    variance_ms2: float = 0.0
    """Variance of the errors that are independent from layer to layer."""
    common_sd_ms: float = 0.0
    """Standard deviation of the errors that all layers share."""

    @property
    def latency_ms(self) -> float:
        """The estimate."""
        return self.measured_ms + self.summed_ms + self.predicted_ms

    @property
    def latency_sd_ms(self) -> float:
        """Its standard deviation."""
        return math.sqrt(self.variance_ms2 + self.common_sd_ms**2)

    def __add__(self, other: "Estimate") -> "Estimate":
        sums = (mine + theirs for mine, theirs in zip(self.columns, other.columns, strict=True))
        return Estimate(**dict(zip(LATENCY_COLUMNS, sums, strict=True)))

    @property
    def columns(self) -> tuple[float, ...]:
        """The five parts, in the order of `LATENCY_COLUMNS`."""
        return tuple(getattr(self, name) for name in LATENCY_COLUMNS)

    def to_json(self) -> dict[str, float]:
        """``latency_ms``, ``latency_sd_ms``, and three shares that add to 1.

        The shares are ``measured``, ``summed`` and ``predicted``.
        """
        total = self.latency_ms or 1.0
        # Measured is what the two others leave, so that the shares add to 1 whatever the rounding.
        summed = self.summed_ms / total
        predicted = self.predicted_ms / total
        return {
            "latency_ms": self.latency_ms,
            "latency_sd_ms": self.latency_sd_ms,
            "measured": 1.0 - summed - predicted,
            "summed": summed,
            "predicted": predicted,
        }
