"""A front whose networks were timed as wholes shows, and picks by, what they took."""

import json
import shutil
from pathlib import Path

import pytest

from nas.errors import RunError
from nas.latency.measured import Measured, TimedHere
from nas.record.store import canonical
from nas.run import timings
from nas.run.report import verdict
from nas.run.run import Run

OLD = Path(__file__).parent / "old_run"


@pytest.fixture
def folder(tmp_path):
    """A run bounded at 60 ms: trials 5, 2, 4 on the front, of 39.9, 46.1 and 50.8 ms."""
    return shutil.copytree(OLD, tmp_path / "run")


def timed(folder, **ms_by_trial):
    run = Run(folder)
    for name, ms in ms_by_trial.items():
        network = run.network(int(name.removeprefix("trial_")))

        def here(table, networks, watch, ms=ms):
            assert len(networks) == 1
            return TimedHere(measured=[Measured(first_ms=0.99 * ms, second_ms=1.01 * ms)])

        timings.record(folder, run.tables[0], [network], here)
    return Run(folder)


def numbers(trials):
    return [trial.number for trial in trials]


def test_what_was_timed_stands_beside_the_estimate_and_the_record_stays(folder):
    before = canonical(folder)
    run = timed(folder, trial_4=52.0)
    assert canonical(folder) == before
    row = next(row for row in run.front_rows() if row["trial"] == 4)
    assert row["timed_ms"] == pytest.approx(52.0)
    assert row["latency_ms"] == pytest.approx(50.76, abs=0.01)
    assert row["devices"]["pixel1"]["timed"]["latency_sd_ms"] == pytest.approx(0.02 * 52)
    assert "timed ms" in run.front_text()
    assert run.front(full=True)["timed_ms@pixel1"].notna().sum() == 1
    assert run.timing_lines("pixel1") == [
        "timed on pixel1: 1 network of the front; the table is off by 2.4 % in the mean, "
        "-2.4 % at worst"
    ]


def test_a_network_that_turns_out_slow_lets_others_onto_the_front(folder):
    assert numbers(Run(folder).front_trials) == [5, 2, 4]
    run = timed(folder, trial_4=59.0)
    assert numbers(run.front_trials) == [5, 2, 0, 3, 4] or 0 in numbers(run.front_trials)
    assert set(numbers(run.front_trials)) >= {5, 2, 4, 0}
    assert run.frame().set_index("trial").loc[0, "front"]
    digests = {network.digest for network in run.untimed("pixel1")}
    assert run.trial(0).digest in digests
    assert run.trial(4).digest not in digests


def test_a_pick_keeps_its_bound_by_what_was_timed(folder):
    assert Run(folder).pick(latency_ms=55).trial.number == 4
    run = timed(folder, trial_4=56.0)
    assert run.pick(latency_ms=55).trial.number != 4
    assert run.pick(latency_ms=57).trial.number == 4
    # 56 ms and a deviation of 2 %.
    assert run.pick(latency_ms=58, confidence=0.95).trial.number == 4
    assert run.pick(latency_ms=57, confidence=0.95).trial.number != 4


def test_what_took_longer_than_the_run_allows_is_marked_and_not_the_best(folder):
    run = timed(folder, trial_4=66.0)
    assert "66.00 ± 1.32, 10.0 % over" in run.front_text()
    assert run.best().number != 4
    assert run.pick().trial.number != 4
    assert "1 network took longer than 60 ms" in run.timing_lines("pixel1")[0]


def test_the_line_of_a_pick_says_what_it_took_and_by_how_much_it_is_over(folder):
    assert "by its table" not in verdict(Run(folder)).pick
    run = timed(folder, trial_4=59.0)
    assert "50.8 ± " in verdict(run).pick
    assert "59.0 ± 1.2 ms as timed" in verdict(run).pick
    assert "over the bound" not in verdict(run).pick
    # None keeps the bound: one is picked all the same.
    every = {f"trial_{trial.number}": 66.0 for trial in run.trials if trial.state == "complete"}
    assert "ms as timed, 10.0 % over the bound" in verdict(timed(folder, **every)).pick


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "timed"}',
        json.dumps(
            {"kind": "timed", "device": "pixel1", "digest": "x", "first_ms": -1, "second_ms": 1}
        ),
    ],
)
def test_a_damaged_ledger_is_one_line(folder, line):
    (folder / timings.LEDGER).write_text(line + "\n")
    with pytest.raises(RunError, match=r"latency\.jsonl is damaged.*Remove it to time anew"):
        Run(folder).front_trials  # noqa: B018
