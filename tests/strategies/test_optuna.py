"""Optuna's samplers as strategies, and ours as an Optuna sampler."""

import dataclasses
import warnings

import numpy as np
import optuna
import pytest

from nas.cost.compiled import compile_costs
from nas.domain import Domain
from nas.strategies import make
from nas.strategies.base import Proposal
from nas.strategies.optuna import StrategySampler, suggest
from nas.testing.strategies import bounded_domain, toy_trial
from search_spaces import fbnet, mnasnet, nas_bench_macro


@pytest.fixture(scope="module")
def fbnet_domain() -> Domain:
    space = fbnet.space()
    return Domain(space, compile_costs(space, ("macs",), lambda layer: (layer.macs,)))


def losses(spec: str, domain: Domain, seed: int, count: int, *, notes: bool = True) -> np.ndarray:
    strategy, found = make(spec, domain, seed=seed), []
    for number in range(count):
        trial = toy_trial(domain, number, strategy.ask(number), 1)
        strategy.tell(trial if notes else dataclasses.replace(trial, note={}))
        found.append(trial.losses[0])
    return np.array(found)


def test_nsga_ii_is_not_random_search(fbnet_domain):
    """Its last hundred of 200 proposals are better than random ones, if it gets its notes back."""
    spec, runs = "optuna:NSGA-II,population_size=20", range(2)
    evolved = [losses(spec, fbnet_domain, seed, 200)[100:].mean() for seed in runs]
    blind = [losses(spec, fbnet_domain, seed, 200, notes=False)[100:].mean() for seed in runs]
    random = [losses("optuna:Random", fbnet_domain, seed, 200)[100:].mean() for seed in runs]
    assert max(evolved) < 0.7 * min(random)
    assert min(blind) > 0.9 * min(random)


def test_tpe_learns(fbnet_domain):
    tpe = losses("optuna:TPE", fbnet_domain, 0, 100)
    assert tpe[50:].mean() < 0.8 * tpe[:10].mean()


def test_a_generation_travels_in_the_note():
    domain = bounded_domain(nas_bench_macro.space())
    strategy = make("optuna:nsgaiisampler,population_size=4", domain, seed=0)
    seen = []
    for number in range(10):
        proposal = strategy.ask(number)
        seen += proposal.note["system_attrs"].values()
        strategy.tell(toy_trial(domain, number, proposal, 1))
    assert seen == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_a_late_trial_does_not_change_a_generation_s_parents():
    """Parents are chosen when a generation is complete: the same, whenever the first ask comes."""
    domain = bounded_domain(nas_bench_macro.space())
    spec = "optuna:NSGA-III,population_size=4"
    live, pending, trials = make(spec, domain, seed=0, objectives=2), list[Proposal](), []
    for number in range(6):
        pending.append(live.ask(number, pending))
    for number, proposal in enumerate(pending):
        trials.append(toy_trial(domain, number, proposal, 2))
        live.tell(trials[-1])
        live.ask(10 + number)
    retold = make(spec, domain, seed=0, objectives=2)
    for trial in trials:
        retold.tell(trial)
    assert live.ask(6) == retold.ask(6)


def test_proposals_outside_the_bounds_are_moved_inside():
    domain = bounded_domain(nas_bench_macro.space())
    strategy = make("optuna:Random", domain, seed=0)
    free = make("optuna:Random", Domain(domain.space, domain.compiled), seed=0)
    moved = 0
    for number in range(40):
        genes, wanted = strategy.ask(number).genes, free.ask(number).genes
        assert domain.contains(genes)
        moved += genes != wanted
        assert (genes == wanted) == domain.contains(wanted)
    assert 0 < moved < 40


def test_the_log_level_of_optuna_is_left_alone():
    before = optuna.logging.get_verbosity()
    make("optuna:TPE", bounded_domain(nas_bench_macro.space()), seed=0).ask(0)
    assert optuna.logging.get_verbosity() == before


def quiet_study(sampler, directions):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(sampler=sampler, directions=directions)


def test_local_search_in_somebody_s_study():
    domain = bounded_domain(mnasnet.space(32))

    def objective(trial):
        genes = suggest(trial, domain)
        assert domain.contains(genes)
        rate = trial.suggest_float("rate", 0.1, 1)  # no gene: sampled at random
        if trial.number == 3:
            raise ValueError
        return -toy_trial(domain, 0, Proposal(genes), 1).losses[0] + 0 * rate

    study = quiet_study(StrategySampler("local-search", domain, seed=0), ["maximize"])
    study.optimize(objective, n_trials=60, catch=(ValueError,))

    plain, found = make("local-search", domain, seed=0), []
    for number in range(60):
        proposal = plain.ask(number)
        found.append(proposal.genes)
        plain.tell(toy_trial(domain, number, proposal, 1, "failed" if number == 3 else "complete"))
    assert [
        tuple(t.params[name] for name in domain.space.gene_names) for t in study.trials
    ] == found


def test_a_sampler_takes_up_a_study_that_another_began():
    domain = bounded_domain(nas_bench_macro.space())

    def objective(trial):
        return toy_trial(domain, 0, Proposal(suggest(trial, domain)), 2).losses

    study = quiet_study(StrategySampler("random", domain, seed=0), ["minimize", "minimize"])
    study.optimize(objective, n_trials=10)
    whole = quiet_study(StrategySampler("random", domain, seed=0), ["minimize", "minimize"])
    whole.optimize(objective, n_trials=20)
    study.sampler = StrategySampler("random", domain, seed=0)
    study.optimize(objective, n_trials=10)
    assert [t.params for t in study.trials] == [t.params for t in whole.trials]


def test_running_trials_are_pending():
    domain = bounded_domain(nas_bench_macro.space())
    study = quiet_study(StrategySampler("local-search", domain, seed=0), ["minimize"])
    trials = [study.ask() for _ in range(12)]
    assert len({domain.canonical(suggest(trial, domain)) for trial in trials}) == 12


def test_a_violated_constraint_is_infeasible():
    domain = bounded_domain(nas_bench_macro.space())
    told = []
    sampler = StrategySampler("random", domain, seed=0)
    study = quiet_study(sampler, ["minimize"])

    def objective(trial):
        suggest(trial, domain)
        trial.set_constraint("small", 1.0 if trial.number == 0 else -1.0)
        if trial.number == 1:
            sampler.strategy.tell = told.append
        return 1.0

    study.optimize(objective, n_trials=3)
    sampler.sample_relative(study, study.ask()._cached_frozen_trial, {})
    assert [trial.state for trial in told] == ["complete", "complete"]
    first = sampler._proposal(study.trials[0])
    assert first is not None
    sampler.told.clear()
    told.clear()
    sampler.sample_relative(study, study.ask()._cached_frozen_trial, {})
    assert [trial.state for trial in told] == ["infeasible", "complete", "complete"]
