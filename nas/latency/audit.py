"""Estimates held against whole networks that were timed: how far off, how well ordered."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from nas.latency.estimate import Estimate
from nas.reading import LEFT_OUT
from nas.statistics import kendall_tau, kendall_tau_of_near

__all__ = ["BANDS", "NINETY", "Audit", "Band", "StoredAudit", "audit", "band_audits"]

NINETY = 1.6449
"""Standard deviations to either side that hold 90 % of a normal distribution."""
BAND = 0.10
"""Networks of latencies this near are those that a search has to tell apart."""
BANDS = 3
"""Thirds by latency."""
POOR_MAPE = 0.10
POOR_TAU = 0.80
LEAST_TOLD = 0.005
"""A smaller share of disturbed timings is no news."""


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
class Band:
    """The networks of a range of latencies."""

    low_ms: float
    high_ms: float
    """Measured, the fastest and the slowest network of it."""
    audit: Audit
    before: float | None = None
    """Mean absolute error without the correction; None without one."""


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
    # Left out if empty, as in tables from before there were bands.
    bands: tuple[Band, ...] = field(default=(), metadata=LEFT_OUT)
    """By latency, the fastest third of the networks first."""
    disturbed: float = field(default=0.0, metadata=LEFT_OUT)
    """Share of the timings that another load disturbed, and that were repeated, 0..1."""

    def phrase(self, latency_ms: float | None = None) -> str:
        """What it says to those about to rely on the table.

        First comes the error that matters: near ``latency_ms`` if there are bands, else of all.
        """
        every = self.every
        tau = "unknown" if every.tau is None else f"{every.tau:.2f}"
        whole = f"{every.networks} whole networks: off by {100 * every.mape:.1f} %"
        text = f"{whole} in the mean, tau {tau}"
        band = None if latency_ms is None else self.band(latency_ms)
        if band is not None:
            text = (
                f"off by {100 * band.audit.mape:.1f} % in the mean of {band.audit.networks} whole "
                f"networks of {band.low_ms:.3g} to {band.high_ms:.3g} ms; {whole}, tau {tau}"
            )
        if self.disturbed >= LEAST_TOLD:
            text += f"; {100 * self.disturbed:.0f} % of the timings were disturbed"
        if self.unreliable:
            text += "; made on a machine that was not quiet"
        if not every.is_poor:
            return text
        return f"POOR: {text}. Build it anew, or correct it (nas latency verify --correct)"

    def band(self, latency_ms: float) -> Band | None:
        """The band nearest to a latency; None if there are no bands."""
        if not self.bands:
            return None

        def distance(band: Band) -> float:
            return max(band.low_ms - latency_ms, latency_ms - band.high_ms, 0.0)

        return min(self.bands, key=distance)


def band_audits(
    estimates: Sequence[Estimate],
    first_ms: Sequence[float],
    second_ms: Sequence[float],
    before: Sequence[Estimate] = (),
) -> tuple[Band, ...]:
    """The audit of every third by latency, and its error ``before`` a correction.

    Empty for fewer than six networks.
    """
    first, second = np.array(first_ms), np.array(second_ms)
    measured = (first + second) / 2
    if len(measured) < 2 * BANDS:
        return ()
    bands = []
    for places in np.array_split(np.argsort(measured), BANDS):
        found = audit([estimates[i] for i in places], first[places], second[places])
        bare = None
        if before:
            bare = _mape([before[i] for i in places], measured[places])
        band = Band(
            low_ms=float(measured[places].min()),
            high_ms=float(measured[places].max()),
            audit=found,
            before=bare,
        )
        bands.append(band)
    return tuple(bands)


def _mape(estimates: Sequence[Estimate], measured: NDArray[np.float64]) -> float:
    estimated = np.array([estimate.latency_ms for estimate in estimates])
    return float(np.abs(estimated / measured - 1).mean())


def audit(
    estimates: Sequence[Estimate],
    first_ms: Sequence[float] | NDArray[np.float64],
    second_ms: Sequence[float] | NDArray[np.float64],
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
