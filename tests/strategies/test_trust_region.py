"""The trust region: its length, its streaks, its restarts."""

import numpy as np

from nas.strategies import make
from nas.strategies.base import Proposal
from nas.strategies.trust_region import FACTOR, FIRST, TrustRegion
from nas.testing.strategies import bounded_domain, toy_trial
from nas.trial import Trial
from search_spaces import fbnet


def told(strategy: TrustRegion, losses: list[float], first: int = 0) -> TrustRegion:
    """Random networks with losses, as trials of the region now."""
    generator = np.random.default_rng(first)
    for number, loss in enumerate(losses, first):
        genes = strategy.domain.sample(generator)
        note = {"region": strategy.number}
        strategy.tell(Trial(number=number, genes=genes, digest="", state="complete", losses=(loss,), note=note))
    return strategy


def new(settings: str = "failures=4") -> TrustRegion:
    """Two networks told: the initial ones, which do not count."""
    strategy = make(f"trust-region:initial=2,{settings}", bounded_domain(fbnet.space()), seed=0)
    assert isinstance(strategy, TrustRegion)
    return told(strategy, [9.0, 8.0], first=90)


def test_three_successes_widen_and_failures_shrink():
    strategy = told(new(), [3.0, 2.0, 1.0])
    assert strategy.region.length == min(FIRST * FACTOR, 30)
    told(strategy, [1.0] * 4, first=3)
    assert strategy.region.length == min(FIRST * FACTOR, 30) / FACTOR


def test_a_region_that_has_shrunk_to_nothing_ends():
    strategy = told(new("failures=1"), [1.0] + [2.0] * 8)
    assert strategy.number == 1
    assert strategy.region.length == FIRST
    proposal = strategy.ask(9)
    assert proposal.note["region"] == 1


def test_late_trials_of_an_old_region_do_not_count():
    strategy = told(new("failures=1"), [1.0] + [2.0] * 8)
    before = strategy.region.failures, strategy.region.successes
    strategy.tell(toy_trial(strategy.domain, 9, Proposal(strategy.domain.sample(np.random.default_rng(9)), {}), 1))
    assert (strategy.region.failures, strategy.region.successes) == before


def test_proposals_stay_within_the_length_of_the_centre():
    strategy = told(new("failures=1"), [1.0] + [2.0] * 6)
    assert 1 <= strategy.region.length < 2
    model = strategy.model()
    centre = next(
        model.keys[i] for i in np.argsort(model.means[:, 0], kind="stable") if model.keys[i] in strategy.members
    )
    for number in range(10, 13):
        genes = strategy.ask(number).genes
        assert sum(a != b for a, b in zip(genes, centre, strict=True)) == 1
