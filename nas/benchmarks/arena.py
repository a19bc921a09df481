"""Strategies on equal terms: the same problems, budgets counted in one way, a random control always in.

One evaluation is one network that the search had not seen, by canonical genes. A repeated proposal
is answered from the record, told, and free; a network that cannot be evaluated is told infeasible,
and free. Regret is that of the network a strategy recommends, by the truth: an optimistic
observation earns nothing. The hypervolume is that of the true losses of all networks evaluated, in
units of the problem's box.
"""

import dataclasses
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks import Problem
from nas.errors import NasError, RunError, UsageError
from nas.files import through_json, write_json, write_text
from nas.pareto import RunningFront
from nas.statistics import mean_interval
from nas.strategies import make
from nas.strategies.base import Strategy
from nas.trial import Genes, Trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONTROL", "Arena", "Cell", "Row", "Score", "compare", "run_cell"]

CONTROL = "random"
STALLED = 200
"""A strategy that asks so often in a row without naming a new network has no more to say."""
FORMAT = 1

Floats = NDArray[np.float64]
Benchmark = Callable[[int], Problem]
"""The problem of a seed. With several processes it must be picklable: a module's function, or a partial of one."""
Progress = Callable[[int, int, float], None]
"""Called with cells done, cells in all, and the seconds still expected."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A strategy after so many evaluations. ``ask_seconds``: spent in ``ask`` since the evaluation before.

    ``regret``: true first loss of the recommended network above the best, None with several
    objectives.
    """

    strategy: str
    seed: int
    evaluations: int
    regret: float | None
    hypervolume: float
    ask_seconds: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One strategy under one seed: its rows, one per evaluation, and how often it asked in all.

    A strategy that stalled has fewer asks than the budget would need; its last figures then stand
    for the evaluations it did not use. ``seconds`` is the whole cell's time, ``tell_seconds`` that
    of telling and recommending.
    """

    strategy: str
    seed: int
    asks: int
    stalled: bool
    seconds: float
    tell_seconds: float
    rows: tuple[Row, ...]


def run_cell(benchmark: Benchmark, spec: str, seed: int, budget: int) -> Cell:
    """One search."""
    problem = benchmark(seed)
    start = time.perf_counter()
    strategy = make(spec, problem.domain, seed=seed, objectives=len(problem.losses))
    search = _Search(problem, strategy, spec, seed)
    stalled = False
    while len(search.rows) < budget and not stalled:
        search.step()
        stalled = search.asks - search.last_new > STALLED
    rows = tuple(search.rows) or (search.row(0, 0.0),)
    rest = range(len(rows), budget) if search.rows else range(budget)
    filled = [dataclasses.replace(rows[-1], evaluations=i + 1, ask_seconds=0.0) for i in rest]
    return Cell(
        strategy=spec,
        seed=seed,
        asks=search.asks,
        stalled=stalled,
        seconds=time.perf_counter() - start,
        tell_seconds=search.tell_seconds,
        rows=(*search.rows, *filled),
    )


class _Search:
    def __init__(self, problem: Problem, strategy: Strategy, spec: str, seed: int) -> None:
        self.problem, self.strategy, self.spec, self.seed = problem, strategy, spec, seed
        self.known: dict[Genes, tuple[float, ...] | None] = {}
        self.truth: dict[Genes, tuple[float, ...]] = {}
        self.front = RunningFront([1.0] * len(problem.losses))
        self.rows: list[Row] = []
        self.asks, self.last_new = 0, 0
        self.ask_seconds, self.tell_seconds = 0.0, 0.0

    def step(self) -> None:
        """Ask, answer and tell once; a row if the network is new."""
        start = time.perf_counter()
        proposal = self.strategy.ask(self.asks)
        self.ask_seconds += time.perf_counter() - start
        key = self.problem.domain.canonical(proposal.genes)
        new = key not in self.known
        if new:
            self.known[key] = self._observe(key)
        losses = self.known[key]
        trial = Trial(
            number=self.asks,
            genes=proposal.genes,
            digest=f"{crc32(bytes(key)):08x}",  # a name is all that is needed: no network is built
            state="infeasible" if losses is None else "complete",
            losses=losses or (),
            note=through_json(dict(proposal.note)),
        )
        self.asks += 1
        start = time.perf_counter()
        self.strategy.tell(trial)
        self.tell_seconds += time.perf_counter() - start
        if new and losses is not None:
            self._add(key)

    def _observe(self, genes: Genes) -> tuple[float, ...] | None:
        try:
            return self.problem.observe(genes)
        except NasError:
            return None

    def _true(self, genes: Genes) -> tuple[float, ...]:
        if genes not in self.truth:
            self.truth[genes] = self.problem.truth(genes)
        return self.truth[genes]

    def _add(self, key: Genes) -> None:
        scaled = np.subtract(self._true(key), self.problem.ideal)
        self.front.add((scaled / np.subtract(self.problem.reference, self.problem.ideal)).tolist())
        self.rows.append(self.row(len(self.rows) + 1, self.ask_seconds))
        self.last_new, self.ask_seconds = self.asks, 0.0

    def row(self, evaluations: int, ask_seconds: float) -> Row:
        start = time.perf_counter()
        genes = self.strategy.recommend()
        self.tell_seconds += time.perf_counter() - start
        regret = None if len(self.problem.losses) > 1 else self._true(genes)[0] - self.problem.best
        return Row(
            strategy=self.spec,
            seed=self.seed,
            evaluations=evaluations,
            regret=regret,
            hypervolume=self.front.hypervolume,
            ask_seconds=ask_seconds,
        )


# -- the whole comparison -------------------------------------------------------------------------


def compare(
    benchmark: Benchmark,
    strategies: Sequence[str],
    *,
    name: str,
    seeds: Iterable[int] = range(30),
    budget: int = 100,
    out: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> "Arena":
    """Run every strategy, and the random control, under every seed; cells found finished in ``out`` are kept.

    Raises `UsageError` for a strategy that cannot be made, `RunError` where ``out`` holds another
    comparison.
    """
    seeds = tuple(dict.fromkeys(seeds))
    specs = tuple(dict.fromkeys((*strategies, CONTROL)))
    if budget < 1 or not seeds:
        raise UsageError(
            f"an arena needs a budget of at least 1 and a seed, not {budget} and {len(seeds)} seeds"
        )
    problem = benchmark(seeds[0])
    for spec in specs:
        make(spec, problem.domain, seed=0, objectives=len(problem.losses))
    folder = _Folder(
        out, {"format": FORMAT, "benchmark": name, "budget": budget, "losses": list(problem.losses)}
    )
    wanted = [(spec, seed) for seed, spec in product(seeds, specs)]
    cells = {key: cell for key in wanted if (cell := folder.load(*key)) is not None}
    kept, start = len(cells), time.perf_counter()
    for cell in _run([key for key in wanted if key not in cells], benchmark, budget, workers):
        folder.save(cell)
        cells[cell.strategy, cell.seed] = cell
        if progress is not None:
            rate = (time.perf_counter() - start) / (len(cells) - kept)
            progress(len(cells), len(wanted), rate * (len(wanted) - len(cells)))
    arena = Arena(
        name=name, budget=budget, losses=problem.losses, cells=tuple(cells[key] for key in wanted)
    )
    if out is not None:
        arena.write(out)
    return arena


def _run(
    keys: Sequence[tuple[str, int]], benchmark: Benchmark, budget: int, workers: int
) -> Iterator[Cell]:
    if workers <= 1 or len(keys) <= 1:
        for spec, seed in keys:
            yield run_cell(benchmark, spec, seed, budget)
        return
    with (
        _one_thread_each(),
        ProcessPoolExecutor(min(workers, len(keys)), get_context("spawn")) as pool,
    ):
        yield from _as_done(
            [pool.submit(run_cell, benchmark, spec, seed, budget) for spec, seed in keys], pool
        )


def _as_done(futures: Sequence[Future[Cell]], pool: Executor) -> Iterator[Cell]:
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Worker processes that start in here calculate with one thread, unless the user said otherwise."""
    names = [
        n
        for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        if n not in os.environ
    ]
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]


