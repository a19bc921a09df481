"""Counted randomness, intervals by bootstrap and by permutation, and rank correlation.

Every interval here is one of 95 %, drawn with a seed of its own: equal values give equal bounds.
"""

import math
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Interval",
    "arrangements",
    "bootstrap_interval",
    "claim",
    "kendall_tau",
    "kendall_tau_of_near",
    "many_to_one_intervals",
    "mean_band",
    "mean_interval",
    "paired_interval",
    "permutation_interval",
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
MOST_ARRANGEMENTS = 100_000
"""Up to so many are enumerated, beyond it `SAMPLED_ARRANGEMENTS` are drawn."""
SAMPLED_ARRANGEMENTS = 19_999
ROUNDING = 1e-12
"""Shares of images that differ by less are equal, and summed in another order."""

Stratum = tuple[float, Sequence[float]]
"""The score of a chosen item, and those of the items that could have been chosen in its place."""


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
    instead of 74 of 100 cases of four; so it is not used. Where the items that were not chosen
    could have been, `permutation_interval` is exact.
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


def many_to_one_intervals(
    control: Sequence[float],
    others: Sequence[Sequence[float]],
    step: float = 0.0,
    *,
    together: bool = True,
) -> list[Interval]:
    """The control's mean less each other's, with 95 % confidence.

    Student's intervals with the standard deviation of all samples pooled. ``together``: whether
    they hold for all of them together, corrected for their number by Bonferroni, or each alone.
    ``step`` is what one test image is worth: samples that agree by luck have at least that
    deviation. Raises `ValueError` if there are no degrees of freedom.
    """
    from scipy.stats import t

    samples = [np.asarray(sample, np.float64) for sample in (control, *others)]
    freedom = sum(len(sample) - 1 for sample in samples)
    if freedom < 1:
        raise ValueError("intervals need at least two trainings of some network")
    squares = sum(float(np.square(sample - sample.mean()).sum()) for sample in samples)
    deviation = max(math.sqrt(squares / freedom), step)
    comparisons = max(1, len(others)) if together else 1
    student = float(t.ppf(1 - (1 - LEVELS[1]) / comparisons, freedom))
    intervals = []
    for sample in samples[1:]:
        difference = float(samples[0].mean() - sample.mean())
        width = student * deviation * math.sqrt(1 / len(samples[0]) + 1 / len(sample))
        intervals.append((difference - width, difference + width))
    return intervals


def arrangements(others: Sequence[int]) -> int:
    """How many ways there are to choose an item in each stratum.

    ``others``: by stratum, the number of items beside the chosen one.
    """
    return math.prod(count + 1 for count in others)


def permutation_interval(strata: Sequence[Stratum]) -> Interval | None:
    """By how much chosen items are better than the others of their stratum, by an exact test.

    The test (Pitman 1937, https://doi.org/10.2307/2984124) asks which items could have been chosen:
    if the choice tells nothing, any item of a stratum could, with equal probability. The statistic
    is the sum over strata of the chosen item's score minus the mean of the others'; it is compared
    with those of all arrangements, each with one item chosen in every stratum. The interval holds
    the shifts of the chosen items' scores that the test does not reject, at 2.5 % a side. So it
    excludes zero exactly if the test rejects "no better" or "no worse", and whatever the scores'
    distribution that happens in at most 2.5 % of cases a side if the choice tells nothing.

    All arrangements are enumerated, or beyond `MOST_ARRANGEMENTS` a seeded sample is drawn, in
    which the actual choice counts as one more (Phipson and Smyth 2010,
    https://arxiv.org/abs/1603.05766). None if there are too few to reject anything: fewer than 40.
    """
    kept = [stratum for stratum in strata if len(stratum[1])]
    total = arrangements([len(others) for _, others in kept])
    sampled = total > MOST_ARRANGEMENTS
    gains, weights = _sampled(kept) if sampled else _enumerated(kept)
    # The most arrangements, the actual one among them, that may be as good if the test rejects.
    allowed = math.floor(LEVELS[0] * len(gains) + ROUNDING)
    if allowed == 0:
        return None
    # An arrangement is at least as good as the choice once the chosen items are moved down by its
    # gap, a weighted mean difference over the strata in which it chooses otherwise. The choice
    # itself has no weight: it is as good by any shift.
    same = weights == 0
    gaps = gains / np.where(same, 1.0, weights)
    gaps[np.abs(gaps) < ROUNDING] = 0.0
    rising = np.sort(np.where(same, -np.inf, gaps))
    falling = np.sort(np.where(same, np.inf, gaps))
    # The choice itself comes first: it is the first of those that are allowed.
    low, high = float(rising[allowed]), float(falling[-1 - allowed])
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _enumerated(strata: Sequence[Stratum]) -> tuple[Floats, Floats]:
    """Of all arrangements: what the choice is better by, summed, and the weights it is summed by.

    Both (arrangements,).
    """
    gains, weights = np.zeros(1), np.zeros(1)
    for stratum in strata:
        own_gains, own_weights = _switches(stratum)
        gains = np.add.outer(gains, own_gains).ravel()
        weights = np.add.outer(weights, own_weights).ravel()
    return gains, weights


def _sampled(strata: Sequence[Stratum]) -> tuple[Floats, Floats]:
    """The same of the actual choice, followed by arrangements drawn at random."""
    draw = rng(0, "permutation", len(strata))
    gains, weights = np.zeros(1 + SAMPLED_ARRANGEMENTS), np.zeros(1 + SAMPLED_ARRANGEMENTS)
    for stratum in strata:
        own_gains, own_weights = _switches(stratum)
        picks = draw.integers(len(own_gains), size=SAMPLED_ARRANGEMENTS)
        gains[1:] += own_gains[picks]
        weights[1:] += own_weights[picks]
    return gains, weights


def _switches(stratum: Stratum) -> tuple[Floats, Floats]:
    """What the statistic loses if another item is chosen, and what a shift of one adds to that.

    The first is for the chosen item itself, which changes nothing.
    """
    chosen, others = stratum
    # The other item joins the chosen one's side, and the chosen one joins its mean.
    weight = (len(others) + 1) / len(others)
    gaps = chosen - np.asarray(others, np.float64)
    weights = np.full(len(others), weight)
    return np.append(0.0, weight * gaps), np.append(0.0, weights)


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
