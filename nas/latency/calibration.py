"""A table shifted to what some networks of one latency take on its device.

A correction of a whole table is right in the mean over all latencies of a space. Where one search
looks it may still be off by a tenth, and all that it finds there is off alike. So some networks of
that latency are timed, and every price is multiplied by what they took for a millisecond of their
prices. Elsewhere in the table that factor need not hold: deviations grow outside of what was timed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.errors import TableError
from nas.latency.correction import Correction

__all__ = ["FEWEST_NETWORKS", "Calibration", "fit_calibration"]

FEWEST_NETWORKS = 4
LEAST_SD = 0.02
"""Relative deviation of a network, at least: what two timings of one differ by."""
DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a table was shifted. Raises `TableError` for numbers that cannot be."""

    latency_ms: float
    """The budget that it was made for."""
    networks: int
    low_ms: float
    """What the fastest of them took."""
    high_ms: float
    """And the slowest."""
    factor: float
    """What they took for a millisecond of their prices, in the mean."""
    error: float
    """Mean absolute relative error of each by the factor of the others, 0..1."""

    def __post_init__(self) -> None:
        numbers = (self.latency_ms, self.low_ms, self.high_ms, self.factor)
        if not all(0 < number < math.inf for number in numbers) or not 0 <= self.error < math.inf:
            raise TableError(f"a calibration needs finite numbers above 0, not {self}")

    def __str__(self) -> str:
        took = f"{self.networks} networks of {self.low_ms:.3g} to {self.high_ms:.3g} ms took"
        return (
            f"{took} {self.factor:.2f} times what the table says, in the mean; prices are "
            f"multiplied by that, and then each is off by {100 * self.error:.1f} % by the others"
        )


def fit_calibration(
    correction: Correction | None,
    priced_ms: Sequence[float],
    measured_ms: Sequence[float],
    latency_ms: float,
) -> tuple[Calibration, Correction]:
    """What some networks teach a table near one latency, and the correction that it has then.

    correction: the table's, if it has one. priced_ms, measured_ms: by network, what it says with
    that correction, and what they took. latency_ms: the budget that they are near. Raises
    `TableError` for fewer than four networks.
    """
    if len(priced_ms) < FEWEST_NETWORKS:
        raise TableError(
            f"a calibration needs at least {FEWEST_NETWORKS} networks, not {len(priced_ms)}"
        )
    ratios = np.array(measured_ms) / np.array(priced_ms)
    count = len(ratios)
    factor = float(ratios.mean())
    by_others = (ratios.sum() - ratios) / (count - 1)
    # Of a further network: it scatters, and the factor is not known exactly either.
    sd = float(ratios.std(ddof=1)) / factor * math.sqrt(1 + 1 / count)
    made = Calibration(
        latency_ms=latency_ms,
        networks=count,
        low_ms=round(min(measured_ms), DIGITS),
        high_ms=round(max(measured_ms), DIGITS),
        factor=round(factor, DIGITS),
        error=round(float(np.abs(by_others / ratios - 1).mean()), DIGITS),
    )
    before = correction or Correction.none()
    fitted = replace(
        before.times(made.factor),
        common_sd=round(min(max(sd, LEAST_SD), 0.99), DIGITS),
        low_ms=made.low_ms,
        high_ms=made.high_ms,
    )
    return made, fitted
