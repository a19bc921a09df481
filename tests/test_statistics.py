"""Bootstrap and permutation intervals, Kendall's tau: what they claim, and how often they err."""

import itertools

import numpy as np
import pytest

from nas.statistics import (
    arrangements,
    bootstrap_interval,
    claim,
    kendall_tau,
    kendall_tau_of_near,
    mean_band,
    mean_interval,
    paired_interval,
    permutation_interval,
    tau_lead_interval,
)

# -- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("noise", ["normal", "laplace", "grid"])
def test_better_is_claimed_rarely_where_nothing_differs(count, noise):
    """Nominal is 2.5 %. 600 samples of a true 4 % exceed 6 % once in 100 tries; they are seeded."""
    draw = np.random.default_rng(count)
    make = {
        "normal": lambda: draw.normal(size=count),
        "laplace": lambda: draw.laplace(size=count),
        "grid": lambda: np.round(2 * draw.normal(size=count)) / 100,
    }[noise]
    claims = [claim(paired_interval(make(), 0.01 if noise == "grid" else 0.0)) for _ in range(600)]
    assert claims.count("better") / 600 <= 0.05
    assert claims.count("worse") / 600 <= 0.05


def test_a_clear_difference_is_found():
    assert claim(paired_interval([0.05, 0.06, 0.055])) == "better"
    assert claim(paired_interval([-0.05, -0.06, -0.055])) == "worse"
    assert claim(paired_interval([0.05, 0.06, -0.01])) == "no evidence"


def test_pairs_that_agree_by_luck_are_no_evidence():
    assert claim(paired_interval([0.01, 0.01, 0.01], 0.01)) == "no evidence"
    assert claim(paired_interval([0.0, 0.0, 0.0])) == "no evidence"
    assert paired_interval([0.3]) is None
    assert claim(None) == "no evidence"


def chosen(scores, places):
    """Strata in which the items of these places are the chosen ones."""
    strata = []
    for row, place in zip(scores, places, strict=True):
        strata.append((row[place], [*row[:place], *row[place + 1 :]]))
    return strata


def rejected(strata, shift):
    """Whether the test rejects, at 2.5 %, that the choice is better by a shift or less.

    As it is defined: by the statistic of every arrangement.
    """
    scores = [[own - shift, *others] for own, others in strata]

    def statistic(places):
        return sum(own - np.mean(others) for own, others in chosen(scores, places))

    every = list(itertools.product(*(range(len(row)) for row in scores)))
    own = statistic((0,) * len(scores))
    as_good = sum(statistic(places) >= own - 1e-9 for places in every)
    return as_good / len(every) <= 0.025


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (4, 4, 4), (2,) * 6, (2, 5, 7), (40,)])
@pytest.mark.parametrize("lean", ["normal", "exponential", "lognormal", "grid"])
def test_whatever_the_scores_a_choice_at_random_is_better_in_at_most_a_fortieth(sizes, lean):
    """Exact: of all choices from the same scores at most 2.5 % are called better, or worse."""
    draw = np.random.default_rng(len(sizes))
    count = sum(sizes)
    values = {
        "normal": draw.normal(size=count),
        "exponential": -draw.exponential(size=count),
        "lognormal": draw.lognormal(size=count),
        "grid": draw.integers(3, size=count) / 100,
    }[lean]
    scores = [part.tolist() for part in np.split(values, np.cumsum(sizes)[:-1])]
    every = itertools.product(*map(range, sizes))
    claims = [claim(permutation_interval(chosen(scores, places))) for places in every]
    assert len(claims) == arrangements([size - 1 for size in sizes])
    for word in ("better", "worse"):
        assert claims.count(word) <= 0.025 * len(claims)
        assert lean == "grid" or claims.count(word) == int(0.025 * len(claims))


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (2, 5, 7), (2,) * 6])
def test_the_permutation_interval_holds_the_shifts_that_the_test_does_not_reject(sizes):
    draw = np.random.default_rng(7)
    for _ in range(3):
        strata = [(draw.normal(), draw.normal(size=size - 1).tolist()) for size in sizes]
        low, high = permutation_interval(strata)
        assert rejected(strata, low - 1e-6)
        assert not rejected(strata, low + 1e-6)
        mirrored = [(-own, [-other for other in others]) for own, others in strata]
        assert rejected(mirrored, -high - 1e-6)
        assert not rejected(mirrored, -high + 1e-6)


