"""Which whole networks a table is held against: spread over all latencies that a space reaches.

Networks drawn at random over genes crowd in the middle of a space, and a search does not stay
there. So the fastest and the slowest network are taken, then one after the other of bands of equal
width in the logarithm of the latency. Every second network of a band is the one with the most macs
of several, as a search prefers what computes much in its time. Near a front, the front's own
networks and their neighbours are taken, too.

Published networks, narrowed or widened to latencies of the whole range, are held against it, too.
They are what people price, and what searches begin with, and they are unlike random networks: these
mix all kinds of layers, and those have one kind.

A search looks through more than several: it ends where the table is too low. So others are drawn as
it does, once there are prices to look by, and the network that is then the fastest.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture
from nas.cost.compiled import Compiled
from nas.cost.costs import latency_metric, space_costs
from nas.domain.several import one_gene_apart
from nas.latency.table import Table
from nas.run.bounds import LAST_PART
from nas.space import SearchSpace
from nas.statistics import rng as stream
from nas.strategies._warm import relatives
from nas.trial import Genes

__all__ = ["draw", "draw_as_picked", "draw_published", "draw_spread", "pool"]

MOST_TRIES = 100
BANDS = 12
CANDIDATES = 16
"""Networks of a band among which the one with the most macs is taken."""
TILTS, DRAWS, STEEPEST = 25, 256, 120.0
"""Mean latencies tried, networks drawn of each, and how steep the last ones are."""
MOST_BUDGETS = 5
"""Budgets tried for each network that is wanted."""
LOOKED_AT = 20
"""Networks with the most macs in a budget that are looked through for one that is not known."""
NEAR_SHARE = 3
"""One network in so many is near the front that was given, at most."""


def draw(space: SearchSpace, count: int, *, seed: int) -> list[Architecture]:
    """Distinct networks, uniform over gene tuples; fewer only if the space has no more."""
    networks: dict[str, Architecture] = {}
    rng = stream(seed, f"verify {space.name}", 0)
    for _ in range(MOST_TRIES * count):
        if len(networks) == count:
            break
        network = space.decode([int(rng.integers(size)) for size in space.gene_sizes])
        networks.setdefault(network.digest, network)
    return list(networks.values())


def draw_spread(
    space: SearchSpace, table: Table, count: int, *, seed: int, near: Sequence[Genes] = ()
) -> list[Architecture]:
    """Distinct networks over the whole range of latencies, the fastest first.

    ``near``: genes of a front, whose networks and neighbours make up to a third of the networks.
    Fewer than ``count`` only if the space has no more.
    """
    costs = space_costs(space, [table])
    chosen = _Chosen(space)
    ends = [costs.extreme(latency_metric(table.name), largest=largest) for largest in (False, True)]
    for _, genes in ends:
        chosen.add(genes)
    if near:
        _add_near(chosen, near, count // NEAR_SHARE, seed)
    _add_bands(chosen, costs, table, (ends[0][0], ends[1][0]), count, seed)
    if len(chosen.networks) < count:
        for network in draw(space, 2 * count, seed=seed):
            if len(chosen.networks) < count:
                chosen.networks.setdefault(network.digest, network)
    networks = list(chosen.networks.values())[:count]
    return sorted(networks, key=lambda network: table.estimate(network).latency_ms)


def draw_as_picked(
    space: SearchSpace, table: Table, count: int, *, seed: int, known: Collection[str] = ()
) -> list[Architecture]:
    """Distinct networks that a search by the table might end with, the fastest first.

    One is the fastest of all. The others are the best of random budgets, by equal factors from the
    least to the largest: of some thousand networks those that take the last tenth of a budget, and
    of these the one with the most macs. ``known``: digests of networks that are not wanted. Fewer
    than ``count`` only if the space has no more.
    """
    if count < 1:
        return []
    costs = space_costs(space, [table])
    metric = latency_metric(table.name)
    genes = pool(costs, metric, seed)
    prices = costs.price(genes)
    latencies, macs = prices[:, costs.column(metric)], prices[:, costs.column("macs")]
    # By how many are known, too: who is asked again has other budgets.
    rng = stream(seed, f"verify {space.name} budgets", len(known))
    chosen = _Chosen(space, known)
    chosen.add(costs.extreme(metric)[1])
    for turn in range(MOST_BUDGETS * count):
        if len(chosen.networks) == count:
            break
        share = (turn % count + rng.uniform()) / count
        budget_ms = latencies.min() ** (1 - share) * latencies.max() ** share
        least_ms = (1 - LAST_PART) * budget_ms
        members = np.flatnonzero((latencies >= least_ms) & (latencies <= budget_ms))
        for member in members[np.argsort(-macs[members], kind="stable")[:LOOKED_AT]]:
            if chosen.add(tuple(map(int, genes[member]))):
                break
    if len(chosen.networks) < count:
        for network in draw(space, count + len(known), seed=seed):
            if len(chosen.networks) < count:
                chosen.take(network)
    return sorted(chosen.networks.values(), key=lambda network: table.estimate(network).latency_ms)


def draw_published(
    space: SearchSpace, table: Table, count: int, *, seed: int
) -> list[Architecture]:
    """Distinct networks near published ones, over the whole range of latencies, the fastest first.

    Each is a published network's nearest point, changed gene by gene until none brings it nearer to
    one of ``count`` latencies. Fewer if the space has fewer relatives.
    """
    points = [genes for _, genes in relatives(space)] if count else []
    if not points:
        return []
    costs = space_costs(space, [table])
    metric = latency_metric(table.name)
    low_ms, high_ms = costs.extreme(metric)[0], costs.extreme(metric, largest=True)[0]
    if not 0 < low_ms < high_ms:
        return []
    order = stream(seed, f"verify {space.name} published", 0).permutation(len(points))
    chosen = _Chosen(space)
    for number in range(count):
        # Not the ends: there all are alike.
        target_ms = low_ms * (high_ms / low_ms) ** ((number + 1) / (count + 1))
        start = points[int(order[number % len(points)])]
        chosen.add(_changed_to(start, target_ms, costs, metric))
    return list(chosen.networks.values())


def _changed_to(genes: Genes, target_ms: float, costs: Compiled, metric: str) -> Genes:
    """Genes from which no change of one leads nearer to a latency."""

    def gaps(genes: NDArray[np.int64]) -> NDArray[np.float64]:
        latencies = costs.price(genes)[:, costs.column(metric)]
        return np.asarray(np.abs(np.log(latencies / target_ms)))

    now, gap = genes, float(gaps(np.array([genes]))[0])
    while True:
        near = one_gene_apart(now, costs.space.gene_sizes)
        gaps_near = gaps(near)
        best = int(gaps_near.argmin())
        if gaps_near[best] >= gap:
            return now
        now, gap = tuple(near[best].tolist()), float(gaps_near[best])


class _Chosen:
    """Distinct networks."""

    def __init__(self, space: SearchSpace, known: Collection[str] = ()) -> None:
        self.space, self.known = space, known
        self.networks: dict[str, Architecture] = {}

    def add(self, genes: Genes) -> bool:
        """Take the network of these genes. Returns whether it is one more."""
        return self.take(self.space.decode(genes))

    def take(self, network: Architecture) -> bool:
        """Take a network that is neither known nor taken. Returns whether it is one more."""
        if network.digest in self.known or network.digest in self.networks:
            return False
        self.networks[network.digest] = network
        return True


def _add_near(chosen: _Chosen, near: Sequence[Genes], count: int, seed: int) -> None:
    """Networks of a front, evenly, and then networks that differ from one of them by one gene."""
    full = len(chosen.networks) + count
    rng = stream(seed, f"verify near {chosen.space.name}", 0)
    places = np.linspace(0, len(near) - 1, min(len(near), max(1, count // 2)))
    for place in places.round().astype(int):
        chosen.add(near[place])
    sizes = chosen.space.gene_sizes
    for _ in range(MOST_TRIES * count):
        if len(chosen.networks) >= full:
            return
        genes = list(near[int(rng.integers(len(near)))])
        gene = int(rng.integers(len(genes)))
        genes[gene] = int(rng.integers(sizes[gene]))
        chosen.add(tuple(genes))


def _add_bands(
    chosen: _Chosen,
    costs: Compiled,
    table: Table,
    ends_ms: tuple[float, float],
    count: int,
    seed: int,
) -> None:
    """Networks of bands of latency, in turn, until there are ``count``."""
    low_ms, high_ms = ends_ms
    if not 0 < low_ms < high_ms:
        return
    metric = latency_metric(table.name)
    genes = pool(costs, metric, seed)
    prices = costs.price(genes)
    latencies, macs = prices[:, costs.column(metric)], prices[:, costs.column("macs")]
    edges = np.geomspace(low_ms, high_ms, BANDS + 1)
    band_of = np.clip(np.searchsorted(edges, latencies, side="right") - 1, 0, BANDS - 1)
    members = [np.flatnonzero(band_of == band) for band in range(BANDS)]
    rng = stream(seed, f"verify {chosen.space.name} bands", 0)
    for turn in range(MOST_TRIES * count):
        band = turn % BANDS
        if len(chosen.networks) >= count or not any(map(len, members)):
            return
        if not len(members[band]):
            continue
        number = CANDIDATES if (turn // BANDS + band) % 2 else 1
        candidates = rng.choice(members[band], size=number)
        best = candidates[int(macs[candidates].argmax())]
        chosen.add(tuple(map(int, genes[best])))


def pool(costs: Compiled, metric: str, seed: int) -> NDArray[np.int64]:
    """Genes of networks of all latencies: (tilts times draws, number of choices).

    Counting the networks inside every band exactly would take minutes in a large space. Drawn with
    the probability of an option falling, or rising, exponentially with its latency, networks of any
    mean latency are as random as that mean allows.
    """
    low, high = costs.extreme(metric)[0], costs.extreme(metric, largest=True)[0]
    drawn = []
    for place, tilt in enumerate(np.linspace(-STEEPEST, STEEPEST, TILTS)):
        rng = stream(seed, f"verify {costs.space.name} tilt", place)
        drawn.append(_tilted(costs, metric, tilt / (high - low), rng))
    return np.concatenate(drawn)


def _tilted(
    costs: Compiled, metric: str, tilt: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Networks drawn with probability in proportion to exp(tilt * latency)."""
    space, column = costs.space, costs.column(metric)
    steps = list(zip(space.chain, costs.values, strict=True))
    # From the last slot back: per state and option, the weight of all that may follow.
    weights: list[NDArray[np.float64]] = []
    after = np.ones(int(space.chain[-1].next.max()) + 1)
    for step, values in reversed(steps):
        weight = np.exp(tilt * values[:, :, column]) * after[step.next]
        # Only proportions matter, and a long chain would leave the range of floats.
        weight /= weight.max()
        weights.append(weight)
        after = weight.sum(axis=1)
    states = np.zeros(DRAWS, np.int64)
    columns = []
    for slot, (step, weight) in enumerate(zip(space.chain, reversed(weights), strict=True)):
        share = np.cumsum(weight, axis=1)
        share /= share[:, -1:]
        options = (rng.random(DRAWS)[:, None] > share[states]).sum(axis=1)
        genes = [space.slot_genes(slot, int(option)) for option in range(weight.shape[1])]
        columns.append(np.array(genes, np.int64).reshape(len(genes), -1)[options])
        states = step.next[states, options]
    return np.concatenate(columns, axis=1)
