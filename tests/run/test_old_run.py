"""A run that version 0.1.0 wrote in November 2026, before the rooms were moved, stays a run."""

import hashlib
import shutil
from pathlib import Path

import pytest

from nas.record.store import canonical
from nas.run.replay import replay
from nas.run.run import Run

OLD = Path(__file__).parent / "old_run"
CANONICAL = "b8d432c28131d00b0bae3372afcc780feb270a234347bce1f12d5fcb87ccc711"


@pytest.fixture
def run(tmp_path):
    """A copy: reading takes a lock file and may write reports."""
    return Run(shutil.copytree(OLD, tmp_path / "run"))


def test_its_trials_are_read_as_they_were_written(run):
    assert hashlib.sha256(canonical(run.folder).encode()).hexdigest() == CANONICAL
    assert len(run.trials) == 6


def test_its_front_is_the_one_it_wrote_itself(run):
    before = (OLD / "front.csv").read_text()
    run.save_reports()
    assert (run.folder / "front.csv").read_text() == before


def test_its_confirmation_is_read(run):
    assert run.confirmed is not None
    assert not run.confirmed.missing
    assert run.confirmed.openings == 1


def test_its_proposals_are_made_again_from_their_claims(run):
    assert replay(run).difference is None
