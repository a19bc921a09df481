"""Policies over genes."""

import dataclasses
import functools

import numpy as np
import pytest

from nas import catalog
from nas.cost.compiled import compile_costs
from nas.cost.costs import space_costs
from nas.domain import Bound, Domain
from nas.errors import BoundError, RunError, UsageError
from nas.objectives import Objectives, parse_objectives
from nas.ops.conv import Classifier, Conv
from nas.record.identity import identity
from nas.record.store import Store, canonical
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from nas.strategies import make
from nas.strategies.base import Proposal
from nas.study import snapshots
from nas.study.study import Study
from nas.testing.strategies import bounded_domain, check_strategy, toy_trial
from nas.testing.toys import HashEvaluator, toy_domain
from search_spaces import fbnet, nas_bench_macro

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("spec", ["rl:batch=5", "rl:tunas,batch=5"])
def test_contract(spec):
    check_strategy(functools.partial(make, spec))


@pytest.mark.parametrize("spec", ["rl", "rl:tunas"])
def test_it_learns(spec):
    """The last 40 of 300 losses are a third less than the first 40."""
    domain = toy_domain(layers=8)
    strategy, losses = make(spec, domain, seed=0), []
    for number in range(300):
        trial = toy_trial(domain, number, strategy.ask(number), 1)
        strategy.tell(trial)
        losses.append(trial.losses[0])
    assert np.mean(losses[-40:]) < 0.67 * np.mean(losses[:40])


@pytest.mark.parametrize("spec", ["rl", "rl:tunas"])
def test_only_networks_inside_are_drawn_and_their_probabilities_sum_to_one(spec):
    """Over all gene tuples inside the bounds: masks leave no probability outside."""
    domain = bounded_domain(nas_bench_macro.space())
    strategy = make(spec, domain, seed=0)
    drawn = strategy._draw(64, np.random.default_rng(0))
    assert domain.inside(drawn).all()
    every = np.indices(domain.space.gene_sizes).reshape(8, -1).T
    every = every[domain.inside(every)]
    with torch.no_grad():
        logged, _ = strategy._log_probabilities(every.tolist())
    assert float(logged.exp().sum()) == pytest.approx(
        1, abs=5e-3
    )  # networks within a tick of the border are left out


def test_a_band_too_narrow_to_be_counted_is_refused_at_once():
    space = fbnet.space(resolution=32)
    costs = space_costs(space, [catalog.device("pixel1")])
    middle_ms = Domain(space, costs).quantiles("latency_ms@pixel1", (0.5,))[0]
    domain = Domain(space, costs, [Bound("latency_ms@pixel1", middle_ms + 1e-4, middle_ms)])
    with pytest.raises(BoundError, match="narrower than what rounding to ticks"):
        make("rl", domain, seed=0)


def test_steps_and_whole_strings_have_the_same_logits():
    strategy = make("rl", toy_domain(), seed=0)
    genes = torch.tensor(strategy._draw(4, np.random.default_rng(0)))
    whole, state = strategy.policy.all_logits(genes), None
    for position in range(genes.shape[1]):
        previous = genes[:, position - 1] if position else torch.full((4,), -1)
        logits, state = strategy.policy.step(previous, position, state)
        assert torch.allclose(logits, whole[:, position])


def told(strategy, rewards):
    """Tell one batch of networks of these rewards, each as the policy proposed it."""
    for number, reward in enumerate(rewards):
        proposal = strategy.ask(number)
        trial = toy_trial(strategy.domain, number, proposal, 1)
        strategy.tell(dataclasses.replace(trial, losses=(-reward,)))


def test_the_baseline_forgets_within_a_few_batches_and_has_no_bias_to_its_start():
    """Of batches with means 1, 1, 4 half the weight is on the last, and none on zero."""
    strategy = make("rl:tunas,batch=2", toy_domain(), seed=0)
    told(strategy, [0.0, 2.0])
    assert strategy.baseline.value == pytest.approx(1)
    told(strategy, [1.0, 1.0])
    assert strategy.baseline.value == pytest.approx(1)
    told(strategy, [4.0, 4.0])
    assert strategy.baseline.value == pytest.approx((1 * 1 + 2 * 1 + 4 * 4) / 7)


def test_a_batch_is_judged_by_a_baseline_that_has_seen_it(monkeypatch):
    strategy = make("rl:tunas,batch=2", toy_domain(), seed=0)
    judged = []
    advantage = strategy._advantage

    def judge(samples):
        judged.append(advantage(samples) * np.std(strategy.rewards))
        return judged[-1]

    monkeypatch.setattr(strategy, "_advantage", judge)
    told(strategy, [0.0, 2.0])
    told(strategy, [5.0, 7.0])
    # Half of the weight before, all of it after: (1 + 2 * 6) / 3.
    assert judged[1].tolist() == pytest.approx([5 - 13 / 3, 7 - 13 / 3])