class _Folder:
    """Finished cells, one file each: a killed arena goes on where it was."""

    def __init__(self, out: Path | None, settings: dict[str, Any]) -> None:
        self.cells = None if out is None else out / "cells"
        if out is None or self.cells is None:
            return
        self.cells.mkdir(parents=True, exist_ok=True)
        path = out / "settings.json"
        if path.is_file():
            found = _load_json(path, "the settings of an arena")
            if found != settings:
                raise RunError(
                    f"{out} holds an arena of {found.get('benchmark')} with budget {found.get('budget')}, "
                    f"not of {settings['benchmark']} with {settings['budget']}: choose another folder"
                )
        write_json(path, settings)

    def _path(self, spec: str, seed: int) -> Path:
        assert self.cells is not None
        return (
            self.cells
            / f"{re.sub('[^A-Za-z0-9]+', '-', spec)}-{crc32(spec.encode()):08x}-{seed}.json"
        )

    def load(self, spec: str, seed: int) -> Cell | None:
        if self.cells is None or not self._path(spec, seed).is_file():
            return None
        path = self._path(spec, seed)
        data = _load_json(path, "a finished cell of an arena")
        try:
            return Cell(**{**data, "rows": tuple(Row(**row) for row in data["rows"])})
        except (TypeError, KeyError) as error:
            raise RunError(
                f"{path} is not a finished cell of an arena ({error}). Delete it to run that part again"
            ) from None

    def save(self, cell: Cell) -> None:
        if self.cells is not None:
            text = json.dumps(dataclasses.asdict(cell))
            write_text(self._path(cell.strategy, cell.seed), text + "\n")


