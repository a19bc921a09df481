"""A table for a device from a few timed networks and the table of another device.

A layer's time is

    source_ms * (slope + slope of its op + slope of its shape + its own) + prices * work + costs

where costs are of its op, its input shape, each of its op's settings, its op at its map size,
itself, each kernel it runs and each channel of those. (A server's CPU pays for kernels and
channels, whatever they compute.) A network's time is the sum over its layers. Every term is a
Gaussian around zero with a scale per group.

That is a linear model with a Gaussian posterior. The scales and the noise are those of the largest
marginal likelihood. Zero is among the candidates, so a prior that does not help is dropped
(Rasmussen and Williams 2006, section 5.4.1). Errors are of networks left out, in five folds.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

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
"""What a scale is multiplied by to get its candidates."""
NOISE = 0.03
"""Relative noise of a timed network, to start from."""
SMALLEST = 1e-3
"""A scale to come back to, once a group was dropped."""
LEAST_SHARE = 0.02
"""Of a layer's time by slope alone, what it takes at least: no row is at or below zero."""
MOST_FLOORED = 20
"""Rounds of holding layers at that share and learning the others again."""
LEAST_TOTAL = 1e-12
"""Divides what no layer has any of, so that it stays zero."""


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
    every_layer = [layer for network in networks for layer in network]
    every_layer += layers
    terms = _Terms(source, every_layer)
    counts = terms.counts(networks)
    left_out_ms = _left_out(terms, counts, measured)
    errors = left_out_ms / measured - 1
    layer_ms, scales = terms.fit(counts, measured)
    rows: dict[str, Row] = {}
    for key, ms in zip(terms.index, layer_ms, strict=True):
        rows[key] = Row(latency_ms=float(ms), source="apportioned")
    return Adapted(
        rows=rows,
        mape=float(np.abs(errors).mean()),
        rms=math.sqrt(float((errors**2).mean())),
        tau=kendall_tau(left_out_ms, measured),
        used=tuple(name for name, scale in zip(GROUPS, scales, strict=True) if scale > 0),
    )


def _left_out(terms: "_Terms", counts: Floats, measured: Floats) -> Floats:
    """Every network's time by what the networks of the other folds teach: (networks,)."""
    predicted = np.empty(len(measured))
    # Interleaved, so that a drift of the machine while timing is in every fold.
    fold = np.arange(len(measured)) % FOLDS
    for number in range(FOLDS):
        out = fold == number
        layer_ms, _ = terms.fit(counts[~out], measured[~out])
        predicted[out] = counts[out] @ layer_ms
    return predicted


class _Terms:
    """Terms of every distinct layer, by group: (layers, columns).

    Each group is scaled to weigh like the source's times.
    """

    def __init__(self, source: Table, layers: Iterable[Layer]) -> None:
        by_key = {layer_key(layer.op, layer.shape): layer for layer in layers}
        distinct = list(by_key.values())
        self.index = {key: place for place, key in enumerate(by_key)}
        source.foresee(distinct)
        self.source = np.array([source.layer(layer).latency_ms for layer in distinct])
        own = self.source[:, None]
        ones = np.full((len(distinct), 1), float(self.source.mean()))
        kinds = _one_hot([_kind(layer) for layer in distinct])
        shapes = _one_hot([layer.shape for layer in distinct])
        # A runtime may choose another algorithm by map size, so an op's price may depend on it.
        kinds_at_size = _one_hot([(_kind(layer), layer.shape.size) for layer in distinct])
        identity = np.eye(len(distinct))
        kernels = [len(layer.kernels) for layer in distinct]
        # In the order of `GROUPS`.
        self.groups = (
            own,
            _amounts(distinct, self.source),
            own * kinds,
            own * shapes,
            own * identity,
            ones * kinds,
            ones * identity,
            _scaled_to(self.source, kernels),
            _scaled_to(self.source, [_width(layer) for layer in distinct]),
            _scaled_to(self.source, [_depthwise_width(layer) for layer in distinct]),
            ones * shapes,
            ones * _settings(distinct),
            ones * kinds_at_size,
        )

    def counts(self, networks: Sequence[Sequence[Layer]]) -> Floats:
        """How often each layer stands in each network: (networks, layers)."""
        counts = np.zeros((len(networks), len(self.index)))
        for row, network in zip(counts, networks, strict=True):
            for layer in network:
                row[self.index[layer_key(layer.op, layer.shape)]] += 1
        return counts

    def fit(self, counts: Floats, measured: Floats) -> tuple[Floats, tuple[float, ...]]:
        """Milliseconds of every layer, and the scale of every group."""
        slope = float(measured.mean() / (counts @ self.source).mean())
        plain = slope * self.source
        target = measured - counts @ plain
        # The search begins with terms that move a layer's time by about a tenth.
        start = [0.1 * slope] * len(GROUPS)
        covariances = [(counts @ group) @ (counts @ group).T for group in self.groups]
        scales, noise = _best_scales(covariances, target, start, measured, slope)
        # Noise is relative to the true time. The measured one stands for it in the first fit, the
        # first fit in the second.
        expected = measured
        for _ in range(2):
            layer_ms = self._floored(counts, measured, plain, scales, noise * expected)
            expected = counts @ layer_ms
        return layer_ms, tuple(scales)

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
        least = LEAST_SHARE * plain
        layer_ms = plain
        free = np.ones(len(plain), bool)
        for _ in range(MOST_FLOORED):
            layer_ms = self._posterior(counts, measured, plain, free, scales, noise)
            below = free & (layer_ms < least)
            if not below.any():
                break
            free &= ~below
        return np.maximum(layer_ms, least)

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
        groups: list[Floats] = []
        for scale, group in zip(scales, self.groups, strict=True):
            if scale:
                groups.append(scale * group * free[:, None])
        # In the space of networks: there are tens of them, and thousands of terms.
        by_network = [counts @ group for group in groups]
        covariance = sum((group @ group.T for group in by_network), np.diag(noise**2))
        weights = np.linalg.solve(covariance, measured - counts @ base)
        moved_by = [
            group @ (sums.T @ weights) for group, sums in zip(groups, by_network, strict=True)
        ]
        return np.asarray(base + sum(moved_by))


