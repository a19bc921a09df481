"""Layers that were not timed, as the timed layers most like them tell.

A large space has more layers than one has minutes. What the device model says of an op is off by a
fifth, but it is off alike for layers that are alike. So the logarithm of what a layer took, less
that of what the model says, is a Gaussian process over layers. They are compared by the numbers of
op and shape, on a logarithmic scale, and by the other settings, which agree or differ. How much
each counts is fitted to the timed layers by their likelihood (Rasmussen and Williams 2006,
Gaussian Processes for Machine Learning, equations 2.23, 2.24, 5.9 and 5.12).
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.latency.device import DeviceModel
from nas.latency.keys import as_run, layer_from_key, layer_key
from nas.latency.rows import Row
from nas.size import area

__all__ = ["FEWEST_TIMED", "Interpolation", "interpolated_rows"]

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

FEWEST_TIMED = 50
"""Timed layers below which the scales are guesses."""
FEWEST_OF_AN_OP = 8
"""Timed layers of an op below which its other layers are left to the device model."""
MOST_TIMED = 1500
"""Timed layers that predictions go by; more hardly add to what they tell, and take long."""
MOST_FITTED = 400
"""Timed layers that the scales are fitted to; the time grows with the cube of their number."""
STEPS = 60
"""Of the fit, at most."""
CHUNK = 2000
"""Layers that are predicted at a time, for memory's sake."""

SMALL = 0.05
"""Of the median layer: what is shorter is mostly the clock's error, and counts as that much."""
LEAST = 0.01
"""Of a prediction, what is left at least when `SMALL` is taken off again."""

BLOCK = 16
"""Channels that the widest vectors hold."""
OFFSET = 1 / 16
"""Is added to a number before its logarithm is taken, for settings may be 0."""
ABSENT = -8.0
"""What stands for the logarithm of a number that an op does not have."""

NUMBER, WORD = 1 / 16, 0.3
"""What an octave of a number counts, and what another word does, before the fit: squared
distances."""
SIGNAL, NOISE = 0.3, 0.07
"""Deviations of what alike layers share, and of what each has for itself, before the fit."""
REACH = 8.0
"""How far the fit may take what a setting counts, in logarithms."""
MOST_SIGNAL, LEAST_NOISE = 3.0, 0.005
"""How far it may take the deviations."""
HELD = 0.1
"""How strongly the scales are held there: a setting that two layers have tells little."""


def interpolated_rows(
    rows: Mapping[str, Row], model: DeviceModel, layers: Sequence[Layer]
) -> tuple[dict[str, Row], dict[str, float]]:
    """Rows of those layers that have none, and the error of such rows by its name.

    An op of which too few layers were timed gets none. Both are empty where all have too few.
    """
    timed: dict[Layer, Row] = {}
    for key, row in rows.items():
        layer = layer_from_key(key)
        if layer is not None and layer.kernels:
            timed[layer] = row
    # A layer that runs what a timed one runs has its row already.
    runs = {as_run(layer.kernels) for layer in timed}
    ops = Counter(layer.op.key for layer in timed)
    wanted = [
        layer
        for layer in layers
        if as_run(layer.kernels) not in runs and ops[layer.op.key] >= FEWEST_OF_AN_OP
    ]
    if not wanted or len(timed) < FEWEST_TIMED:
        return {}, {}

    priors = {
        layer: sum(model.latency_ms(kernel) for kernel in layer.kernels)
        for layer in (*timed, *wanted)
    }
    cold = Interpolation({layer: row.latency_ms for layer, row in timed.items()}, priors)
    found = cold.predict(wanted, priors)
    warm_ms = _interpolated_warm(timed, wanted, [latency_ms for latency_ms, _ in found])
    between = {}
    for layer, (latency_ms, sd_ms), extra in zip(wanted, found, warm_ms, strict=True):
        between[layer_key(layer.op, layer.shape)] = Row(
            latency_ms=latency_ms, sd_ms=sd_ms, source="interpolated", extra=extra
        )
    return between, {"leave_one_out_interpolated_mape": round(cold.known_error, 4)}


def _interpolated_warm(
    timed: Mapping[Layer, Row], wanted: Sequence[Layer], latencies_ms: Sequence[float]
) -> list[dict[str, float]]:
    """``warm_ms`` by that name, of each wanted layer; nothing where too few timed ones have it."""
    warm = {layer: row.extra["warm_ms"] for layer, row in timed.items() if "warm_ms" in row.extra}
    if len(warm) < FEWEST_TIMED:
        return [{} for _ in wanted]
    priors = {layer: timed[layer].latency_ms for layer in warm}
    priors.update(zip(wanted, latencies_ms, strict=True))
    found = Interpolation(warm, priors).predict(wanted, priors)
    return [{"warm_ms": warm_ms} for warm_ms, _ in found]


