# ruff: noqa: E402
import json
import math
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nas.cost.compiled import compile_costs
from nas.data import load
from nas.domain import Bound, Domain
from nas.errors import BoundError, RunError, SpaceError, TrainingError, UsageError
from nas.evaluate import differentiable, supernet
from nas.evaluate.fidelity import verdict
from nas.objectives import Objective, Objectives
from nas.strategies.differentiable import strategy
from nas.study.evaluator import Evaluator
from nas.supernet.recipe import train
from search_spaces import fbnet, nas_bench_macro

PROXY = "resolution=8,width=0.25,images=96,batch_size=16,score_images=40"
SPACE = nas_bench_macro.space(classes=10, in_channels=1)


COSTS = compile_costs(SPACE, ("macs",), lambda layer: (layer.macs,))
DOMAIN = Domain(SPACE, COSTS)


def session(**settings):
    return supernet.make(load("digits"), PROXY, **{"longer": 1, "check": 0, **settings})


def test_one_training_scores_every_network_and_repeats_to_the_bit(tmp_path) -> None:
    found: Evaluator = session()
    said = []
    found.prepare(DOMAIN, tmp_path, seed=0, watch=said.append)
    assert [said[-1].done, said[-1].planned] == [6, 6]
    network = SPACE.decode([1] * 8)
    scores = found.evaluate(network, seed=0)
    names = {"accuracy", "balanced_accuracy", "macro_f1", "loss"}
    on_search = {f"search_{name}" for name in names | {"likelihood"}}
    assert set(scores) == names | on_search
    assert scores["search_likelihood"] == pytest.approx(math.exp(-scores["search_loss"]))
    found.evaluate(SPACE.decode([2] * 8), seed=0)
    assert found.evaluate(network, seed=7) == scores
    read = session()
    read.prepare(DOMAIN, tmp_path, seed=0)
    assert read.evaluate(network, seed=0) == scores


def test_a_preset_is_a_longer_training_of_a_wider_supernet_and_what_is_given_wins() -> None:
    digits = load("digits")
    ranked = supernet.make(digits, preset="rank")
    assert ranked.schedule.steps == 12_000
    assert (ranked.proxy.width, ranked.sharing.ramp) == (0.5, 0.1)
    # Networks alone are trained as without the preset.
    quick = supernet.make(digits)
    assert ranked.base == quick.base
    assert ranked.describe_training() != quick.describe_training()
    given = supernet.make(digits, "width=0.25", preset="rank", longer=2, ramp=0.5)
    assert (given.schedule.steps, given.proxy.width, given.sharing.ramp) == (24_000, 0.25, 0.5)
    message = "no preset of evaluator 'supernet' named 'rnak'. Did you mean 'rank'"
    with pytest.raises(UsageError, match=message):
        supernet.make(digits, preset="rnak")


def test_equal_networks_have_equal_scores_however_they_are_spelled(tmp_path) -> None:
    found = session()
    found.prepare(DOMAIN, tmp_path, seed=0)
    first, second = (
        SPACE.decode(genes) for genes in [(1, 0, 1, 0, 1, 1, 1, 1), (1, 0, 1, 1, 0, 1, 1, 1)]
    )
    assert first.digest == second.digest
    assert found.evaluate(first, 0) == found.evaluate(second, 0)


def test_what_cannot_be_is_told_in_one_line(tmp_path) -> None:
    found = session()
    with pytest.raises(RunError, match="a supernet must be trained before it can score a network"):
        found.evaluate(SPACE.decode([1] * 8), 0)
    found.prepare(DOMAIN, tmp_path, seed=0)
    with pytest.raises(SpaceError, match="is not one of space 'nas_bench_macro'"):
        found.evaluate(fbnet.space().decode([0] * 22), 0)
    with pytest.raises(
        RunError, match="is the checkpoint of another supernet: its seed is 0, here it is 1"
    ):
        session().prepare(DOMAIN, tmp_path, seed=1)
    state = torch.load(tmp_path / "supernet.pt", weights_only=True)
    torch.save(
        {**state, "identity": {**state["identity"], "seed": torch.zeros(2)}},
        tmp_path / "supernet.pt",
    )
    with pytest.raises(RunError, match="its seed is a Tensor, here it is 0"):
        session().prepare(DOMAIN, tmp_path, seed=0)
    del state["identity"]["version"]
    torch.save(state, tmp_path / "supernet.pt")
    with pytest.raises(RunError, match="of another supernet: its version is None, here it is 3"):
        session().prepare(DOMAIN, tmp_path, seed=0)
    with pytest.raises(
        UsageError, match=r"no setting of evaluator 'supernet' named 'path'. Did you mean 'paths'"
    ):
        supernet.KIND.make(load("digits"), settings={"path": 1})


