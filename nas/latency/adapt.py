"""A table for a device from a few timed networks and the table of another device.

A layer's time is ``source_ms * (slope + slope of its op + slope of its shape + its own) + prices *
work + costs``, where costs are of its op, its input shape, each of its op's settings, its op at its
map size, itself, each kernel it runs and each channel of those (a server's CPU pays for kernels and
channels, whatever they compute); every term a Gaussian around zero with a scale per group, and a
network is the sum. That is a linear model with a Gaussian posterior; the scales and the noise are
those of the largest marginal likelihood, and zero is among the candidates, so a prior that does not
help is dropped (Rasmussen and Williams 2006, section 5.4.1). Errors are of networks left out, in
five folds.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.errors import TableError
from nas.latency.device import AMOUNTS, work
from nas.latency.keys import layer_key
from nas.latency.rows import Row
from nas.latency.table import Table
from nas.statistics import kendall_tau

__all__ = ["GROUPS", "Adapted", "adapt"]

Floats = NDArray[np.float64]

FEWEST_NETWORKS = 10
FOLDS = 5
SWEEPS = 3
GROUPS = (
    "source",
    "work",
    "op",
    "shape",
    "layer",
    "op_cost",
    "layer_cost",
    "kernels",
    "width",
    "depthwise_width",
    "shape_cost",
    "setting_cost",
    "op_at_size_cost",
)
FACTORS = (0.0, 0.1, 0.3, 3.0, 10.0)
NOISE = 0.03  # of a timed network, relative, to start from
SMALLEST = 1e-3  # a scale to come back to, once a group was dropped
LEAST_SHARE = 0.02  # of a layer's time by slope alone: no row is at or below zero
MOST_FLOORED = 20  # rounds of holding layers at that share and learning the others again


@dataclass(frozen=True)
class Adapted:
    """What was learnt, and its errors on networks left out."""

    rows: Mapping[str, Row]
    """One for every layer asked for."""
    mape: float
    """Mean absolute error, relative."""
    rms: float
    """Root of the mean squared error, relative."""
    tau: float | None
    """Kendall's tau, None if it is not defined."""
    used: tuple[str, ...]
    """The groups of terms in use, see `GROUPS`."""


def adapt(
    source: Table,
    networks: Sequence[Sequence[Layer]],
    measured_ms: Sequence[float],
    layers: Iterable[Layer],
) -> Adapted:
    """Learn the time of ``layers`` from networks timed on the new device.

    ``source`` must price all of them. Raises `TableError` for fewer than 10 networks.
    """
    measured = np.array(measured_ms, dtype=np.float64)
    if len(networks) < FEWEST_NETWORKS:
        raise TableError(
            f"a table is adapted from at least {FEWEST_NETWORKS} timed networks, "
            f"not {len(networks)}"
        )
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise TableError("every timed network needs a latency above 0 and finite")
    terms = _Terms(source, [*(layer for network in networks for layer in network), *layers])
    counts = terms.counts(networks)
    held = np.empty(len(measured))
    fold = np.arange(len(measured)) % FOLDS
    for number in range(FOLDS):
        inside = fold == number
        held[inside] = counts[inside] @ terms.fit(counts[~inside], measured[~inside])[0]
    errors = held / measured - 1
    found, scales = terms.fit(counts, measured)
    return Adapted(
        rows={
            key: Row(latency_ms=float(ms), source="apportioned")
            for key, ms in zip(terms.index, found, strict=True)
        },
        mape=float(np.abs(errors).mean()),
        rms=math.sqrt(float((errors**2).mean())),
        tau=kendall_tau(held, measured),
        used=tuple(name for name, scale in zip(GROUPS, scales, strict=True) if scale > 0),
    )


