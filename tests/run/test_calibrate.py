"""Before a search, networks of its budget are timed, and its table is corrected by them."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nas import catalog
from nas.errors import BoundError, UsageError
from nas.latency.measured import Measured, TimedHere
from nas.latency.table import Table
from nas.record.identity import space_digest
from nas.run.calibrate import calibrated
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.report import content
from nas.run.resume import resumed

KILL = Path(__file__).parent.parent / "kill"


@pytest.fixture(scope="module")
def instant():
    sys.path.insert(0, str(KILL))
    import instant

    yield instant
    sys.path.remove(str(KILL))


def device(factor, unreliable=()):
    """A device that takes so many times what the table says, and remembers whom it timed."""
    met = []

    def time_here(table, networks, watch):
        met.append(list(networks))
        times = [factor * table.estimate(network).latency_ms for network in networks]
        measured = [Measured(first_ms=0.99 * ms, second_ms=1.01 * ms) for ms in times]
        return TimedHere(measured=measured, unreliable=unreliable)

    return time_here, met


def ready(instant, tmp_path, **settings):
    """A search whose budget about half of the toy space's networks keep."""
    run = instant.searched(tmp_path / "all", trials=7)
    upper = sorted(trial.metrics["latency_ms@pixel1"] for trial in run.trials)[3]
    asked = {"latency_ms": upper, "trials": 5, **settings}
    return replace(plan(instant.asked(tmp_path / "run", **asked)), calibrates=True)


def test_a_search_looks_where_the_device_takes_the_budget(instant, tmp_path):
    before = ready(instant, tmp_path)
    time_here, met = device(1.2)
    said = []
    after = calibrated(before, said.append, time_here=time_here)
    upper = before.settings.bounds.latency_ms
    said_of = f"networks of {0.9 * upper:.4g} to {upper:.4g} ms by pixel1 are timed here first"
    assert said_of in said[0]
    # The second round lies where the first has moved the budget to.
    original = before.tables[0]
    second = [original.estimate(network).latency_ms for network in met[1]]
    assert max(second) <= upper / 1.2 * 1.001
    digests = [network.digest for network in (*met[0], *met[1])]
    assert len(digests) == len(set(digests))
    assert not after.calibrates
    assert "16.7 % too low in the mean" in after.lines()[1]
    run = execute(after, tmp_path / "run").run
    assert "calibrated" in dict(content(run).how)
    for trial in run.trials:
        network = run.network_of(trial)
        assert 0.9 * upper <= 1.2 * original.estimate(network).latency_ms * 1.001 <= 1.002 * upper


def test_a_table_that_is_far_off_is_corrected_where_the_budget_is(instant, tmp_path):
    before = ready(instant, tmp_path)
    slope = device(0.3)[0]
    upper = before.settings.bounds.latency_ms

    def time_here(table, networks, watch):
        # Not a factor, so that a correction far from the budget is wrong at it.
        found = slope(table, networks, watch).measured
        times = [one.latency_ms * (1 + one.latency_ms / upper) for one in found]
        return TimedHere(measured=[Measured(first_ms=ms, second_ms=ms) for ms in times])

    made = calibrated(before, lambda line: None, time_here=time_here).tables[0].info.calibration
    assert 0.75 * upper < made.low_ms <= made.high_ms < 1.25 * upper


def test_a_calibrated_run_goes_on_by_its_own_table(instant, tmp_path):
    time_here, _ = device(0.9)
    after = calibrated(ready(instant, tmp_path), lambda line: None, time_here=time_here)
    run = execute(after, tmp_path / "run").run
    assert run.tables[0].digest == after.tables[0].digest
    settings = resumed(run.folder, {"trials": 7})
    assert settings.crew.calibrate is False
    again = execute(plan(settings), run.folder, resume=True).run
    assert len(again.trials) == 7
    assert again.identity == run.identity
    with pytest.raises(UsageError, match="leave out --calibrate, or begin another run"):
        resumed(run.folder, {"calibrate": True})


def test_a_table_of_a_busy_machine_stays_as_it_is(instant, tmp_path):
    before = ready(instant, tmp_path)
    time_here, met = device(3.0, ["another process took 40 % of the time"])
    after = calibrated(before, lambda line: None, time_here=time_here)
    assert after.tables == before.tables
    assert len(met) == 1
    line = "calibrate  not done: another process took 40 % of the time"
    assert line in after.lines()


def test_a_budget_that_no_network_keeps_on_the_device_is_refused(instant, tmp_path):
    time_here, _ = device(50.0)
    with pytest.raises(BoundError, match="timed here correct it; --no-calibrate goes by"):
        calibrated(ready(instant, tmp_path), lambda line: None, time_here=time_here)


def test_a_calibrated_table_serves_other_searches_of_its_space_and_budget(
    instant, tmp_path, monkeypatch
):
    time_here, _ = device(0.9)
    before = ready(instant, tmp_path)
    after = calibrated(before, lambda line: None, time_here=time_here)
    run = execute(after, tmp_path / "run").run
    copy = run.folder / "devices" / "pixel1.csv"
    made = Table.load(copy).info.calibration
    assert made.bias_before == pytest.approx(1 / 0.9 - 1, rel=1e-3)
    assert made.space == space_digest(before.space)
    # As if it were a table of this machine, so that only what it was calibrated for decides.
    monkeypatch.setattr(catalog, "not_here", lambda table: "")
    settings = before.settings.changed(devices=(str(copy),))
    again = plan(settings)
    assert again.tables[0].digest == after.tables[0].digest
    assert not again.calibrates
    assert plan(settings.changed(latency_ms=1.2 * settings.bounds.latency_ms)).calibrates
    assert plan(settings.changed(space="fbnet", latency_ms=60.0)).calibrates


def test_calibrating_needs_a_budget_and_a_table_of_this_machine(instant, tmp_path):
    asked = instant.asked(tmp_path / "run", calibrate=True)
    with pytest.raises(UsageError, match="there is none: it takes --latency"):
        plan(asked)
    before = ready(instant, tmp_path)
    with pytest.raises(UsageError, match="table 'pixel1' is not of this machine: its runtime"):
        plan(before.settings.changed(calibrate=True))
    assert not plan(before.settings).calibrates
