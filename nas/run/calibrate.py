"""Before a search, networks of its budget timed here, by which its table is corrected there.

How much of a network finds its weights and activations in a cache depends on how large it is. So a
correction for all latencies of a space may be off by a tenth at one of them, by more for some kinds
of networks, and a search ends among these. For networks of one latency two terms are enough: what
layers take cold, and what they take warm. Random networks of the budget are timed in rounds, mostly
two. Each is drawn by the table as those before have corrected it; from the second on it has the
published networks that the search begins with, too. The corrected table is the run's alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from nas import catalog
from nas.arch import Architecture
from nas.errors import BoundError
from nas.latency.table import FEWEST_NEAR, Table
from nas.progress import Progress, Watch, ignore
from nas.record.identity import space_digest
from nas.run.plan import Plan, with_table
from nas.run.timings import TimeHere
from nas.space import SearchSpace
from nas.statistics import rng
from nas.trial import Genes
from nas.units import counted

__all__ = ["calibrated"]

FIRST, THEN = 4, 8
"""Random networks that are timed in the first round, and in each of the others."""
MOST_ROUNDS = 4
TRUE = 0.1
"""Mean relative error up to which a round was drawn where the budget is: no other is needed."""
NEAR = 1.25
"""A network that takes so many times the budget, or less than one part in so many, is left out."""
MOST_PUBLISHED = 4
SECONDS = 4.0
"""What a network takes, about."""
CANDIDATES = 64
"""Networks drawn for a round; those that are known already are left out."""


def calibrated(
    plan: Plan,
    say: Callable[[str], None],
    watch: Watch = ignore,
    time_here: TimeHere = catalog.time_here,
) -> Plan:
    """The plan with its first table corrected at the budget, if that is to be done.

    ``say`` is told first what will be done. A table stays as it is where the machine is busy, or
    where the budget has fewer than four networks; the plan then says so. Raises `BoundError` where
    no network keeps the bounds by the corrected table.
    """
    if not plan.calibrates:
        return plan
    table, budget = plan.tables[0], plan.domain.bounds[0]
    total = FIRST + THEN + min(len(plan.warm), MOST_PUBLISHED)
    kept = " kept with the confidence" if plan.margins else ""
    say(
        f"calibrate  {total} networks of {budget.lower:.4g} to {budget.upper:.4g} ms{kept} by "
        f"{table.name} are timed here first, about {SECONDS * total:.0f} s; --no-calibrate: none"
    )
    now = plan
    networks: list[Architecture] = []
    measured_ms: list[float] = []
    for number in range(MOST_ROUNDS):
        count, published = (THEN, MOST_PUBLISHED) if number else (FIRST, 0)
        new = _drawn(now, count, published, networks)
        timed = time_here(table, new, _of_all(watch, len(networks), total))
        took = [one.latency_ms for one in timed.measured]
        if timed.unreliable:
            return replace(plan, why_not_calibrated=timed.unreliable[0])
        priced = [now.tables[0].estimate(network).latency_ms for network in new]
        networks += new
        measured_ms += took
        if len(networks) < FEWEST_NEAR:
            few = counted(len(networks), "network")
            return replace(plan, why_not_calibrated=f"the budget has {few}")
        corrected = _corrected(table, networks, measured_ms, budget.upper, plan.space)
        try:
            now = with_table(plan, corrected)
        except BoundError as error:
            # Four networks are few to refuse a budget by.
            if number:
                raise BoundError(
                    f"{error}. That is by '{table.name}' as {len(networks)} networks timed here "
                    "correct it; --no-calibrate goes by the table as it is"
                ) from None
        errors = [abs(ms / its - 1) for ms, its in zip(priced, took, strict=True)]
        if number and (not errors or fmean(errors) <= TRUE):
            break
    return now


def _corrected(
    table: Table,
    networks: Sequence[Architecture],
    measured_ms: Sequence[float],
    latency_ms: float,
    space: SearchSpace,
) -> Table:
    """The table corrected by the networks near the budget; by all of them if these are few."""
    pairs = list(zip(networks, measured_ms, strict=True))
    near = [pair for pair in pairs if 1 / NEAR <= pair[1] / latency_ms <= NEAR]
    taken = near if len(near) >= FEWEST_NEAR else pairs
    return table.calibrated(
        [network for network, _ in taken],
        [ms for _, ms in taken],
        latency_ms,
        space_digest(space),
    )


def _drawn(
    plan: Plan, count: int, published: int, known: Sequence[Architecture]
) -> list[Architecture]:
    """Random networks of the plan's domain and so many of its published ones, none of them known.

    Fewer if the domain has no more.
    """
    stream = rng(plan.settings.method.seed, "calibrate", len(known))
    rows = plan.domain.sample_many(CANDIDATES, stream).tolist()
    random = _unknown(plan, map(tuple, rows), known)[:count]
    starts = (start.genes for start in plan.warm[:published])
    return random + _unknown(plan, starts, [*known, *random])


def _unknown(
    plan: Plan, genes: Iterable[Genes], known: Iterable[Architecture]
) -> list[Architecture]:
    """The distinct networks of these genes that are not known."""
    digests = {network.digest for network in known}
    found: dict[str, Architecture] = {}
    for each in genes:
        network = plan.space.decode(each)
        if network.digest not in digests:
            found.setdefault(network.digest, network)
    return list(found.values())


def _of_all(watch: Watch, before: int, total: int) -> Watch:
    """Tells the progress of one round as that of all."""

    def told(progress: Progress[object]) -> None:
        here = progress.planned or 0
        every = max(total, before + here)
        later = SECONDS * (every - before - here)
        eta = None if progress.eta_seconds is None else progress.eta_seconds + later
        watch(replace(progress, done=before + progress.done, planned=every, eta_seconds=eta))

    return told
