"""Discovery, random search and local search."""

import itertools
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.errors import UsageError
from nas.strategies import known, make, parse_spec
from nas.strategies.base import Proposal, Strategy
from nas.trial import Genes, Trial
from search_spaces import fbnet, nas_bench_macro


def small_domain(*bounds: Bound) -> Domain:
    space = nas_bench_macro.space()
    costs = compile_costs(space, ("macs", "params"), lambda layer: (layer.macs, layer.params))
    return Domain(space, costs, bounds)


def run(
    strategy: Strategy, domain: Domain, loss: Callable[[Genes], tuple[float, ...]], count: int
) -> list[Trial]:
    trials = []
    for number in range(count):
        proposal = strategy.ask(number)
        trial = Trial(
            number=number,
            genes=proposal.genes,
            digest="",
            state="complete",
            losses=loss(proposal.genes),
            note=proposal.note,
        )
        strategy.tell(trial)
        trials.append(trial)
    return trials


def distance(genes: Genes) -> tuple[float, ...]:
    return (float(sum(abs(g - 1) for g in genes)),)


def test_strategies_are_known_by_file_name():
    assert {"random", "local-search"} <= set(known())
    assert "base" not in known()


def test_importing_and_listing_loads_no_strategy():
    code = (
        "import sys, nas.strategies as s; s.known();"
        "assert not {'optuna', 'torch', 'nas.strategies.random'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_number_in_a_spec_may_begin_with_its_point():
    assert parse_spec("nk:noise=.15,k=2,space=fbnet")[1] == {
        "noise": 0.15,
        "k": 2,
        "space": "fbnet",
    }


def test_a_spec_names_what_is_wrong():
    domain = small_domain()
    with pytest.raises(UsageError, match=r"no strategy named 'randon'. Did you mean 'random'\?"):
        make("randon", domain, seed=0)
    with pytest.raises(UsageError, match=r"no setting of strategy 'random' named 'population'"):
        make("random:population=3", domain, seed=0)
    with pytest.raises(
        UsageError,
        match=r"no setting of strategy 'evolution' named 'sampel'. Did you mean 'sample'",
    ):
        make("evolution:population=3,sampel=2", domain, seed=0)
    with pytest.raises(UsageError, match=r"strategy 'random' has no variants, .* write 'random'"):
        make("random:TPE", domain, seed=0)
    with pytest.raises(UsageError, match=r"are written key=value, not '3'"):
        make("evolution:population=3,3", domain, seed=0)
    with pytest.raises(
        UsageError, match=r"evolution needs 1 <= sample <= population, not sample 25 of 3"
    ):
        make("evolution:population=3", domain, seed=0)
    with pytest.raises(UsageError, match=r"no Optuna sampler named 'TPF'. Did you mean 'TPE'\?"):
        make("optuna:TPF", domain, seed=0)
    with pytest.raises(UsageError, match=r"no setting of TPESampler named 'population_size'"):
        make("optuna:TPE,population_size=2", domain, seed=0)
    with pytest.raises(
        UsageError, match=r"population of strategy 'evolution' must be a whole number, not 'abc'"
    ):
        make("evolution:population=abc", domain, seed=0)
    with pytest.raises(
        UsageError, match=r"initial of strategy 'gp' must be a whole number, not '2.5'"
    ):
        make("gp:initial=2.5", domain, seed=0)
    with pytest.raises(UsageError, match=r"warm of strategy 'gp' must be text, not '3'"):
        make("gp:warm=3", domain, seed=0)
    with pytest.raises(
        UsageError, match=r"n_startup_trials of TPESampler must be a whole number, not 'abc'"
    ):
        make("optuna:TPE,n_startup_trials=abc", domain, seed=0)
    with pytest.raises(
        UsageError, match=r"strategy 'optuna:NSGA-II,population_size=1': `population_size` must be"
    ):
        make("optuna:NSGA-II,population_size=1", domain, seed=0)


@pytest.mark.parametrize("name", ["random", "local-search"])
def test_every_network_of_a_space_is_proposed_once_before_any_twice(name):
    domain = small_domain(Bound("macs", upper=40e6))
    space = domain.space
    every = np.array(list(itertools.product(range(3), repeat=8)))
    inside = {space.canonical(genes) for genes in every[domain.inside(every)]}
    strategy = make(name, domain, seed=3)
    trials = run(strategy, domain, distance, len(inside) + 1)
    keys = [space.canonical(trial.genes) for trial in trials]
    assert set(keys[:-1]) == inside == set(keys)
    assert all(domain.contains(trial.genes) for trial in trials)


def test_local_search_tries_all_neighbours_before_it_climbs_anew():
    domain = small_domain()
    strategy = make("local-search", domain, seed=1)
    trials = run(strategy, domain, distance, 60)
    first = [trial for trial in trials if trial.note["climb"] == 0]
    summit = min(first, key=lambda trial: trial.losses)
    assert summit.losses == (0.0,)
    assert strategy.recommend() == summit.genes
    tried = {domain.canonical(trial.genes) for trial in trials}
    assert {
        domain.canonical(tuple(map(int, genes))) for genes in domain.neighbours(summit.genes)
    } <= tried
    assert trials[-1].note["climb"] > 0


def test_local_search_beats_random_search():
    space = fbnet.space()
    domain = Domain(space, compile_costs(space, ("macs",), lambda layer: (layer.macs,)))
    losses = {
        name: [
            min(t.losses for t in run(make(name, domain, seed=s), domain, distance, 100))
            for s in range(5)
        ]
        for name in ("random", "local-search")
    }
    assert max(losses["local-search"]) < min(losses["random"])


def test_local_search_spreads_over_a_front():
    """The front has 17 points: for every sum of genes, as many ones as fit."""
    domain = small_domain()

    def both(genes: Genes) -> tuple[float, ...]:
        return (float(sum(genes)), float(sum(g * g for g in genes) - 6 * sum(genes)))

    def found(name: str) -> int:
        trials = run(make(name, domain, seed=0, objectives=2), domain, both, 120)
        front = {(float(s), -5.0 * min(s, 8) - 3.0 * max(s - 8, 0)) for s in range(17)}
        return len(front & {trial.losses for trial in trials})

    assert found("local-search") >= found("random") + 4


def test_a_repeated_network_counts_by_its_mean():
    domain = small_domain()
    strategy = make("random", domain, seed=0)
    for number, (genes, loss) in enumerate([((0,) * 8, 1.0), ((1,) * 8, 2.0), ((0,) * 8, 5.0)]):
        strategy.tell(
            Trial(number=number, genes=genes, digest="", state="complete", losses=(loss,))
        )
    assert strategy.recommend() == (1,) * 8


def test_batches_do_not_collide():
    domain = small_domain()
    strategy = make("local-search", domain, seed=0)
    pending: list[Proposal] = []
    for number in range(30):
        pending.append(strategy.ask(number, pending))
    assert len({domain.canonical(p.genes) for p in pending}) == 30
