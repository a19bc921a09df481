"""A warm start: published networks, or their nearest points, as the first proposals.

It stands before any strategy, so that no search ends behind what could have been had by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nas import networks
from nas.arch import Architecture
from nas.cost.metric import Metric
from nas.domain import Domain
from nas.domain.several import excess, one_gene_apart
from nas.errors import UsageError
from nas.networks.membership import membership, point
from nas.shape import Op
from nas.space import SearchSpace
from nas.strategies._starts import inside
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import WARM, Genes, Trial

__all__ = ["AUTO", "NONE", "Start", "WarmStart", "as_input", "recorded", "relatives", "starts"]

AUTO = "auto"
NONE = "none"
FOUND = f"{AUTO}:"
HANDFUL = 4
"""Starts that are chosen where none are named."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A network that a search begins with."""

    name: str
    """The published network's."""
    genes: Genes
    """Canonical ones of its nearest point inside the bounds."""


class WarmStart(Strategy):
    """Proposes the starts that were neither told nor are pending, then what a strategy proposes.

    The strategy is told of all. A start is proposed with the note of `Strategy.adopt`, and its name
    under `WARM`.
    """

    def __init__(self, strategy: Strategy, starts: Sequence[Start], domain: Domain) -> None:
        self.strategy, self.domain = strategy, domain
        self.draws_version = strategy.draws_version
        self._untold = list(starts)

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        start = self._next(pending)
        if start is None:
            return self.strategy.ask(number, pending)
        note = self.strategy.adopt(start.genes, number, pending)
        return Proposal(start.genes, {**note, WARM: start.name})

    def _next(self, pending: Sequence[Proposal]) -> Start | None:
        if not self._untold:
            return None
        waiting = {self.domain.canonical(proposal.genes) for proposal in pending}
        return next((start for start in self._untold if start.genes not in waiting), None)

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        self._note_told(trial)
        self.strategy.tell(trial)

    def _note_told(self, trial: Trial) -> None:
        if self._untold:
            key = self.domain.canonical(trial.genes)
            self._untold = [start for start in self._untold if start.genes != key]

    def snapshot(self) -> bytes | None:
        """See `Strategy`: what was told of the starts is soon told again."""
        return self.strategy.snapshot()

    def restore(self, snapshot: bytes, told: Sequence[Trial]) -> None:
        """See `Strategy`."""
        for trial in told:
            self._note_told(trial)
        self.strategy.restore(snapshot, told)

    def doing(self) -> str:
        """See `Strategy`."""
        if self._untold:
            names = ", ".join(start.name for start in self._untold)
            return f"begins with published networks ({names})"
        return self.strategy.doing()

    def recommend(self) -> Genes:
        """See `Strategy`."""
        return self.strategy.recommend()


def starts(names: str, domain: Domain) -> tuple[Start, ...]:
    """The networks that a search of the domain begins with.

    ``names``: ``none``; published networks, separated by commas; or ``auto``: a handful of those
    that came from the space or are points of it, spread over the latencies inside the bounds, none
    if there are none. ``auto:NAMES`` are those that it found before, see `recorded`. Raises
    `UsageError` for an unknown name, and for a named network whose stages are not those of the
    space.
    """
    if names == NONE:
        return ()
    if names == AUTO:
        return _handful(domain)
    found_before = names.startswith(FOUND)
    named = []
    for name in (part.strip() for part in names.removeprefix(FOUND).split(",")):
        near = _nearest(name, domain.space)
        if near.genes is None and found_before:
            continue  # a resume asks for another space, and is to be told of that
        if near.genes is None:
            raise UsageError(
                f"no search of space '{domain.space.name}' can start from '{name}': {near.why}. "
                "Leave it out of --warm"
            )
        named.append(Start(name=name, genes=_brought_inside(near.genes, domain)))
    return tuple(named)


def recorded(names: str, found: Sequence[Start]) -> str:
    """What a run records of the names that `starts` was given, and of what it found.

    By name, for a later version may know more published networks, and a resume must begin alike.
    """
    if names != AUTO:
        return names
    return FOUND + ",".join(start.name for start in found) if found else NONE


@dataclass(frozen=True)
class _Near:
    """The nearest point of the space, bounds aside; None with the reason if there is none."""

    genes: Genes | None
    why: str


def _nearest(name: str, space: SearchSpace) -> _Near:
    place = membership(as_input(name, space), space)
    return _Near(place.genes, str(place))


