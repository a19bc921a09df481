"""Counted randomness, bootstrap intervals and rank correlation.

Every interval here is one of 95 %, drawn with a seed of its own: equal values give equal bounds.
"""

import math
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Interval",
    "bootstrap_interval",
    "claim",
    "kendall_tau",
    "kendall_tau_of_near",
    "mean_band",
    "mean_interval",
    "paired_interval",
    "rng",
    "tau_lead_interval",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Interval = tuple[float, float]

LEVELS = (0.025, 0.975)
"""Of a 95 % interval."""
PAIRED_RESAMPLES = 9999
"""For what a claim hangs on: few pairs, each cheap to draw."""
MEAN_RESAMPLES = 2000
"""For whole curves."""


def rng(seed: int, stream: str, number: int) -> np.random.Generator:
    """A generator that depends on its arguments alone: randomness is counted, not consumed."""
    # crc32, for Python's own hash of a text differs from process to process.
    return np.random.default_rng([seed, crc32(stream.encode()), number])


# -- intervals ------------------------------------------------------------------------------------


def paired_interval(differences: Sequence[float], step: float = 0.0) -> Interval | None:
    """The mean of paired differences, by a bootstrap over pairs that is expanded for few of them.

    None for fewer than two pairs. A percentile bootstrap of three pairs excludes zero in a quarter
    of all cases where nothing differs: it takes the spread of three for the truth. So its distances
    from the mean are multiplied by ``sqrt(n / (n - 1))``, as the resamples vary too little, and by
    Student's quantile over the normal one (Hesterberg 2015, https://arxiv.org/abs/1411.5279,
    section 3.5). ``step`` is what one test image is worth: pairs that agree by luck have at least
    that deviation.

    If the differences lean to the left it says "better" too often: 7 to 12 % under an
    exponential or a mild lognormal for 3 to 15 pairs, nominal 2.5 %. A studentised bootstrap halves
    that, but can claim nothing from three pairs and finds a difference of two deviations in 47
    instead of 74 of 100 cases of four; so it is not used.
    """
    from scipy.stats import norm, t

    count = len(differences)
    if count < 2:
        return None
    values = np.asarray(differences, np.float64)
    picks = rng(0, "confirm", count).integers(count, size=(PAIRED_RESAMPLES, count))
    low, high = np.quantile(values[picks].mean(axis=1), LEVELS)
    student = float(t.ppf(LEVELS[1], count - 1))
    factor = student / float(norm.ppf(LEVELS[1])) * math.sqrt(count / (count - 1))
    mean = float(values.mean())
    least = student * step / math.sqrt(count)
    below = max(factor * (mean - float(low)), least)
    above = max(factor * (float(high) - mean), least)
    return mean - below, mean + above


def mean_interval(values: Floats) -> Interval:
    """values: (n,). The mean, by percentile bootstrap; see `mean_band`."""
    low, high = mean_band(values[:, None])
    return float(low[0]), float(high[0])


def mean_band(curves: Floats) -> tuple[Floats, Floats]:
    """curves: (seeds, points). The mean over seeds, by percentile bootstrap: two arrays (points,).

    Efron 1979, https://doi.org/10.1214/aos/1176344552. Seeds are resampled, whole curves at a time.
    """
    count = len(curves)
    picks = rng(0, "bootstrap", count).integers(count, size=(MEAN_RESAMPLES, count))
    weights = np.apply_along_axis(np.bincount, 1, picks, minlength=count) / count
    low, high = np.quantile(weights @ curves, LEVELS, axis=0)
    return low, high


def bootstrap_interval(
    statistic: Callable[[Integers], float], count: int, *, resamples: int
) -> Interval:
    """Any statistic of ``count`` items, by percentile bootstrap.

    ``statistic`` takes the places of the items drawn, (count,), and is called ``resamples`` times.
    Equal ``count`` and ``resamples`` give equal draws, so two statistics are compared on the same.
    """
    picks = np.random.default_rng(0).integers(count, size=(resamples, count))
    low, high = np.quantile([statistic(drawn) for drawn in picks], LEVELS)
    return float(low), float(high)


def claim(interval: Interval | None) -> str:
    """``better`` or ``worse`` if the interval excludes zero, else ``no evidence``."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "no evidence"
    return "better" if interval[0] > 0 else "worse"


# -- rank correlation -----------------------------------------------------------------------------


def kendall_tau(first: Floats, second: Floats) -> float | None:
    """first, second: (n,). Kendall's tau-b (1945, https://doi.org/10.1093/biomet/33.3.239), -1..1.

    None if one of them holds equal values only, or fewer than two.
    """
    from scipy.stats import kendalltau

    if len(first) < 2:
        return None
    tau = float(kendalltau(first, second).statistic)
    return None if math.isnan(tau) else tau


def kendall_tau_of_near(first: Floats, second: Floats, band: float) -> float | None:
    """first, second: (n,). Kendall's tau-b over near pairs only, which scipy cannot leave out.

    Near are pairs whose ``second`` differ by at most ``band`` of the smaller. None if no such pair
    differs in both.
    """
    i, j = np.triu_indices(len(first), 1)
    near = np.abs(second[i] - second[j]) <= band * np.minimum(second[i], second[j])
    signs = np.sign(first[i] - first[j])[near]
    others = np.sign(second[i] - second[j])[near]
    untied = math.sqrt(float((signs != 0).sum()) * float((others != 0).sum()))
    return float((signs * others).sum()) / untied if untied else None


def tau_lead_interval(score: Floats, other: Floats, truth: Floats, *, resamples: int) -> Interval:
    """score, other, truth: (n,). The score's Kendall's tau with the truth, less the other's.

    By percentile bootstrap over the n networks; a tau that is unknown counts as 0.
    """

    def lead(drawn: Integers) -> float:
        # Both on the same draw: what the draw adds to either tau cancels in their difference.
        ours = kendall_tau(score[drawn], truth[drawn])
        theirs = kendall_tau(other[drawn], truth[drawn])
        return (ours or 0.0) - (theirs or 0.0)

    return bootstrap_interval(lead, len(truth), resamples=resamples)
