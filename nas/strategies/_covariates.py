"""Scores that networks have beside their losses, as covariates of the processes of the losses.

Scores of untrained networks are known of networks told. Of others each is predicted by a process
of its own. What earlier trainings let one expect is known of all.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from nas.strategies import _gp
from nas.strategies._earlier import Expectation
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
    """keys: canonical genes of the networks told; values: (n, scores); a weight for each score."""

    def __init__(
        self,
        features: Features,
        keys: Sequence[Genes],
        values: Floats,
        weights: Sequence[_gp.Weights],
        expected: Expectation,
    ) -> None:
        self.features, self.expected = features, expected
        scores = normal_scores(values)
        genes = features.points(np.array(keys))
        self.told = self._with(genes, scores, np.zeros_like(scores))
        self.processes = [
            _gp.Posterior(genes, column, weight)
            for column, weight in zip(scores.T, weights, strict=True)
        ]

    @property
    def z(self) -> Floats:
        """Of the networks told: (n, covariates), the scores first."""
        return self.told.covariates

    def points(self, genes: NDArray[np.int64]) -> _gp.Points:
        """genes: (n, number of choices). Their scores are predicted."""
        points = self.features.points(genes)
        predicted = [process.predict(points) for process in self.processes]
        means = np.array([mean for mean, _ in predicted]).reshape(-1, len(genes)).T
        sds = np.array([sd for _, sd in predicted]).reshape(-1, len(genes)).T
        return self._with(points, means, sds)

    def _with(self, points: _gp.Points, scores: Floats, doubt: Floats) -> _gp.Points:
        """The points with scores that are known up to the doubt, and with what is expected."""
        expected = self.expected(points)
        return dataclasses.replace(
            points,
            covariates=np.concatenate([scores, expected], axis=1),
            doubt=np.concatenate([doubt, np.zeros_like(expected)], axis=1),
        )