def as_input(name: str, space: SearchSpace) -> Architecture:
    """The published network with the space's input and classes.

    Raises `UsageError` for an unknown name.
    """
    logits = space.chain[-1].words[0][0][-1].out_shape
    return networks.get(
        name,
        resolution=space.input.size,
        classes=logits.channels,
        in_channels=space.input.channels,
        small_images=True,
    )


# -- inside the bounds ----------------------------------------------------------------------------


def _brought_inside(genes: Genes, domain: Domain) -> Genes:
    """Canonical genes of a network inside that few changes of one gene lead to.

    While no change leads inside, the one is made that breaks the bounds least; then, of those that
    do, the one after which the bounded costs are nearest to what they were.
    """
    now = genes
    while not domain.contains(now):
        near = one_gene_apart(now, domain.space.gene_sizes)
        fits = domain.inside(near)
        if fits.any():
            now = _row(near[fits], _moved(near[fits], genes, domain))
            break
        broken = excess(domain.compiled, domain.bounds, near)
        if broken.min() >= excess(domain.compiled, domain.bounds, np.array([now]))[0]:
            # No single change leads on. The same for every seed, as what a run begins with is
            # part of what it was asked for.
            now = inside(genes, domain, rng(0, "warm", 0))
            break
        now = _row(near, broken)
    return domain.canonical(now)


def _row(genes: NDArray[np.int64], scores: NDArray[np.float64]) -> Genes:
    """The first row of the least score."""
    return tuple(genes[int(scores.argmin())].tolist())


def _moved(near: NDArray[np.int64], genes: Genes, domain: Domain) -> NDArray[np.float64]:
    """near: (n, number of choices). How far bounded costs are from those of genes: (n,).

    In shares of each, added up.
    """
    columns = [domain.compiled.column(bound.metric) for bound in domain.bounds]
    before = domain.compiled.price(np.array([genes]))[:, columns]
    after = domain.compiled.price(near)[:, columns]
    return np.asarray(np.abs(after / before - 1).sum(axis=1))


# -- a handful ------------------------------------------------------------------------------------


def _handful(domain: Domain) -> tuple[Start, ...]:
    """Of all relatives those inside the bounds first, then those moved inside."""
    within: dict[Genes, Start] = {}
    moved: dict[Genes, Start] = {}
    for name, near in relatives(domain.space):
        start = Start(name=name, genes=_brought_inside(near, domain))
        kept = within if domain.contains(near) else moved
        # Several may have one nearest point: the first name stands for all.
        kept.setdefault(start.genes, start)
    chosen = _spread(list(within.values()), HANDFUL, domain)
    others = [start for start in moved.values() if start.genes not in within]
    return (*chosen, *_spread(others, HANDFUL - len(chosen), domain))


def relatives(space: SearchSpace) -> Iterator[tuple[str, Genes]]:
    """The published networks that came from a space, or are points of it, with nearest points."""
    stems = _stems(space)
    for name in networks.names():
        genes = None
        if networks.published(name).space == space.name:
            genes = _nearest(name, space).genes
        elif _first_stem(name) in stems:
            # To look for the nearest point of each would take seconds.
            genes = point(as_input(name, space), space)
        if genes is not None:
            yield name, genes


def _stems(space: SearchSpace) -> set[Op]:
    """The first layers of the space's networks."""
    # Where the input's size is a choice, its slot comes first and makes no layer.
    first = next(step for step in space.chain if step.layers)
    return {_stem(word[0].op) for word in first.words[0] if word}


@cache
def _first_stem(name: str) -> Op:
    return _stem(networks.published(name).build().layers[0].op)


def _stem(op: Op) -> Op:
    """Without its stride, which depends on the input's size."""
    return op.replace(stride=1) if hasattr(op, "stride") else op


def _spread(among: Sequence[Start], count: int, domain: Domain) -> list[Start]:
    """So many of them: the slowest, then whichever is furthest from all that are chosen."""
    if not among or count < 1:
        return []
    costs = domain.compiled.price(np.array([start.genes for start in among]))
    speeds = np.log(costs[:, domain.compiled.column(_speed(domain))])
    chosen = [int(speeds.argmax())]
    while len(chosen) < min(count, len(among)):
        gaps = np.abs(speeds[:, None] - speeds[chosen]).min(axis=1)
        gaps[chosen] = -1.0
        chosen.append(int(gaps.argmax()))
    return [among[place] for place in chosen]


def _speed(domain: Domain) -> str:
    """The latency on the first device, or macs without one."""
    latencies = [name for name in domain.compiled.names if Metric.parse(name).is_latency]
    return (*latencies, "macs")[0]
