"""Before a search, networks of its budget timed here, by which its table is shifted.

A table that is off by a tenth at one latency has a search look among networks that are too slow, or
that leave a tenth of the budget unused. So networks of the budget are timed in two rounds: the
second is drawn by the table as the first has shifted it. Half of them are random, as a search
begins; half have the most macs of many, as it tends to end. The shifted table is the run's alone.
"""

from collections.abc import Callable
from dataclasses import replace

from nas import catalog
from nas.arch import Architecture
from nas.latency.calibration import FEWEST_NETWORKS
from nas.progress import Progress, Watch, ignore
from nas.run.plan import Plan, with_table
from nas.run.timings import TimeHere
from nas.statistics import rng
from nas.units import counted

__all__ = ["calibrated"]

ROUNDS = (4, 8)
"""Networks that are timed in each."""
SECONDS = 4.0
"""What a network takes, about."""
CANDIDATES = 64
"""Networks drawn in each round: half of those that are timed have the most macs of them."""


def calibrated(
    plan: Plan,
    say: Callable[[str], None],
    watch: Watch = ignore,
    time_here: TimeHere = catalog.time_here,
) -> Plan:
    """The plan with its first table shifted to this machine at the budget, if that is to be done.

    ``say`` is told first what will be done. A table stays as it is where the machine is busy, or
    where the budget has fewer than four networks; the plan then says so. Raises `BoundError` where
    no network keeps the bounds by the shifted table.
    """
    if not plan.calibrates:
        return plan
    table, budget = plan.tables[0], plan.domain.bounds[0]
    total = sum(ROUNDS)
    say(
        f"calibrate  {total} networks of {budget.lower:.4g} to {budget.upper:.4g} ms by "
        f"{table.name} are timed here first, about {SECONDS * total:.0f} s; --no-calibrate: none"
    )
    shifted = plan
    networks: list[Architecture] = []
    measured_ms: list[float] = []
    for count in ROUNDS:
        new = _drawn(shifted, count, networks)
        timed = time_here(table, new, _of_all(watch, len(networks), total))
        networks += new
        measured_ms += [one.latency_ms for one in timed.measured]
        if timed.unreliable:
            return replace(plan, why_not_calibrated=timed.unreliable[0])
        if len(networks) < FEWEST_NETWORKS:
            few = counted(len(networks), "network")
            return replace(plan, why_not_calibrated=f"the budget has {few}")
        shifted = with_table(plan, table.calibrated(networks, measured_ms, budget.upper))
    return shifted


def _drawn(plan: Plan, count: int, known: list[Architecture]) -> list[Architecture]:
    """Networks of the plan's domain, none of them known; fewer if it has no more.

    Half of them are random, and half have the most macs of many random ones.
    """
    stream = rng(plan.settings.method.seed, "calibrate", len(known))
    digests = {network.digest for network in known}
    drawn: dict[str, Architecture] = {}
    for genes in plan.domain.sample_many(CANDIDATES, stream).tolist():
        network = plan.space.decode(tuple(genes))
        if network.digest not in digests:
            drawn[network.digest] = network
    networks = list(drawn.values())
    most = sorted(networks[count // 2 :], key=lambda network: -network.macs)
    return networks[: count // 2] + most[: count - count // 2]


def _of_all(watch: Watch, before: int, total: int) -> Watch:
    """Tells the progress of one round as that of all."""

    def told(progress: Progress[object]) -> None:
        planned = progress.planned or 0
        later = SECONDS * (total - before - planned)
        eta = None if progress.eta_seconds is None else progress.eta_seconds + later
        watch(replace(progress, done=before + progress.done, planned=total, eta_seconds=eta))

    return told
