"""What a pick over several devices means."""

import pytest

from nas.errors import RunError, UsageError
from nas.objectives import Objective, Objectives
from nas.report.devices import front_on, front_over, summary
from nas.run.pick import Limit, choose
from nas.trial import Trial

OBJECTIVES = Objectives((Objective("accuracy", "maximize"), Objective("latency_ms@a", "minimize")))


def trial(number, accuracy, a, b):
    metrics = {"accuracy": accuracy, "latency_ms@a": a, "latency_ms@b": b}
    return Trial(
        number=number, genes=(number,), digest=f"d{number}", state="complete", metrics=metrics
    )


# 0 is good on a alone, 1 on b alone, 2 nearly as good as either on both, 3 on neither.
TRIALS = [
    trial(0, 0.90, 10, 40),
    trial(1, 0.90, 40, 10),
    trial(2, 0.89, 11, 11),
    trial(3, 0.70, 30, 30),
]


def test_each_device_has_its_front():
    assert [t.number for t in front_on(TRIALS, OBJECTIVES, "a")] == [0]
    assert [t.number for t in front_on(TRIALS, OBJECTIVES, "b")] == [1]
    assert {t.number for t in front_over(TRIALS, OBJECTIVES, ["a", "b"])} == {0, 1, 2}
    shown = summary({"a": TRIALS[:1], "b": TRIALS[1:2]}, OBJECTIVES, {("a", "b"): 0.25})
    assert "front on b" in shown
    assert "rank correlation of a and b: Kendall's tau 0.25" in shown


def test_the_pick_for_all_devices_has_the_least_regret_on_its_worst_one():
    both = ["latency_ms@a", "latency_ms@b"]
    chosen = choose(TRIALS, OBJECTIVES, {}, devices=both)
    assert chosen.trial.number == 2
    assert "least regret on its worst device" in chosen.reason
    accuracy_alone = {"accuracy": 1, "latency_ms@a": 0}
    chosen = choose(TRIALS, OBJECTIVES, {}, devices=both, preferences=accuracy_alone)
    assert chosen.trial.number == 0


def test_the_best_in_the_first_objective_is_chosen_without_a_rule():
    chosen = choose(TRIALS, OBJECTIVES, {})
    assert (chosen.trial.number, chosen.metric, chosen.score) == (0, "accuracy", 0.90)
    assert not chosen.confirmed


def test_a_confirmed_score_stands_in_for_the_searchs():
    chosen = choose(TRIALS, OBJECTIVES, {"d3": 0.6, "d2": 0.5})
    assert (chosen.trial.number, chosen.score, chosen.confirmed) == (3, 0.6, True)
    assert chosen.reason == "trained anew by nas confirm, among 2 confirmed of 4"
    assert chosen.test is None


def test_test_scores_decide_nothing_and_are_told_of_the_pick_alone():
    selection, tested = {"d3": 0.6, "d2": 0.5}, {"d3": 0.1, "d2": 0.9}
    chosen = choose(TRIALS, OBJECTIVES, selection, tested)
    assert (chosen.trial.number, chosen.score, chosen.test) == (3, 0.6, 0.1)
    assert "0.9" not in chosen.reason


def test_networks_confirmed_on_test_alone_are_chosen_among_as_they_were_searched():
    chosen = choose(TRIALS, OBJECTIVES, {}, {"d3": 0.99, "d0": 0.2})
    assert (chosen.trial.number, chosen.score, chosen.confirmed) == (0, 0.90, False)
    assert chosen.test == 0.2
    assert "an earlier version confirmed some on the test set alone" in chosen.reason


def test_two_confirmed_networks_make_no_knee():
    chosen = choose(TRIALS, OBJECTIVES, {"d3": 0.6, "d2": 0.5}, knee=True)
    assert not chosen.confirmed
    assert "too few of them are confirmed for a knee" in chosen.reason


def test_a_limit_leaves_the_trials_within_it_or_says_what_the_fastest_takes():
    assert Limit(metric="latency_ms@a", upper_ms=11).within(TRIALS) == [TRIALS[0], TRIALS[2]]
    surely = Limit(metric="latency_ms@a", upper_ms=11, kept_ms=lambda trial: 12.0)
    with pytest.raises(RunError, match="<= 11 with that confidence: the fastest takes 12"):
        surely.within(TRIALS)
    with pytest.raises(RunError, match="nothing to pick"):
        choose([], OBJECTIVES, {}, limit=surely)


def test_it_is_no_knee_beside():
    with pytest.raises(UsageError, match="is a knee already: give one"):
        choose(TRIALS, OBJECTIVES, {}, knee=True, devices=["latency_ms@a"])
