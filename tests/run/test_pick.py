"""What a pick over several devices means."""

import pytest

from nas.errors import UsageError
from nas.objectives import Objective, Objectives
from nas.report.devices import front_on, front_over, summary
from nas.run.pick import choose
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
    found, *_, reason = choose(TRIALS, OBJECTIVES, {}, devices=both)
    assert found.number == 2
    assert "least regret on its worst device" in reason
    found, *_ = choose(
        TRIALS, OBJECTIVES, {}, devices=both, weights={"accuracy": 1, "latency_ms@a": 0}
    )
    assert found.number == 0


def test_it_is_no_knee_beside():
    with pytest.raises(UsageError, match="is a knee already: give one"):
        choose(TRIALS, OBJECTIVES, {}, knee=True, devices=["latency_ms@a"])
