"""A small Gaussian process over genes, for hundreds of observations: milliseconds a fit.

The covariance of two networks is

    near exp(-sum of w_g d_g) + m + pairs m^2 + sum of b_k s_k + sum of c_j z_j z_j'.

m is the sum of a_g f_g f_g', products of their centred features in each feature group g: main
effects, linear in the numbers of an ordinal gene, one for each option of a categorical one.
Bayesian linear regression on them is this term alone. Its square has all pairs of features, those
of genes that matter by themselves the most (the polynomial kernel; heredity, as in Agrawal et al.
2019, https://arxiv.org/abs/1905.06501).

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

import dataclasses
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
SCALE_SD = 1.0
SPREAD_SD = 0.75
SHARE_MEDIAN, SHARE_SD = 0.3, 1.5
MAIN_MEDIAN, MAIN_SD, MAIN_SPREAD_SD = 1.0, 1.5, 1.0
NEAR_MEDIAN, NEAR_SD = 0.3, 1.5
PAIRS_MEDIAN, PAIRS_SD = 0.05, 1.5
NOISE_MEDIAN, NOISE_SD = 0.1, 1.5
"""Of the noise as a share of the prior variance."""
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
    main: Floats
    """a, one per feature group."""
    near: float = 1.0
    """Of the part that falls off with the distance."""
    pairs: float = 0.0
    """Of the square of all main effects."""
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
    options: NDArray[np.int64]
    """Of each choice: (number of choices,)."""
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
            self.options,
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
    return _Likelihood(points, y).most_probable()


class _Likelihood:
    """The posterior probability of weights, given observations. y: (n,).

    Weights are logarithms: of groups the scale that all have in common, then each by itself, first
    of the distance and then of the main effects; then the factors of what enters as it is: the part
    that falls off, the pairs, the runs, the covariates; then the noise.
    """

    def __init__(self, points: Points, y: Floats) -> None:
        self.points, self.y, self.count = points, y, len(y)
        groups = len(points.sizes)
        borders = np.concatenate([[0], np.cumsum(points.sizes)])
        self.starts = borders[:-1]
        parts = [points.features[:, start:end] for start, end in pairwise(borders)]
        self.squared = np.stack([_squared(part, part).ravel() for part in parts])
        runs = shared(points.genes, points.genes).reshape(DEGREES, -1)
        products = [np.outer(column, column).ravel() for column in points.covariates.T]
        self.terms = np.stack([*runs, *products])
        self.lengths = np.array([np.square(part).sum(axis=1).mean() for part in parts])
        """Mean squared length of a network in each group."""
        # Prior median of a weight: at the mean distance all groups together give exp(-1).
        mean = max(float(self.squared.mean()), 1e-9)
        self.near = slice(0, 1 + groups)
        self.main = slice(1 + groups, 2 + 2 * groups)
        self.factors = slice(2 + 2 * groups, -1)
        self.near_centre = math.log(1 / (groups * mean))
        # All main effects together have the variance `MAIN_MEDIAN`, each as much as any other.
        self.main_centre = np.log(MAIN_MEDIAN / (groups * np.maximum(self.lengths, 1e-6)))
        factors = [NEAR_MEDIAN, PAIRS_MEDIAN, *[SHARE_MEDIAN] * len(self.terms)]
        zeros = np.zeros(2 + 2 * groups)
        self.medians = np.array([*zeros, *np.log(factors), math.log(NOISE_MEDIAN)])
        near_sds = [SCALE_SD, *[SPREAD_SD] * groups]
        main_sds = [MAIN_SD, *[MAIN_SPREAD_SD] * groups]
        factor_sds = [NEAR_SD, PAIRS_SD, *[SHARE_SD] * len(self.terms)]
        self.sds = np.array([*near_sds, *main_sds, *factor_sds, NOISE_SD])

    def most_probable(self) -> Weights:
        """By L-BFGS-B."""
        # Unbounded, the line search may try weights whose exponential overflows.
        bounds = [(median - REACH, median + REACH) for median in self.medians]
        options = {"maxiter": ITERATIONS}
        found = minimize(
            self.loss, self.medians, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        return self.weights(found.x)

    def weights(self, theta: Floats) -> Weights:
        """What logarithms stand for."""
        near, main = theta[self.near], theta[self.main]
        factors = np.exp(theta[self.factors])
        weights = Weights(
            groups=np.exp(self.near_centre + near[0] + near[1:]),
            near=float(factors[0]),
            main=np.exp(self.main_centre + main[0] + main[1:]),
            pairs=float(factors[1]),
            shares=factors[2 : 2 + DEGREES],
            linear=factors[2 + DEGREES :],
            noise=0.0,
        )
        noise = LEAST_NOISE + math.exp(theta[-1]) * self.level(weights)
        return dataclasses.replace(weights, noise=noise)

    def level(self, weights: Weights) -> float:
        """Prior variance of a network in the mean: what the noise is measured by."""
        main = float(weights.main @ self.lengths)
        rest = float(weights.shares.sum() + weights.linear.sum())
        return weights.near + main + weights.pairs * main**2 + rest

    def loss(self, theta: Floats) -> tuple[float, Floats]:
        """Minus the log of the posterior probability, and its gradient.

        Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, equations 2.30 and
        5.9, with the mean and the variance at their most likely values.
        """
        weights, count, y = self.weights(theta), self.count, self.y
        features = self.points.features
        same = np.exp(-weights.groups @ self.squared).reshape(count, count)
        main = (features * np.repeat(weights.main, self.points.sizes)) @ features.T
        rest = np.concatenate([weights.shares, weights.linear]) @ self.terms
        matrix = weights.near * same + main + weights.pairs * main**2 + rest.reshape(count, count)
        matrix.flat[:: count + 1] += weights.noise
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
        off = (theta - self.medians) / self.sds
        value = (
            0.5 * count * math.log(variance)
            + float(np.log(lower.diagonal()).sum())
            + 0.5 * float(off @ off)
        )
        slope = 0.5 * (inverse - np.outer(alpha, alpha) / variance)
        return value, self._gradient(weights, slope, same, main) + off / self.sds

    def _gradient(self, weights: Weights, slope: Floats, same: Floats, main: Floats) -> Floats:
        """Of the likelihood in log weights. slope: d loss / d matrix; all matrices (n, n)."""
        features = self.points.features
        length = float(weights.main @ self.lengths)
        # The noise is a floor and a share of the level: what moves the level moves it too.
        by_noise = float(slope.trace()) * (weights.noise - LEAST_NOISE)
        by_level = by_noise / self.level(weights)
        slope_near = slope * same
        by_groups = -weights.near * weights.groups * (self.squared @ slope_near.ravel())
        outer = slope * (1 + 2 * weights.pairs * main)
        columns = np.einsum("nd,nd->d", features, outer @ features)
        by_main = np.add.reduceat(columns, self.starts)
        by_main += by_level * self.lengths * (1 + 2 * weights.pairs * length)
        by_main *= weights.main
        by_near = weights.near * (float(slope_near.sum()) + by_level)
        by_pairs = weights.pairs * (float(np.vdot(slope, main**2)) + by_level * length**2)
        factors = np.concatenate([weights.shares, weights.linear])
        by_terms = factors * (self.terms @ slope.ravel() + by_level)
        by_group = [by_groups.sum(), *by_groups, by_main.sum(), *by_main]
        return np.array([*by_group, by_near, by_pairs, *by_terms, by_noise])


class Posterior:
    """What observations say of any network, given weights. y: (n,)."""

    def __init__(self, points: Points, y: Floats, weights: Weights) -> None:
        self.points, self.weights, self.y = points, weights, y
        self.main_by_column = np.repeat(weights.main, points.sizes)
        matrix = self.covariance(points)
        matrix.flat[:: len(y) + 1] += weights.noise + JITTER
        self.lower = np.linalg.cholesky(matrix)
        self.ones = self._solve(np.ones((len(y), 1)))[:, 0]
        self.mean, self.residual = self._centred(y)
        self.variance = float(self.residual @ self.residual) / len(y)
        pull = self.condition(y)[1]
        self.slopes = weights.linear * (pull @ points.covariates)
        """By how much the mean rises with each covariate."""

    def _centred(self, y: Floats) -> tuple[float, Floats]:
        """Of values at the points their mean, and what else there is of them, whitened: (n,)."""
        whitened = self._solve(y[:, None])[:, 0]
        mean = float(self.ones @ whitened / (self.ones @ self.ones))
        return mean, whitened - mean * self.ones

    def condition(self, y: Floats) -> tuple[float, Floats]:
        """Of values at the points, (n,), their mean, and the pull of each point, (n,).

        Elsewhere the posterior mean is the mean plus the covariance times the pulls.
        """
        mean, residual = self._centred(y)
        pull = solve_triangular(self.lower, residual, lower=True, trans=1, check_finite=False)
        return mean, np.asarray(pull)

    def covariance(self, other: Points) -> Floats:
        """With other networks, in units of the variance: (n, m)."""
        scale = np.repeat(np.sqrt(self.weights.groups), self.points.sizes)
        near = np.exp(-_squared(self.points.features * scale, other.features * scale))
        runs = shared(self.points.genes, other.genes)
        linear = (self.points.covariates * self.weights.linear) @ other.covariates.T
        main = (self.points.features * self.main_by_column) @ other.features.T
        total = self.weights.near * near + np.tensordot(self.weights.shares, runs, 1) + linear
        return np.asarray(total + main + self.weights.pairs * np.square(main))

    def prior(self, points: Points) -> Floats:
        """Variance before any observation, in units of the variance: (m,)."""
        # A network is at no distance from itself, and shares every run of genes.
        genes = self.weights.near + float(self.weights.shares.sum())
        main = np.square(points.features) @ self.main_by_column
        main += self.weights.pairs * np.square(main)
        return np.asarray(genes + main + np.square(points.covariates) @ self.weights.linear)

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
