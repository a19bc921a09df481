"""Trainings without hope: known by what is left to rise, never by rank."""

import pytest

from nas.errors import UsageError
from nas.objectives import Objective, Objectives
from nas.study.stopping import FEWEST, Hopeless

OBJECTIVES = Objectives((Objective("accuracy", "maximize"), Objective("macs", "minimize")))


def told(rise=0.1, count=FEWEST):
    found = Hopeless(OBJECTIVES)
    for i in range(count):
        end = 0.5 + i / 100
        found.learn(
            {"search_accuracy": end, "accuracy": 0.0, "macs": 100.0 + i},
            [{"search_accuracy": end - rise}],
        )
    return found


def at(accuracy, macs):
    return {"search_accuracy": accuracy, "macs": macs}


def test_hopeless_is_what_the_largest_rise_seen_leaves_dominated():
    found = told()
    assert found.judge(1, at(0.3, 200.0))  # hopes for .4, and .59 is there at 109
    assert not found.judge(1, at(0.3, 99.0))  # nobody is cheaper
    assert not found.judge(1, at(0.495, 200.0))
    assert not found.judge(2, at(0.0, 200.0))  # no rise was seen from there


def test_trainings_are_judged_by_what_strategies_are_told():
    found = Hopeless(OBJECTIVES)
    for i in range(FEWEST):
        # Accuracies tie; only the likelihoods say that all is lost.
        end = {"search_accuracy": 0.9, "search_likelihood": 0.5 + i / 100, "macs": 100.0 + i}
        found.learn(end, [{"search_accuracy": 0.5, "search_likelihood": 0.4 + i / 100}])
    part = {"search_accuracy": 0.9, "macs": 200.0}
    assert found.judge(1, {**part, "search_likelihood": 0.3})
    assert not found.judge(1, {**part, "search_likelihood": 0.495})


def test_too_few_complete_trials_say_nothing():
    assert not told(count=FEWEST - 1).judge(1, at(0.0, 1e9))


def test_what_is_not_one_quality_beside_costs_is_refused():
    for names in (("macs",), ("accuracy", "macro_f1"), ("accuracy", "train_ms")):
        with pytest.raises(UsageError, match="hopeless trainings are known by one quality"):
            Hopeless(Objectives(tuple(Objective(name, "minimize") for name in names)))
