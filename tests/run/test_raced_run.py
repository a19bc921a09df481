"""A raced run as its folder is read: one rung's scores, never two beside each other."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nas.cli.front import command
from nas.errors import RunError, UsageError
from nas.record import runfile
from nas.record.race import FILE
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.replay import replay
from nas.run.run import Run
from nas.run.settings import Search

KILL = Path(__file__).parent.parent / "kill"


@pytest.fixture(scope="module")
def instant():
    sys.path.insert(0, str(KILL))
    import instant

    yield instant
    sys.path.remove(str(KILL))


@pytest.fixture(scope="module")
def folder(instant, tmp_path_factory):
    return instant.searched(tmp_path_factory.mktemp("runs") / "raced", race="3", seed=1).folder


@pytest.fixture
def planned(instant, tmp_path):
    """Makes a search of these settings ready."""

    def make(**settings):
        instant.take_part()
        space = tmp_path / "toy.py"
        space.write_text(instant.SPACE)
        given = {"race": "3", "evaluator": "instant", "data": "fake", **settings}
        return plan(Search().changed(space=str(space), **given))

    return make


def test_the_front_is_of_the_highest_rung_alone(folder):
    run = Run(folder)
    assert [len(rung.trials) for rung in run.rungs] == [30, 10, 4]
    assert (run.rung.number, run.rung.factor) == (3, 9)
    third = {trial.number: trial.metrics["accuracy"] for trial in run.rungs[2].trials}
    for row in run.front_rows():
        assert row["accuracy"] == third[row["trial"]]
        assert row["accuracy"] != run.trial(row["trial"]).metrics["accuracy"]
        assert row["rung"] == 3
    assert set(run.front()["trial"]) <= set(third)
    pick = run.pick()
    assert pick.score == max(third.values())
    frame = run.frame()
    assert len(frame) == 44
    assert set(frame[frame.front].rung) == {3}
    assert run.figure().axes[0].collections


def test_a_rung_with_too_few_networks_is_not_shown_yet(instant, folder, tmp_path):
    lines = (folder / FILE).read_text().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    last = len(lines) - 1 - kinds[::-1].index("rung")
    copy = instant.searched(tmp_path / "copy", trials=30, seed=1).folder
    # Two of the four networks of the third rung are trained, then three.
    (copy / FILE).write_text("".join(lines[: last + 3]))
    assert Run(copy).rung.number == 2
    (copy / FILE).write_text("".join(lines[: last + 4]))
    assert Run(copy).rung.number == 3


def test_a_pick_that_no_network_of_the_rung_can_be_is_of_the_one_below(folder):
    run = Run(folder)
    third = min(trial.metrics[run.latency] for trial in run.rungs[2].trials)
    second = min(trial.metrics[run.latency] for trial in run.rungs[1].trials)
    assert second < third
    pick = run.pick(latency_ms=second)
    assert pick.trial.metrics[run.latency] == second
    assert "no network of a higher one is so fast" in pick.reason
    with pytest.raises(RunError, match="no network of the front meets"):
        run.pick(latency_ms=second / 1e6)


def test_the_command_says_which_rung_it_shows(folder):
    shown = CliRunner().invoke(command, [str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "rung 3 of 3 (30, 10, 4 networks), trained 9 times as long as the first" in shown.output
    document = json.loads(CliRunner().invoke(command, [str(folder), "--json"]).output)
    assert [rung["complete"] for rung in document["rungs"]] == [30, 10, 4]
    assert [rung["front"] for rung in document["rungs"]] == [False, False, True]


def test_what_will_be_raced_is_said_before(planned):
    lines = "\n".join(planned(trials=32).lines())
    assert "32 networks, then the better 11 for 3 times as long, then the better 4 for 9" in lines
    lines = "\n".join(planned(seconds=3600.0, race="eta=2,rungs=4").lines())
    assert "4 rungs of about 900 s" in lines


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"race": "1"}, "race eta must be 2 to 16, not 1"),
        ({"ray": "local", "scheduler": "asha"}, "leave out --scheduler or --race"),
        ({"storage": "sqlite:///a.db"}, "leave out --storage or --race"),
        ({"objectives": ("params", "latency_ms")}, "leave out --race, or add accuracy"),
    ],
)
def test_what_cannot_be_raced_is_refused_in_one_line(planned, settings, message):
    with pytest.raises(UsageError, match=message) as caught:
        planned(**settings)
    assert "\n" not in str(caught.value)


def test_core_seconds_count_longer_trainings(folder):
    run = Run(folder)
    longer = sum(promotion.seconds for promotion in run.race.promotions.values())
    assert run.core_seconds > longer > 0


def test_who_was_promoted_is_proved_by_a_replay(instant, tmp_path):
    folder = instant.searched(tmp_path / "run", race="3", trials=12).folder
    # More trials later: what had been promoted before is proved, too.
    settings = Search.from_json(runfile.read(folder).settings).changed(trials=30)
    run = execute(plan(settings), folder, resume=True).run
    assert [rung.number for rung in run.race.rungs] == [2, 3, 2, 3]
    assert replay(run).difference is None
    rows = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    rows[0]["trials"] = rows[0]["trials"][::-1]
    (folder / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    difference = str(replay(Run(folder)).difference)
    assert "who is promoted to rung 2" in difference
    assert "race.jsonl was edited" in difference
