"""A search that learns from earlier runs: recorded, resumed, replayed, refused."""

import json
import shutil

import pytest
from click.testing import CliRunner

from nas.cli.search import command
from nas.errors import RunError, UsageError
from nas.record import store
from nas.run.earlier import COPY
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.replay import replay
from nas.run.resume import resumed
from nas.run.settings import Search

pytestmark = pytest.mark.usefixtures("instant")


def asked(trials, **settings):
    usual = {
        "space": "fbnet",
        "strategy": "gp:initial=4",
        "evaluator": "instant",
        "data": "fake",
        "resolution": 32,
        "latency_ms": 30.0,
        "warm": "none",
        "trials": trials,
    }
    return Search().changed(**{**usual, **settings})


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn") / "before"
    return execute(plan(asked(12, strategy="random", latency_ms=20.0)), folder).run


@pytest.fixture(scope="module")
def run(before, tmp_path_factory):
    search = asked(7, learn_from=(str(before.folder),))
    return execute(plan(search), tmp_path_factory.mktemp("learn") / "run").run


def test_the_plan_says_what_it_learns_from(before):
    lines = plan(asked(7, learn_from=(str(before.folder),))).lines()
    [line] = [line for line in lines if line.startswith("learns")]
    assert line.startswith(f"learns     from 12 earlier trainings too ({before.folder.resolve()})")
    assert not [line for line in plan(asked(7)).lines() if line.startswith("learns")]


def test_a_run_holds_what_it_learned_from(run, before, tmp_path):
    lines = (run.folder / COPY).read_text().splitlines()
    assert len(lines) == 13
    assert replay(run).difference is None
    alone = execute(plan(asked(7)), tmp_path / "alone").run
    assert [trial.genes for trial in alone.trials] != [trial.genes for trial in run.trials]
    assert not (alone.folder / COPY).exists()


def test_a_resumed_run_is_the_unbroken_one_without_the_earlier_run(run, before, tmp_path):
    kept = tmp_path / "before"
    shutil.copytree(before.folder, kept)
    first = execute(plan(asked(3, learn_from=(str(kept),))), tmp_path / "run").run
    shutil.rmtree(kept)
    again = resumed(first.folder, {"trials": 7})
    execute(plan(again), first.folder, resume=True)
    proposed = [trial.genes for trial in store.read(first.folder).trials]
    assert proposed == [trial.genes for trial in run.trials]


def test_a_run_goes_on_with_what_it_began_with(run):
    with pytest.raises(RunError, match="begun with another earlier"):
        execute(plan(resumed(run.folder, {"learn_from": ()})), run.folder, resume=True)


def test_a_copy_that_was_edited_is_told(run, tmp_path):
    edited = tmp_path / "run"
    shutil.copytree(run.folder, edited)
    file = edited / COPY
    file.write_text(file.read_text().replace(",0.", ",0.9", 1))
    with pytest.raises(RunError, match=r"earlier.csv was edited"):
        replay(type(run)(edited))
    file.unlink()
    with pytest.raises(RunError, match=r"lacks its earlier.csv"):
        replay(type(run)(edited))


def test_a_table_of_trainings_says_the_same_as_the_run(run, before):
    copy = str(run.folder / COPY)
    for names in ((copy,), (copy, str(before.folder)), (copy, copy)):
        assert plan(asked(7, learn_from=names)).identity.earlier == run.identity.earlier


def test_a_run_from_before_learns_from_nothing(before):
    settings = json.loads((before.folder / "run.json").read_text())["settings"]
    del settings["learn_from"]
    assert Search.from_json(settings).method.learn_from == ()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"learn_from": ("runs/nowhere",)}, "'runs/nowhere' is neither"),
        ({"strategy": "random"}, "strategy 'random' cannot learn from earlier trainings"),
        ({"space": "mnasnet"}, "whose choices are not those of 'mnasnet'"),
    ],
)
def test_what_cannot_be_learned_from_is_told(before, settings, told):
    search = asked(7, **{"learn_from": (str(before.folder),), **settings})
    with pytest.raises(UsageError, match=told):
        plan(search)


def test_a_file_that_is_no_table_is_told(tmp_path):
    file = tmp_path / "noise.csv"
    file.write_bytes(b"\x8c\xff\x00\n")
    with pytest.raises(UsageError, match=r"noise\.csv: "):
        plan(asked(7, learn_from=(str(file),)))


def test_a_run_of_few_networks_teaches_nothing(run):
    with pytest.raises(UsageError, match=r"has 7 trained networks: .* at least 10"):
        plan(asked(7, learn_from=(str(run.folder),)))


def test_the_command_takes_runs_one_by_one(before, tmp_path):
    result = CliRunner().invoke(
        command,
        [
            *["--space", "fbnet", "--evaluator", "instant", "--data", "fake", "--resolution", "32"],
            *["--latency", "30ms", "--trials", "2", "--strategy", "gp:initial=4", "--warm", "none"],
            *["--learn-from", str(before.folder), "--out", str(tmp_path / "run")],
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert "learns     from 12 earlier trainings too" in result.output
    assert (tmp_path / "run" / COPY).is_file()
