"""Bounds with a confidence, and several devices, from settings to a run that is read again."""

import sys
from pathlib import Path

import pytest

import nas
from nas.cost.confidence import sure_latency_ms
from nas.errors import BoundError, RunError, UsageError
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.run import Run
from nas.run.settings import Search

KILL = Path(__file__).parent.parent / "kill"


@pytest.fixture(scope="module")
def instant():
    sys.path.insert(0, str(KILL))
    import instant

    yield instant
    sys.path.remove(str(KILL))


def middle(instant, tmp_path):
    """A latency that about half of the toy space's networks meet."""
    run = instant.searched(tmp_path / "all", trials=7)
    return sorted(trial.metrics["latency_ms@pixel1"] for trial in run.trials)[3]


def test_every_network_searched_keeps_the_latency_surely_and_a_resume_knows_how(instant, tmp_path):
    upper = middle(instant, tmp_path)
    run = instant.searched(
        tmp_path / "sure", latency_ms=upper, confidence=0.95, trials=4, aim="front"
    )
    for trial in run.trials:
        assert sure_latency_ms(run.tables[0].estimate(run.space.decode(trial.genes)), 0.95) <= upper
    assert run.identity.margins["pixel1"].confidence == 0.95
    assert run.identity.bounds == {"latency_p95_ms@pixel1": (None, upper)}
    assert run.identity.reference[1] == upper
    assert Run(run.folder).domain.compiled.names == run.domain.compiled.names
    settings = Search.from_json(run.record.run_file.settings)
    again = execute(plan(settings.changed(trials=6)), run.folder, resume=True)
    assert len(again.run.trials) == 6
    with pytest.raises(RunError, match=r"was begun with another (margins|bounds)"):
        execute(plan(settings.changed(confidence=0.9)), run.folder, resume=True)
    assert any("confidence 0.95 on pixel1" in line for line in plan(settings).lines())


def test_what_no_network_keeps_is_refused_with_what_one_does(instant, tmp_path):
    fastest = instant.searched(tmp_path / "all", trials=1).domain.compiled.extreme(
        "latency_ms@pixel1"
    )[0]
    with pytest.raises(
        BoundError, match=r"keeps .* on 'pixel1' with probability 0.95: .* Try ([0-9.]+) ms"
    ) as refused:
        instant.searched(tmp_path / "sure", latency_ms=1.01 * fastest, confidence=0.95)
    reach = float(str(refused.value).partition("Try ")[2].split()[0])
    assert fastest < reach < 2 * fastest
    assert instant.searched(
        tmp_path / "reached", latency_ms=reach, confidence=0.95, trials=1
    ).trials


def test_a_latency_is_a_budget_to_be_used_up(instant, tmp_path):
    upper = middle(instant, tmp_path)
    run = instant.searched(tmp_path / "budget", latency_ms=upper, trials=6)
    latencies = [trial.metrics["latency_ms@pixel1"] for trial in run.trials]
    assert len(latencies) == 6
    assert min(latencies) >= 0.9 * upper
    assert max(latencies) <= upper
    # So a strategy learns from the quality alone, and the run goes on as it was begun.
    assert run.objectives.told_count == 1
    settings = Search.from_json(run.record.run_file.settings)
    assert any("aim " in line and "--aim front" in line for line in plan(settings).lines())
    again = execute(plan(settings.changed(trials=7)), run.folder, resume=True)
    assert len(again.run.trials) == 7


def test_a_budget_that_every_network_keeps_is_a_limit(instant, tmp_path):
    run = instant.searched(tmp_path / "long", latency_ms=1e6, trials=1)
    assert run.identity.bounds["latency_ms@pixel1"] == (None, 1e6)
    settings = Search.from_json(run.record.run_file.settings)
    assert any("aim        all within the bounds" in line for line in plan(settings).lines())


