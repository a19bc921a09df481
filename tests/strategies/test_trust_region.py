"""Trust regions: their lengths, their streaks, their restarts, their centres."""

import numpy as np
import pytest

from nas.errors import UsageError
from nas.strategies import make
from nas.strategies.base import Proposal
from nas.strategies.trust_region import FACTOR, FIRST, TrustRegion
from nas.testing.strategies import bounded_domain, toy_trial
from nas.testing.toys import toy_domain
from nas.trial import Trial
from search_spaces import fbnet


def told(strategy: TrustRegion, losses: list[float], first: int = 0) -> TrustRegion:
    """Random networks with losses, as trials of the first region now."""
    generator = np.random.default_rng(first)
    for number, loss in enumerate(losses, first):
        genes = strategy.domain.sample(generator)
        note = {"region": strategy.regions[0].number}
        strategy.tell(
            Trial(
                number=number, genes=genes, digest="", state="complete", losses=(loss,), note=note
            )
        )
    return strategy


def new(settings: str = "failures=4") -> TrustRegion:
    """Two networks told: the initial ones, which do not count."""
    strategy = make(f"trust-region:initial=2,{settings}", bounded_domain(fbnet.space()), seed=0)
    assert isinstance(strategy, TrustRegion)
    return told(strategy, [9.0, 8.0], first=90)


def test_three_successes_widen_and_failures_shrink():
    strategy = told(new(), [3.0, 2.0, 1.0])
    assert strategy.regions[0].length == min(FIRST * FACTOR, 30)
    told(strategy, [1.0] * 4, first=3)
    assert strategy.regions[0].length == min(FIRST * FACTOR, 30) / FACTOR


def test_a_region_that_has_shrunk_to_nothing_ends_and_another_begins():
    strategy = told(new("failures=1"), [1.0] + [2.0] * 8)
    assert strategy.regions[0].number == 1
    assert strategy.regions[0].length == FIRST
    assert strategy.ask(9).note["region"] == 1


def test_late_trials_of_an_old_region_do_not_count():
    strategy = told(new("failures=1"), [1.0] + [2.0] * 8)
    region = strategy.regions[0]
    before = region.failures, region.successes
    strategy.tell(
        toy_trial(
            strategy.domain, 9, Proposal(strategy.domain.sample(np.random.default_rng(9)), {}), 1
        )
    )
    assert (region.failures, region.successes) == before


def test_proposals_stay_within_the_length_of_the_centre():
    strategy = told(new("failures=1"), [1.0] + [2.0] * 6)
    region = strategy.regions[0]
    assert 1 <= region.length < 2
    centre = strategy._centre(region, strategy.model())
    for number in range(10, 13):
        assert (np.array(strategy.ask(number).genes) != centre).sum() == 1


def test_several_regions_share_the_networks_and_each_proposes_near_its_own():
    domain = toy_domain(layers=8)
    strategy = make("trust-region:regions=3,initial=6", domain, seed=0)
    assert isinstance(strategy, TrustRegion)
    seen = set()
    for number in range(24):
        proposal = strategy.ask(number)
        seen.add(proposal.note["region"])
        strategy.tell(toy_trial(domain, number, proposal, 1))
    assert seen == {0, 1, 2}
    assert all(region.members for region in strategy.regions)


def test_several_objectives_centre_on_what_adds_most_to_the_front():
    strategy = make("trust-region:initial=3", bounded_domain(fbnet.space()), seed=0, objectives=2)
    generator = np.random.default_rng(0)
    assert isinstance(strategy, TrustRegion)
    losses = [(0.0, 1.0), (0.02, 0.02), (1.0, 0.0), (1.0, 1.0), (0.9, 0.9)]
    for number, pair in enumerate(losses):
        genes = strategy.domain.sample(generator)
        strategy.tell(
            Trial(
                number=number,
                genes=genes,
                digest="",
                state="complete",
                losses=pair,
                note={"region": 0},
            )
        )
    centre = strategy._centre(strategy.regions[0], strategy.model())
    assert tuple(centre) == list(strategy.history.losses)[1]


def test_several_objectives_count_what_adds_to_the_hypervolume_as_a_success():
    """Not whatever improves one loss: that may lie far beyond the front."""
    strategy = make("trust-region:initial=2", toy_domain(layers=8), seed=0, objectives=2)
    assert isinstance(strategy, TrustRegion)
    genes = strategy.domain.sample_many(6, np.random.default_rng(0)).tolist()
    pairs = [(0.0, 1.0), (1.0, 0.0), (-0.01, 9.0), (0.4, 0.4), (0.41, 0.41), (0.3999, 0.3999)]
    counts = []
    for number, (network, losses) in enumerate(zip(genes, pairs, strict=True)):
        note = {"region": 0}
        given = {"digest": "", "state": "complete", "losses": losses, "note": note}
        strategy.tell(Trial(number=number, genes=tuple(network), **given))
        region = strategy.regions[0]
        counts.append((region.successes, region.failures))
    assert counts[2:] == [(0, 1), (1, 0), (0, 1), (0, 2)]
    assert strategy.draws_version == 3


def test_the_first_network_inside_a_limit_is_a_success():
    domain = toy_domain(layers=8)
    strategy = make("trust-region:initial=2,limit=train_ms<=1", domain, seed=0)
    assert isinstance(strategy, TrustRegion)
    drawn = domain.sample_many(4, np.random.default_rng(0)).tolist()
    for number, (genes, ms) in enumerate(zip(drawn, (3, 2, 2, 1), strict=True)):
        given = {"losses": (float(number),), "metrics": {"train_ms": ms}, "note": {"region": 0}}
        strategy.tell(
            Trial(number=number, genes=tuple(genes), digest="", state="complete", **given)
        )
    assert (strategy.regions[0].successes, strategy.regions[0].failures) == (1, 0)
    assert strategy.recommend() == tuple(drawn[3])


def test_it_needs_a_region():
    with pytest.raises(UsageError, match="needs at least 1 region and 1 failure, not 0 and 40"):
        make("trust-region:regions=0", toy_domain(), seed=0)