class Interpolation:
    """What layers take, by those that were timed."""

    def __init__(self, timed: Mapping[Layer, float], priors: Mapping[Layer, float]) -> None:
        """``timed``: what layers took, above 0, of any unit. ``priors``: what a model says of them.

        Raises `ValueError` for fewer than `FEWEST_TIMED` layers.
        """
        if len(timed) < FEWEST_TIMED:
            raise ValueError(f"{len(timed)} timed layers do not tell what others take")
        known = list(timed)
        if len(known) > MOST_TIMED:
            chosen = np.random.default_rng(0).choice(len(known), MOST_TIMED, replace=False)
            known = [known[number] for number in chosen]
        self._small = SMALL * statistics.median(timed.values())
        self._settings = _Settings.of(known)
        ratios = [(timed[one] + self._small) / (priors[one] + self._small) for one in known]
        features = self._settings.features(known)
        self._process = _Process(self._settings, features, np.log(ratios))

    @property
    def known_error(self) -> float:
        """The mean absolute relative error of timed layers, each as all the others tell it.

        Relative to the layer and `SMALL`, so that the shortest ones do not decide it.
        """
        return float(np.abs(np.expm1(self._process.left_out)).mean())

    def predict(
        self, layers: Sequence[Layer], priors: Mapping[Layer, float]
    ) -> list[tuple[float, float]]:
        """What each layer takes, above 0, and the standard deviation of that."""
        found = []
        for start in range(0, len(layers), CHUNK):
            part = layers[start : start + CHUNK]
            means, deviations = self._process.predict(self._settings.features(part))
            for layer, mean, deviation in zip(part, means, deviations, strict=True):
                value = (priors[layer] + self._small) * math.exp(mean)
                found.append((max(value - self._small, LEAST * value), value * float(deviation)))
        return found


# -- what layers are compared by ------------------------------------------------------------------


@dataclass(frozen=True)
class _Settings:
    """The settings that timed layers have: each a number, or a word of several."""

    numbers: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]
    """By name, which there are."""

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> "_Settings":
        numbers: set[str] = set()
        words: dict[str, set[str]] = {}
        for layer in layers:
            numbers.update(_numbers(layer))
            for name, word in _words(layer).items():
                words.setdefault(name, set()).add(word)
        ordered = {name: tuple(sorted(known)) for name, known in words.items()}
        return cls(tuple(sorted(numbers)), ordered)

    @property
    def owners(self) -> Numbers:
        """(features,). The setting that each feature belongs to: numbers first, then words."""
        owners = list(range(len(self.numbers)))
        for setting, known in enumerate(self.words.values(), len(self.numbers)):
            owners += [setting] * (len(known) + 1)
        return np.array(owners)

    @property
    def start(self) -> Floats:
        """(settings,). The logarithm of what each counts, before the fit."""
        counts = [NUMBER] * len(self.numbers) + [WORD] * len(self.words)
        return np.log(counts)

    def features(self, layers: Sequence[Layer]) -> Floats:
        """(layers, features). The squared distance of two layers with other words is 1."""
        rows = []
        for layer in layers:
            numbers, words = _numbers(layer), _words(layer)
            row = [numbers.get(name, ABSENT) for name in self.numbers]
            for name, known in self.words.items():
                row += [math.sqrt(0.5) * (words.get(name) == word) for word in known]
                # A word that no timed layer has differs from all.
                row.append(math.sqrt(0.5) * (words.get(name) not in known))
            rows.append(row)
        return np.array(rows)


def _numbers(layer: Layer) -> dict[str, float]:
    """By name, in octaves."""
    numbers = {
        "in_channels": _octaves(layer.shape.channels),
        "in_size": _octaves(area(layer.shape.size)) / 2,
        "macs": _octaves(layer.macs),
        "params": _octaves(layer.params),
    }
    for setting in fields(layer.op):
        value = getattr(layer.op, setting.name)
        if _is_number(value):
            numbers[setting.name] = _octaves(value)
    return numbers


def _words(layer: Layer) -> dict[str, str]:
    """By name. Runtimes work on blocks of channels: what does not divide is padded, or slower."""
    widest = max((kernel.out_channels for kernel in layer.kernels), default=0)
    words = {
        "op": layer.op.key,
        "blocks in": str(math.gcd(layer.shape.channels, BLOCK)),
        "blocks inside": str(math.gcd(widest, BLOCK)),
        "blocks out": str(math.gcd(layer.out_shape.channels, BLOCK)),
    }
    for setting in fields(layer.op):
        value = getattr(layer.op, setting.name)
        if not _is_number(value):
            words[setting.name] = str(value)
    return words


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _octaves(value: float) -> float:
    return math.log2(max(0.0, value) + OFFSET)


