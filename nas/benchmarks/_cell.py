"""One search of an arena: a strategy under a seed, its budget counted in new networks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from nas.benchmarks import Losses, Problem
from nas.errors import NasError
from nas.files import through_json
from nas.pareto import RunningFront
from nas.strategies import make
from nas.strategies.base import Proposal, Strategy
from nas.trial import Genes, Trial

__all__ = ["Benchmark", "Cell", "Row", "run_cell"]

STALLED = 200
"""A strategy that asks so often in a row without naming a new network has no more to say."""

Benchmark = Callable[[int], Problem]
"""The problem of a seed. For several processes it must be picklable, as a module's function is."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A strategy after so many evaluations."""

    strategy: str
    seed: int
    evaluations: int
    regret: float | None
    """True first loss of the recommended network above the best; None with several objectives."""
    hypervolume: float
    """0..1, of the true losses of all networks evaluated."""
    ask_seconds: float
    """Spent in ``ask`` since the evaluation before."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One strategy under one seed."""

    strategy: str
    seed: int
    asks: int
    """In all. Fewer than the budget would need if the strategy stalled."""
    stalled: bool
    """If so, its last figures stand for the evaluations that it did not use."""
    seconds: float
    """Of the whole search."""
    tell_seconds: float
    """Of telling and recommending."""
    rows: tuple[Row, ...]
    """One per evaluation of the budget."""


def run_cell(benchmark: Benchmark, spec: str, seed: int, budget: int) -> Cell:
    """One search."""
    # Before the clock starts: to find its optimum is no part of the search.
    problem = benchmark(seed)
    start = time.perf_counter()
    strategy = make(spec, problem.domain, seed=seed, objectives=len(problem.losses))
    search = Search(problem, strategy, spec, seed)
    stalled = False
    while len(search.rows) < budget and not stalled:
        search.step()
        stalled = search.asks - search.last_new > STALLED
    rows = list(search.rows)
    last = rows[-1] if rows else search.row(0, 0.0)
    while len(rows) < budget:
        rows.append(replace(last, evaluations=len(rows) + 1, ask_seconds=0.0))
    return Cell(
        strategy=spec,
        seed=seed,
        asks=search.asks,
        stalled=stalled,
        seconds=time.perf_counter() - start,
        tell_seconds=search.tell_seconds,
        rows=tuple(rows),
    )


class Search:
    """The loop of one search, with its figures so far."""

    def __init__(self, problem: Problem, strategy: Strategy, spec: str, seed: int) -> None:
        self.problem, self.strategy = problem, strategy
        self.spec, self.seed = spec, seed
        self.known: dict[Genes, Losses | None] = {}
        """What was observed, by canonical genes; None if the network cannot be evaluated."""
        self.truth: dict[Genes, Losses] = {}
        self.front = RunningFront([1.0] * len(problem.losses))
        self.rows: list[Row] = []
        self.asks = 0
        self.last_new = 0
        """Asks when the last new network was evaluated."""
        self.ask_seconds = 0.0
        self.tell_seconds = 0.0

    def step(self) -> None:
        """Ask, answer and tell once; a row if the network is new."""
        start = time.perf_counter()
        proposal = self.strategy.ask(self.asks)
        self.ask_seconds += time.perf_counter() - start
        key = self.problem.domain.canonical(proposal.genes)
        is_new = key not in self.known
        if is_new:
            self.known[key] = self._observe(key)
        losses = self.known[key]
        trial = self._trial(proposal, key, losses)
        self.asks += 1
        start = time.perf_counter()
        self.strategy.tell(trial)
        self.tell_seconds += time.perf_counter() - start
        if is_new and losses is not None:
            self._add(key)

    def _trial(self, proposal: Proposal, key: Genes, losses: Losses | None) -> Trial:
        return Trial(
            number=self.asks,
            genes=proposal.genes,
            digest=f"{crc32(bytes(key)):08x}",  # a name is all that is needed: no network is built
            state="infeasible" if losses is None else "complete",
            losses=losses or (),
            # As a record would hand it back: a strategy must not rely on tuples in it.
            note=through_json(dict(proposal.note)),
        )

    def _observe(self, genes: Genes) -> Losses | None:
        try:
            return self.problem.observe(genes)
        except NasError:
            return None

    def _true(self, genes: Genes) -> Losses:
        # `recommend` is asked after every evaluation, and mostly says the same again.
        if genes not in self.truth:
            self.truth[genes] = self.problem.truth(genes)
        return self.truth[genes]

    def _add(self, key: Genes) -> None:
        """Count an evaluation."""
        scaled = np.subtract(self._true(key), self.problem.ideal)
        self.front.add((scaled / np.subtract(self.problem.reference, self.problem.ideal)).tolist())
        self.rows.append(self.row(len(self.rows) + 1, self.ask_seconds))
        self.last_new, self.ask_seconds = self.asks, 0.0

    def row(self, evaluations: int, ask_seconds: float) -> Row:
        """The figures now; ``ask_seconds`` are those since the row before."""
        start = time.perf_counter()
        genes = self.strategy.recommend()
        self.tell_seconds += time.perf_counter() - start
        regret = None
        if len(self.problem.losses) == 1:
            regret = self._true(genes)[0] - self.problem.best
        return Row(
            strategy=self.spec,
            seed=self.seed,
            evaluations=evaluations,
            regret=regret,
            hypervolume=self.front.hypervolume,
            ask_seconds=ask_seconds,
        )