class _Terms:
    """Terms of every distinct layer, by group: (layers, columns).

    Each group is scaled to weigh like the source's times.
    """

    def __init__(self, source: Table, layers: Iterable[Layer]) -> None:
        known = {layer_key(layer.op, layer.shape): layer for layer in layers}
        self.index = {key: place for place, key in enumerate(known)}
        self.source = np.array([source.layer(layer).latency_ms for layer in known.values()])
        each = list(known.values())
        own = self.source[:, None]
        ones = np.full((len(each), 1), float(self.source.mean()))
        amounts = np.array([[work(layer.kernels)[name] for name in AMOUNTS] for layer in each])
        amounts *= self.source.sum() / np.maximum(amounts.sum(axis=0), 1e-12)
        kinds = _one_hot([_kind(layer) for layer in each])
        identity = np.eye(len(each))
        kernels = _scaled_to(self.source, [len(layer.kernels) for layer in each])
        width = _scaled_to(
            self.source,
            [sum(k.in_channels + k.out_channels for k in layer.kernels) for layer in each],
        )
        depthwise = [
            sum(k.in_channels for k in layer.kernels if k.kind == "dwconv") for layer in each
        ]
        self.groups = (
            own,
            amounts,
            own * kinds,
            own * _one_hot([layer.shape for layer in each]),
            own * identity,
            ones * kinds,
            ones * identity,
            kernels,
            width,
            _scaled_to(self.source, depthwise),
            ones * _one_hot([layer.shape for layer in each]),
            ones * _settings(each),
            ones * _one_hot([(_kind(layer), layer.shape.size) for layer in each]),
        )

    def counts(self, networks: Sequence[Sequence[Layer]]) -> Floats:
        """How often each layer stands in each network."""
        found = np.zeros((len(networks), len(self.index)))
        for row, network in zip(found, networks, strict=True):
            for layer in network:
                row[self.index[layer_key(layer.op, layer.shape)]] += 1
        return found

    def fit(self, counts: Floats, measured: Floats) -> tuple[Floats, tuple[float, ...]]:
        """Milliseconds of every layer, and the scale of every group."""
        slope = float(measured.mean() / (counts @ self.source).mean())
        plain = slope * self.source
        target = measured - counts @ plain
        start = [0.1 * slope] * len(GROUPS)
        covariances = [(counts @ group) @ (counts @ group).T for group in self.groups]
        scales, noise = _best_scales(covariances, target, start, measured, slope)
        expected = measured
        for _ in range(
            2
        ):  # noise is relative to the truth: the first fit stands for it in the second
            found = self._floored(counts, measured, plain, scales, noise * expected)
            expected = counts @ found
        return found, tuple(scales)

    def _floored(
        self,
        counts: Floats,
        measured: Floats,
        plain: Floats,
        scales: Sequence[float],
        noise: Floats,
    ) -> Floats:
        """The layers' times.

        One that would fall below the least share is held there, and the others are learnt again.
        """
        found, free = plain, np.ones(len(plain), bool)
        for _ in range(MOST_FLOORED):
            found = self._posterior(counts, measured, plain, free, scales, noise)
            below = free & (found < LEAST_SHARE * plain)
            if not below.any():
                break
            free &= ~below
        return np.maximum(found, LEAST_SHARE * plain)

    def _posterior(
        self,
        counts: Floats,
        measured: Floats,
        plain: Floats,
        free: NDArray[np.bool_],
        scales: Sequence[float],
        noise: Floats,
    ) -> Floats:
        """Mean of the layers' times.

        Those that are not free are held at the least share of ``plain``.
        """
        base = np.where(free, plain, LEAST_SHARE * plain)
        groups = [
            scale * group * free[:, None]
            for scale, group in zip(scales, self.groups, strict=True)
            if scale
        ]
        seen = [counts @ group for group in groups]
        total = sum((each @ each.T for each in seen), np.diag(noise**2))
        weights = np.linalg.solve(total, measured - counts @ base)
        return np.asarray(
            base + sum(group @ (each.T @ weights) for group, each in zip(groups, seen, strict=True))
        )


def _kind(layer: Layer) -> tuple[Any, ...]:
    """The op without its channels."""
    return (
        layer.op.key,
        *((name, value) for name, value in layer.op.settings.items() if name != "channels"),
    )


def _scaled_to(source: Floats, amounts: Sequence[float]) -> Floats:
    """One column of amounts, as large in total as the source's times: (layers, 1)."""
    column = np.array(amounts, dtype=np.float64)[:, None]
    return np.asarray(column * source.sum() / max(float(column.sum()), 1e-12))


def _settings(layers: Sequence[Layer]) -> Floats:
    """Which value each setting of each layer's op has, channels aside: (layers, values)."""
    held = [
        {
            (layer.op.key, name, str(value))
            for name, value in layer.op.settings.items()
            if name != "channels"
        }
        for layer in layers
    ]
    known = sorted(set().union(*held))
    return np.array([[float(each in own) for each in known] for own in held]).reshape(
        len(layers), len(known)
    )


def _one_hot(labels: Sequence[Any]) -> Floats:
    known = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return np.asarray(np.eye(len(known))[[known[label] for label in labels]])


def _best_scales(
    covariances: Sequence[Floats],
    target: Floats,
    start: list[float],
    measured: Floats,
    slope: float,
) -> tuple[list[float], float]:
    """Coordinate search for the largest marginal likelihood.

    It begins at ``start``; candidates are factors of 3 and 10 either way, and zero.
    """
    values = [*start, NOISE]

    def score(tried: Sequence[float]) -> float:
        total = tried[-1] ** 2 * np.diag(measured**2)
        for scale, matrix in zip(tried[:-1], covariances, strict=True):
            if scale:
                total = total + scale**2 * matrix
        return _log_likelihood(total, target)

    best = score(values)
    for _ in range(SWEEPS):
        for place in range(len(values)):
            best = _improve(
                values, place, best, score, floor=SMALLEST * (slope if place < len(start) else 1.0)
            )
    return values[:-1], values[-1]


def _improve(
    values: list[float],
    place: int,
    best: float,
    score: Callable[[Sequence[float]], float],
    *,
    floor: float,
) -> float:
    """Move one value to the best of its candidates."""
    last = place == len(values) - 1
    middle = values[place] or floor
    for candidate in [middle * factor for factor in FACTORS if factor or not last]:
        tried = [*values[:place], candidate, *values[place + 1 :]]
        found = score(tried)
        if found > best + 1e-9:
            best, values[place] = found, candidate
    return best


def _log_likelihood(covariance: Floats, target: Floats) -> float:
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return -math.inf
    whitened = np.linalg.solve(lower, target)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(lower)).sum())
