"""The trust region beside the same Gaussian process without it, and others, at equal budgets.

``python experiments/arena_trust_region.py OUT [BENCHMARK [BUDGET [SEEDS [WORKERS [STRATEGIES...]]]]]``; the
benchmarks of NAS-Bench-Macro need NAS_DATA. Prints the table of `nas arena` with half the budget as a checkpoint.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from nas import catalog
from nas.arena import compare
from nas.report.arena import arena_table

STRATEGIES = ("trust-region", "gp", "local-search", "optuna:TPE")


DEFAULTS = ("nas-bench-macro", "100", "30", "2")


def main(out: Path, benchmark: str, budget: int, seeds: int, workers: int, strategies: Sequence[str]) -> None:
    arena = compare(
        catalog.benchmark(benchmark),
        strategies,
        name=benchmark,
        seeds=range(seeds),
        budget=budget,
        out=out,
        workers=workers,
        progress=lambda done, of, left: print(f"\r{done}/{of} cells, {left:.0f} s left ", end="", file=sys.stderr),
    )
    print(arena_table(arena, (budget // 2, budget)))


if __name__ == "__main__":
    given = sys.argv[2:6]
    name, *numbers = (*given, *DEFAULTS[len(given) :])
    evaluations, runs, processes = map(int, numbers)
    main(Path(sys.argv[1]), name, evaluations, runs, processes, sys.argv[6:] or STRATEGIES)
