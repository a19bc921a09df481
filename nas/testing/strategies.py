"""The contract of a strategy, as a check that ours and other people's strategies pass alike."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.files import through_json
from nas.space import SearchSpace
from nas.strategies.base import Proposal, Strategy
from nas.trial import WARM, Genes, State, Trial
from search_spaces import fbnet, nas_bench_macro

__all__ = ["bounded_domain", "check_ask_seconds", "check_strategy", "toy_trial"]

STATES: Mapping[int, State] = {2: "failed", 5: "infeasible"}
"""Of every seven trials, which are not complete."""

Make = Callable[..., Strategy]
"""Called as ``make(domain, seed=..., objectives=...)``: what a strategy's file exports."""


def bounded_domain(space: SearchSpace) -> Domain:
    """The space with macs at most half-way between the least and the most."""
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    half = (costs.extreme("macs")[0] + costs.extreme("macs", largest=True)[0]) / 2
    return Domain(space, costs, [Bound("macs", upper=half)])


def toy_trial(
    domain: Domain, number: int, proposal: Proposal, objectives: int, state: State = "complete"
) -> Trial:
    """A trial whose losses are smooth in the canonical genes.

    The note has been through JSON, as in a record.
    """
    largest = np.maximum(np.array(domain.space.gene_sizes) - 1, 1)
    genes = np.array(domain.canonical(proposal.genes)) / largest
    # Objectives draw to different genes, so that their front has more than one network.
    targets = np.linspace(0.3, 1, objectives)
    # Of canonical genes, so that two spellings of one network have one loss.
    losses = tuple(float(np.square(genes - target).sum()) for target in targets)
    return Trial(
        number=number,
        genes=proposal.genes,
        digest=domain.space.decode(proposal.genes).digest,
        state=state,
        losses=losses if state == "complete" else (),
        note=through_json(dict(proposal.note)),
    )


def check_strategy(
    make: Make, domain: Domain | None = None, *, objectives: int = 1, trials: int = 24
) -> None:
    """Raise AssertionError unless the strategy keeps the contract of `Strategy`.

    Over ``trials`` trials: asking twice gives the same; asking without telling changes nothing;
    retelling any prefix gives the same next proposal; any order of telling is digested, and failed
    and infeasible trials too; pending networks are not proposed again; networks that it did not
    choose are learnt from; every proposal and recommendation lies inside the domain. Without a
    domain: NAS-Bench-Macro's space under a bound on macs.
    """
    domain = bounded_domain(nas_bench_macro.space()) if domain is None else domain

    def new() -> Strategy:
        return make(domain, seed=5, objectives=objectives)

    told = _check_sequence(new, domain, objectives, trials)
    _check_prefixes(new, told)
    _check_orders(new, domain, told)
    _check_pending(new, domain, told)
    _check_adopted(new, domain, objectives)


def check_ask_seconds(
    make: Make,
    domain: Domain | None = None,
    *,
    objectives: int = 1,
    told: int = 10_000,
    seconds: float = 1.0,
) -> float:
    """Seconds of one ask after so many trials told. Raises AssertionError from ``seconds`` on.

    Without a domain: FBNet's under a bound on macs.
    """
    domain = bounded_domain(fbnet.space()) if domain is None else domain
    strategy = make(domain, seed=5, objectives=objectives)
    for number, genes in enumerate(domain.sample_many(told, np.random.default_rng(0)).tolist()):
        strategy.tell(toy_trial(domain, number, Proposal(tuple(genes)), objectives))
    start = time.perf_counter()
    strategy.ask(told)
    took = time.perf_counter() - start
    assert took < seconds, (
        f"an ask after {told} trials took {took:.2f} s, {seconds:g} s is the limit"
    )
    return took


def _told(strategy: Strategy, trials: Sequence[Trial]) -> Strategy:
    for trial in trials:
        strategy.tell(trial)
    return strategy


