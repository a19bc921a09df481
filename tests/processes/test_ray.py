"""Ray: Tune runs the evaluations, the record is ours.

A worker that dies is replaced, failures are told, ASHA stops some.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import nas
from nas.errors import UsageError
from nas.record.store import read
from nas.study.race import Racing
from nas.study.ray import Cluster, Driver
from tests.processes.test_workers import check_race, study

ROOT = Path(nas.__file__).parent.parent
CODE = """
import sys
from functools import partial
from pathlib import Path
from nas.study import ray
from nas.study.race import Racing
from tests.processes.test_workers import study
from tests.processes.evaluators import Wild
folder = Path(sys.argv[1])
(folder / "calls").mkdir()
made = partial(Wild, folder / "calls", {1: "die", 3: "odd"})
given = ray.Cluster(workers=2, scheduler=sys.argv[2] or None, parts=4)
racing = None if sys.argv[2] else Racing(rungs=2)
print(ray.run(study(folder, racing), made, given, trials=6).reason)
"""


@pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install 'nas-toolkit[ray]'"
)
@pytest.mark.parametrize("scheduler", ["", "asha"])
def test_a_search_on_ray_survives_a_worker(tmp_path, scheduler):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path), scheduler],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    raced = "raced in 2 rungs of 5 and 2 networks\n"
    assert done.stdout == ("6 trials are done\n" if scheduler else raced), done.stderr
    record = read(tmp_path / "run")
    assert sorted(trial.number for trial in record.trials) == list(range(6))
    assert record.claims == ()
    assert (tmp_path / "run" / "ray" / "tune").is_dir()
    if not scheduler:
        failed = [trial.reason for trial in record.trials if trial.state == "failed"]
        assert failed == ["ZeroDivisionError: by zero"]
        assert len(list((tmp_path / "calls").iterdir())) == 7 + 2
        assert check_race(tmp_path / "run", Racing(rungs=2)) == [2]
    else:
        assert {trial.state for trial in record.trials} <= {"complete", "stopped"}
        assert all(
            "stopped early by asha after part" in t.reason
            for t in record.trials
            if t.state == "stopped"
        )


def test_a_network_whose_worker_is_lost_is_suggested_again(tmp_path):
    """Also where Tune would not, as the worker died before the trial's first step."""
    searched = study(tmp_path)
    searched.begin(trials=1)
    driver = Driver(searched, Cluster(max_failures=2))
    first = driver.suggest("a")
    assert driver.suggest("other") is None
    assert not driver.finished
    for before, after in ("ab", "bc"):
        driver.complete(before, {}, lost=True)
        assert driver.suggest(after) == first
    driver.complete("c", {}, lost=True)
    assert driver.suggest("d") is None
    assert driver.finished
    searched.store.close()
    [trial] = read(tmp_path / "run").trials
    assert (trial.state, trial.reason) == (
        "failed",
        "its Ray worker was lost 3 times: out of memory?",
    )


def test_a_scheduler_nobody_knows_is_refused():
    with pytest.raises(UsageError, match=r"no scheduler named 'ashra'\. Did you mean 'asha'"):
        Cluster(scheduler="ashra")
