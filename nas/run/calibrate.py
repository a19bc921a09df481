"""Before a search, networks of its budget timed here, by which its table is corrected there.

How much of a network finds its weights and activations in a cache depends on how large it is. So a
correction for all latencies of a space may be off by a tenth at one of them, by more for some kinds
of networks, and a search ends among these. For networks of one latency two terms are enough: what
layers take cold, and what they take warm. Random networks of the budget are timed in two rounds:
the second is drawn by the table as the first has corrected it, and has the published networks that
the search begins with. The corrected table is the run's alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from nas import catalog
from nas.arch import Architecture
from nas.errors import BoundError
from nas.latency.table import FEWEST_NEAR
from nas.progress import Progress, Watch, ignore
from nas.run.plan import Plan, with_table
from nas.run.timings import TimeHere
from nas.statistics import rng
from nas.trial import Genes
from nas.units import counted

__all__ = ["calibrated"]

FIRST, THEN = 4, 8
"""Random networks that are timed in each round."""
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
    say(
        f"calibrate  {total} networks of {budget.lower:.4g} to {budget.upper:.4g} ms by "
        f"{table.name} are timed here first, about {SECONDS * total:.0f} s; --no-calibrate: none"
    )
    corrected = plan
    networks: list[Architecture] = []
    measured_ms: list[float] = []
    for count, published in ((FIRST, 0), (THEN, MOST_PUBLISHED)):
        new = _drawn(corrected, count, published, networks)
        timed = time_here(table, new, _of_all(watch, len(networks), total))
        networks += new
        measured_ms += [one.latency_ms for one in timed.measured]
        if timed.unreliable:
            return replace(plan, why_not_calibrated=timed.unreliable[0])
        if len(networks) < FEWEST_NEAR:
            few = counted(len(networks), "network")
            return replace(plan, why_not_calibrated=f"the budget has {few}")
        try:
            corrected = with_table(plan, table.calibrated(networks, measured_ms, budget.upper))
        except BoundError:
            # Four networks are few to refuse a budget by.
            if len(networks) > FIRST:
                raise
    return corrected


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
        planned = progress.planned or 0
        later = SECONDS * (total - before - planned)
        eta = None if progress.eta_seconds is None else progress.eta_seconds + later
        watch(replace(progress, done=before + progress.done, planned=total, eta_seconds=eta))

    return told
