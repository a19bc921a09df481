"""Trials as pandas frames and JSON rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nas.latency.table import Table
from nas.objectives import Objectives
from nas.space import SearchSpace
from nas.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["front_rows", "trials_frame"]


def trials_frame(trials: Sequence[Trial], objectives: Objectives) -> "pd.DataFrame":
    """One row per trial: number, state, digest, genes, whether it is on the front, and every metric."""
    import pandas as pd

    best = {trial.number for trial in objectives.front(trials)}
    rows = [
        {
            "trial": trial.number,
            "state": trial.state,
            "digest": trial.digest,
            "front": trial.number in best,
            **trial.metrics,
            "genes": trial.genes,
            "reason": trial.reason,
        }
        for trial in trials
    ]
    return pd.DataFrame(rows)


def front_rows(
    found: Sequence[Trial], space: SearchSpace, tables: Sequence[Table]
) -> list[dict[str, Any]]:
    """The front as ``--json`` prints it: metrics, and per device the latency with its sd and shares."""
    rows = []
    for trial in found:
        network = space.decode(trial.genes)
        devices = {table.name: table.estimate(network).to_json() for table in tables}
        first = next(iter(devices.values()), {})
        latency: dict[str, Any] = {n: v for n, v in first.items() if n.startswith("latency")}
        row: dict[str, Any] = {
            "trial": trial.number,
            "digest": trial.digest,
            "genes": list(trial.genes),
            **{
                name: value
                for name, value in trial.metrics.items()
                if not name.startswith("latency_ms@")
            },
            **latency,
            "macs": network.macs,
            "params": network.params,
            "devices": devices,
        }
        rows.append(row)
    return rows
