"""Published networks, or their nearest points, as the first proposals of every strategy."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from nas import catalog, networks
from nas.cost.costs import space_costs
from nas.domain import Bound, Domain
from nas.errors import UsageError
from nas.networks.membership import membership
from nas.strategies import make
from nas.strategies._warm import Start, WarmStart, starts
from nas.strategies.base import Proposal
from nas.testing.strategies import check_strategy, toy_trial
from search_spaces import fbnet, fused_mbconv, mnasnet, mobilenet_v3, nas_bench_macro

LATENCY = "latency_ms@pixel1"


def domain_of(space, *bounds):
    return Domain(space, space_costs(space, [catalog.device("pixel1")]), bounds)


@pytest.fixture(scope="module")
def domain():
    return domain_of(fbnet.space(32, 10, 1), Bound(LATENCY, upper=30.0))


def latency(domain, start):
    return domain.costs(start.genes)[LATENCY]


def test_a_space_begins_with_its_published_networks_spread_over_the_latencies():
    domain = domain_of(fused_mbconv.space(base="b0"))
    found = starts("auto", domain)
    assert [start.name.removeprefix("efficientnet_v2_") for start in found] == [
        "b3",
        "b0",
        "b1",
        "b2",
    ]
    exact = membership(networks.get("efficientnet_v2_b0"), domain.space)
    assert found[1].genes == exact.genes
    costs = [latency(domain, start) for start in found]
    assert (max(costs), min(costs)) == (costs[0], costs[1])


def test_starts_are_brought_inside_the_bounds_by_few_changes(domain):
    found = starts("auto", domain)
    assert {start.name for start in found} == {"fbnet_a", "fbnet_b", "fbnet_c"}
    for start in found:
        network = networks.get(
            start.name, resolution=32, classes=10, in_channels=1, small_images=True
        )
        place = membership(network, domain.space)
        near = domain.canonical(place.genes)
        assert domain.contains(start.genes)
        if not domain.contains(near):
            changed = sum(map(int.__ne__, near, start.genes))
            # Each layer that is left out may move others along its stage.
            assert 1 <= changed <= 12
            # The budget is used: what was taken away is no more than was too much.
            assert latency(domain, start) > 0.9 * 30.0


def test_several_bounds_and_a_band_are_kept_too():
    space = mobilenet_v3.space(32, 10, 1)
    free = domain_of(space)
    params = free.costs(starts("auto", free)[0].genes)["params"]
    tight = domain_of(
        space,
        Bound(LATENCY, upper=30.0, lower=25.0),
        Bound("params", upper=0.9 * params),
    )
    (start,) = starts("auto", tight)
    assert tight.contains(start.genes)


def test_a_space_that_no_published_network_came_from_begins_with_those_that_are_its_points():
    mine = replace(fused_mbconv.space(32, base="b0"), name="mine")
    assert [start.name for start in starts("auto", domain_of(mine))] == ["efficientnet_v2_b0"]


def test_without_published_relatives_there_is_no_start():
    assert starts("auto", domain_of(nas_bench_macro.space())) == ()
    assert starts("none", domain_of(fbnet.space(32))) == ()


def test_named_networks_begin_in_their_order(domain):
    found = starts("fbnet_c, mnasnet_a1", domain)
    assert [start.name for start in found] == ["fbnet_c", "mnasnet_a1"]
    with pytest.raises(UsageError, match="no published network named 'fbnet_d'"):
        starts("fbnet_c,fbnet_d", domain)
    other = domain_of(mnasnet.space(32))
    with pytest.raises(
        UsageError, match="no search of space 'mnasnet' can start from 'uninet_b0': outside"
    ):
        starts("uninet_b0", other)


SPECS = ("evolution", "gp:initial=4", "local-search", "optuna:NSGA-II,population_size=6", "random")


def begun(spec, domain, *, seed, objectives):
    strategy = make(spec, domain, seed=seed, objectives=objectives)
    draws = domain.sample_many(2, np.random.default_rng(1)).tolist()
    made = [Start(name=f"n{i}", genes=domain.canonical(genes)) for i, genes in enumerate(draws)]
    return WarmStart(strategy, made, domain)


@pytest.mark.parametrize("spec", SPECS)
def test_the_contract_holds_with_a_warm_start(spec):
    check_strategy(functools.partial(begun, spec), objectives=2, trials=16)


def test_starts_come_first_are_named_and_come_once(domain):
    found = starts("auto", domain)
    strategy = WarmStart(make("random", domain, seed=0), found, domain)
    pending = []
    for number, start in enumerate(found):
        proposal = strategy.ask(number, pending)
        assert (proposal.genes, proposal.note) == (start.genes, {"warm": start.name})
        pending.append(proposal)
    assert "warm" not in strategy.ask(3, pending).note
    # One that is being evaluated elsewhere is left to whoever does.
    other = Proposal(found[0].genes)
    assert strategy.ask(0, [other]).genes == found[1].genes
    for number, proposal in enumerate(pending):
        strategy.tell(toy_trial(domain, number, proposal, 1))
    plain = make("random", domain, seed=0)
    assert strategy.ask(3) == plain.ask(3)
    assert strategy.recommend() in [start.genes for start in found]


def test_nsga_ii_takes_the_starts_for_its_first_generation(domain):
    strategy = WarmStart(make("optuna:NSGA-II", domain, seed=0), starts("fbnet_a", domain), domain)
    note = strategy.ask(0).note
    assert note["warm"] == "fbnet_a"
    assert any(name.endswith(":generation") for name in note["system_attrs"])