def test_a_proposal_that_was_hardly_to_be_expected_leaves_a_policy():
    """Its probability has risen e^3000 times since: the ratio of the two is no number."""
    strategy = make("rl:batch=2", toy_domain(), seed=0)
    for number, loss in enumerate((0.0, 9.0)):
        genes = strategy.ask(number).genes
        proposal = Proposal(genes, {"log_probability": -3000.0})
        trial = toy_trial(strategy.domain, number, proposal, 1)
        strategy.tell(dataclasses.replace(trial, losses=(loss,)))
    assert strategy.updates == 1
    assert all(torch.isfinite(weights).all() for weights in strategy.policy.parameters())


def domain_of_repeats():
    """A layer of kernel 3 or 5 that is repeated no time, once or twice."""

    def make_layers(picked, shape):
        return [Conv(kernel=picked["kernel"], channels=3)] * picked["repeats"]

    choices = (Choice("kernel", (3, 5)), Choice("repeats", (0, 1, 2)))
    layers = Slot(name="layers", stage="layers", choices=choices, make=make_layers)
    space = SearchSpace(
        name="repeats", input=Shape(3, 8), slots=(layers, fixed("head", Classifier(classes=2)))
    )
    return Domain(space, compile_costs(space, ("macs",), lambda layer: (layer.macs,)))


def test_a_gene_of_no_effect_has_no_probability_no_entropy_and_no_gradient():
    """The kernel of a layer that is repeated no time was no decision."""
    strategy = make("rl:tunas", domain_of_repeats(), seed=0)
    logged, entropy = strategy._log_probabilities([(0, 0), (1, 0), (1, 1)])
    odds = [1 / 3, 1 / 3, 1 / 6]
    assert logged.detach().exp().tolist() == pytest.approx(odds)
    means = [np.log(3), np.log(3), (np.log(2) + np.log(3)) / 2]
    assert entropy.detach().tolist() == pytest.approx(means)
    logged[0].backward()
    assert not strategy.policy.logits.grad[0].any()
    assert strategy.policy.logits.grad[1].any()


def test_a_trial_of_another_s_is_learned_from():
    """Without a note, by its probability now."""
    domain = toy_domain()
    strategy = make("rl:batch=2", domain, seed=0)
    for number, genes in enumerate(domain.sample_many(2, np.random.default_rng(0)).tolist()):
        strategy.tell(toy_trial(domain, number, Proposal(tuple(genes)), 1))
    assert strategy.updates == 1


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    make("rl", toy_domain(), seed=0).ask(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_it_refuses():
    domain = toy_domain()
    with pytest.raises(UsageError, match="learns from one reward, not from 2 objectives"):
        make("rl", domain, seed=0, objectives=2)
    with pytest.raises(
        UsageError, match=r"no variant of strategy 'rl' named 'tunsa'. Did you mean 'tunas'"
    ):
        make("rl:tunsa", domain, seed=0)
    with pytest.raises(UsageError, match="needs a batch of at least 1 trial, not 0"):
        make("rl:batch=0", domain, seed=0)


def test_a_snapshot_is_the_strategy_bit_for_bit(tmp_path, monkeypatch):
    domain = toy_domain()
    objectives = Objectives(parse_objectives(["accuracy"], domain.compiled.names))
    conditions = identity(domain, objectives, strategy="rl:mnasnet,batch=4", seed=3)
    monkeypatch.setattr(snapshots, "EVERY", 5)

    def go(folder, trials):
        opened = (Store.resume if folder.exists() else Store.create)(
            folder, domain.space, conditions
        )
        strategy = make("rl:mnasnet,batch=4", domain, seed=3)
        told = []
        tell = strategy.tell
        monkeypatch.setattr(strategy, "tell", lambda trial: (told.append(trial), tell(trial)))
        with opened as store:
            Study(domain, strategy, HashEvaluator(), store).run(trials=trials)
        return told

    go(tmp_path / "whole", 18)
    go(tmp_path / "parts", 12)
    assert (tmp_path / "parts" / snapshots.FILE).exists()
    # The cache holds ten trials: two batches, and two trials that wait for their batch.
    assert go(tmp_path / "parts", 18)[0].number == 8
    assert canonical(tmp_path / "parts") == canonical(tmp_path / "whole")
    file = tmp_path / "whole" / snapshots.FILE
    file.write_bytes(file.read_bytes().replace(b'"told": 15', b'"told": 14'))
    assert go(tmp_path / "whole", 19)[0].number == 0
    file = tmp_path / "parts" / snapshots.FILE
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(RunError, match=r"strategy\.cache is damaged: remove it"):
        go(tmp_path / "parts", 20)
