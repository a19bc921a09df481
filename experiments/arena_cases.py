"""Our strategies beside Optuna's samplers on benchmarks with known truth.

Each strategy has one configuration for all cases.

    python experiments/arena_cases.py OUT [CASE ...] [--seeds N] [--strategy SPEC ...]
        [--budget N] [--workers N]

A case is a benchmark, a budget, seeds and strategies, below; without a name all are run. Finished
searches in OUT are kept, so a case that was stopped goes on. The seeds of NK and of effects are
held back; bounds hold a quarter of all networks. Optuna's GP takes an hour a case with the seeds
given, so it is in no list: ``--strategy optuna:GP --seeds 1``. Cases of NAS-Bench-Macro need
NAS_DATA.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas import catalog
from nas.benchmarks import Problem
from nas.benchmarks.arena import Arena, compare
from nas.pareto import hypervolume
from nas.progress import Progress
from nas.report.arena import arena_table
from nas.statistics import paired_interval

MODELS = ("gp", "trust-region", "local-search", "optuna:TPE")
FRONTS = (
    "gp",
    "trust-region",
    "local-search",
    "optuna:TPE",
    "optuna:NSGA-II",
    "optuna:NSGA-II,population_size=20",
)
REINFORCED = ("rl", "rl:tunas", "evolution")


@dataclass(frozen=True)
class Case:
    """One benchmark and what searches it."""

    benchmark: str
    checkpoints: Sequence[int]
    """Evaluations at which regret is printed, the budget last."""

    seeds: range
    strategies: Sequence[str]


CASES = {
    "macro": Case("nas-bench-macro", (50, 100), range(30), MODELS),
    "macro-noisy": Case("nas-bench-macro:noisy", (50, 100), range(30), MODELS),
    "macro-bounded": Case("nas-bench-macro:max_macs=45e6", (50, 100), range(30), MODELS),
    "macro-front": Case("nas-bench-macro:front=true", (100, 200), range(10), FRONTS),
    # A standard deviation of a real landscape beside its main effects is .32 of these units.
    "effects-noise": Case(
        "effects:imagenet,interactions=0,noise=.32", (50, 100), range(100, 112), MODELS
    ),
    "effects-pairs": Case("effects:imagenet", (50, 100), range(100, 112), MODELS),
    "fbnet-k2": Case("nk:space=fbnet,k=2,noise=0.15", (100, 200), range(100, 104), MODELS),
    "fbnet-k5": Case("nk:space=fbnet,k=5,noise=0.15", (100, 200), range(100, 104), MODELS),
    "uninet-k2": Case("nk:space=uninet,k=2,noise=0.15", (100, 200), range(100, 104), MODELS),
    "uninet-k5": Case("nk:space=uninet,k=5,noise=0.15", (100, 200), range(100, 104), MODELS),
    "mnasnet-bounded": Case(
        "nk:space=mnasnet,k=2,noise=0.15,max_macs=280e6", (100, 200), range(100, 104), MODELS
    ),
    "mnasnet-unbounded": Case(
        "nk:space=mnasnet,k=2,noise=0.15", (100, 200), range(100, 104), MODELS
    ),
    "rl": Case("nk:space=mnasnet,k=2,noise=0.15", (500, 2000, 8000), range(100, 108), REINFORCED),
}


def show(progress: Progress[object]) -> None:
    left = f"{progress.eta_seconds:.0f} s left"
    print(f"\r{progress.done}/{progress.planned} cells, {left} ", end="", file=sys.stderr)


def run(name: str, out: Path, given: argparse.Namespace) -> Arena:
    case = CASES[name]
    checkpoints = [given.budget] if given.budget else case.checkpoints
    arena = compare(
        catalog.benchmark(case.benchmark),
        given.strategy or case.strategies,
        name=case.benchmark,
        seeds=case.seeds[: given.seeds],
        budget=checkpoints[-1],
        out=out / f"{name}-{checkpoints[-1]}",
        workers=given.workers,
        watch=show,
    )
    print(f"\n{name}: {case.benchmark}, seeds {case.seeds[0]} to {case.seeds[: given.seeds][-1]}")
    print(arena_table(arena, checkpoints))
    if len(arena.losses) > 1:
        print_fronts(arena, catalog.benchmark(case.benchmark)(0))
    return arena


def print_differences(what: str, arenas: Sequence[Arena], first: str) -> None:
    """Print the last figure of one strategy less that of each other, with 95 % intervals.

    Figures are paired by seed, over all arenas that have both strategies.
    """
    own = [arena for arena in arenas if first in arena.strategies]
    others: dict[str, None] = {}
    for arena in own:
        others |= dict.fromkeys(name for name in arena.strategies if name != first)
    for column in sorted({arena.column for arena in own}):
        for other in others:
            both = [arena for arena in own if arena.column == column and other in arena.strategies]
            pairs: list[float] = []
            for arena in both:
                difference = _last(arena, first, column) - _last(arena, other, column)
                pairs += difference.tolist()
            edges = paired_interval(pairs)
            within = "" if edges is None else f", 95 % {edges[0]:+.4f} to {edges[1]:+.4f}"
            print(
                f"{what}: {column}, {first} less {other}: {sum(pairs) / len(pairs):+.4f}{within} "
                f"({len(pairs)} pairs)"
            )


def _last(arena: Arena, strategy: str, column: str) -> NDArray[np.float64]:
    return arena.curve(strategy, column)[:, -1]


def print_fronts(arena: Arena, problem: Problem) -> None:
    """Hypervolumes as shares of that of the table's true front."""
    means = problem.truth.__self__.inside()  # type: ignore[attr-defined]
    scaled = (means - problem.ideal) / (problem.reference - means.min(axis=0))
    whole = hypervolume(scaled, [1.0] * len(problem.losses))
    for strategy in arena.strategies:
        share = arena.curve(strategy, "hypervolume") / whole
        print(
            f"{strategy:36s} {100 * share[:, -1].mean():7.2f} % of the true front's (worst "
            f"{100 * share[:, -1].min():.2f} %)"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("out", type=Path)
    options.add_argument("cases", nargs="*", choices=[[], *CASES])
    options.add_argument("--seeds", type=int, help="the first so many of the case's")
    options.add_argument("--strategy", action="append", help="instead of the case's; repeatable")
    options.add_argument("--budget", type=int, help="instead of the case's")
    options.add_argument("--workers", type=int, default=1)
    given = options.parse_args()
    arenas = {name: run(name, given.out, given) for name in given.cases or CASES}
    print()
    for name, arena in arenas.items():
        print_differences(name, [arena], arena.strategies[0])
    landscapes = []
    for name, arena in arenas.items():
        if CASES[name].benchmark.startswith("nk:") and name != "rl":
            landscapes.append(arena)
    if len(landscapes) > 1:
        print_differences(f"{len(landscapes)} landscapes", landscapes, "gp")


if __name__ == "__main__":
    main()