# -- columns --------------------------------------------------------------------------------------


def _kind(layer: Layer) -> tuple[Hashable, ...]:
    """The op without its channels."""
    return (layer.op.key, *_settings_of(layer))


def _settings_of(layer: Layer) -> list[tuple[str, object]]:
    """Each setting of the layer's op that is not its default, channels aside."""
    return [(name, value) for name, value in layer.op.settings.items() if name != "channels"]


def _amounts(layers: Sequence[Layer], source: Floats) -> Floats:
    """Work by amount, each as large in total as the source's times: (layers, amounts)."""
    amounts = np.array([[work(layer.kernels)[name] for name in AMOUNTS] for layer in layers])
    amounts *= source.sum() / np.maximum(amounts.sum(axis=0), LEAST_TOTAL)
    return amounts


def _width(layer: Layer) -> int:
    """Channels that its kernels read and write."""
    return sum(kernel.in_channels + kernel.out_channels for kernel in layer.kernels)


def _depthwise_width(layer: Layer) -> int:
    """Channels of its depthwise convolutions."""
    return sum(kernel.in_channels for kernel in layer.kernels if kernel.kind == "dwconv")


def _scaled_to(source: Floats, amounts: Sequence[float]) -> Floats:
    """One column of amounts, as large in total as the source's times: (layers, 1)."""
    column = np.array(amounts, dtype=np.float64)[:, None]
    return np.asarray(column * source.sum() / max(float(column.sum()), LEAST_TOTAL))


def _settings(layers: Sequence[Layer]) -> Floats:
    """Which value each setting of each layer's op has, channels aside: (layers, values)."""
    values_of = [
        {(layer.op.key, name, str(value)) for name, value in _settings_of(layer)}
        for layer in layers
    ]
    known = sorted(set().union(*values_of))
    columns = [[float(value in values) for value in known] for values in values_of]
    return np.array(columns).reshape(len(layers), len(known))


def _one_hot(labels: Sequence[Hashable]) -> Floats:
    """(labels, distinct labels)."""
    place_of = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return np.asarray(np.eye(len(place_of))[[place_of[label] for label in labels]])


# -- scales ---------------------------------------------------------------------------------------


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

    def score(candidates: Sequence[float]) -> float:
        *scales, noise = candidates
        total = noise**2 * np.diag(measured**2)
        for scale, matrix in zip(scales, covariances, strict=True):
            if scale:
                total = total + scale**2 * matrix
        return _log_likelihood(total, target)

    best = score(values)
    for _ in range(SWEEPS):
        for place in range(len(values)):
            is_scale = place < len(start)
            floor = SMALLEST * slope if is_scale else SMALLEST
            best = _improve(values, place, best, score, floor=floor)
    return values[:-1], values[-1]


def _improve(
    values: list[float],
    place: int,
    best: float,
    score: Callable[[Sequence[float]], float],
    *,
    floor: float,
) -> float:
    """Move one value to the best of its candidates, and return the best score."""
    middle = values[place] or floor
    is_noise = place == len(values) - 1
    # Without any noise the networks' covariance may be singular.
    factors = FACTORS[1:] if is_noise else FACTORS
    for candidate in [middle * factor for factor in factors]:
        candidates = [*values[:place], candidate, *values[place + 1 :]]
        likelihood = score(candidates)
        # Rounding must not decide between equal candidates, which may differ by machine.
        if likelihood > best + 1e-9:
            best = likelihood
            values[place] = candidate
    return best


def _log_likelihood(covariance: Floats, target: Floats) -> float:
    """Of a Gaussian around zero, without the constant (equation 5.8); -inf if it has no density."""
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return -math.inf
    whitened = np.linalg.solve(lower, target)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(lower)).sum())
