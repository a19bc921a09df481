"""Regret on NAS-Bench-Macro at equal budgets.

    python experiments/arena_nas_bench_macro.py OUT [SEEDS [WORKERS]]

Needs NAS_DATA, the folder of nas_bench_macro_cifar10.json. Also prints where the time went.
"""

import sys
import time
from pathlib import Path
from statistics import fmean

from nas import catalog
from nas.benchmarks.arena import compare
from nas.progress import Progress
from nas.report.arena import arena_figure, arena_table
from nas.report.plots import save

STRATEGIES = (
    "local-search",
    "evolution",
    "evolution:population=20,sample=5",
    "optuna:TPE",
    "optuna:NSGA-II",
    "optuna:QMC",
    "optuna:Random",
    "optuna:GP",
)


def show(progress: Progress[object]) -> None:
    left = f"{progress.eta_seconds:.0f} s left"
    print(f"\r{progress.done}/{progress.planned} cells, {left} ", end="", file=sys.stderr)


def main(out: Path, seeds: int = 30, workers: int = 2) -> None:
    start = time.perf_counter()
    arena = compare(
        catalog.benchmark("nas-bench-macro"),
        STRATEGIES,
        name="nas-bench-macro",
        seeds=range(seeds),
        budget=100,
        out=out,
        workers=workers,
        watch=show,
    )
    print(f"{time.perf_counter() - start:.1f} s with {workers} processes", file=sys.stderr)
    print(arena_table(arena, (50, 100)))
    save(arena_figure(arena), out / "arena.png")
    print("\nseconds per cell: whole, in ask, in tell and recommend, the arena's own")
    for strategy in arena.strategies:
        cells = arena.of(strategy)
        whole = fmean(cell.seconds for cell in cells)
        tell = fmean(cell.tell_seconds for cell in cells)
        ask = fmean(sum(row.ask_seconds for row in cell.rows) for cell in cells)
        print(f"{strategy:34s} {whole:8.3f} {ask:8.3f} {tell:8.3f} {whole - ask - tell:8.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