def test_a_budget_a_little_above_the_slowest_network_is_used_up(instant, tmp_path):
    costs = instant.searched(tmp_path / "one", trials=1).domain.compiled
    slowest = costs.extreme("latency_ms@pixel1", largest=True)[0]
    run = instant.searched(tmp_path / "slow", latency_ms=1.05 * slowest, trials=2)
    lower, upper = run.identity.bounds["latency_ms@pixel1"]
    assert (lower, upper) == pytest.approx((0.945 * slowest, 1.05 * slowest))
    assert all(trial.metrics["latency_ms@pixel1"] >= lower for trial in run.trials)


@pytest.mark.parametrize(
    "changes",
    [
        {"aim": "front"},
        {"latency_min_ms": 0.001},
        {"objectives": ("accuracy", "params")},
        {"objectives": ("latency_ms",)},
        {"reward": "mnasnet_soft"},
    ],
)
def test_a_latency_is_a_limit_where_more_was_said(instant, tmp_path, changes):
    upper = middle(instant, tmp_path)
    run = instant.searched(tmp_path / "limit", latency_ms=upper, trials=2, **changes)
    assert run.identity.bounds["latency_ms@pixel1"] == (changes.get("latency_min_ms"), upper)
    assert not run.objectives.quality_alone


def test_a_budget_whose_last_part_other_bounds_leave_out_is_a_limit(instant, tmp_path):
    upper = middle(instant, tmp_path)
    fastest = instant.searched(tmp_path / "one", trials=1).domain.compiled.extreme("macs")[0]
    run = instant.searched(
        tmp_path / "small", latency_ms=upper, maxima={"macs": 1.01 * fastest}, trials=1
    )
    assert run.identity.bounds["latency_ms@pixel1"] == (None, upper)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latency_ms": 9.0, "aim": "fornt"}, "no aim named 'fornt'. Did you mean 'front'"),
        ({"confidence": 0.95}, "so it needs --latency"),
        ({"confidence": 95.0, "latency_ms": 9.0}, "a probability from 0.5 to below 1"),
        ({"confidence": float("nan"), "latency_ms": 9.0}, "must be a probability from 0.5 to"),
        ({"devices": ("pixel1", "pixel")}, "device 'pixel1' is named 2 times: keep one"),
        ({"latency_ms": 9.0, "maxima": {"latency_ms@pixel": 8.0}}, "bounded twice"),
    ],
)
def test_mistakes(instant, tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        instant.searched(tmp_path / "run", **settings)


def test_several_devices_share_one_training(instant, tmp_path):
    run = instant.searched(tmp_path / "run", devices=("pixel1", "pixel3"), trials=6)
    assert run.devices == ("pixel1", "pixel3")
    assert set(run.device_fronts()) == {"pixel1", "pixel3"}
    shown = run.devices_text()
    assert "front on pixel3" in shown
    assert "rank correlation of pixel1 and pixel3" in shown
    assert "least regret on its worst device" in str(run.pick(all_devices=True))
    assert instant.searched(tmp_path / "one", trials=2).devices_text() == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": "4"}, r"setting trials must be int \| None, not '4'"),
        ({"trials": True}, "setting trials must be int"),
        ({"trials": 0}, "setting trials must be at least 1, not 0"),
        ({"threads": -1}, "setting threads must be at least 1, not -1"),
        ({"latency_ms": "60ms"}, r"setting latency_ms must be float \| None, not '60ms'"),
        ({"device": ["pixel1", 3]}, r"setting devices must be tuple\[str, ...\], not "),
        ({"device": 5}, "setting devices must be tuple"),
        ({"groups": 5}, r"setting groups must be str \| None, not 5"),
        ({"maxima": {"params": "5M"}}, "setting maxima must be "),
        ({"seed": "a"}, "setting seed must be int, not 'a'"),
        ({"out": 5}, "out is the path of a run folder, not 5"),
    ],
)
def test_python_is_told_of_wrong_settings_before_a_folder_is_made(
    settings, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        nas.search(**settings)
    assert list(tmp_path.iterdir()) == []
