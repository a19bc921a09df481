"""SIGKILL at random moments: nothing is lost or repeated, and the end is the unbroken run's."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.record import ledger, race
from nas.record.store import canonical, read

ROOT = Path(__file__).parents[2]
KILLS = 20
TRIALS = 130
LONGEST_PAUSE_SECONDS = 0.05


def start(folder):
    command = [sys.executable, "-m", "tests.kill.victim", str(folder), str(TRIALS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def finished(folder):
    if not (folder / "run.json").exists():
        return []
    return [trial.canonical() for trial in read(folder).trials]


@pytest.mark.parametrize("seed", [0])
def test_twenty_kills_change_nothing(tmp_path, seed):
    with start(tmp_path / "unbroken") as process:
        process.communicate()
    assert process.returncode == 0
    expected = finished(tmp_path / "unbroken")
    assert len(expected) >= TRIALS

    draw, folder, kills, before = random.Random(seed), tmp_path / "killed", 0, []
    while True:
        with start(folder) as process:
            # One in five dies while it opens the run, the others in the loop.
            for _ in range(1 if draw.random() < 0.2 else 2):
                process.stdout.readline()
            if kills < KILLS:
                time.sleep(draw.uniform(0, LONGEST_PAUSE_SECONDS))
                process.kill()
                kills += 1
            process.communicate()
        now = finished(folder)
        assert now[: len(before)] == before
        before = now
        if process.returncode == 0:
            break
        assert process.returncode == -9

    assert before == expected
    assert canonical(folder) == canonical(tmp_path / "unbroken")
    assert kills == KILLS
    # Both longer rungs of the race, each network once.
    rows = [row for row in ledger.read(folder / race.FILE) if row["kind"] == "promotion"]
    assert len(rows) == len(race.read(folder).promotions) > TRIALS / 3
    record = read(folder)
    paid = [trial.digest for trial in record.trials if trial.number not in record.answered]
    assert len(paid) == len(set(paid)) == TRIALS
    assert record.claims == ()