# -- the process ----------------------------------------------------------------------------------


class _Process:
    """A Gaussian process over layers, fitted to those that were timed."""

    def __init__(self, settings: _Settings, features: Floats, logs: Floats) -> None:
        """features: (n, features) of the timed layers; logs: (n,)."""
        self._features = features
        self._mean = float(logs.mean())
        self._scales = _fitted(settings, features, logs - self._mean)
        self._lower = np.linalg.cholesky(self._scales.noisy(features))
        self._weights = _solved(self._lower, logs - self._mean)

    @cached_property
    def left_out(self) -> Floats:
        """(n,). Each log as the others predict it, less what it is: equation 5.12."""
        inverse = _solved(self._lower, np.eye(len(self._weights)))
        return np.asarray(-self._weights / np.diag(inverse))

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations, noise included: (m,) each."""
        from scipy.linalg import solve_triangular

        across = self._scales.covariance(features, self._features)
        mean = self._mean + across @ self._weights
        explained = solve_triangular(self._lower, across.T, lower=True)
        variance = self._scales.signal**2 - np.square(explained).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 0.0) + self._scales.noise**2)


@dataclass(frozen=True)
class _Scales:
    """How much each setting counts."""

    logs: Floats
    """(settings + 2,). Logarithms of what the settings count, of the signal and of the noise."""
    owners: Numbers
    """(features,)."""

    @property
    def signal(self) -> float:
        """The standard deviation of what alike layers share."""
        return math.exp(self.logs[-2])

    @property
    def noise(self) -> float:
        """The standard deviation of what each layer has for itself."""
        return math.exp(self.logs[-1])

    def covariance(self, some: Floats, others: Floats) -> Floats:
        """(some, others)."""
        roots = np.exp(0.5 * self.logs[self.owners])
        left, right = some * roots, others * roots
        squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)
        return np.asarray(self.signal**2 * np.exp(left @ right.T - 0.5 * squares))

    def noisy(self, timed: Floats) -> Floats:
        """(n, n). What was measured has noise of its own."""
        covariance = self.covariance(timed, timed)
        covariance[np.diag_indices(len(covariance))] += self.noise**2
        return covariance


def _fitted(settings: _Settings, features: Floats, logs: Floats) -> _Scales:
    """The likeliest scales, by at most `MOST_FITTED` of the layers."""
    from scipy.optimize import minimize

    if len(logs) > MOST_FITTED:
        chosen = np.random.default_rng(0).choice(len(logs), MOST_FITTED, replace=False)
        features, logs = features[chosen], logs[chosen]
    owners = settings.owners
    start = np.append(settings.start, np.log([SIGNAL, NOISE]))

    def loss(at: Floats) -> tuple[float, Floats]:
        """The negative log likelihood, less a constant, and its gradient: equation 5.9."""
        scales = _Scales(at, owners)
        lower = np.linalg.cholesky(scales.noisy(features))
        weights = _solved(lower, logs)
        off = at - start
        value = 0.5 * logs @ weights + np.log(np.diag(lower)).sum() + 0.5 * HELD * off @ off

        pull = 0.5 * (_solved(lower, np.eye(len(logs))) - np.outer(weights, weights))
        shared = pull * scales.covariance(features, features)
        # Of each feature, the sum over all pairs of ``shared`` times their squared difference.
        spread = shared.sum(axis=1) @ np.square(features)
        pairs = 2 * (spread - (features * (shared @ features)).sum(axis=0))
        by_setting = np.bincount(owners, weights=pairs, minlength=len(at) - 2)
        gradient = HELD * off
        gradient[:-2] -= 0.5 * np.exp(at[:-2]) * by_setting
        gradient[-2] += 2 * float(shared.sum())
        gradient[-1] += 2 * scales.noise**2 * float(np.trace(pull))
        return float(value), gradient

    # So that the covariance can be inverted, whatever a few layers suggest.
    bounds = [(value - REACH, value + REACH) for value in start]
    bounds[-2] = (math.log(NOISE), math.log(MOST_SIGNAL))
    bounds[-1] = (math.log(LEAST_NOISE), math.log(SIGNAL))
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
    )
    return _Scales(found.x, owners)


def _solved(lower: NDArray[np.floating[Any]], right: NDArray[np.floating[Any]]) -> Floats:
    from scipy.linalg import cho_solve

    return np.asarray(cho_solve((lower, True), right))
