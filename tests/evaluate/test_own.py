# ruff: noqa: E402
"""A function of the user's own evaluates: what it is given, what it may return, who runs it."""

import json
import re
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import nas
from nas import catalog
from nas.errors import ArchitectureError, RunError, UsageError
from nas.evaluate.own import Slimming, kind
from nas.run.plan import plan
from nas.run.settings import Search
from nas.testing.evaluators import check_evaluator

TOYS = """
from nas.testing.toys import toy_space


def space(resolution=8, classes=10, in_channels=3):
    return toy_space()
"""

MINE = """
import torch


def scores(network, context):
    context.report(1, 0.5)
    size = sum(p.numel() for p in network.parameters())
    loss = torch.rand(()) / 1000 + size / 1e5 / context.budget
    return {"loss": loss, "size": size}


def seen(network, context):
    assert not context.confirming, context.test
    (context.folder / "seen.txt").write_text(str(context.architecture.input))
    return float(sum(p.numel() for p in network.parameters()))


def measured(network, context):
    return context.score(lambda items: {"accuracy": len(items) / 1000})
"""

BAD = """
def nan(network, context):
    return float("nan")

def text(network, context):
    return "high"

def nothing(network, context):
    pass

def other(network, context):
    return {"lose": 1.0}

def raises(network, context):
    return {}["missing"]

def leaves(network, context):
    raise SystemExit(3)

def swallows(network, context):
    for step in (2, 1):
        context.report(step, 0.5)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.py").write_text(TOYS)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def search(out, evaluate, **settings):
    usual = {"space": "toys.py", "trials": 2, "warm": "none", "strategy": "random"}
    usual["objectives"] = ("loss:min", "params")
    return nas.search(out, evaluate=evaluate, **{**usual, **settings})


def test_a_function_in_a_file_is_searched_by_workers_raced_resumed_and_confirmed(mine):
    # A time limit needs a process that can be killed.
    run = search("run", "mine.py:scores", trials=4, trial_timeout_seconds=60, race=2)
    assert [rung.factor for rung in run.rungs] == [1, 2]
    assert run.identity.proxy["evaluator"] == "mine.py:scores"
    first = run.trials[0].metrics
    assert first["loss"] == pytest.approx(first["size"] / 1e5, abs=1e-3)
    # Less is better: the front's first network has the least loss, and so has the pick.
    assert run.pick().score == min(trial.metrics["loss"] for trial in run.rung.trials)
    alone = search("alone", "mine.py:scores", trials=4)
    assert [trial.metrics for trial in alone.trials] == [trial.metrics for trial in run.trials]
    assert len(nas.resume("run", trials=5).trials) == 5
    found = nas.confirm(nas.load("run"), top=1, random=3, against=())
    assert (found.plan.direction, found.images) == ("minimize", 0)
    assert found.plan.recipe["evaluator"] == "mine.py:scores"
    # By default three times as long as the search, or as the rung of the front.
    assert found.plan.recipe["budget"] == max(3, nas.load("run").rung.factor)
    assert not found.failed


def test_a_file_that_changed_is_told_and_run_only_if_it_is_named(mine, monkeypatch):
    search("run", "mine.py:scores")
    mine.write_text(MINE.replace("/ 1000", "/ 2000"))
    with pytest.raises(RunError, match=r"mine\.py is not what it was .* --evaluator .*mine\.py:sc"):
        nas.resume("run", trials=3)
    with pytest.raises(RunError, match="is not what it was"):
        nas.confirm(nas.load("run"), top=1, random=1, against=())
    nas.resume("run", trials=3, evaluate="mine.py:scores")
    rows = [json.loads(line) for line in Path("run/programs.jsonl").read_text().splitlines()]
    assert [(row["role"], row["trials"]) for row in rows] == [("evaluator", 0), ("evaluator", 2)]
    # Now it is the run's own.
    assert len(nas.resume("run", trials=4).trials) == 4


def test_the_function_of_somebody_elses_run_is_not_run(mine, tmp_path, monkeypatch):
    search("run", "mine.py:seen", space="nas_bench_macro", objectives=("loss:max", "params"))
    shutil.move("run", tmp_path / "theirs")
    mine.unlink()
    assert nas.load("theirs").front().shape[0]
    with pytest.raises(RunError, match=r"brings a program, its evaluator .*mine\.py: read it"):
        nas.resume("theirs", trials=3)
    monkeypatch.setenv("NAS_TRUST", str(tmp_path / "theirs"))
    assert len(nas.resume("theirs", trials=3).trials) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nan", "metric 'loss' must be finite, not nan"),
        ("text", "must give a number for 'loss', .* and gave 'high', of type str"),
        ("nothing", "and gave nothing"),
        ("other", "gave no 'loss', which is an objective, but lose"),
        ("raises", r"KeyError: 'missing' \(bad\.py, line 15\)"),
        ("leaves", r"SystemExit: 3 \(bad\.py, line 18\)"),
        ("swallows", "the step of a report must rise, from 2 to 1"),
    ],
)
def test_what_a_function_does_wrong_is_a_failed_trial(mine, name, reason):
    Path("bad.py").write_text(BAD)
    run = search("run", f"bad.py:{name}", trials=1)
    [trial] = run.trials
    assert trial.state == "failed"
    assert re.search(reason, trial.reason), trial.reason


def test_a_failure_leaves_its_trace_and_an_evaluation_its_files(mine):
    Path("bad.py").write_text(BAD)
    search("bad", "bad.py:raises", trials=1)
    [trace] = Path("bad/evaluations").glob("*/traceback.txt")
    assert "KeyError: 'missing'" in trace.read_text()
    # The network itself, or slimmed where that is asked for.
    for proxy, side in (("", 8), ("resolution=4", 4)):
        run = search(f"seen{side}", "mine.py:seen", trials=1, proxy=proxy)
        [file] = run.folder.glob("evaluations/*/seen.txt")
        assert f"{side}x{side}" in file.read_text()


def test_what_stands_in_no_file_is_evaluated_here_and_resumed_from_python(mine):
    run = search("run", lambda network, context: 0.5)
    assert len(nas.resume(run, trials=3).trials) == 3
    with pytest.raises(RunError, match=r"function <lambda>.* was given from Python .* evaluate="):
        nas.resume("run", trials=4)
    with pytest.raises(UsageError, match="<lambda>, which no other process finds: write it with"):
        search("two", lambda network, context: 0.5, workers=2)


@pytest.mark.parametrize(
    ("evaluate", "settings", "message"),
    [
        ("mine.py:score", {}, "no function of .*mine.py named 'score'. Did you mean 'scores'"),
        ("none.py:score", {}, r"no such file: .*none\.py"),
        (lambda network: 1.0, {}, "is called with a network and a context, and takes"),
        (7, {}, "evaluate must be a function of a network and a context"),
        ("mine.py:scores", {"proxy": "epochs=2"}, "'epochs' is a setting of our own training"),
        ("mine.py:scores", {"evaluator": "supernet"}, "give one of them"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_written(mine, evaluate, settings, message):
    with pytest.raises(UsageError, match=message):
        search("run", evaluate, **settings)
    assert not Path("run").exists()


def test_a_file_that_searches_as_it_is_read_is_told(mine):
    Path("script.py").write_text(MINE + "\nimport nas\nnas.search('x', evaluate=scores)\n")
    with pytest.raises(UsageError, match=r"script\.py begins a search as .*__main__"):
        search("run", "script.py:scores")
    Path("broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(UsageError, match=r"broken\.py does not load: ModuleNotFoundError.* line 1"):
        search("run", "broken.py:scores")


def test_sets_of_our_data_are_scored_under_the_names_that_count(mine):
    run = search("run", "mine.py:measured", data="digits", objectives=("accuracy", "params"))
    sizes = run.identity.data
    metrics = run.trials[0].metrics
    assert metrics["search_accuracy"] == sizes["search"] / 1000
    assert metrics["accuracy"] == sizes["selection"] / 1000
    found = nas.confirm(run, top=1, random=1, against=())
    [score] = found.scores[found.plan.members[0].digest]
    assert score == found.images / 1000 > 0
    assert found.openings == 1
    blind = search("blind", "mine.py:scores", data="digits", trials=1)
    with pytest.raises(RunError, match=r"mine\.py:scores has not scored the test set"):
        nas.confirm(blind, top=1, random=1, against=())


def test_the_backbone_gives_maps_and_trains_with_the_network():
    def scores(network, context):
        body = context.backbone(strides=(4, 16))
        maps = body(torch.zeros(2, 3, 64, 64))
        assert [tuple(one.shape[1:]) for one in maps] == [
            (channels, 64 // stride, 64 // stride)
            for channels, stride in zip(body.channels, (4, 16), strict=True)
        ]
        assert {id(p) for p in body.parameters()} < {id(p) for p in network.parameters()}
        with pytest.raises(ArchitectureError, match="no map of stride 64"):
            context.backbone(strides=(64,))
        return 0.5

    from nas import networks

    evaluator = kind(scores).make(kind(scores).open_data("none"))
    network = networks.get("mobilenet_v2", resolution=64)
    assert evaluator.evaluate(network, 1) == {"accuracy": 0.5}


def test_a_function_keeps_the_contract_of_evaluators():
    def scores(network, context):
        context.report(1, 0.1)
        return {"accuracy": float(torch.rand(())), "search_accuracy": 0.5}

    made = kind(scores)
    check_evaluator(lambda: made.make(made.open_data("digits"), "resolution=8,width=0.25"))


def test_slimming_keeps_the_networks_size_where_only_the_width_is_asked_for():
    from nas import networks

    made = kind(lambda network, context: 0.5)
    network = networks.get("mobilenet_v2", resolution=64)
    slimmed = Slimming.parse("width=0.5").applied(network, 1, 7)
    assert (slimmed.input.size, slimmed.input.channels, slimmed.out_shape.channels) == (64, 1, 7)
    assert slimmed.params < network.params
    assert Slimming.parse("").applied(network, 3, 1000) is network
    # One of several sizes that the search chooses from.
    assert Slimming.parse("width=0.5,input=128").applied(network, 3, 5).input.size == 64
    flat = Slimming.parse("resolution=16x32")
    again = made.retrain(made.open_data("none"), flat.described(), 3.0, "accuracy")
    assert again.slimming == flat


def test_a_pick_is_a_module_a_table_of_layers_and_can_be_trained(mine, capfd):
    seen = []
    run = search(
        "run",
        "mine.py:measured",
        data="digits",
        objectives=("accuracy", "latency_ms", "params"),
        strategy={"name": "random"},
        on_trial=seen.append,
    )
    assert [trial.number for trial in seen] == [0, 1]
    said = capfd.readouterr().err
    assert "training   by mine.py:measured" in said
    assert "2 evaluations in" in said
    assert list(run.front())[:2] == ["accuracy", "latency_ms"]
    assert set(run.front()) < set(run.front(full=True))
    pick = run.pick()
    cost = pick.cost()
    assert pick.cost("raspi4")["latency_ms"] != cost["latency_ms"]
    layers = pick.layers()
    assert (layers["params"].sum(), layers["macs"].sum()) == (cost["params"], cost["macs"])
    assert layers["latency_ms"].sum() == pytest.approx(cost["latency_ms"])
    with pytest.raises(UsageError, match="no device named 'nowhere'"):
        pick.cost("nowhere")
    assert sum(p.numel() for p in pick.module().parameters()) == pick.architecture.params
    trained = pick.train("trained", steps=2, batch_size=16, quiet=True)
    assert capfd.readouterr().err == ""
    assert 0 <= trained.result["test"]["accuracy"] <= 1
    state = torch.load("trained/weights.pt", weights_only=True)
    for name, value in trained.module().state_dict().items():
        assert torch.equal(value, state[name])
    with pytest.raises(UsageError, match="epochs"):
        pick.train("other", epoch=2)


def test_a_bound_on_what_is_measured_makes_a_trained_network_infeasible(mine):
    run = search("run", "mine.py:scores", trials=6)
    losses = sorted(trial.metrics["loss"] for trial in run.trials)
    middle = (losses[2] + losses[3]) / 2
    bounded = search("bounded", "mine.py:scores", trials=6, maxima={"loss": middle})
    states = [trial.state for trial in bounded.trials]
    assert sorted(states) == ["complete"] * 3 + ["infeasible"] * 3
    assert all(trial.metrics["loss"] <= middle for trial in bounded.front_trials)
    assert "3 outside the bounds (the last one: loss is" in bounded.failures_text()
    assert len(nas.resume("bounded", trials=7).trials) == 7
    settings = bounded.record.run_file.settings
    misspelt = Search.from_json(settings).changed(maxima={"parms": 5e6})
    assert any("parms is of your function; did you mean" in x for x in plan(misspelt).lines())
    with pytest.raises(RunError, match="was begun with another limits"):
        nas.resume("bounded", trials=8, maxima={"loss": 2 * middle})
    with pytest.raises(UsageError, match="'params' is a cost, and only the latency has a least"):
        search("other", "mine.py:scores", minima={"params": 5})
    run = search(
        "least",
        "mine.py:measured",
        data="digits",
        objectives=("accuracy", "params"),
        minima={"accuracy": 0.99},
        trials=1,
    )
    assert run.trials[0].state == "infeasible"


def test_a_package_offers_its_function_by_an_entry_point(mine, monkeypatch):
    point = EntryPoint("size", "mine:seen", "nas.evaluators")
    found = {"nas.evaluators": [point]}
    monkeypatch.setattr(catalog, "entry_points", lambda group: found.get(group, []))
    monkeypatch.syspath_prepend(str(mine.parent))
    run = nas.search(
        "run",
        space="toys.py",
        evaluator="size",
        classes=10,
        data="none",
        trials=1,
        warm="none",
        strategy="random",
        objectives=("weights:min",),
        quiet=True,
    )
    assert run.trials[0].metrics["weights"] == run.trials[0].metrics["params"]


def test_what_the_package_offers_is_what_is_listed():
    verbs = {"confirm", "load", "resume", "search"}
    assert verbs < set(dir(nas)) == set(nas.__all__)
