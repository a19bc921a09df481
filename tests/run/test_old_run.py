"""A run that version 0.1.0 wrote in November 2026, before the rooms were moved, stays a run."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest

from nas.errors import RunError
from nas.record.identity import versions
from nas.record.store import Store, canonical
from nas.run.replay import replay
from nas.run.run import Run
from nas.strategies import make

OLD = Path(__file__).parent / "old_run"
CANONICAL = "b8d432c28131d00b0bae3372afcc780feb270a234347bce1f12d5fcb87ccc711"
CHANGE = "it was made with version 1 of its draws, and this is 2"


@pytest.fixture
def run(tmp_path):
    """A copy: reading takes a lock file and may write reports."""
    return Run(shutil.copytree(OLD, tmp_path / "run"))


def test_its_trials_are_read_as_they_were_written(run):
    assert hashlib.sha256(canonical(run.folder).encode()).hexdigest() == CANONICAL
    assert len(run.trials) == 6


def test_its_front_is_the_one_it_wrote_itself(run):
    before = pd.read_csv(OLD / "front.csv", dtype=str)
    run.save_reports()
    now = pd.read_csv(run.folder / "front.csv", dtype=str)
    # What was not told then.
    assert set(now) - set(before) == {"accuracy_sd"}
    pd.testing.assert_frame_equal(now[before.columns], before)


def test_its_confirmation_is_read(run):
    assert run.confirmed is not None
    assert not run.confirmed.missing
    assert run.confirmed.openings == 1


def test_its_draws_under_a_bound_are_told_to_be_of_another_version(run):
    difference = replay(run).difference
    assert difference is not None
    assert difference.causes[0] == CHANGE


def test_it_is_not_resumed_with_other_draws(run):
    strategy = make(run.identity.strategy.name, run.domain, seed=0)
    asked = dataclasses.replace(run.identity, versions=versions(run.domain, strategy))
    with pytest.raises(RunError, match=f"cannot go on: {CHANGE}. Begin anew with another --out"):
        Store.resume(run.folder, run.space, asked)
