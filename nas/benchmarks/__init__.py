"""Benchmarks with known truth, one per file; the file name, with dashes, is the name on the command line.

A file exports ``benchmark(*, seed, **settings) -> Problem``: the problem that a search of that seed
meets. Others add theirs through the entry-point group ``nas.benchmarks``: each entry point names
such a function.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points

from nas.domain import Domain
from nas.errors import UsageError
from nas.trial import Genes

__all__ = ["Problem", "known"]

Losses = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A domain, what a search sees of a network, and what is true.

    ``losses`` names the objectives with their units, lower is better. ``observe`` is what one
    evaluation gives, the same at every call; `NasError` where the network cannot be evaluated.
    ``truth`` has no noise. ``best`` is the least true first loss inside the domain. ``ideal`` and
    ``reference`` fix the scale of the hypervolume: the box between them has volume 1.
    """

    domain: Domain
    losses: tuple[str, ...]
    observe: Callable[[Genes], Losses]
    truth: Callable[[Genes], Losses]
    best: float
    ideal: Losses
    reference: Losses


def known() -> dict[str, Callable[[], Callable[..., Problem]]]:
    """A loader of the function ``benchmark`` per name. A name claimed twice raises."""
    found: dict[str, Callable[[], Callable[..., Problem]]] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            found[module.name.replace("_", "-")] = _file_loader(f"{__name__}.{module.name}")
    for point in entry_points(group="nas.benchmarks"):
        if point.name in found:
            raise UsageError(
                f"two benchmarks claim the name '{point.name}': rename the one of {point.value}"
            )
        found[point.name] = point.load
    return found


def _file_loader(module: str) -> Callable[[], Callable[..., Problem]]:
    def load() -> Callable[..., Problem]:
        function: Callable[..., Problem] = import_module(module).benchmark
        return function

    return load
