"""Estimates held against whole networks that were timed: how far off, how sure, and whether the order is right."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.latency.table import Estimate
from nas.statistics import kendall_tau, kendall_tau_of_near

__all__ = ["NINETY", "Audit", "audit", "told"]

NINETY = 1.6449  # standard deviations to either side that hold 90 %
BAND = 0.10
POOR_MAPE, POOR_TAU = 0.10, 0.80


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Of ``networks`` timed whole. Errors are estimate over measurement minus one, shares are 0..1.

    ``tau``: Kendall's tau of estimates and measurements; ``tau_band``: over pairs whose
    measurements lie within 10 % of each other. ``tau_repeat`` and ``tau_repeat_band``: the same
    between two measurements, all that any estimate could reach. None where there are no such pairs.
    """

    networks: int
    mape: float
    bias: float
    within_5: float
    within_10: float
    coverage_90: float
    tau: float | None
    tau_band: float | None
    tau_repeat: float | None
    tau_repeat_band: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def audit(
    estimates: Sequence[Estimate], first_ms: Sequence[float], second_ms: Sequence[float]
) -> Audit:
    """Hold estimates against the mean of two measurements of the same networks."""
    first, second = np.array(first_ms), np.array(second_ms)
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


def told(info: Mapping[str, Any]) -> str:
    """What a table's audit says, in a phrase, for those about to rely on it: first of all that there is none, or a poor one."""
    found = info.get("audit")
    if not found:
        known = next(iter(info.get("known_error", {}).items()), None)
        stated = f"; stated {known[0]}: {100 * known[1]:.1f} %" if known else ""
        return f"none on record, nas latency verify makes one{stated}"
    every = found["every"]
    tau = "unknown" if every["tau"] is None else f"{every['tau']:.2f}"
    text = f"{every['networks']} whole networks: off by {100 * every['mape']:.1f} % in the mean, tau {tau}"
    if found.get("unreliable"):
        text += "; made on a machine that was not quiet"
    poor = every["mape"] > POOR_MAPE or (every["tau"] is not None and every["tau"] < POOR_TAU)
    return (
        f"POOR: {text}. Build it anew, or correct it (nas latency verify --correct)"
        if poor
        else text
    )
