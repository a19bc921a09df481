"""A function drawn from a Gaussian process, to be valued anywhere: what Thompson sampling follows.

A draw of the prior is moved to the observations by what they say of its error (pathwise
conditioning, Wilson et al. 2020, https://arxiv.org/abs/2002.09309, equation 12). Linear and
quadratic parts of the prior are drawn exactly, the part that falls off with distance by random
Fourier features (Rahimi and Recht 2007), runs of genes by products of random numbers.
"""

import numpy as np
from numpy.typing import NDArray

from nas.strategies import _gp

__all__ = ["Sample"]

Floats = NDArray[np.float64]

WAVES = 256
"""Random Fourier features."""
PRODUCTS = 16
"""Products of random numbers per run of genes: their sum is nearly normal."""


class Sample:
    """One function that the process holds for possible, as likely as it says."""

    def __init__(self, process: _gp.Posterior, generator: np.random.Generator) -> None:
        self.process = process
        weights, points = process.weights, process.points
        normal = generator.standard_normal
        columns = points.features.shape[1]
        deviations = np.sqrt(process.main_by_column)
        self.slopes = deviations * normal(columns)
        curvature = np.outer(deviations, deviations) * normal((columns, columns))
        self.curvature = np.sqrt(weights.pairs) * curvature
        # The exponential of minus w d is the characteristic function of a normal of variance 2 w.
        frequencies = np.sqrt(2 * np.repeat(weights.groups, points.sizes))
        self.waves = frequencies[:, None] * normal((columns, WAVES))
        self.phases = generator.uniform(0, 2 * np.pi, WAVES)
        self.heights = np.sqrt(2 * weights.near / WAVES) * normal(WAVES)
        genes = points.genes.shape[1]
        options = int(points.options.max(initial=1))
        self.runs = normal((_gp.DEGREES, genes, options, PRODUCTS))
        self.covariates = np.sqrt(weights.linear) * normal(points.covariates.shape[1])
        self.deviation = np.sqrt(process.variance)
        noise = np.sqrt(weights.noise) * normal(len(process.y))
        left = process.y - self.deviation * (self.prior(points) + noise)
        self.mean, self.pull = process.condition(left)

    def prior(self, points: _gp.Points) -> Floats:
        """The draw of the prior, in units of its deviation: (n,)."""
        features = points.features
        total = features @ self.slopes + np.einsum("nd,nd->n", features @ self.curvature, features)
        total += np.cos(features @ self.waves + self.phases) @ self.heights
        total += points.covariates @ self.covariates
        genes = points.genes.shape[1]
        places = np.arange(genes)
        for degree, share in enumerate(self.process.weights.shares):
            numbers = self.runs[degree][places, points.genes]
            starts = genes - degree
            if starts < 1:
                continue
            product = numbers[:, :starts]
            for step in range(1, degree + 1):
                product = product * numbers[:, step : step + starts]
            total += np.sqrt(share / (starts * PRODUCTS)) * product.sum(axis=(1, 2))
        return np.asarray(total)

    def __call__(self, points: _gp.Points) -> Floats:
        """The function's value: (n,)."""
        pulled = self.pull @ self.process.covariance(points)
        return np.asarray(self.mean + self.deviation * self.prior(points) + pulled)