def _check_inside(domain: Domain, genes: Genes, what: str) -> None:
    domain.space.check(genes)
    assert domain.contains(genes), f"{what} {genes} lies outside the domain: {domain.bounds_text}"


def _check_sequence(
    new: Callable[[], Strategy], domain: Domain, objectives: int, count: int
) -> list[Trial]:
    """A run, asked more than it needs to be; the trials told."""
    strategy = new()
    trials: list[Trial] = []
    _check_inside(domain, strategy.recommend(), "before anything is told, the recommendation")
    for number in range(count):
        proposal = strategy.ask(number)
        _check_inside(domain, proposal.genes, "the proposal")
        assert strategy.ask(number) == proposal, (
            f"asking twice for trial {number} gave two proposals"
        )
        # An ask that another driver made in between must leave no trace.
        strategy.ask(number + 7, [proposal])
        assert strategy.ask(number) == proposal, (
            f"asking for another trial changed the proposal for {number}"
        )
        state = STATES.get(number % 7, "complete")
        trials.append(toy_trial(domain, number, proposal, objectives, state))
        strategy.tell(trials[-1])
        _check_inside(domain, strategy.recommend(), "the recommendation")
    return trials


def _check_prefixes(new: Callable[[], Strategy], trials: Sequence[Trial]) -> None:
    for count, trial in enumerate(trials):
        again = _told(new(), trials[:count]).ask(count)
        assert again.genes == trial.genes, (
            f"retelling {count} trials gave another proposal for trial {count}"
        )
        assert through_json(dict(again.note)) == trial.note, (
            f"retelling {count} trials gave another note"
        )


def _check_orders(new: Callable[[], Strategy], domain: Domain, trials: Sequence[Trial]) -> None:
    shuffled = [trials[i] for i in np.random.default_rng(1).permutation(len(trials))]
    # A run may begin with failures alone, and a model has nothing to fit then.
    without_complete = [trial for trial in trials if trial.state != "complete"]
    for order in (shuffled, trials[::-1], without_complete):
        strategy = _told(new(), order)
        _check_inside(
            domain, strategy.ask(len(trials)).genes, "after another order of telling, the proposal"
        )
        _check_inside(
            domain, strategy.recommend(), "after another order of telling, the recommendation"
        )


def _check_pending(new: Callable[[], Strategy], domain: Domain, trials: Sequence[Trial]) -> None:
    for told in ([], trials):
        strategy, pending = _told(new(), told), list[Proposal]()
        for number in range(len(told), len(told) + 8):
            proposal = strategy.ask(number, pending)
            _check_inside(domain, proposal.genes, "beside pending ones, the proposal")
            _check_free(domain, proposal, pending)
            if number % 4 == 0:
                # Another driver claims this very network, in its least spelling, without a note.
                others = [*pending, Proposal(domain.canonical(proposal.genes))]
                _check_free(domain, strategy.ask(number, others), others)
            pending.append(proposal)


def _check_adopted(new: Callable[[], Strategy], domain: Domain, objectives: int) -> None:
    """A warm start: the first networks are none of the strategy's own."""
    strategy = new()
    drawn = domain.sample_many(4, np.random.default_rng(2)).tolist()
    for number, genes in enumerate(map(tuple, drawn)):
        note = strategy.adopt(genes, number)
        assert strategy.adopt(genes, number) == note, "adopting twice gave two notes"
        proposal = Proposal(genes, {**note, WARM: "network"})
        strategy.tell(toy_trial(domain, number, proposal, objectives))
    _check_inside(domain, strategy.ask(len(drawn)).genes, "after a warm start, the proposal")
    assert domain.canonical(strategy.recommend()) in map(domain.canonical, map(tuple, drawn)), (
        "after a warm start, none of its networks is recommended"
    )


def _check_free(domain: Domain, proposal: Proposal, pending: Sequence[Proposal]) -> None:
    waiting = {domain.canonical(other.genes) for other in pending}
    assert domain.canonical(proposal.genes) not in waiting, (
        f"{proposal.genes} is pending and was proposed again"
    )