def test_too_few_arrangements_are_no_interval():
    assert permutation_interval([]) is None
    assert permutation_interval([(0.9, [0.5])] * 5) is None
    assert permutation_interval([(0.9, [0.5] * 38)]) is None
    low, high = permutation_interval([(0.9, [0.5] * 39)])
    assert (low, high) == pytest.approx((0.4, 0.4))


def test_equal_scores_are_no_evidence_however_they_are_summed():
    assert permutation_interval([(0.1 + 0.2, [0.3, 0.3])] * 4) == (0.0, 0.0)


def test_many_arrangements_are_sampled_and_say_nearly_the_same(monkeypatch):
    draw = np.random.default_rng(3)
    strata = [(draw.normal(1), draw.normal(size=3).tolist()) for _ in range(8)]
    exact = permutation_interval(strata)
    monkeypatch.setattr("nas.statistics.MOST_ARRANGEMENTS", 1000)
    assert permutation_interval(strata) == pytest.approx(exact, abs=0.03)
    assert permutation_interval(strata) != exact


def test_the_band_covers_the_mean_as_often_as_it_says():
    """95 % of 200 bands of 30 normal seeds hold the mean; below 85 % is under 1 in a million."""
    generator = np.random.default_rng(0)
    low, high = mean_band(generator.standard_normal((30, 200)))
    assert 0.85 < np.mean((low < 0) & (high > 0)) < 1


def test_seeded_intervals_stay_what_they_are():
    values = np.array([0.02, 0.05, -0.01, 0.04])
    assert paired_interval(values.tolist(), 0.001) == (-0.0171856631289435, 0.06249836722572756)
    assert mean_interval(values) == (0.0025000000000000005, 0.045)
    assert bootstrap_interval(lambda drawn: float(values[drawn].max()), 4, resamples=100) == (
        0.02,
        0.05,
    )


# -- rank correlation -----------------------------------------------------------------------------


def test_tau_is_kendalls():
    first = np.array([1.0, 2.0, 3.0, 4.0, 4.0])
    second = np.array([1.0, 3.0, 2.0, 4.0, 5.0])
    assert kendall_tau(first, second) == pytest.approx((8 - 1) / np.sqrt(9 * 10))
    assert kendall_tau(first, second) == pytest.approx(kendall_tau_of_near(first, second, 100.0))


def test_tau_is_unknown_where_all_values_are_equal():
    assert kendall_tau(np.ones(3), np.arange(3.0)) is None
    assert kendall_tau(np.ones(1), np.ones(1)) is None


def test_tau_in_a_band_sees_near_pairs_only():
    measured = np.array([1.0, 1.05, 10.0, 10.5])
    estimated = np.array([1.05, 1.0, 10.5, 10.0])  # right across bands, wrong inside
    assert kendall_tau(estimated, measured) > 0
    assert kendall_tau_of_near(estimated, measured, 0.1) == -1
    assert kendall_tau_of_near(np.array([1.0, 2.0]), np.array([1.0, 9.0]), 0.1) is None


def test_a_score_leads_itself_by_nothing():
    truth = np.random.default_rng(0).normal(size=12)
    assert tau_lead_interval(truth, truth, truth, resamples=20) == (0.0, 0.0)
    low, high = tau_lead_interval(truth, -truth, truth, resamples=20)
    assert (low, high) == pytest.approx((2.0, 2.0))
