"""A search followed from outside its process, by its folder alone."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from nas.errors import RunError
from nas.progress import Pace
from nas.record.journal import RunLock
from nas.record.status import FILE, Keeper
from nas.run.execute import execute
from nas.run.follow import follow, look
from nas.run.plan import plan

OLD = Path(__file__).parent / "old_run"


@pytest.fixture(scope="module")
def instant():
    kill = str(Path(__file__).parent.parent / "kill")
    sys.path.insert(0, kill)
    import instant

    yield instant
    sys.path.remove(kill)


@pytest.fixture
def watch(command_line):
    """Call as ``watch(run, *options, code=0)``: stdout and stderr of ``nas watch``."""
    return partial(command_line, "watch")


def killed(folder):
    """Make the run look as a kill at its last step would have left it."""
    kept = json.loads((folder / FILE).read_text())
    kept |= {"phase": "searching", "reason": "", "running": [27], "eta_seconds": 9.0}
    (folder / FILE).write_text(json.dumps(kept))


def test_a_finished_search_is_told_as_it_was_told_itself(instant, tmp_path, watch):
    run = instant.searched(tmp_path / "run", trials=12)
    (seen,) = follow(run.folder)
    assert (seen.state, seen.reason) == ("ended", "12 trials are done")
    assert seen.progress.best.digest == run.best().digest
    assert seen.progress.figures["front"] == len(run.front_trials)
    assert [(stage.name, stage.done, stage.planned) for stage in seen.progress.stages] == [
        ("trials", 12, 12)
    ]
    out, _ = watch(run.folder)
    assert out.startswith("ended      12 trials are done; 12 trials in ")
    assert f"trial {run.best().number}  accuracy" in out
    (line,) = watch(run.folder, "--json")[0].splitlines()
    assert json.loads(line)["done"] == 12


def test_the_rung_that_was_trained_last_is_what_is_told_of_a_race(instant, tmp_path):
    steps = []
    settings = instant.asked(tmp_path / "run", trials=9, race="eta=3,rungs=2")
    result = execute(plan(settings), tmp_path / "run", watch=steps.append)
    (seen,) = follow(result.run.folder)
    last = steps[-1]
    assert seen.progress.what == last.what == "rung 2, network"
    assert (seen.progress.done, seen.progress.stages) == (last.done, last.stages)
    assert seen.progress.best.metrics == last.best.metrics
    assert seen.progress.recent[-1].number == last.last.number
    assert seen.progress.figures == last.figures


def test_a_killed_search_is_told_from_one_that_goes_on(instant, tmp_path, watch):
    run = instant.searched(tmp_path / "it is", trials=5)
    killed(run.folder)
    lock = RunLock(run.folder)
    going = look(run.folder)
    assert (going.state, going.over, going.progress.running) == ("searching", False, (27,))
    # The clock of the search goes on between two of its steps.
    assert going.progress.eta_seconds < 9.0
    lock.release()
    assert look(run.folder).state == "killed"
    _, err = watch(run.folder, code=1)
    assert "was killed after 5 trials. Nothing finished is lost" in err
    assert f"nas search --resume '{run.folder}'" in err


def test_it_follows_until_the_search_ends(instant, tmp_path):
    run = instant.searched(tmp_path / "run", trials=5)
    killed(run.folder)
    lock, keeper, states = RunLock(run.folder), Keeper(run.folder), []

    def pass_time(seconds):
        if len(states) < 3:
            keeper.stand("timing", Pace("network", 4).at(len(states)))
            return
        keeper.ended("5 trials are done", 1.0)
        lock.release()

    for seen in follow(run.folder, sleep=pass_time):
        states.append((seen.state, None if seen.step is None else seen.step.done))
    assert states == [("searching", None), ("timing", 1), ("timing", 2), ("ended", None)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RunError("ten trials in a row failed")])
def test_how_a_session_ended_early_is_kept(instant, tmp_path, watch, error):
    def stop(step):
        if step.done == 3:
            raise error

    settings = instant.asked(tmp_path / "run", trials=9)
    with pytest.raises(type(error)):
        execute(plan(settings), tmp_path / "run", watch=stop)
    state = "failed" if str(error) else "interrupted"
    (seen,) = follow(tmp_path / "run")
    assert (seen.state, seen.reason) == (state, str(error))
    _, err = watch(tmp_path / "run", code=1)
    assert state in err
    assert str(error) in err


def test_a_folder_in_which_no_run_has_begun_is_waited_for(instant, tmp_path):
    seen = follow(tmp_path / "run", sleep=lambda _: instant.searched(tmp_path / "run", trials=4))
    assert [each.state for each in seen] == ["waiting", "ended"]


def test_a_folder_where_none_can_begin_is_refused(tmp_path):
    (tmp_path / "photo.png").touch()
    with pytest.raises(RunError, match=r"it holds other files, and no run\.json"):
        look(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").touch()
    with pytest.raises(RunError, match=r"such as '.*mine'"):
        look(tmp_path)


def test_a_run_of_an_older_version_has_no_status(watch):
    out, _ = watch(OLD)
    assert "no search goes on here; 6 trials" in out


def test_a_damaged_status_is_told_with_the_way_out(instant, tmp_path, watch):
    run = instant.searched(tmp_path / "run", trials=4)
    (run.folder / FILE).write_text("{")
    _, err = watch(run.folder, code=1)
    assert "It may be removed" in err
    (run.folder / FILE).unlink()
    watch(run.folder)
