"""A search that begins with published networks: recorded, resumed, replayed, and told apart."""

import json

import pytest

from nas.errors import RunError
from nas.record import store
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.replay import replay
from nas.run.settings import Search
from nas.strategies._warm import as_input

pytestmark = pytest.mark.usefixtures("instant")


def asked(trials=5, **settings):
    return Search().changed(
        space="fbnet",
        evaluator="instant",
        data="fake",
        resolution=32,
        latency_ms=30.0,
        trials=trials,
        **{"strategy": "random", **settings},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return execute(plan(asked()), tmp_path_factory.mktemp("warm") / "run").run


def test_the_record_says_which_trials_were_the_published_networks(run):
    names = [start.name for start in run.identity.warm]
    assert sorted(names) == ["fbnet_a", "fbnet_b", "fbnet_c"]
    assert [trial.warm for trial in run.trials] == [*names, "", ""]
    assert all(trial.metrics["latency_ms@pixel1"] <= 30.0 for trial in run.trials)
    document = json.loads((run.folder / "run.json").read_text())
    # By name: what a later version knows of published networks changes no run of before.
    assert document["settings"]["warm"] == "auto:" + ",".join(names)
    assert replay(run).difference is None


def test_a_resumed_run_is_the_unbroken_one(run, tmp_path):
    first = execute(plan(asked(trials=2)), tmp_path / "run").run
    recorded = Search.from_json(first.record.run_file.settings)
    execute(plan(recorded.changed(trials=5)), first.folder, resume=True)
    assert store.canonical(first.folder) == store.canonical(run.folder)


def test_the_front_names_them_in_text_rows_and_picture(tmp_path):
    run = execute(plan(asked(trials=3)), tmp_path / "run").run
    names = {trial.number: trial.warm for trial in run.front_trials}
    assert "began with" in run.front_text()
    assert all(name in run.front_text() for name in names.values())
    assert {row["trial"]: row["warm"] for row in run.front_rows()} == names
    (axes,) = run.figure().axes
    told = {trial.warm: run.began_with(trial) for trial in run.trials}
    assert set(told.values()) <= {text.get_text() for text in axes.texts}
    # A bare name is that of the very network.
    for name, words in told.items():
        exact = as_input(name, run.space).digest in {trial.digest for trial in run.trials}
        assert words == (name if exact else f"near {name}")


def test_another_warm_start_is_another_run(run):
    with pytest.raises(RunError, match="was begun with another warm"):
        execute(plan(asked(warm="none")), run.folder, resume=True)


def test_without_one_nothing_is_recorded_or_told(tmp_path):
    ready = plan(asked(trials=1, warm="none"))
    assert not [line for line in ready.lines() if line.startswith("warm")]
    run = execute(ready, tmp_path / "run").run
    assert "warm" not in json.loads((run.folder / "run.json").read_text())["identity"]
    assert [trial.warm for trial in run.trials] == [""]


def test_a_strategy_with_a_warm_start_of_its_own_gets_no_other():
    assert plan(asked(strategy="gp:warm=fbnet_c")).warm == ()
    named = plan(asked(strategy="gp:warm=fbnet_c", warm="fbnet_a"))
    assert [start.name for start in named.warm] == ["fbnet_a"]
