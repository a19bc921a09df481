"""Which networks a confirmation compares.

Members: the front, best quality first, is cut into ``top`` equal parts, and the first of each is
taken. Random networks: as many for each member, drawn uniformly from its band. A band is each cost
among the objectives, else the first device's latency, within 5 % of the member's; it is wider if
that holds too few other networks. It reaches as far above the member as below, also where that is
beyond the run's own bound on the cost: bands cut there gave members at the bound random networks of
fewer macs, and so an advantage. The run's other bounds hold.
"""

import numpy as np

from nas.cost.costs import plain_metric
from nas.domain import Bound, Domain
from nas.errors import BoundError, RunError
from nas.run.confirmation import Member, Network
from nas.run.run import Run
from nas.statistics import rng
from nas.trial import Genes, Trial

__all__ = ["WIDEST", "band_metrics", "chosen", "members", "usual_random"]

# The narrowest that will do: the nearer the latencies, the fairer the pair.
BANDS = (0.05, 0.1, 0.2, 0.4)
WIDEST = BANDS[-1]
# Many more than are wanted: some spell one network twice, some are on the front.
DRAWS = 64
DRAWS_EACH = 4

USUAL_NETWORKS = 12
"""On both sides: six members with a random network each (experiments/confirm_power.py)."""
TWO_MEMBERS_NEED = 12
"""Six random networks each: with five the test can say nothing. One would need 39: too dear."""


def usual_random(members: int) -> int:
    """How many random networks a confirmation of so many members takes by default, in all."""
    if members == 2:
        return TWO_MEMBERS_NEED
    return max(members, USUAL_NETWORKS - members)


def chosen(run: Run, top: int, random: int, seed: int) -> tuple[Member, ...]:
    """``top`` members, or the whole front, with ``random`` networks in all. None comes twice.

    At an end of a space few networks cost what a member does. Then it has fewer random networks; a
    member without any is left out. Raises `RunError` if all are.
    """
    trials = members(run, top)
    # The whole front, not the members alone: what the search has found is no control.
    taken = {trial.digest for trial in run.front_trials}
    pairs = []
    for place, trial in enumerate(trials):
        # What does not divide evenly goes to the best members.
        count = random // len(trials) + (place < random % len(trials))
        band, others = _band_networks(run, trial, count, seed, taken)
        if not others:
            continue
        own = _network(run, trial.genes)
        pairs.append(
            Member(
                digest=own.digest,
                genes=own.genes,
                costs=own.costs,
                trial=trial.number,
                band=band,
                random=tuple(others),
            )
        )
        taken.update(network.digest for network in others)
    if not pairs:
        raise RunError(
            f"no network of the space costs what the front's networks do, within {WIDEST:.0%}: "
            "there is nothing to compare them with"
        )
    return tuple(pairs)


def members(run: Run, top: int) -> list[Trial]:
    """The best of each of ``top`` equal parts of the front, ordered by the first objective."""
    ordered = sorted(run.front_trials, key=lambda trial: run.objectives.losses(trial.metrics))
    count = min(top, len(ordered))
    return [ordered[i * len(ordered) // count] for i in range(count)]


def _band_networks(
    run: Run, member: Trial, count: int, seed: int, taken: set[str]
) -> tuple[float, list[Network]]:
    """The band's half-width as a share, and ``count`` networks from it, none of ``taken``.

    If the widest has not so many, then all that it has.
    """
    draws = max(DRAWS, DRAWS_EACH * count)
    fresh: list[Genes] = []
    for share in BANDS:
        try:
            domain = _band(run, member, share)
        except BoundError:
            continue
        draw = rng(seed, f"confirm:{member.digest}", round(100 * share))
        drawn = [tuple(map(int, row)) for row in domain.sample_many(draws, draw)]
        # Several genes may spell one network, and none shall be trained twice.
        by_digest = {run.space.decode(genes).digest: genes for genes in drawn}
        fresh = [genes for digest, genes in by_digest.items() if digest not in taken]
        if len(fresh) >= count:
            return share, [_network(run, genes) for genes in fresh[:count]]
    return WIDEST, [_network(run, genes) for genes in fresh]


def _network(run: Run, genes: Genes) -> Network:
    costs = run.domain.costs(genes)
    return Network(
        digest=run.space.decode(genes).digest,
        genes=tuple(genes),
        costs={name: costs[name] for name in band_metrics(run)},
    )


def _band(run: Run, member: Trial, share: float) -> Domain:
    names = band_metrics(run)
    # What bounds a band's cost, in the mean or kept surely, would cut the band on one side.
    bounds = [bound for bound in run.domain.bounds if plain_metric(bound.metric) not in names]
    compiled = run.domain.compiled
    for name in names:
        value = member.metrics[name]
        # A maximum, such as peak memory, has no lower side to draw from.
        lower = -np.inf if compiled.maxima[compiled.column(name)] else value * (1 - share)
        bounds.append(Bound(name, value * (1 + share), lower))
    return Domain(run.space, compiled, bounds)


def band_metrics(run: Run) -> list[str]:
    """The costs that a member and its random networks share."""
    costs = [name for name in run.objectives.names if name in run.domain.compiled.names]
    return costs or [run.latency]
