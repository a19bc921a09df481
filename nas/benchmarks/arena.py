"""Strategies on equal terms: the same problems, equal budgets, a random control always in.

One evaluation is one network that the search had not seen, by canonical genes. A repeated proposal
is answered from the record, told, and free. A network that cannot be evaluated is told infeasible,
and free. Regret is that of the network a strategy recommends, by the truth: an optimistic
observation earns nothing. The hypervolume is that of the true losses of all networks evaluated, in
units of the problem's box.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks._cell import Benchmark, Cell, Row, run_cell
from nas.benchmarks._folder import Folder, Settings
from nas.errors import UsageError
from nas.files import write_text
from nas.progress import Pace, Watch, ignore
from nas.statistics import claim, mean_interval
from nas.strategies import make

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONTROL", "Arena", "Cell", "Row", "Score", "compare", "run_cell"]

CONTROL = "random"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that say with how many threads a process calculates."""

Floats = NDArray[np.float64]
Key = tuple[str, int]
"""A cell's strategy and seed."""
Mean = tuple[float, float, float]
"""A mean over seeds, and the bounds of its 95 % bootstrap interval."""


def compare(
    benchmark: Benchmark,
    strategies: Sequence[str],
    *,
    name: str,
    seeds: Iterable[int] = range(30),
    budget: int = 100,
    out: Path | None = None,
    workers: int = 1,
    watch: Watch = ignore,
) -> "Arena":
    """Run every strategy, and the random control, under every seed.

    Cells that ``out`` holds finished are kept. Raises `UsageError` for a strategy that cannot be
    made, `RunError` if ``out`` holds another comparison.
    """
    # A seed given twice would narrow the intervals for nothing.
    seeds = tuple(dict.fromkeys(seeds))
    specs = tuple(dict.fromkeys((*strategies, CONTROL)))
    if budget < 1 or not seeds:
        raise UsageError(
            f"an arena needs a budget of at least 1 and a seed, not {budget} and {len(seeds)} seeds"
        )
    # Before the first cell: a wrong setting shows at once, and not hours into the comparison.
    losses = _check_strategies(benchmark, specs, seeds[0])
    # All strategies under a seed, then the next seed: stopped early, it has compared something.
    keys = [(spec, seed) for seed, spec in product(seeds, specs)]
    folder = None
    if out is not None:
        folder = Folder(out, Settings(benchmark=name, budget=budget, losses=losses))
    cells = _finished(folder, keys)
    missing = [key for key in keys if key not in cells]
    pace = Pace("cell", len(keys), done=len(cells))
    for cell in _run(missing, benchmark, budget, workers):
        if folder is not None:
            folder.save(cell)
        cells[cell.strategy, cell.seed] = cell
        watch(pace.at(len(cells), cell))
    # As they were asked for, in whatever order the processes ended.
    in_order = tuple(cells[key] for key in keys)
    arena = Arena(name=name, budget=budget, losses=losses, cells=in_order)
    if out is not None:
        arena.write(out)
    return arena


def _check_strategies(benchmark: Benchmark, specs: Sequence[str], seed: int) -> tuple[str, ...]:
    """The names of the losses. Raises `UsageError` for a strategy that cannot be made."""
    problem = benchmark(seed)
    for spec in specs:
        make(spec, problem.domain, seed=0, objectives=len(problem.losses))
    return problem.losses


def _finished(folder: Folder | None, keys: Sequence[Key]) -> dict[Key, Cell]:
    cells: dict[Key, Cell] = {}
    if folder is None:
        return cells
    for spec, seed in keys:
        cell = folder.load(spec, seed)
        if cell is not None:
            cells[spec, seed] = cell
    return cells


def _run(keys: Sequence[Key], benchmark: Benchmark, budget: int, workers: int) -> Iterator[Cell]:
    """The cells as they are finished."""
    processes = min(workers, len(keys))
    if processes <= 1:
        for spec, seed in keys:
            yield run_cell(benchmark, spec, seed, budget)
        return
    # Spawned, not forked: numpy reads its number of threads once, when it is imported.
    with _one_thread_each(), ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        futures = [pool.submit(run_cell, benchmark, spec, seed, budget) for spec, seed in keys]
        yield from _as_done(futures, pool)


