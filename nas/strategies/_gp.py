"""A small Gaussian process over genes: numpy and scipy alone, hundreds of observations, milliseconds a fit.

The correlation of two networks is exp(-sum of w_g d_g), d_g the squared distance of their genes in feature
group g: for a categorical gene one where they differ (the Hamming-exponential kernel of CASMOPOLITAN, Wan et
al. 2021, https://arxiv.org/abs/2102.07188). The weights w have a common log-normal scale and spread around it.
Mean and variance are profiled out, the noise is fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular
from scipy.optimize import minimize

__all__ = ["Posterior", "Weights", "fit", "squash", "weigh"]

Floats = NDArray[np.float64]

SCALE_SD = 1.5
SPREAD_SD = 0.75
NOISE_MEDIAN, NOISE_SD = 0.02, 1.5
LEAST_NOISE = 1e-4
ITERATIONS = 30
JITTER = 1e-8


@dataclass(frozen=True)
class Weights:
    """``groups``: a weight per feature group, (g,); ``noise``: variance in units of the signal's."""

    groups: Floats
    noise: float


def squash(losses: Floats) -> Floats:
    """losses: (n,). Standardised; those beyond two spreads above the median are pulled in: how bad is no news.

    The spread is that between the median and the best decile.
    """
    middle = np.median(losses)
    spread = (middle - np.quantile(losses, 0.1)) / 1.28 or losses.std() or 1.0
    scaled = (losses - middle) / spread
    return np.where(scaled > 2, 2 + np.log1p(np.maximum(scaled - 2, 0)) / 2, scaled)


def fit(features: Floats, sizes: Sequence[int], y: Floats) -> Weights:
    """features: (n, d), their groups ``sizes`` columns each; y: (n,). Most probable weights, by L-BFGS-B."""
    count, groups = len(y), len(sizes)
    borders = np.concatenate([[0], np.cumsum(sizes)])
    squared = np.stack([_squared(features[:, a:b], features[:, a:b]).ravel() for a, b in zip(borders, borders[1:])])
    typical = max(float(squared.mean()), 1e-9)
    centre = math.log(1 / (groups * typical))

    def loss(theta: Floats) -> tuple[float, Floats]:
        shared, spread, log_noise = theta[0], theta[1:-1], theta[-1]
        weights = np.exp(centre + shared + spread)
        noise = LEAST_NOISE + math.exp(log_noise)
        same = np.exp(-weights @ squared).reshape(count, count)
        matrix = same.copy()
        matrix.flat[:: count + 1] += noise
        lower, failed = lapack.dpotrf(matrix, lower=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        inverse, _ = lapack.dpotri(lower, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        sums = inverse.sum(axis=1)
        mean = sums @ y / sums.sum()
        alpha = inverse @ (y - mean)
        variance = max(float((y - mean) @ alpha) / count, 1e-12)
        value = 0.5 * count * math.log(variance) + float(np.log(lower.diagonal()).sum())
        slope = 0.5 * (inverse - np.outer(alpha, alpha) / variance)
        by_weight = -weights * (squared @ (slope * same).ravel())
        by_noise = float(np.trace(slope)) * (noise - LEAST_NOISE)
        off = log_noise - math.log(NOISE_MEDIAN)
        value += 0.5 * ((shared / SCALE_SD) ** 2 + float(spread @ spread) / SPREAD_SD**2 + (off / NOISE_SD) ** 2)
        gradient = np.concatenate(
            [
                [by_weight.sum() + shared / SCALE_SD**2],
                by_weight + spread / SPREAD_SD**2,
                [by_noise + off / NOISE_SD**2],
            ]
        )
        return value, gradient

    start = np.zeros(groups + 2)
    start[-1] = math.log(NOISE_MEDIAN)
    bounds = [(-4.0, 4.0)] * (groups + 1) + [(math.log(1e-5), math.log(2.0))]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS}).x
    return Weights(np.exp(centre + found[0] + found[1:-1]), LEAST_NOISE + math.exp(found[-1]))


def weigh(features: Floats, sizes: Sequence[int], weights: Weights) -> Floats:
    """Features in which the correlation is exp(-squared distance)."""
    return np.asarray(features * np.repeat(np.sqrt(weights.groups), sizes))


class Posterior:
    """What observations say of any network, given weights. points: weighed features, (n, d); y: (n,)."""

    def __init__(self, points: Floats, y: Floats, noise: float) -> None:
        self.points, self.noise = points, noise
        matrix = np.exp(-_squared(points, points))
        matrix.flat[:: len(y) + 1] += noise + JITTER
        self.lower = np.linalg.cholesky(matrix)
        self.ones = self._solve(np.ones((len(y), 1)))[:, 0]
        whitened = self._solve(y[:, None])[:, 0]
        self.mean = float(self.ones @ whitened / (self.ones @ self.ones))
        self.residual = whitened - self.mean * self.ones
        self.variance = float(self.residual @ self.residual) / len(y)

    def _solve(self, right: Floats) -> Floats:
        return np.asarray(solve_triangular(self.lower, right, lower=True, check_finite=False))

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """points: weighed features, (m, d). Mean and standard deviation of the value without noise: (m,) each."""
        half = self._solve(np.exp(-_squared(self.points, points)))
        mean = self.mean + self.residual @ half
        left = 1 - np.einsum("nm,nm->m", half, half)
        left += np.square(1 - self.ones @ half) / (self.ones @ self.ones)
        return mean, np.sqrt(self.variance * np.maximum(left, 1e-12))

    def means(self, points: Floats) -> Floats:
        """points: (m, d). The mean alone, (m,)."""
        weights = solve_triangular(self.lower, self.residual, lower=True, trans="T", check_finite=False)
        return np.asarray(self.mean + np.exp(-_squared(points, self.points)) @ weights)


def _squared(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Squared distances of rows: (n, m)."""
    lengths = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2 * first @ second.T, 0))
