"""One network of a front: the best within a latency, the knee, or the best of a weighted sum.

Networks that were confirmed are looked at first, by their confirmed score; only where none of them
will do is the choice among the whole front, by the selection set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture
from nas.errors import RunError, UsageError, unknown
from nas.metadata import UNKNOWN, Metadata, save_network
from nas.objectives import QUALITY, Objective, Objectives
from nas.trial import Trial

__all__ = ["Pick", "choose"]

KNEE_POINTS = 3


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A trial, its network, the score that decided, and in words which score that was and among what."""

    trial: Trial
    network: Architecture
    metric: str
    score: float
    confirmed: bool
    reason: str
    metadata: Metadata = UNKNOWN

    def save(self, path: str | Path) -> None:
        """Write the network as ``architecture.json``, with its class names."""
        save_network(self.network, self.metadata, path)

    def export(
        self,
        folder: str | Path,
        formats: Sequence[str] = ("python", "onnx", "json"),
        **settings: Any,
    ) -> Any:
        """Write the network as files that run without the toolkit, verified; see `nas.export.export`."""
        settings = {"metadata": self.metadata, **settings}
        return import_module("nas.export").export(self.network, folder, formats=formats, **settings)

    def __str__(self) -> str:
        return f"trial {self.trial.number}: {self.metric} {self.score:.4f}, {self.reason}"


def choose(
    front: Sequence[Trial],
    objectives: Objectives,
    confirmed: Mapping[str, float],
    *,
    latency: tuple[str, float] | None = None,
    kept: Callable[[Trial], float] | None = None,
    weights: Mapping[str, float] | None = None,
    knee: bool = False,
    devices: Sequence[str] = (),
) -> tuple[Trial, str, float, bool, str]:
    """The trial, the quality that was compared, its score, whether that is a confirmed one, and the reason.

    ``confirmed``: score by digest. ``latency``: a metric and its upper bound; ``kept`` gives what
    is held against it in the metric's stead, such as the latency that is kept with some
    probability. ``weights``: by metric, at least 0, of losses that are scaled to 0..1 over the
    candidates. ``knee``: all objectives weighted alike, which is the point farthest below the line
    between a front's ends. ``devices``: latency metrics; the network whose weighted sum (all alike,
    or by ``weights``, where any latency stands for each device's in turn) is least behind the best
    on its worst device. With none of them, the best in the first objective.
    """
    if knee and (weights or devices):
        raise UsageError(
            "--knee goes without --weight, and --all-devices is a knee already: give one"
        )
    quality = next(
        (each.name for each in objectives.each if each.direction == "maximize"), objectives.names[0]
    )
    fits = list(front)
    if latency is not None:
        metric, upper = latency
        figures = [trial.metrics[metric] if kept is None else kept(trial) for trial in front]
        fits = [trial for trial, figure in zip(front, figures, strict=True) if figure <= upper]
        if front and not fits:
            surely = "" if kept is None else " with that confidence"
            raise RunError(
                f"no network of the front meets {metric} <= {upper:g}{surely}: the fastest takes {min(figures):.4g}"
            )
    if not fits:
        raise RunError(
            "the run has no finished trial, so there is nothing to pick. Go on with nas search --resume"
        )
    sure = [trial for trial in fits if trial.digest in confirmed]
    trusted = len(sure) >= (KNEE_POINTS if knee else 1)
    candidates = sure if trusted else fits
    values = [
        {**t.metrics, **({quality: confirmed[t.digest]} if trusted else {})} for t in candidates
    ]
    if devices:
        place, rule = _least_regret(values, objectives, weights, devices)
    else:
        place, rule = _best(values, objectives, weights, knee), ""
    by = rule + (
        f"confirmed on the test set, among {len(sure)} confirmed of {len(fits)}"
        if trusted
        else f"on the selection set, among {len(fits)}; "
        + (
            "too few of them are confirmed for a knee"
            if sure
            else "none of them is confirmed, see nas confirm"
        )
    )
    return candidates[place], quality, values[place][quality], trusted, by


def _least_regret(
    values: Sequence[Mapping[str, float]],
    objectives: Objectives,
    weights: Mapping[str, float] | None,
    devices: Sequence[str],
) -> tuple[int, str]:
    """Regret on a device: how far behind its best a network's weighted sum is, that device's latency standing for all."""
    kept = [name for name in objectives.names if not name.startswith("latency_ms@")]
    regrets = []
    for device in devices:
        own = dict.fromkeys((*kept, device), 1.0)
        if weights:
            own = {
                device if name.startswith("latency_ms@") else name: weight
                for name, weight in weights.items()
            }
        scores = _weighted(values, own)
        regrets.append(scores - scores.min())
    worst = np.max(regrets, axis=0)
    place = int(worst.argmin())
    device = devices[int(np.argmax([each[place] for each in regrets]))].partition("@")[2]
    return place, (
        f"least regret on its worst device, {device}: {worst[place]:.3f} behind the best there in the sum of "
        f"{'the weighted' if weights else 'all'} objectives, each scaled to 0..1; "
    )


def _best(
    values: Sequence[Mapping[str, float]],
    objectives: Objectives,
    weights: Mapping[str, float] | None,
    knee: bool,
) -> int:
    if not (weights or knee):
        return min(range(len(values)), key=lambda i: objectives.losses(values[i]))
    return int(np.argmin(_weighted(values, weights or dict.fromkeys(objectives.names, 1.0))))


def _weighted(
    values: Sequence[Mapping[str, float]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """The weighted sum of losses, each scaled to 0..1 over the values: (n,)."""
    for name, weight in weights.items():
        if name not in values[0]:
            raise unknown("metric", name, values[0])
        if not 0 <= weight < np.inf:
            raise UsageError(f"weight of {name} must be at least 0 and finite, not {weight:g}")
    if not any(weights.values()):
        raise UsageError("weights that are all 0 choose nothing: give one metric a weight above 0")
    each = [Objective(name, "maximize" if name in QUALITY else "minimize") for name in weights]
    losses = np.array([[objective.loss(value) for objective in each] for value in values])
    spread = np.ptp(losses, axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(spread > 0, spread, 1)
    return np.asarray(scaled @ np.array(list(weights.values())))
