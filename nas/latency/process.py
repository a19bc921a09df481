"""A Gaussian process over layers: layers that are alike are off alike.

Layers are compared by the numbers of op and shape, on a logarithmic scale, and by the other
settings, which agree or differ. How much each counts is fitted to the timed layers by their
likelihood (Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, equations 2.23,
2.24, 5.9 and 5.12).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.errors import TableError
from nas.size import area

__all__ = ["Floats", "Process", "Scales", "Settings", "fitted_scales"]

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

MOST_FITTED = 400
"""Timed layers that the scales are fitted to; the time grows with the cube of their number."""
STEPS = 60
"""Of the fit, at most."""

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
SLACK = 1 + 1e-6
"""How far a scale may lie outside of that reach, for it was a logarithm."""


@dataclass(frozen=True, kw_only=True)
class Scales:
    """How much each setting counts, as fitted.

    Raises `TableError` for a scale that no fit reaches. Others could make a covariance that has no
    inverse.
    """

    numbers: Mapping[str, float]
    """By setting, what an octave counts: a squared distance."""
    words: Mapping[str, float]
    """By setting, what another word counts: a squared distance."""
    signal: float
    """The standard deviation of what alike layers share, of logarithms."""
    noise: float
    """The standard deviation of what each layer has for itself."""

    def __post_init__(self) -> None:
        least, most = math.exp(-REACH), math.exp(REACH)
        for name, count in self.numbers.items():
            _check(f"numbers.{name}", count, NUMBER * least, NUMBER * most)
        for name, count in self.words.items():
            _check(f"words.{name}", count, WORD * least, WORD * most)
        _check("signal", self.signal, NOISE, MOST_SIGNAL)
        _check("noise", self.noise, LEAST_NOISE, SIGNAL)

    @classmethod
    def of(cls, settings: "Settings", logs: Floats) -> "Scales":
        """logs: (settings + 2,), as `logs` gives them."""
        *counts, signal, noise = np.exp(logs).tolist()
        return cls(
            numbers=dict(zip(settings.numbers, counts, strict=False)),
            words=dict(zip(settings.words, counts[len(settings.numbers) :], strict=True)),
            signal=signal,
            noise=noise,
        )

    def logs(self, settings: "Settings") -> Floats:
        """(settings + 2,). Logarithms of what the settings count, of the signal and of the noise.

        A setting that ops did not have when the scales were fitted counts as before a fit.
        """
        counts = [self.numbers.get(name, NUMBER) for name in settings.numbers]
        counts += [self.words.get(name, WORD) for name in settings.words]
        return np.log([*counts, self.signal, self.noise])


def _check(name: str, scale: float, least: float, most: float) -> None:
    if not least / SLACK <= scale <= most * SLACK:  # false for NaN too
        raise TableError(f"{name} must be {least:.3g} to {most:.3g}, not {scale:g}")


# -- what layers are compared by ------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """The settings that timed layers have: each a number, or a word of several."""

    numbers: tuple[str, ...]
    words: Mapping[str, Mapping[str, int]]
    """By name, the place of each word."""

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> "Settings":
        """Those that any of the layers has."""
        numbers: set[str] = set()
        words: dict[str, set[str]] = {}
        for layer in layers:
            numbers.update(_numbers(layer))
            for name, word in _words(layer).items():
                words.setdefault(name, set()).add(word)
        places = {}
        for name in sorted(words):
            places[name] = {word: place for place, word in enumerate(sorted(words[name]))}
        return cls(tuple(sorted(numbers)), places)

    @cached_property
    def owners(self) -> Numbers:
        """(features,). The setting that each feature belongs to: numbers first, then words."""
        owners = list(range(len(self.numbers)))
        for setting, places in enumerate(self.words.values(), len(self.numbers)):
            owners += [setting] * (len(places) + 1)
        return np.array(owners)

    @property
    def start(self) -> Floats:
        """(settings + 2,). As `Scales.logs`, before the fit."""
        counts = [NUMBER] * len(self.numbers) + [WORD] * len(self.words)
        return np.log([*counts, SIGNAL, NOISE])

    def features(self, layers: Sequence[Layer]) -> Floats:
        """(layers, features). The squared distance of two layers with other words is 1."""
        features = np.zeros((len(layers), len(self.owners)))
        for row, layer in zip(features, layers, strict=True):
            numbers, words = _numbers(layer), _words(layer)
            end = len(self.numbers)
            row[:end] = [numbers.get(name, ABSENT) for name in self.numbers]
            for name, places in self.words.items():
                # A word that no timed layer has differs from all: its place is behind theirs.
                last = len(places)
                place = places.get(words[name], last) if name in words else last
                row[end + place] = math.sqrt(0.5)
                end += last + 1
        return features


def _numbers(layer: Layer) -> dict[str, float]:
    """By name, in octaves."""
    numbers = {
        "in_channels": _octaves(layer.shape.channels),
        "in_size": _octaves(area(layer.shape.size)) / 2,
        "macs": _octaves(layer.macs),
        "params": _octaves(layer.params),
    }
    op = layer.op.deployed
    for setting in fields(op):
        value = getattr(op, setting.name)
        if _is_number(value):
            numbers[setting.name] = _octaves(value)
    return numbers


def _words(layer: Layer) -> dict[str, str]:
    """By name. Runtimes work on blocks of channels: what does not divide is padded, or slower."""
    widest = max((kernel.out_channels for kernel in layer.kernels), default=0)
    op = layer.op.deployed
    words = {
        "op": op.key,
        "blocks in": str(math.gcd(layer.shape.channels, BLOCK)),
        "blocks inside": str(math.gcd(widest, BLOCK)),
        "blocks out": str(math.gcd(layer.out_shape.channels, BLOCK)),
    }
    for setting in fields(op):
        value = getattr(op, setting.name)
        if not _is_number(value):
            # Both take the same time, and rows of tables name the one only.
            words[setting.name] = "relu" if value == "relu6" else str(value)
    return words


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _octaves(value: float) -> float:
    return math.log2(max(0.0, value) + OFFSET)


# -- the process ----------------------------------------------------------------------------------


class Process:
    """A Gaussian process over layers, of known scales, that has seen those that were timed."""

    def __init__(self, settings: Settings, scales: Scales, features: Floats, logs: Floats) -> None:
        """features: (n, features) of the timed layers; logs: (n,)."""
        self._features = features
        self._mean = float(logs.mean())
        self._covariance = _Covariance(scales.logs(settings), settings.owners)
        self._lower = np.linalg.cholesky(self._covariance.noisy(features))
        self._weights = _solved(self._lower, logs - self._mean)

    @property
    def left_out(self) -> Floats:
        """(n,). Each log as the others predict it, less what it is: equation 5.12."""
        inverse = _solved(self._lower, np.eye(len(self._weights)))
        return np.asarray(-self._weights / np.diag(inverse))

    def means(self, features: Floats) -> Floats:
        """features: (m, features). What logs are expected: (m,)."""
        across = self._covariance.between(features, self._features)
        return np.asarray(self._mean + across @ self._weights)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations, noise included: (m,) each."""
        from scipy.linalg import solve_triangular

        across = self._covariance.between(features, self._features)
        mean = self._mean + across @ self._weights
        explained = solve_triangular(
            self._lower, across.T, lower=True, overwrite_b=True, check_finite=False
        )
        explained_variance = np.einsum("nm,nm->m", explained, explained)
        variance = self._covariance.signal**2 - explained_variance
        return mean, np.sqrt(np.maximum(variance, 0.0) + self._covariance.noise**2)


