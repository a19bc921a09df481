"""Benchmarks with known truth, one per file; its name, with dashes, is that on the command line.

A file exports ``benchmark(*, seed, **settings) -> Problem``: the problem that a search of that seed
meets. Others add theirs through the entry-point group ``nas.benchmarks``: each entry point names
such a function.
"""

from collections.abc import Callable
from dataclasses import dataclass

from nas.domain import Domain
from nas.registry import loaders
from nas.trial import Genes

__all__ = ["Problem", "known"]

Losses = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A domain, what a search sees of a network, and what is true."""

    domain: Domain
    losses: tuple[str, ...]
    """Names of the objectives with their units; lower is better."""
    observe: Callable[[Genes], Losses]
    """What one evaluation gives, the same at every call.

    Raises `NasError` if the network cannot be evaluated.
    """
    truth: Callable[[Genes], Losses]
    """Losses without noise."""
    best: float
    """The least true first loss inside the domain."""
    ideal: Losses
    """With ``reference`` the scale of the hypervolume: the box between them has volume 1."""
    reference: Losses


def known() -> dict[str, Callable[[], Callable[..., Problem]]]:
    """A loader of the function ``benchmark`` per name. A name claimed twice raises."""
    return loaders(__name__, __path__, "benchmark", besides=("arena",))
