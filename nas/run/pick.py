"""One network of a front: the best within a latency, the knee, or the best of a weighted sum.

The choice goes by scores on *selection* alone. Networks that were confirmed are looked at first, by
those of their longer trainings; if none of them will do, the choice is among the whole front, by
the search's. The score on *test* is told of the network that was chosen: the best of several test
scores would flatter it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas import catalog
from nas.arch import Architecture
from nas.compute import Compute
from nas.cost.metric import Metric
from nas.errors import RunError, UsageError, unknown
from nas.latency.table import Table
from nas.metadata import UNKNOWN, Metadata, read_metadata, save_network
from nas.objectives import Objective, Objectives
from nas.trial import Metrics, Trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chosen", "Limit", "Pick", "Trained", "choose"]

KNEE_POINTS = 3
"""Fewer confirmed networks than this make no knee."""

Preferences = Mapping[str, float]
"""By metric, at least 0: how much its loss counts, scaled to 0..1 over the candidates."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A trial, and why it was chosen."""

    trial: Trial
    metric: str
    """The quality that was compared."""
    score: float
    """Its value for the trial on *selection*, lower or higher as the metric has it."""
    confirmed: bool
    """Whether the score is of a confirmation's trainings, and not of the search's."""
    test: float | None = None
    """Its value on *test*, which decided nothing; None if the network is not confirmed."""
    reason: str
    """In words: which score decided, and among how many networks."""


@dataclass(frozen=True, kw_only=True)
class Pick(Chosen):
    """A chosen trial with its network."""

    network: Architecture
    metadata: Metadata = UNKNOWN
    tables: tuple[Table, ...] = ()
    """What the run was priced with, the first device first."""
    data: object = None
    """What the run was searched on: its name, or what was given from Python."""
    weights: Path | None = None
    """The file of its weights, once it was trained, see `train`."""

    @property
    def architecture(self) -> Architecture:
        """The network's layers, every shape known: ``network`` by another name."""
        return self.network

    def module(self) -> Any:
        """The network as a torch module: with its weights if it was trained, else initialised."""
        # By name, as below: reading a run needs no torch.
        build = import_module("nas.model").build
        module = build(self.network)
        if self.weights is not None:
            import_module("nas.model.weights").load_weights(module, self.weights)
        return module

    def cost(self, device: str | None = None) -> dict[str, Any]:
        """Params, macs, bytes, and the latency with its deviation and shares.

        ``device``: a name, an alias or a table file; by default the run's first device. Raises
        `UsageError` for a device that is not there.
        """
        estimate = self._table(device).estimate(self.network)
        return {
            "params": self.network.params,
            "macs": self.network.macs,
            "size_bytes": self.network.size_bytes,
            "peak_memory_bytes": self.network.peak_memory_bytes,
            **estimate.to_json(),
        }

    def layers(self, device: str | None = None) -> "pd.DataFrame":
        """A row per layer: stage, op, input, params, macs, and its latency on a device."""
        import pandas as pd

        table = self._table(device)
        rows = []
        for stage, layers in self.network.layers_by_stage:
            for layer in layers:
                estimate = table.layer(layer)
                rows.append(
                    {
                        "stage": stage.name,
                        "op": layer.op.signature,
                        "input": str(layer.shape),
                        "params": layer.params,
                        "macs": layer.macs,
                        "latency_ms": estimate.latency_ms,
                        "latency_sd_ms": estimate.latency_sd_ms,
                    }
                )
        return pd.DataFrame(rows)

    def _table(self, device: str | None) -> Table:
        for table in self.tables:
            if device in (None, table.name):
                return table
        if device is None:
            raise UsageError("name a device: this pick is of no run")
        return catalog.device(device)

    def train(
        self,
        out: str | Path,
        data: object = None,
        *,
        recipe: str = "default",
        weights: str | Path | None = None,
        partial: bool = False,
        threads: int = 1,
        accelerator: str = "auto",
        precision: str = "auto",
        quiet: bool = False,
        **settings: Any,
    ) -> "Trained":
        """Train it whole, as ``nas train`` does, and score it once on *test*.

        ``trained = run.pick().train("trained", epochs=30)``; a call that was killed goes on.
        ``out``: the training's folder. ``data``: by default what the run was searched on.
        ``weights``: what to start from, a file or a published name, of which ``partial`` takes
        what fits; see `nas.model.weights.read_weights`. ``settings``: of the recipe, such as
        ``epochs``, ``batch_size``, ``lr`` or ``resolution``.
        """
        train = import_module("nas.train.job").train
        result = train(
            self.network,
            self.data if data is None else data,
            out,
            recipe_name=recipe,
            settings=settings,
            weights=weights,
            partial=partial,
            thread_count=threads,
            compute=Compute(accelerator=accelerator, precision=precision),
            quiet=quiet,
        )
        folder = Path(out)
        network = Architecture.load(folder / "architecture.json")
        settings = {name: getattr(self, name) for name in (f.name for f in fields(Pick))}
        settings |= {
            "network": network,
            "metadata": read_metadata(str(folder / "architecture.json")),
            "weights": folder / "weights.pt",
        }
        return Trained(**settings, result=result)

    def save(self, path: str | Path) -> None:
        """Write the network as ``architecture.json``, with its class names."""
        save_network(self.network, self.metadata, path)

    def export(
        self,
        folder: str | Path,
        formats: Sequence[str] = ("python", "onnx", "json"),
        **settings: Any,
    ) -> Any:
        """Write the network as verified files that run without the toolkit: `nas.export.export`."""
        settings = {"metadata": self.metadata, "weights": self.weights, **settings}
        # By name: exports need torch, and reading a run does not.
        return import_module("nas.export").export(self.network, folder, formats=formats, **settings)

    def __str__(self) -> str:
        test = "" if self.test is None else f"; on the test set {self.test:.4f}"
        return (
            f"trial {self.trial.number}: {self.metric} {self.score:.4f} on the selection set, "
            f"{self.reason}{test}"
        )