def _as_done(futures: Sequence[Future[Cell]], pool: Executor) -> Iterator[Cell]:
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        # An interrupt must not wait for searches that have not begun.
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start in here calculate with one thread, unless the user said otherwise.

    Else as many processes as cores would start as many threads each, and the seconds of an ask
    would be those of a crowded machine.
    """
    unset = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


# -- what came out --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Score:
    """A strategy over all seeds."""

    strategy: str
    regret: dict[int, Mean]
    """By number of evaluations; empty with several objectives."""
    hypervolume: Mean
    """At the end of the budget."""
    area: Mean
    """Mean over the budget of regret, or of hypervolume with several objectives."""
    over_control: Mean
    """The same at the end of the budget, less that of the random control under the same seed."""
    verdict: str
    """``better`` or ``worse`` than the control; empty if the interval holds zero."""
    ask_seconds: float
    """Of one ask."""
    asks_per_evaluation: float
    stalled: int
    """Seeds under which it stalled."""


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
        cells = [cell for cell in self.cells if cell.strategy == strategy]
        return sorted(cells, key=lambda cell: cell.seed)

    def curve(self, strategy: str, column: str) -> Floats:
        """A column of the rows: (seeds, budget)."""
        curves = []
        for cell in self.of(strategy):
            curves.append([getattr(row, column) for row in cell.rows])
        return np.array(curves, np.float64)

    @property
    def column(self) -> str:
        """What is compared: regret, or hypervolume with several objectives."""
        return "regret" if len(self.losses) == 1 else "hypervolume"

    def score(self, strategy: str, checkpoints: Sequence[int] = ()) -> Score:
        """Figures of a strategy; regret at the checkpoints and at the end of the budget."""
        curve = self.curve(strategy, self.column)
        cells = self.of(strategy)
        asks = sum(cell.asks for cell in cells)
        over = curve[:, -1] - self.curve(CONTROL, self.column)[:, -1]
        return Score(
            strategy=strategy,
            regret=self._regret(curve, checkpoints),
            hypervolume=summary(self.curve(strategy, "hypervolume")[:, -1]),
            area=summary(curve.mean(axis=1)),
            over_control=summary(over),
            verdict=self._verdict(over),
            ask_seconds=float(self.curve(strategy, "ask_seconds").sum() / max(1, asks)),
            asks_per_evaluation=asks / (len(cells) * self.budget),
            stalled=sum(cell.stalled for cell in cells),
        )

    def _regret(self, curve: Floats, checkpoints: Sequence[int]) -> dict[int, Mean]:
        if self.column != "regret":
            return {}
        inside = [count for count in checkpoints if 1 <= count <= self.budget]
        return {count: summary(curve[:, count - 1]) for count in sorted({*inside, self.budget})}

    def _verdict(self, over: Floats) -> str:
        """over: (seeds,), the strategy's last figures less the control's."""
        # Paired by seed, so what seeds have in common does not widen the interval.
        low, high = mean_interval(over)
        # Less regret is a gain, and so is more hypervolume.
        gain = (-high, -low) if self.column == "regret" else (low, high)
        word = claim(gain)
        return "" if word == "no evidence" else word

    def scores(self, checkpoints: Sequence[int] = ()) -> list[Score]:
        """Figures of every strategy, best first by the area under its curve."""
        sign = 1 if self.column == "regret" else -1
        scores = [self.score(strategy, checkpoints) for strategy in self.strategies]
        return sorted(scores, key=lambda score: sign * score.area[0])

    def frame(self) -> "pd.DataFrame":
        """The rows as a frame."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def to_json(self) -> dict[str, object]:
        """Plain JSON: what was compared, the scores, the rows."""
        return {
            "benchmark": self.name,
            "budget": self.budget,
            "losses": list(self.losses),
            "seeds": [cell.seed for cell in self.of(CONTROL)],
            "scores": [asdict(score) for score in self.scores((self.budget // 2,))],
            "rows": [asdict(row) for row in self.rows],
        }

    def write(self, out: Path) -> None:
        """``arena.json`` and ``arena.csv`` in a folder."""
        write_text(out / "arena.json", json.dumps(self.to_json()) + "\n")
        write_text(out / "arena.csv", self.frame().to_csv(index=False))


def summary(values: Floats) -> Mean:
    """values: (n,). Mean and its 95 % interval."""
    return (float(values.mean()), *mean_interval(values))
