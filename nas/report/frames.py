"""Trials as pandas frames and JSON rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.arch import Architecture
from nas.cost.metric import Metric
from nas.latency.estimate import Estimate
from nas.objectives import Objectives
from nas.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FrontRow", "front_frame", "trials_frame"]


@dataclass(frozen=True, kw_only=True)
class FrontRow:
    """One network of a front, with all that is shown of it."""

    trial: Trial
    network: Architecture
    estimates: Mapping[str, Estimate]
    """Latency by device, the first device first."""
    confirmed: float | None = None
    """Its mean score on *test*, None if its confirmation is not finished."""

    def to_json(self) -> dict[str, object]:
        """The row as ``--json`` prints it, with the latency on the first and on every device."""
        devices = {device: estimate.to_json() for device, estimate in self.estimates.items()}
        return {**self._plain(), "devices": devices, "confirmed": self.confirmed}

    def flat(self) -> dict[str, object]:
        """The row of a frame: a column per figure and device."""
        columns: dict[str, object] = {}
        for device, estimate in self.estimates.items():
            for name, value in estimate.to_json().items():
                columns[str(Metric(name, device))] = value
        return {**self._plain(), "confirmed": self.confirmed, **columns}

    def _plain(self) -> dict[str, object]:
        row: dict[str, object] = {
            "trial": self.trial.number,
            "digest": self.trial.digest,
            "genes": list(self.trial.genes),
        }
        for name, value in self.trial.metrics.items():
            # Latencies are told by device, with their deviations.
            if not Metric.parse(name).is_latency:
                row[name] = value
        for first in [*self.estimates.values()][:1]:
            row["latency_ms"] = first.latency_ms
            row["latency_sd_ms"] = first.latency_sd_ms
        row |= {"macs": self.network.macs, "params": self.network.params}
        # Only where there is one: runs without a warm start keep their columns.
        return {**row, "warm": self.trial.warm} if self.trial.warm else row


def front_frame(rows: Sequence[FrontRow]) -> "pd.DataFrame":
    """One row per network of a front."""
    import pandas as pd

    return pd.DataFrame([row.flat() for row in rows])


def trials_frame(trials: Sequence[Trial], objectives: Objectives) -> "pd.DataFrame":
    """One row per trial: whether it is on the front, every metric, genes, and the reason."""
    import pandas as pd

    on_front = {trial.number for trial in objectives.front(trials)}
    rows = []
    for trial in trials:
        known = {
            "trial": trial.number,
            "state": trial.state,
            "digest": trial.digest,
            "front": trial.number in on_front,
        }
        rows.append({**known, **trial.metrics, "genes": trial.genes, "reason": trial.reason})
    return pd.DataFrame(rows)