@dataclass(frozen=True, kw_only=True)
class Trained(Pick):
    """A pick that was trained: `module` has its weights, and `export` ships them."""

    result: Mapping[str, Any]
    """The training's ``result.json``: scores on *selection* and *test*, the course of it."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """An upper bound on a latency."""

    metric: str
    upper_ms: float
    kept_ms: Callable[[Trial], float] | None = None
    """What is held against the bound, such as the latency kept with some probability.

    None holds the metric itself, which is the latency in the mean.
    """

    def fits(self, trials: Sequence[Trial]) -> bool:
        """Whether any of the trials meets the bound."""
        return any(self._latency_ms(trial) <= self.upper_ms for trial in trials)

    def within(self, front: Sequence[Trial]) -> list[Trial]:
        """The trials that meet the bound; `RunError` if there are trials and none of them does."""
        latencies_ms = [self._latency_ms(trial) for trial in front]
        fits = []
        for trial, latency_ms in zip(front, latencies_ms, strict=True):
            if latency_ms <= self.upper_ms:
                fits.append(trial)
        # An empty front is the caller's to tell, in other words.
        if front and not fits:
            surely = "" if self.kept_ms is None else " with that confidence"
            raise RunError(
                f"no network of the front meets {self.metric} <= {self.upper_ms:g}{surely}: "
                f"the fastest takes {min(latencies_ms):.4g}"
            )
        return fits

    def _latency_ms(self, trial: Trial) -> float:
        return trial.metrics[self.metric] if self.kept_ms is None else self.kept_ms(trial)


def choose(
    front: Sequence[Trial],
    objectives: Objectives,
    confirmed: Mapping[str, float],
    tested: Mapping[str, float] = MappingProxyType({}),
    *,
    former: Sequence[Trial] = (),
    limit: Limit | None = None,
    preferences: Preferences | None = None,
    knee: bool = False,
    devices: Sequence[str] = (),
) -> Chosen:
    """One trial of the front; without a rule the best in the first objective.

    ``confirmed``: by digest, a confirmation's score on *selection*.
    ``tested``: by digest, its score on *test*, which decides nothing.
    ``former``: confirmed trials that are not on the front: candidates if confirmed scores decide.
    ``limit``: trials beyond it are no candidates.
    ``preferences``: the least weighted sum of losses.
    ``knee``: all objectives preferred alike, which gives the point farthest below the line between
    a front's ends.
    ``devices``: the network that is least behind the best on its worst device, in the sum of all
    objectives, or of the ``preferences``. Each device's latency stands for all latencies in turn.

    Raises `UsageError` for rules that exclude each other and for preferences that prefer nothing,
    `RunError` if no trial is left.
    """
    if knee and (preferences or devices):
        raise UsageError(
            "--knee goes without --weight, and --all-devices is a knee already: give one"
        )
    fits = _within([*front, *former], limit)
    if not fits:
        raise RunError(
            "the run has no finished trial, so there is nothing to pick. "
            "Go on with nas search --resume"
        )
    least = KNEE_POINTS if knee else 1
    candidates = _candidates(fits, front, objectives.quality, confirmed, tested, least)
    if knee:
        preferences = dict.fromkeys(objectives.names, 1.0)
    rule = ""
    if devices:
        place, rule = _least_regret(candidates.metrics, objectives, preferences, devices)
    elif preferences:
        place = int(_weighted(candidates.metrics, objectives, preferences).argmin())
    else:
        losses = [objectives.losses(metrics) for metrics in candidates.metrics]
        place = losses.index(min(losses))
    trial = candidates.trials[place]
    return Chosen(
        trial=trial,
        metric=objectives.quality,
        score=candidates.metrics[place][objectives.quality],
        confirmed=candidates.confirmed,
        test=tested.get(trial.digest),
        reason=rule + candidates.among,
    )


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """The trials among which a rule chooses, and the metrics it goes by."""

    trials: Sequence[Trial]
    metrics: Sequence[Metrics]
    confirmed: bool
    among: str


def _within(trials: Sequence[Trial], limit: Limit | None) -> list[Trial]:
    return list(trials) if limit is None else limit.within(trials)


def _candidates(
    fits: Sequence[Trial],
    front: Sequence[Trial],
    quality: str,
    confirmed: Mapping[str, float],
    tested: Mapping[str, float],
    least: int,
) -> _Candidates:
    """The confirmed ones that fit, with their confirmed quality.

    If they are fewer than ``least``, those of the front that fit.
    """
    sure = [trial for trial in fits if trial.digest in confirmed]
    # Former ones have scores of other trainings: without their confirmed ones they do not compare.
    on_front = [trial for trial in fits if trial in front]
    if len(sure) >= least or not on_front:
        return _Candidates(
            trials=sure,
            metrics=[{**trial.metrics, quality: confirmed[trial.digest]} for trial in sure],
            confirmed=True,
            among=f"trained anew by nas confirm, among {len(sure)} confirmed of {len(fits)}",
        )
    why = "none of them is confirmed, see nas confirm"
    if sure:
        why = "too few of them are confirmed for a knee"
    elif any(trial.digest in tested for trial in fits):
        why = (
            "an earlier version confirmed some on the test set alone, which decides nothing: "
            "nas confirm with another --seed scores them on both"
        )
    return _Candidates(
        trials=on_front,
        metrics=[trial.metrics for trial in on_front],
        confirmed=False,
        among=f"as searched, among {len(on_front)}; {why}",
    )


def _least_regret(
    metrics: Sequence[Metrics],
    objectives: Objectives,
    preferences: Preferences | None,
    devices: Sequence[str],
) -> tuple[int, str]:
    """The place of the network whose largest regret over the devices is least, and that in words.

    A regret is how far a network's weighted sum is behind the best one's.
    """
    sums = []
    for device in devices:
        own = _device_preferences(objectives, preferences, device)
        sums.append(_weighted(metrics, objectives, own))
    regrets = np.array(sums)
    regrets -= regrets.min(axis=1, keepdims=True)
    place = int(regrets.max(axis=0).argmin())
    worst = int(regrets[:, place].argmax())
    summed = "the weighted" if preferences else "all"
    return place, (
        f"least regret on its worst device, {Metric.parse(devices[worst]).device}: "
        f"{regrets[worst, place]:.3f} behind the best there in the sum of {summed} objectives, "
        f"each scaled to 0..1; "
    )


def _device_preferences(
    objectives: Objectives, preferences: Preferences | None, device: str
) -> Preferences:
    """The preferences, or all objectives alike, with a device's latency in place of any other's."""
    if not preferences:
        others = [name for name in objectives.names if not Metric.parse(name).is_latency]
        return dict.fromkeys((*others, device), 1.0)
    own = {}
    for name, weight in preferences.items():
        own[device if Metric.parse(name).is_latency else name] = weight
    return own


def _weighted(
    metrics: Sequence[Metrics], objectives: Objectives, preferences: Preferences
) -> NDArray[np.float64]:
    """metrics: of n candidates. The weighted sums of their losses, each scaled to 0..1: (n,)."""
    for name, weight in preferences.items():
        if name not in metrics[0]:
            raise unknown("metric", name, metrics[0])
        if not 0 <= weight < np.inf:
            raise UsageError(f"weight of {name} must be at least 0 and finite, not {weight:g}")
    if not any(preferences.values()):
        raise UsageError("weights that are all 0 choose nothing: give one metric a weight above 0")
    # By kind of metric: one that was no objective of the search may be weighted, too.
    columns = [Objective(name, objectives.direction(name)) for name in preferences]
    losses = np.array([[column.loss(row) for column in columns] for row in metrics])
    # A metric that is the same for all decides nothing, and must not divide by zero.
    spread = np.ptp(losses, axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(spread > 0, spread, 1)
    return np.asarray(scaled @ np.array(list(preferences.values())))
