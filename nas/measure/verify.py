"""Whole networks timed against a table's estimates, and a correction learnt from half of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from nas.arch import Architecture
from nas.errors import TableError
from nas.latency.audit import Audit, StoredAudit, audit
from nas.latency.correction import Parts, fit_correction
from nas.latency.files import write_table
from nas.latency.table import Table
from nas.measure.graphs import network_graph
from nas.measure.runners import Runner
from nas.measure.timing import LOOPED, Quality, Subject, measure, remarks
from nas.measure.training import network_document
from nas.space import SearchSpace
from nas.statistics import rng as stream

__all__ = [
    "Timed",
    "Verdict",
    "all_remarks",
    "conditions_changed",
    "draw",
    "network_subject",
    "threads_of",
    "time_networks",
    "training_subject",
    "verify",
]

FEWEST = 4
MOST_TRIES = 100


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A network of a space, measured twice."""

    space: str
    network: Architecture
    first_ms: float
    second_ms: float

    @property
    def latency_ms(self) -> float:
        """The mean of both."""
        return (self.first_ms + self.second_ms) / 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The table as it is now, with its audit; what was timed; ``before``: the audit of the same networks uncorrected.

    ``held``: the networks that the audit is of, those that no correction has seen.
    """

    table: Table
    every: Audit
    spaces: Mapping[str, Audit]
    before: Audit | None
    held: Sequence[Timed]
    unreliable: Sequence[str]


def draw(space: SearchSpace, count: int, *, seed: int) -> list[Architecture]:
    """Distinct networks, uniform over gene tuples; fewer only where the space has no more."""
    found: dict[str, Architecture] = {}
    rng = stream(seed, f"verify {space.name}", 0)
    for _ in range(MOST_TRIES * count):
        if len(found) == count:
            break
        network = space.decode([int(rng.integers(size)) for size in space.gene_sizes])
        found.setdefault(network.digest, network)
    return list(found.values())


def time_networks(
    networks: Sequence[tuple[str, Architecture]],
    runner: Runner,
    *,
    threads: int,
    seconds: float,
    seed: int,
    subject: Callable[[str, Architecture], Subject] | None = None,
    watch: Callable[[str], None] = lambda text: None,
) -> tuple[list[Timed], list[Quality]]:
    """Time whole networks, twice, each time interleaved; each in the state a loop leaves it in."""
    subjects = [(subject or network_subject)(network.digest, network) for _, network in networks]
    passes: list[dict[str, float]] = []
    blocks: list[Quality] = []
    for number in (1, 2):
        times: dict[str, float] = {}
        for block in measure(
            subjects, runner, threads=threads, seconds_per_row=seconds / LOOPED, seed=seed + number
        ):
            times.update({digest: timing.latency_ms for digest, timing in block.timings.items()})
            blocks.append(block.quality)
            watch(f"measurement {number} of 2: {len(times)}/{len(subjects)} networks")
        passes.append(times)
    first, second = passes
    found = [
        Timed(
            space=space,
            network=network,
            first_ms=first[network.digest],
            second_ms=second[network.digest],
        )
        for space, network in networks
    ]
    return found, blocks


def network_subject(key: str, network: Architecture) -> Subject:
    """A whole network, timed as a loop runs it: straight after itself."""
    return Subject(key, partial(network_graph, network), looped=True)


def training_subject(key: str, network: Architecture) -> Subject:
    """A whole training step, for `TrainingStep`."""
    return Subject(key, partial(network_document, network), looped=True)


def verify(
    table: Table,
    timed: Sequence[Timed],
    *,
    column: str | None = None,
    correct: bool = False,
    seen: Sequence[Timed] = (),
    unreliable: Sequence[str] = (),
) -> Verdict:
    """Audit the table on timed networks and store the audit with it.

    With ``correct``, a correction is fitted to ``seen``, or to every second network of each space,
    and the audit is of the others. A correction that the table had is replaced. ``column``: hold
    that column of the table against the networks, not its latencies; the verdict's table is then
    that column.
    """
    if len(timed) < FEWEST:
        raise TableError(f"an audit needs at least {FEWEST} timed networks, not {len(timed)}")
    whole, table = table, table if column is None else table.column(column)
    held, before = list(timed), None
    if correct:
        seen, held = (seen, list(timed)) if seen else _halves(timed)
        bare = table.uncorrected()
        fitted = fit_correction(
            [_parts(bare, one.network) for one in seen], [one.latency_ms for one in seen]
        )
        before = _audit(bare, held)
        table = replace(table, info=replace(table.info, correction=fitted))
    every = _audit(table, held)
    spaces = {
        name: _audit(table, [one for one in held if one.space == name])
        for name in {one.space: 0 for one in held}
    }
    stored_audit = StoredAudit(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        corrected=table.correction is not None,
        every=every,
        spaces=spaces,
        unreliable=tuple(unreliable),
    )
    info = replace(table.info, audit=stored_audit)
    if column is not None:
        info = replace(whole.info, columns={**whole.info.columns, column: info.pricing})
    stored = Table.load(write_table(whole.rows, info, whole.path.parent))
    stored = stored if column is None else stored.column(column)
    return Verdict(
        table=stored, every=every, spaces=spaces, before=before, held=held, unreliable=unreliable
    )


def conditions_changed(table: Table, runner: Runner) -> list[str]:
    """Where the runner's conditions differ from those of the table, a line each."""
    then = table.info.conditions
    now = runner.conditions()
    return [
        f"{name} was {then[name]}, now {now[name]}"
        for name in now
        if name in then and then[name] != now[name]
    ]


def all_remarks(
    table: Table, runner: Runner, blocks: Sequence[Quality], *, threads: int
) -> list[str]:
    """What makes an audit doubtful: a machine that is not quiet, conditions or a pace other than the table's."""
    found = remarks(blocks, threads=threads) if runner.in_process else []
    found += conditions_changed(table, runner)
    then = table.info.reference_ms
    now = float(np.median([block.reference_ms for block in blocks])) if blocks else 0.0
    if then and now and abs(now / then - 1) > 0.05:
        found.append(
            f"the reference kernel takes {now:.3f} ms, when the table was built {then:.3f} ms"
        )
    return found


def threads_of(table: Table) -> int:
    """The threads a table was made with, 1 where it does not say."""
    stated = table.info.conditions.get("threads", 1)
    return stated if isinstance(stated, int) else 1


def _halves(timed: Sequence[Timed]) -> tuple[list[Timed], list[Timed]]:
    """Every second network of each space, and the others."""
    seen: list[Timed] = []
    held: list[Timed] = []
    for name in {one.space: 0 for one in timed}:
        own = [one for one in timed if one.space == name]
        seen += own[::2]
        held += own[1::2]
    return seen, held


def _audit(table: Table, timed: Sequence[Timed]) -> Audit:
    estimates = [table.estimate(one.network) for one in timed]
    return audit(estimates, [one.first_ms for one in timed], [one.second_ms for one in timed])


def _parts(table: Table, network: Architecture) -> Parts:
    return [table.part(layer) for layer in network.layers]
