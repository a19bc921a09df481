"""Which choices of a space a search's scores hang on, and how far that can be believed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.report.page.content import Importance
from nas.statistics import rng
from nas.trial import Genes
from nas.units import counted

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

__all__ = ["FEWEST", "importance"]

FEWEST = 30
"""Fewer networks tell nothing of twenty choices."""
MOST = 1000
"""Of more networks so many are drawn: the forest would take minutes, and say the same."""
TREES = 40
FOLDS = 5
SHUFFLES = 4

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def importance(
    names: Sequence[str], genes: Sequence[Genes], scores: Sequence[float]
) -> tuple[tuple[Importance, ...], str]:
    """What each choice is worth to a forest that predicts scores, greatest first; and a remark.

    A forest learns four fifths of the networks and predicts the others. One choice is then shuffled
    among those, and the rise of the squared error is told, as a share of the variance of the
    scores. So a choice is worth something only if that holds for networks the forest has not seen.
    Empty, with the reason, for few networks and where the forest predicts no better than the mean.
    """
    if len(scores) < FEWEST:
        few = counted(len(scores), "network")
        return (), f"{few} are too few to tell {len(names)} choices apart: {FEWEST} are a beginning"
    every, values = np.array(genes, np.int64), np.array(scores, float)
    if len(values) > MOST:
        drawn = rng(0, "importance", 0).choice(len(values), MOST, replace=False)
        every, values = every[drawn], values[drawn]
    if values.var() == 0:
        return (), "all networks have one score: no choice decides anything"
    rises, explained = _rises(every, values)
    told = f"{100 * explained:.0f} % of the variance of {len(values)} networks"
    method = f"a random forest predicts {told} that it has not seen"
    if explained <= 0:
        return (), (
            "which choices the scores hang on cannot be told: a random forest predicts networks "
            f"that it has not seen no better than the mean of the others ({len(values)} networks)"
        )
    found = []
    for place, name in enumerate(names):
        own = rises[:, place]
        sd = float(own.std(ddof=1))
        found.append(Importance(gene=name, share=float(own.mean()), sd=sd))
    ranked = sorted(found, key=lambda each: -each.share)
    return tuple(ranked), f"{method}; a bar is what it loses when that choice alone is shuffled"


def _rises(genes: Integers, scores: Floats) -> tuple[Floats, float]:
    """Rises of the squared error, (folds times shuffles, choices), and the share explained.

    Both are shares of the scores' variance.
    """
    order = rng(0, "importance", 1).permutation(len(scores))
    parts = np.array_split(order, FOLDS)
    rows, errors = [], np.empty(len(scores))
    for fold, held in enumerate(parts):
        seen = np.setdiff1d(order, held)
        forest = _forest(fold)
        forest.fit(genes[seen], scores[seen])
        errors[held] = (forest.predict(genes[held]) - scores[held]) ** 2
        rows.append(_shuffled_rises(forest, genes[held], scores[held], errors[held], fold))
    variance = scores.var()
    return np.concatenate(rows) / variance, float(1 - errors.mean() / variance)


def _forest(seed: int) -> "RandomForestRegressor":
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)


def _shuffled_rises(
    forest: Any, genes: Integers, scores: Floats, errors: Floats, fold: int
) -> Floats:
    """genes: (n, choices). By shuffle and choice, the rise of the mean squared error."""
    count, choices = genes.shape
    copies = np.tile(genes, (SHUFFLES, choices, 1, 1))
    for shuffle in range(SHUFFLES):
        for choice in range(choices):
            order = rng(shuffle, f"importance {fold}", choice).permutation(count)
            copies[shuffle, choice, :, choice] = genes[order, choice]
    # All at once: each call of a forest has a price of its own.
    predicted = forest.predict(copies.reshape(-1, choices)).reshape(SHUFFLES, choices, count)
    rises: Floats = ((predicted - scores) ** 2 - errors).mean(axis=2)
    return rises
