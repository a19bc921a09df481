"""A small Gaussian process over genes, for hundreds of observations: milliseconds a fit.

The covariance of two networks is exp(-sum of w_g d_g) + sum of b_k s_k + sum of c_j z_j z_j'.

d_g is the squared distance of their genes in feature group g: for a categorical gene one where they
differ (the Hamming-exponential kernel of CASMOPOLITAN, Wan et al. 2021,
https://arxiv.org/abs/2102.07188).

s_k is the share of the k consecutive genes that they have in common at the same place: the weighted
degree kernel (Rätsch and Sonnenburg 2004, Accurate Splice Site Detection for Caenorhabditis
elegans). It is additive over the chain: what neighbours are worth together holds whatever is far
away.

z_j are covariates, other scores that the networks have: the value is linear in them, by
slopes that the observations teach (Rasmussen and Williams 2006, section 2.7).

Weights are fitted by their posterior probability; mean and variance are profiled out, the noise is
fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular
from scipy.optimize import minimize

__all__ = ["DEGREES", "Points", "Posterior", "Weights", "fit", "squash"]

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

DEGREES = 3
"""Runs of one, two and three equal genes are counted."""
STARTS_IN_A_BYTE = 9 - DEGREES
"""Genes of eight from which a run of the longest degree ends inside the byte."""
CHUNK = 128
"""Columns of `shared` worked off at a time."""
FAR = 2.0
"""Spreads above the median from which on losses are pulled in, see `squash`."""

# Log-normal priors, ours: a dozen observations cannot say what tens of weights are. The scale that
# all groups have in common may move far, single groups less.
SCALE_SD = 1.5
SPREAD_SD = 0.75
SHARE_MEDIAN, SHARE_SD = 0.3, 1.5
NOISE_MEDIAN, NOISE_SD = 0.02, 1.5
LEAST_NOISE = 1e-4
"""In units of the variance. Keeps the matrix regular if networks of equal features were told."""
ITERATIONS = 30
"""Of L-BFGS-B, at most: they bound the time of a fit."""
REACH = 5
"""How far, in logarithms, a weight may move from its median."""
JITTER = 1e-8


@dataclass(frozen=True)
class Weights:
    """Of the covariance, all in units of the variance."""

    groups: Floats
    """w, one per feature group."""
    shares: Floats
    """b, one per degree."""
    noise: float
    linear: Floats = field(default_factory=lambda: np.zeros(0))
    """c, one per covariate."""


@dataclass(frozen=True)
class Points:
    """Networks as the covariance sees them."""

    genes: NDArray[np.int64]
    """(n, number of choices)."""
    features: Floats
    """(n, d)."""
    sizes: Sequence[int]
    """Columns of each feature group, in order."""
    covariates: Floats
    """z, standardised: (n, covariates)."""
    doubt: Floats
    """Standard deviations of the covariates, 0 where they are known: (n, covariates)."""

    def joined(self, other: "Points") -> "Points":
        """Both, one after the other."""
        return Points(
            np.concatenate([self.genes, other.genes]),
            np.concatenate([self.features, other.features]),
            self.sizes,
            np.concatenate([self.covariates, other.covariates]),
            np.concatenate([self.doubt, other.doubt]),
        )


def squash(losses: Floats) -> Floats:
    """losses: (n,). Standardised by the median and its distance to the best decile.

    Losses beyond `FAR` such spreads above the median are pulled in: how bad they are is no news.
    """
    middle = np.median(losses)
    # A normal distribution's best decile lies 1.28 standard deviations below its median. The upper
    # half is not looked at: a few networks that diverged would make all others alike.
    spread = (middle - np.quantile(losses, 0.1)) / 1.28 or losses.std() or 1.0
    scaled = (losses - middle) / spread
    # By a logarithm, not cut off: which of two bad networks is the worse one stays visible.
    return np.where(scaled > FAR, FAR + np.log1p(np.maximum(scaled - FAR, 0)) / 2, scaled)


def shared(first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """first: (n, genes), second: (m, genes). Share of equal runs of each degree: (degrees, n, m).

    Eight genes at a time make the bits of a byte. A run is counted where it begins.
    """
    # Bytes are compared many at a time; they hold 256 options, which few choices exceed.
    narrow = np.uint8 if max(first.max(initial=0), second.max(initial=0)) < 256 else np.int64
    ours = first.T.astype(narrow)[:, :, None]
    theirs = second.T.astype(narrow)[:, None, :]
    genes = len(ours)
    counts = np.zeros((DEGREES, len(first), len(second)))
    for column in range(0, len(second), CHUNK):  # what is counted stays in the cache
        part = theirs[:, :, column : column + CHUNK]
        for block in range(0, genes, STARTS_IN_A_BYTE):
            bits = _equal_bits(ours[block : block + 8], part[block : block + 8])
            # Blocks overlap by DEGREES - 1 genes, so a run across a border is counted once.
            runs = bits & np.uint8((1 << STARTS_IN_A_BYTE) - 1)
            for degree in range(DEGREES):
                counts[degree, :, column : column + CHUNK] += np.bitwise_count(runs)
                runs &= bits >> np.uint8(degree + 1)
    counts /= np.maximum(1, genes - np.arange(DEGREES))[:, None, None]
    return counts


def _equal_bits(ours: NDArray[Any], theirs: NDArray[Any]) -> Bytes:
    """ours: (genes, n, 1), theirs: (genes, 1, m), at most eight genes. Bit i: gene i is equal."""
    bits = np.zeros((ours.shape[1], theirs.shape[2]), np.uint8)
    for bit, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        bits |= (mine == other).view(np.uint8) << np.uint8(bit)
    return bits


def fit(points: Points, y: Floats) -> Weights:
    """y: (n,). Most probable weights, by L-BFGS-B with the gradients of the marginal likelihood."""
    count, groups = len(y), len(points.sizes)
    borders = np.concatenate([[0], np.cumsum(points.sizes)])
    parts = [points.features[:, start:end] for start, end in pairwise(borders)]
    squared = np.stack([_squared(part, part).ravel() for part in parts])
    runs = shared(points.genes, points.genes).reshape(DEGREES, -1)
    products = [np.outer(column, column).ravel() for column in points.covariates.T]
    # Terms that enter the covariance as they are, by one weight each.
    terms = np.stack([*runs, *products])
    # Prior median of a weight: at the mean distance all groups together give exp(-1).
    centre = math.log(1 / (groups * max(float(squared.mean()), 1e-9)))
    term_medians = [math.log(SHARE_MEDIAN)] * len(terms)
    medians = np.array([0.0, *np.zeros(groups), *term_medians, math.log(NOISE_MEDIAN)])
    sds = np.array([SCALE_SD, *[SPREAD_SD] * groups, *[SHARE_SD] * len(terms), NOISE_SD])

    def loss(theta: Floats) -> tuple[float, Floats]:
        """Minus the log of the posterior probability, and its gradient.

        Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, equations 2.30 and
        5.9, with the mean and the variance at their most likely values.
        """
        weights = np.exp(centre + theta[0] + theta[1 : groups + 1])
        factors = np.exp(theta[groups + 1 : -1])
        noise = LEAST_NOISE + math.exp(theta[-1])
        same = np.exp(-weights @ squared)
        matrix = (same + factors @ terms).reshape(count, count)
        matrix.flat[:: count + 1] += noise
        lower, failed = lapack.dpotrf(matrix, lower=1)
        if failed:  # not positive definite: the line search turns back
            return 1e10, np.zeros_like(theta)
        inverse, _ = lapack.dpotri(lower, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        sums = inverse.sum(axis=1)
        mean = sums @ y / sums.sum()  # generalised least squares
        alpha = inverse @ (y - mean)
        # Losses that are all equal have no variance, and its logarithm is taken below.
        variance = max(float((y - mean) @ alpha) / count, 1e-12)
        # d loss / d matrix; each weight's share of it follows by the chain rule, in log weights.
        slope = 0.5 * (inverse - np.outer(alpha, alpha) / variance).ravel()
        by_weight = -weights * (squared @ (slope * same))
        by_term = factors * (terms @ slope)
        # The noise is a floor and exp(theta): only the part above the floor moves with theta.
        by_noise = float(slope[:: count + 1].sum()) * (noise - LEAST_NOISE)
        off = (theta - medians) / sds
        value = (
            0.5 * count * math.log(variance)
            + float(np.log(lower.diagonal()).sum())
            + 0.5 * float(off @ off)
        )
        gradient = np.array([by_weight.sum(), *by_weight, *by_term, by_noise])
        return value, gradient + off / sds

    # Unbounded, the line search may try weights whose exponential overflows.
    bounds = [(median - REACH, median + REACH) for median in medians]
    options = {"maxiter": ITERATIONS}
    best = minimize(loss, medians, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return Weights(
        groups=np.exp(centre + best[0] + best[1 : groups + 1]),
        shares=np.exp(best[groups + 1 :][:DEGREES]),
        noise=LEAST_NOISE + math.exp(best[-1]),
        linear=np.exp(best[groups + 1 + DEGREES : -1]),
    )


class Posterior:
    """What observations say of any network, given weights. y: (n,)."""

    def __init__(self, points: Points, y: Floats, weights: Weights) -> None:
        self.points, self.weights = points, weights
        matrix = self.covariance(points)
        matrix.flat[:: len(y) + 1] += weights.noise + JITTER
        self.lower = np.linalg.cholesky(matrix)
        self.ones = self._solve(np.ones((len(y), 1)))[:, 0]
        whitened = self._solve(y[:, None])[:, 0]
        self.mean = float(self.ones @ whitened / (self.ones @ self.ones))
        self.residual = whitened - self.mean * self.ones
        self.variance = float(self.residual @ self.residual) / len(y)
        alpha = solve_triangular(self.lower, self.residual, lower=True, trans=1, check_finite=False)
        self.slopes = weights.linear * (alpha @ points.covariates)
        """By how much the mean rises with each covariate."""

    def covariance(self, other: Points) -> Floats:
        """With other networks, in units of the variance: (n, m)."""
        scale = np.repeat(np.sqrt(self.weights.groups), self.points.sizes)
        near = np.exp(-_squared(self.points.features * scale, other.features * scale))
        runs = shared(self.points.genes, other.genes)
        linear = (self.points.covariates * self.weights.linear) @ other.covariates.T
        return np.asarray(near + np.tensordot(self.weights.shares, runs, 1) + linear)

    def prior(self, points: Points) -> Floats:
        """Variance before any observation, in units of the variance: (m,)."""
        # A network is at no distance from itself, and shares every run of genes.
        genes = 1 + float(self.weights.shares.sum())
        return np.asarray(genes + np.square(points.covariates) @ self.weights.linear)

    def _solve(self, right: Floats) -> Floats:
        return np.asarray(solve_triangular(self.lower, right, lower=True, check_finite=False))

    def predict(self, points: Points) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the value without noise: (m,) each."""
        half = self._solve(self.covariance(points))
        mean = self.mean + self.residual @ half
        # Equations 2.26 and 2.42 of Rasmussen and Williams: the second term is what not knowing the
        # mean adds.
        left = self.prior(points) - np.einsum("nm,nm->m", half, half)
        left += np.square(1 - self.ones @ half) / (self.ones @ self.ones)
        # Covariates that are not known blur the value by their slopes.
        blur = np.square(points.doubt) @ np.square(self.slopes)
        return mean, np.sqrt(self.variance * np.maximum(left, 1e-12) + blur)


def _squared(first: Floats, second: Floats) -> Floats:
    """Squared distances of rows: (n, m)."""
    # As a matrix product: the differences themselves would take n m d numbers.
    lengths = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    # Multiplied out like this, the distance of equal rows may come out a little below zero.
    return np.asarray(np.maximum(lengths - 2 * first @ second.T, 0))