def learned(folder, seed: int = 0, **given):
    high = COSTS.extreme("macs", largest=True)[0]
    made = strategy(
        Domain(SPACE, COSTS, [Bound("macs", upper=0.6 * high)]), seed=seed, longer=2, candidates=5
    )
    differentiable.learn(made, load("digits"), folder, proxy_text=PROXY, **given)
    return made


def test_a_distribution_is_learned_and_gives_ranked_networks_in_the_window(tmp_path) -> None:
    made = learned(tmp_path)
    document = json.loads((tmp_path / "distribution.json").read_text())
    losses = [row["loss"] for row in document["candidates"]]
    assert len(losses) == 5
    assert losses == sorted(losses)
    assert all(
        document["window"][0] <= row["cost"] <= document["window"][1]
        for row in document["candidates"]
    )
    assert document["expected"] == pytest.approx(sum(document["window"]) / 2, rel=1e-3)
    assert (tmp_path / "distribution.png").stat().st_size > 1000
    assert made.ask(0).genes == tuple(document["candidates"][0]["genes"])
    assert any(
        "the supernet was trained too little to tell networks apart" in line
        for line in document["warnings"]
    )


def test_the_same_seed_learns_the_same_and_a_finished_training_is_read(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    first = learned(tmp_path / "a")
    (tmp_path / "b").mkdir()
    learned(tmp_path / "b")
    texts = [(tmp_path / name / "distribution.json").read_text() for name in "ab"]
    assert texts[0] == texts[1]
    (tmp_path / "a" / "theta.pt").unlink()
    assert learned(tmp_path / "a").ask(0) == first.ask(0)


def cut_short(monkeypatch, module, step: int):
    """A checkpoint after every step, and a kill at one of them."""
    monkeypatch.setattr(module, "train", partial(train, checkpoint_seconds=0.0))

    def watch(now) -> None:
        if now.what == "supernet" and now.done == step:
            raise KeyboardInterrupt

    return watch


def test_killed_in_the_middle_a_supernet_names_the_same_network(tmp_path, monkeypatch) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    unbroken, killed, again = (session(longer=2) for _ in range(3))
    unbroken.prepare(DOMAIN, tmp_path / "a", seed=0)
    with pytest.raises(KeyboardInterrupt):
        killed.prepare(DOMAIN, tmp_path / "b", seed=0, watch=cut_short(monkeypatch, supernet, 5))
    steps = []
    again.prepare(DOMAIN, tmp_path / "b", seed=0, watch=lambda now: steps.append(now.done))
    assert steps[0] == 6
    networks = [SPACE.decode(genes) for genes in [(1,) * 8, (2, 0, 1, 2, 0, 1, 0, 2), (2,) * 8]]
    assert [again.evaluate(n, 0) for n in networks] == [unbroken.evaluate(n, 0) for n in networks]


def test_killed_in_the_middle_a_differentiable_search_ends_with_the_same_network(
    tmp_path, monkeypatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    unbroken = learned(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path / "b", watch=cut_short(monkeypatch, differentiable, 9))
    steps = []
    again = learned(tmp_path / "b", watch=lambda now: steps.append(now.done))
    assert steps[0] == 10
    assert again.ask(0) == unbroken.ask(0)
    texts = [(tmp_path / name / "distribution.json").read_text() for name in "ab"]
    assert texts[0] == texts[1]


def test_the_run_asks_what_the_score_is_worth(tmp_path) -> None:
    found = session(check=4)
    found.prepare(DOMAIN, tmp_path, seed=0)
    report = json.loads((tmp_path / "fidelity.json").read_text())
    assert report["networks"] == 4
    assert set(report["tau"]) == {"cheap", "depth", "macs", "params"}
    assert found.remarks[0].startswith("Kendall's tau with short training over 4 networks: ")
    with pytest.raises(
        UsageError, match="check of evaluator 'supernet' must be 0 or 4 to 1000 networks, not 2"
    ):
        session(check=2)


@pytest.mark.parametrize("tell", ["likelihood", "accuracy"])
def test_what_is_judged_is_what_strategies_are_told(tmp_path, tell) -> None:
    found = session(check=4, tell=tell)
    found.prepare(DOMAIN, tmp_path, seed=0)
    rows = [json.loads(line) for line in (tmp_path / "fidelity.jsonl").read_text().splitlines()]
    objectives = Objectives((Objective("accuracy", "maximize"),))
    for row in rows:
        scores = found.evaluate(SPACE.decode(row["genes"]), 0)
        assert row["cheap"] == 1 - objectives.told(scores)[0]
        assert row["cheap"] == pytest.approx(scores[f"search_{tell}"])


@pytest.mark.parametrize(
    ("cheap", "macs", "low", "end"),
    [
        (0.2, 0.5, -0.6, ": no better than macs. Use macs"),
        (0.6, 0.5, -0.1, ": not shown to be better"),
        (0.9, 0.2, 0.1, ")"),
    ],
)
def test_the_verdict_says_use_macs_unless_the_score_is_better(cheap, macs, low, end) -> None:
    report = {
        "networks": 8,
        "tau": {"cheap": cheap, "macs": macs},
        "best_trivial": "macs",
        "lead_low": low,
        "lead_high": 0.8,
    }
    assert verdict(report).endswith(end)


def test_a_training_that_diverged_is_told_and_not_written_down(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        differentiable, "score_path", lambda *given: {"loss": float("nan"), "accuracy": 0.1}
    )
    with pytest.raises(
        TrainingError, match=r"the supernet's training diverged.*a learning rate below 0.1"
    ):
        learned(tmp_path)
    assert not (tmp_path / "distribution.json").exists()
    found = session(check=4)
    monkeypatch.setattr(
        supernet, "score_path", lambda *given: {"loss": float("inf"), "accuracy": 0.1}
    )
    with pytest.raises(
        TrainingError,
        match=r"the cheap score of network .* its loss is inf: the training diverged",
    ):
        found.prepare(DOMAIN, tmp_path, seed=0)


def test_under_several_bounds_networks_are_inside_all_of_them(tmp_path, monkeypatch) -> None:
    costs = compile_costs(SPACE, ("macs", "params"), lambda layer: (layer.macs, layer.params))
    middle = {
        name: sum(costs.extreme(name, largest=side)[0] for side in (False, True)) / 2
        for name in costs.names
    }
    bounds = [Bound("macs", upper=middle["macs"]), Bound("params", upper=0.7 * middle["params"])]
    domain = Domain(SPACE, costs, bounds)
    made = strategy(domain, seed=0, longer=2, candidates=5)
    differentiable.learn(made, load("digits"), tmp_path, proxy_text=PROXY)
    document = json.loads((tmp_path / "distribution.json").read_text())
    assert document["candidates"]
    genes = [row["genes"] for row in document["candidates"]] + [
        list(made.ask(n).genes) for n in range(3)
    ]
    assert made.band.inside(np.array(genes)).all()
    monkeypatch.setattr(
        type(made), "draw", lambda self, window, draw: np.zeros((0, len(SPACE.choices)), int)
    )
    (tmp_path / "distribution.json").unlink()
    differentiable.learn(made, load("digits"), tmp_path, proxy_text=PROXY)
    document = json.loads((tmp_path / "distribution.json").read_text())
    assert made.band.inside(np.array([row["genes"] for row in document["candidates"]])).all()
    assert any("even draws from there are ranked instead" in line for line in document["warnings"])
    bounds[1] = Bound("params", upper=1.01 * costs.extreme("params")[0])
    with pytest.raises(BoundError):
        strategy(Domain(SPACE, costs, bounds), seed=0)


def test_rows_of_another_run_are_no_rows_of_this_one(tmp_path) -> None:
    session(check=4).prepare(DOMAIN, tmp_path, seed=0)
    (tmp_path / "supernet.pt").unlink()
    with pytest.raises(
        RunError, match=r"fidelity.jsonl is damaged, or another run's. Remove it to make it anew"
    ):
        session(check=4).prepare(DOMAIN, tmp_path, seed=1)
