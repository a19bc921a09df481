"""Estimates held against whole networks that were timed: how far off, how well ordered."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from nas.latency.estimate import Estimate
from nas.statistics import kendall_tau, kendall_tau_of_near

__all__ = ["NINETY", "Audit", "StoredAudit", "audit"]

NINETY = 1.6449
"""Standard deviations to either side that hold 90 % of a normal distribution."""
BAND = 0.10
"""Networks of latencies this near are those that a search has to tell apart."""
POOR_MAPE = 0.10
POOR_TAU = 0.80


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Estimates of networks timed whole. An error is estimate over measurement, minus one."""

    networks: int
    mape: float
    """Mean absolute error."""
    bias: float
    """Mean error."""
    within_5: float
    """Share of networks off by at most 5 %, 0..1."""
    within_10: float
    """Share of networks off by at most 10 %, 0..1."""
    coverage_90: float
    """Share of networks inside their interval of 90 %, 0..1."""
    tau: float | None
    """Kendall's tau of estimates and measurements; None if it is not defined."""
    tau_band: float | None
    """The same over pairs whose measurements lie within 10 % of each other."""
    tau_repeat: float | None
    """Kendall's tau between two measurements: all that any estimate could reach."""
    tau_repeat_band: float | None
    """The same over pairs within 10 %."""

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        return asdict(self)

    @property
    def is_poor(self) -> bool:
        """Whether nobody should rely on the table as it is."""
        # Kendall's tau too: a search ranks, and a table may be near the truth without ordering it.
        return self.mape > POOR_MAPE or (self.tau is not None and self.tau < POOR_TAU)


@dataclass(frozen=True, kw_only=True)
class StoredAudit:
    """An audit as a table keeps it."""

    date: str
    corrected: bool
    """Whether the table had a correction by then."""
    every: Audit
    """Of all networks."""
    spaces: Mapping[str, Audit]
    """Of the networks of each space."""
    unreliable: tuple[str, ...] = ()
    """What makes the measurements doubtful."""

    @property
    def phrase(self) -> str:
        """What it says to those about to rely on the table."""
        tau = "unknown" if self.every.tau is None else f"{self.every.tau:.2f}"
        text = (
            f"{self.every.networks} whole networks: off by {100 * self.every.mape:.1f} % "
            f"in the mean, tau {tau}"
        )
        if self.unreliable:
            text += "; made on a machine that was not quiet"
        if not self.every.is_poor:
            return text
        return f"POOR: {text}. Build it anew, or correct it (nas latency verify --correct)"


def audit(
    estimates: Sequence[Estimate], first_ms: Sequence[float], second_ms: Sequence[float]
) -> Audit:
    """Hold estimates against the mean of two measurements of the same networks."""
    first, second = np.array(first_ms), np.array(second_ms)
    # The mean, for its noise is less than that of either measurement.
    measured = (first + second) / 2
    estimated = np.array([estimate.latency_ms for estimate in estimates])
    sd = np.array([estimate.latency_sd_ms for estimate in estimates])
    errors = estimated / measured - 1
    return Audit(
        networks=len(measured),
        mape=float(np.abs(errors).mean()),
        bias=float(errors.mean()),
        within_5=float((np.abs(errors) <= 0.05).mean()),
        within_10=float((np.abs(errors) <= 0.10).mean()),
        coverage_90=float((np.abs(estimated - measured) <= NINETY * sd).mean()),
        tau=kendall_tau(estimated, measured),
        tau_band=kendall_tau_of_near(estimated, measured, BAND),
        tau_repeat=kendall_tau(first, second),
        tau_repeat_band=kendall_tau_of_near(first, second, BAND),
    )
