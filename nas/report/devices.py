"""A run on several devices: each network was trained once and priced everywhere, so there is a front for each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from nas.cost.costs import latency_metric
from nas.domain import Domain
from nas.objectives import Objective, Objectives
from nas.statistics import kendall_tau
from nas.trial import Trial
from nas.units import text_table

__all__ = ["front_on", "front_over", "rank_correlations", "summary"]

DRAWS = 500


def _latency(device: str) -> Objective:
    return Objective(latency_metric(device), "minimize")


def front_on(trials: Sequence[Trial], objectives: Objectives, device: str) -> list[Trial]:
    """The front with that device's latency in place of every other's, fastest first."""
    kept = [each for each in objectives.each if not each.name.startswith("latency_ms@")]
    return replace(objectives, each=(*kept, _latency(device))).front(trials)


def front_over(
    trials: Sequence[Trial], objectives: Objectives, devices: Sequence[str]
) -> list[Trial]:
    """The networks that no other beats in every objective and on every device."""
    kept = [each for each in objectives.each if not each.name.startswith("latency_ms@")]
    return replace(objectives, each=(*kept, *map(_latency, devices))).front(trials)


def rank_correlations(
    domain: Domain, devices: Sequence[str]
) -> dict[tuple[str, str], float | None]:
    """Kendall's tau between the latencies of 500 random networks inside the bounds, by pair of devices."""
    costs = domain.compiled.price(domain.sample_many(DRAWS, np.random.default_rng(0)))
    columns = {
        device: costs[:, domain.compiled.column(latency_metric(device))] for device in devices
    }
    return {
        pair: kendall_tau(columns[pair[0]], columns[pair[1]]) for pair in combinations(devices, 2)
    }


def summary(
    fronts: Mapping[str, Sequence[Trial]],
    objectives: Objectives,
    correlations: Mapping[tuple[str, str], float | None],
) -> str:
    """A front per device, and how far the devices agree."""
    quality = [each.name for each in objectives.each if each.direction == "maximize"]
    parts = []
    for device, found in fronts.items():
        name = latency_metric(device)
        rows = [
            [
                str(t.number),
                *(f"{t.metrics[q]:.4f}" for q in quality),
                f"{t.metrics[name]:.2f}",
                t.digest,
            ]
            for t in found
        ]
        parts.append(
            f"front on {device}\n" + text_table(["trial", *quality, f"{device} ms", "digest"], rows)
        )
    parts += [
        f"rank correlation of {a} and {b}: Kendall's tau {'unknown' if tau is None else f'{tau:.2f}'} "
        f"({DRAWS} random networks inside the bounds)"
        for (a, b), tau in correlations.items()
    ]
    return "\n\n".join(parts)