def _load_json(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not {what} ({error}). Delete it to run that part again"
        ) from None


# -- what came out --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Score:
    """A strategy over all seeds: means with 95 % bootstrap intervals.

    ``regret``: by number of evaluations, empty with several objectives. ``area``: mean over the
    budget of regret, or of hypervolume with several objectives. ``over_control``: the same minus
    that of the random control under the same seed, at the end of the budget; a verdict only where
    the interval excludes zero.
    """

    strategy: str
    regret: dict[int, tuple[float, float, float]]
    hypervolume: tuple[float, float, float]
    area: tuple[float, float, float]
    over_control: tuple[float, float, float]
    verdict: str
    ask_seconds: float
    asks_per_evaluation: float
    stalled: int


@dataclass(frozen=True, kw_only=True)
class Arena:
    """All cells of a comparison. Curves are (seeds, budget)."""

    name: str
    budget: int
    losses: tuple[str, ...]
    cells: tuple[Cell, ...]

    @cached_property
    def strategies(self) -> tuple[str, ...]:
        """In the order given, the control last unless it was given."""
        return tuple(dict.fromkeys(cell.strategy for cell in self.cells))

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row of every cell."""
        return tuple(row for cell in self.cells for row in cell.rows)

    def of(self, strategy: str) -> list[Cell]:
        """The cells of a strategy, by seed."""
        return sorted(
            (cell for cell in self.cells if cell.strategy == strategy), key=lambda cell: cell.seed
        )

    def curve(self, strategy: str, column: str) -> Floats:
        """A column of the rows: (seeds, budget)."""
        return np.array(
            [[getattr(row, column) for row in cell.rows] for cell in self.of(strategy)], np.float64
        )

    @property
    def column(self) -> str:
        """What is compared: regret, or hypervolume with several objectives."""
        return "regret" if len(self.losses) == 1 else "hypervolume"

    def score(self, strategy: str, checkpoints: Sequence[int] = ()) -> Score:
        """Figures of a strategy; regret at the checkpoints and at the end of the budget."""
        curve = self.curve(strategy, self.column)
        cells = self.of(strategy)
        over = curve[:, -1] - self.curve(CONTROL, self.column)[:, -1]
        low, high = mean_interval(over)
        better = high < 0 if self.column == "regret" else low > 0
        worse = low > 0 if self.column == "regret" else high < 0
        at = sorted({*(c for c in checkpoints if 1 <= c <= self.budget), self.budget})
        return Score(
            strategy=strategy,
            regret={c: summary(curve[:, c - 1]) for c in at} if self.column == "regret" else {},
            hypervolume=summary(self.curve(strategy, "hypervolume")[:, -1]),
            area=summary(curve.mean(axis=1)),
            over_control=(float(over.mean()), low, high),
            verdict="better" if better else "worse" if worse else "",
            ask_seconds=float(
                self.curve(strategy, "ask_seconds").sum() / max(1, sum(c.asks for c in cells))
            ),
            asks_per_evaluation=sum(c.asks for c in cells) / (len(cells) * self.budget),
            stalled=sum(c.stalled for c in cells),
        )

    def scores(self, checkpoints: Sequence[int] = ()) -> list[Score]:
        """Figures of every strategy, best first by the area under its curve."""
        sign = 1 if self.column == "regret" else -1
        return sorted(
            (self.score(s, checkpoints) for s in self.strategies),
            key=lambda score: sign * score.area[0],
        )

    def frame(self) -> "pd.DataFrame":
        """The rows as a frame."""
        import pandas as pd

        return pd.DataFrame([dataclasses.asdict(row) for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: what was compared, the scores, the rows."""
        return {
            "benchmark": self.name,
            "budget": self.budget,
            "losses": list(self.losses),
            "seeds": [cell.seed for cell in self.of(CONTROL)],
            "scores": [dataclasses.asdict(score) for score in self.scores((self.budget // 2,))],
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }

    def write(self, out: Path) -> None:
        """``arena.json`` and ``arena.csv`` in a folder."""
        write_text(out / "arena.json", json.dumps(self.to_json()) + "\n")
        write_text(out / "arena.csv", self.frame().to_csv(index=False))


def summary(values: Floats) -> tuple[float, float, float]:
    """values: (n,). Mean and its 95 % interval."""
    return (float(values.mean()), *mean_interval(values))
