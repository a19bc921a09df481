"""A run on several devices: each network is trained once and priced everywhere.

So there is a front for each device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from nas.cost.costs import latency_metric
from nas.cost.metric import Metric
from nas.domain import Domain
from nas.objectives import Objective, Objectives
from nas.statistics import kendall_tau
from nas.trial import Trial
from nas.units import Column, column_table

__all__ = ["front_on", "front_over", "rank_correlations", "summary"]

DRAWS = 500

Correlations = Mapping[tuple[str, str], float | None]
"""Kendall's tau by pair of devices, None if a device gives all networks one latency."""


def front_on(trials: Sequence[Trial], objectives: Objectives, device: str) -> list[Trial]:
    """The front with that device's latency in place of every other's, fastest first."""
    return front_over(trials, objectives, [device])


def front_over(
    trials: Sequence[Trial], objectives: Objectives, devices: Sequence[str]
) -> list[Trial]:
    """The networks that no other beats in every objective and on every device."""
    # Another device's latency would keep networks on the front that are slow on this one.
    others = [each for each in objectives.each if not Metric.parse(each.name).is_latency]
    latencies = [Objective(latency_metric(device), "minimize") for device in devices]
    return replace(objectives, each=(*others, *latencies)).front(trials)


def rank_correlations(
    domain: Domain, devices: Sequence[str]
) -> dict[tuple[str, str], float | None]:
    """Kendall's tau between the devices' latencies of 500 random networks inside the bounds."""
    # A seed of its own: a run's report says the same each time.
    costs = domain.compiled.price(domain.sample_many(DRAWS, np.random.default_rng(0)))
    latencies_ms = {}
    for device in devices:
        latencies_ms[device] = costs[:, domain.compiled.column(latency_metric(device))]
    return {
        (one, other): kendall_tau(latencies_ms[one], latencies_ms[other])
        for one, other in combinations(devices, 2)
    }


def summary(
    fronts: Mapping[str, Sequence[Trial]], objectives: Objectives, correlations: Correlations
) -> str:
    """A front per device, and how far the devices agree."""
    parts = []
    for device, trials in fronts.items():
        parts.append(f"front on {device}\n{_front_text(trials, objectives, device)}")
    for (one, other), tau in correlations.items():
        parts.append(
            f"rank correlation of {one} and {other}: "
            f"Kendall's tau {_tau_text(tau)} "
            f"({DRAWS} random networks inside the bounds)"
        )
    return "\n\n".join(parts)


def _tau_text(tau: float | None) -> str:
    return "unknown" if tau is None else f"{tau:.2f}"


def _front_text(trials: Sequence[Trial], objectives: Objectives, device: str) -> str:
    columns: list[Column] = [("trial", [str(trial.number) for trial in trials])]
    for name in objectives.qualities:
        columns.append((name, [f"{trial.metrics[name]:.4f}" for trial in trials]))
    latency = latency_metric(device)
    columns += [
        (f"{device} ms", [f"{trial.metrics[latency]:.2f}" for trial in trials]),
        ("digest", [trial.digest for trial in trials]),
    ]
    return column_table(columns)
