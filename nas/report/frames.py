"""Trials as pandas frames and JSON rows."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas.arch import Architecture
from nas.cost.metric import Metric
from nas.latency.estimate import Estimate
from nas.latency.measured import Measured
from nas.objectives import Objectives
from nas.record.race import Standing
from nas.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FrontRow", "front_frame", "narrow", "race_frame", "trials_frame"]

TIMED = "timed_ms"
"""The column of a latency that was measured on a whole network."""


@dataclass(frozen=True, kw_only=True)
class FrontRow:
    """One network of a front, with all that is shown of it."""

    trial: Trial
    network: Architecture
    estimates: Mapping[str, Estimate]
    """Latency by device, the first device first."""
    confirmed: float | None = None
    """Its mean score on *test*, None if its confirmation is not finished."""
    accuracy_sd: float | None = None
    """The accuracy's deviation, see `nas.report.deviations`; None if it is not known."""
    rung: int | None = None
    """The rung of the race whose scores these are; None without a race."""
    measured: Mapping[str, Measured] = field(default_factory=dict)
    """Its latency as a whole network, by those devices on which it was timed."""
    began_with: str = ""
    """The published network that the search began with by it, as `nas.run.run.Run` says it."""

    def to_json(self) -> dict[str, object]:
        """The row as ``--json`` prints it, with the latency on the first and on every device."""
        devices = {}
        for device, estimate in self.estimates.items():
            devices[device] = dict[str, object](estimate.to_json())
            if device in self.measured:
                devices[device]["timed"] = self.measured[device].to_json()
        return {**self._plain(), "devices": devices, "confirmed": self.confirmed}

    def flat(self) -> dict[str, object]:
        """The row of a frame: a column per figure and device."""
        columns: dict[str, object] = {}
        for device, estimate in self.estimates.items():
            for name, value in estimate.to_json().items():
                columns[str(Metric(name, device))] = value
            if device in self.measured:
                columns[str(Metric(TIMED, device))] = self.measured[device].latency_ms
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
        if self.accuracy_sd is not None and "accuracy" in row:
            row["accuracy_sd"] = self.accuracy_sd
        if self.rung is not None:
            row["rung"] = self.rung
        for first in [*self.estimates.values()][:1]:
            row["latency_ms"] = first.latency_ms
            row["latency_sd_ms"] = first.latency_sd_ms
        for device in [*self.estimates][:1]:
            # Only where there is one, as below.
            if device in self.measured:
                row[TIMED] = self.measured[device].latency_ms
        row |= {"macs": self.network.macs, "params": self.network.params}
        # Only where there is one: runs without a warm start keep their columns.
        return {**row, "warm": self.trial.warm} if self.trial.warm else row


def front_frame(rows: Sequence[FrontRow]) -> "pd.DataFrame":
    """One row per network of a front."""
    import pandas as pd

    return pd.DataFrame([row.flat() for row in rows])


def narrow(frame: "pd.DataFrame", objectives: Objectives, devices: Sequence[str]) -> "pd.DataFrame":
    """Of a front's frame what one reads first: qualities and latencies, then the other costs."""
    wanted = [*objectives.qualities, "confirmed", "latency_ms", TIMED]
    wanted += [str(Metric.latency(device)) for device in devices[1:]]
    for name in objectives.costs:
        # The first device's has a column already.
        if not Metric.parse(name).is_latency:
            wanted.append(name)
    wanted += ["params", "macs", "rung", "trial", "warm"]
    shown = []
    for name in dict.fromkeys(wanted):
        # What no network has is no column.
        if name in frame.columns and frame[name].notna().any():
            shown.append(name)
    return frame[shown]


def trials_frame(trials: Sequence[Trial], on_front: Container[int]) -> "pd.DataFrame":
    """One row per trial: whether it is on the front, every metric, genes, and the reason.

    ``on_front``: numbers of trials.
    """
    import pandas as pd

    return pd.DataFrame([_trial_row(trial, trial.number in on_front) for trial in trials])


def race_frame(
    rungs: Sequence[Standing], front_rung: int, on_front: Container[int]
) -> "pd.DataFrame":
    """The same for each rung of a race in turn, which is named in the first column.

    ``on_front``: trials of rung ``front_rung``.
    """
    import pandas as pd

    rows = []
    for rung in rungs:
        is_shown = rung.number == front_rung
        for trial in rung.trials:
            row = _trial_row(trial, is_shown and trial.number in on_front)
            rows.append({"rung": rung.number, "factor": rung.factor, **row})
    return pd.DataFrame(rows)


def _trial_row(trial: Trial, on_front: bool) -> dict[str, object]:
    known = {
        "trial": trial.number,
        "state": trial.state,
        "digest": trial.digest,
        "front": on_front,
    }
    return {**known, **trial.metrics, "genes": trial.genes, "reason": trial.reason}
