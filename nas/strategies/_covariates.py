"""Scores that networks have beside their losses, as covariates of the processes of the losses.

They are known of networks told. Of others each is predicted by a process of its own.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from nas.strategies import _gp
from nas.strategies._features import Features
from nas.trial import Genes

__all__ = ["Covariates", "normal_scores"]

Floats = NDArray[np.float64]


def normal_scores(values: Floats) -> Floats:
    """values: (n, covariates). What normal variables of the same ranks are in the mean, about.

    Blom 1958: ranks alone count, for scores of untrained networks differ by orders of magnitude.
    """
    ranks = rankdata(values, axis=0)
    return np.asarray(ndtri((ranks - 0.375) / (len(values) + 0.25)))


class Covariates:
    """keys: canonical genes of the networks told; values: (n, covariates); a weight each."""

    def __init__(
        self,
        features: Features,
        keys: Sequence[Genes],
        values: Floats,
        weights: Sequence[_gp.Weights],
    ) -> None:
        self.features = features
        self.z = normal_scores(values)
        genes = features.points(np.array(keys))
        self.told = dataclasses.replace(genes, covariates=self.z, doubt=np.zeros_like(self.z))
        self.processes = [
            _gp.Posterior(genes, column, weight)
            for column, weight in zip(self.z.T, weights, strict=True)
        ]

    def points(self, genes: NDArray[np.int64]) -> _gp.Points:
        """genes: (n, number of choices). Their covariates are predicted."""
        points = self.features.points(genes)
        predicted = [process.predict(points) for process in self.processes]
        if not predicted:
            return points
        means, sds = map(np.transpose, map(np.array, zip(*predicted, strict=True)))
        return dataclasses.replace(points, covariates=means, doubt=sds)