@dataclass(frozen=True)
class _Covariance:
    """Of layers, by their features."""

    logs: Floats
    """(settings + 2,). As `Scales.logs`."""
    owners: Numbers
    """(features,)."""

    @property
    def signal(self) -> float:
        return math.exp(self.logs[-2])

    @property
    def noise(self) -> float:
        return math.exp(self.logs[-1])

    def between(self, some: Floats, others: Floats) -> Floats:
        """(some, others)."""
        roots = np.exp(0.5 * self.logs[self.owners])
        left, right = some * roots, others * roots
        # In place: of a whole space it has millions of entries.
        covariance = left @ right.T
        covariance -= 0.5 * np.square(left).sum(axis=1)[:, None]
        covariance -= 0.5 * np.square(right).sum(axis=1)
        np.exp(covariance, out=covariance)
        covariance *= self.signal**2
        return np.asarray(covariance)

    def noisy(self, timed: Floats) -> Floats:
        """(n, n). What was measured has noise of its own."""
        covariance = self.between(timed, timed)
        covariance[np.diag_indices(len(covariance))] += self.noise**2
        return covariance


def fitted_scales(settings: Settings, features: Floats, logs: Floats) -> Scales:
    """The likeliest scales, by at most `MOST_FITTED` of the layers.

    features: (n, features); logs: (n,).
    """
    from scipy.optimize import minimize

    logs = logs - logs.mean()
    if len(logs) > MOST_FITTED:
        chosen = np.random.default_rng(0).choice(len(logs), MOST_FITTED, replace=False)
        features, logs = features[chosen], logs[chosen]
    start = settings.start

    def loss(at: Floats) -> tuple[float, Floats]:
        """The negative log likelihood, less a constant, and its gradient: equation 5.9."""
        covariance = _Covariance(at, settings.owners)
        lower = np.linalg.cholesky(covariance.noisy(features))
        weights = _solved(lower, logs)
        off = at - start
        value = 0.5 * logs @ weights + np.log(np.diag(lower)).sum() + 0.5 * HELD * off @ off

        pull = 0.5 * (_solved(lower, np.eye(len(logs))) - np.outer(weights, weights))
        shared = pull * covariance.between(features, features)
        # Of each feature, the sum over all pairs of ``shared`` times their squared difference.
        spread = shared.sum(axis=1) @ np.square(features)
        pairs = 2 * (spread - (features * (shared @ features)).sum(axis=0))
        by_setting = np.bincount(settings.owners, weights=pairs, minlength=len(at) - 2)
        gradient = HELD * off
        gradient[:-2] -= 0.5 * np.exp(at[:-2]) * by_setting
        gradient[-2] += 2 * float(shared.sum())
        gradient[-1] += 2 * covariance.noise**2 * float(np.trace(pull))
        return float(value), gradient

    # So that the covariance can be inverted, whatever a few layers suggest.
    bounds = [(value - REACH, value + REACH) for value in start]
    bounds[-2] = (math.log(NOISE), math.log(MOST_SIGNAL))
    bounds[-1] = (math.log(LEAST_NOISE), math.log(SIGNAL))
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
    )
    return Scales.of(settings, found.x)


def _solved(lower: NDArray[np.floating[Any]], right: NDArray[np.floating[Any]]) -> Floats:
    from scipy.linalg import cho_solve

    return np.asarray(cho_solve((lower, True), right))
