"""NAS-Bench-Macro: all 3,969 networks of a macro space, trained three times each on CIFAR-10.

Su et al. 2021, https://arxiv.org/abs/2103.11922. The results are ``nas-bench-macro_cifar10.json``
of https://github.com/xiusu/NAS-Bench-Macro, found as ``nas_bench_macro_cifar10.json`` in the folder
that the environment variable NAS_DATA names.
"""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks import Problem
from nas.benchmarks._tables import Lookup
from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.errors import DataError, SpaceError, unknown
from nas.trial import Genes
from search_spaces import nas_bench_macro

__all__ = ["benchmark"]

FILE = "nas_bench_macro_cifar10.json"
REFERENCE_ERROR_POINTS = 10.0
"""90 % accuracy; the reference's macs are those of the largest network."""


def benchmark(
    *, seed: int, variant: str = "mean", front: bool = False, max_macs: float = float("inf")
) -> Problem:
    """Error in points: the mean of three trainings, or one of them per network (variant ``noisy``).

    ``front`` adds macs as a second objective. ``max_macs`` is a bound.
    """
    if variant not in ("mean", "noisy"):
        raise unknown("variant of nas-bench-macro", variant, ("mean", "noisy"))
    space = nas_bench_macro.space()
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    bounds = [Bound("macs", upper=max_macs)] if max_macs < float("inf") else []
    domain = Domain(space, costs, bounds)
    columns = slice(None) if front else slice(1)
    repeats = {genes: rows[:, columns] for genes, rows in _results(_path()).items()}
    lookup = Lookup(domain, repeats, seed, variant == "noisy")
    ideal = lookup.inside().min(axis=0)
    largest = costs.extreme("macs", largest=True)[0]
    return Problem(
        domain=domain,
        losses=("error_points", "macs") if front else ("error_points",),
        observe=lookup.observe,
        truth=lookup.truth,
        best=float(ideal[0]),
        ideal=tuple(ideal.tolist()),
        reference=(REFERENCE_ERROR_POINTS, largest) if front else (REFERENCE_ERROR_POINTS,),
    )


def _path() -> Path:
    folder = os.environ.get("NAS_DATA", "")
    path = Path(folder) / FILE
    if not folder or not path.is_file():
        raise DataError(
            f"benchmark 'nas-bench-macro' reads {FILE} in the folder that NAS_DATA names, "
            f"and it is not in '{folder}'. Get it from https://github.com/xiusu/NAS-Bench-Macro"
        )
    return path


# Once for all seeds of an arena.
@cache
def _results(path: Path) -> dict[Genes, NDArray[np.float64]]:
    """Error points and macs of each training, (3, 2), by canonical genes."""
    space = nas_bench_macro.space()
    results: dict[Genes, NDArray[np.float64]] = {}
    try:
        for name, row in json.loads(path.read_text()).items():
            genes = space.canonical([int(digit) for digit in name])
            rows = [[100.0 - accuracy, row["flops"]] for accuracy in row["test_acc"]]
            results[genes] = np.array(rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SpaceError) as error:
        raise DataError(f"{path} is not the table of NAS-Bench-Macro: {error}") from None
    # By canonical genes: the table's own names must be one for each network.
    if len(results) != space.distinct:
        raise DataError(
            f"{path} must hold all {space.distinct} networks of NAS-Bench-Macro, not {len(results)}"
        )
    return results
