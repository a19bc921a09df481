"""Whole networks timed against a table's estimates, and a correction learnt from half of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from nas.arch import Architecture
from nas.errors import TableError, UsageError
from nas.latency.audit import Audit, StoredAudit, audit
from nas.latency.correction import Correction, Parts, fit_correction
from nas.latency.files import write_table
from nas.latency.info import TableInfo
from nas.latency.table import Table
from nas.measure.graphs import network_graph
from nas.measure.runners import Runner, runner_for
from nas.measure.timing import LOOPED, Quality, Subject, measure, remarks
from nas.measure.training import TrainingStep, network_document
from nas.progress import Pace, Watch, ignore
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
    "verify_on",
]

FEWEST = 4  # two to learn a correction from, two to audit it on
MOST_TRIES = 100
OTHER_PACE = 0.05  # of the reference kernel, which a quiet machine repeats more closely
TRAINING_BATCH = 8


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
    """A table held against whole networks."""

    table: Table
    """The table as it is now, with its audit."""
    every: Audit
    """Of all networks that no correction has seen."""
    spaces: Mapping[str, Audit]
    """The same by space."""
    before: Audit | None
    """Of the same networks without the correction; None if none was asked for."""
    held: Sequence[Timed]
    """The networks that the audit is of."""
    unreliable: Sequence[str]
    """What makes it doubtful, a line each."""


def verify_on(
    table: Table,
    spaces: Mapping[str, SearchSpace],
    *,
    networks: int = 20,
    correct: bool = False,
    training: bool = False,
    command: str | None = None,
    threads: int | None = None,
    seconds: float = 1.0,
    seed: int = 0,
    watch: Watch = ignore,
) -> Verdict:
    """Time random networks of each space, and `verify` the table on them.

    They are timed under the table's own conditions: in onnxruntime here, or by ``command``, which
    reaches its device. ``training``: whole training steps in torch, against the column
    ``train_ms``. ``threads``: other than the table's. ``seconds``: budget of a network.
    """
    if training and command:
        raise UsageError("training steps are timed in torch here: --training goes without --runner")
    threads_used = threads or threads_of(table)
    runner: Runner
    if training:
        table.column("train_ms")
        batch = (table.info.training or {}).get("batch")
        runner = TrainingStep(
            threads_used, batch=batch if isinstance(batch, int) else TRAINING_BATCH
        )
    else:
        runner = runner_for(table.info.conditions, command=command, threads=threads)
    drawn = []
    for name, space in spaces.items():
        drawn += [(name, network) for network in draw(space, networks, seed=seed)]
    timed, blocks = time_networks(
        drawn,
        runner,
        threads=threads_used,
        seconds=seconds,
        seed=seed,
        subject=training_subject if training else network_subject,
        watch=watch,
    )
    timed_as = _of_training(table) if training else table
    return verify(
        table,
        timed,
        column="train_ms" if training else None,
        correct=correct,
        unreliable=all_remarks(timed_as, runner, blocks, threads=threads_used),
    )


def _of_training(table: Table) -> Table:
    """The table with the conditions of its training steps, which have no reference kernel."""
    info = replace(table.info, conditions=table.info.training or {}, reference_ms=None)
    return replace(table, info=info)


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


def network_subject(key: str, network: Architecture) -> Subject:
    """A whole network, timed as a loop runs it: straight after itself."""
    return Subject(key, partial(network_graph, network), looped=True)


def training_subject(key: str, network: Architecture) -> Subject:
    """A whole training step, for `TrainingStep`."""
    return Subject(key, partial(network_document, network), looped=True)


def time_networks(
    networks: Sequence[tuple[str, Architecture]],
    runner: Runner,
    *,
    threads: int,
    seconds: float,
    seed: int,
    subject: Callable[[str, Architecture], Subject] | None = None,
    watch: Watch = ignore,
) -> tuple[list[Timed], list[Quality]]:
    """Time whole networks, twice, each time interleaved; each in the state a loop leaves it in."""
    make = subject or network_subject
    subjects = [make(network.digest, network) for _, network in networks]
    passes: list[dict[str, float]] = []
    qualities: list[Quality] = []
    # Twice: what both differ by is noise of the machine, which no table can be blamed for.
    for number in (1, 2):
        pace = Pace(f"measurement {number} of 2", len(subjects))
        times: dict[str, float] = {}
        blocks = measure(
            subjects, runner, threads=threads, seconds_per_row=seconds / LOOPED, seed=seed + number
        )
        for block in blocks:
            for digest, timing in block.timings.items():
                times[digest] = timing.latency_ms
            qualities.append(block.quality)
            watch(pace.at(len(times)))
        passes.append(times)
    first, second = passes
    timed = [
        Timed(
            space=space,
            network=network,
            first_ms=first[network.digest],
            second_ms=second[network.digest],
        )
        for space, network in networks
    ]
    return timed, qualities


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
    whole = table
    if column is not None:
        table = whole.column(column)
    held = list(timed)
    before = None
    if correct:
        if not seen:
            seen, held = _halves(timed)
        bare = table.uncorrected()
        # On the same networks: two halves differ by chance already.
        before = _audit(bare, held)
        table = replace(table, info=replace(table.info, correction=_correction(bare, seen)))
    every = _audit(table, held)
    spaces = {}
    for name in dict.fromkeys(one.space for one in held):
        spaces[name] = _audit(table, [one for one in held if one.space == name])
    stored = StoredAudit(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        corrected=table.correction is not None,
        every=every,
        spaces=spaces,
        unreliable=tuple(unreliable),
    )
    info = replace(table.info, audit=stored)
    return Verdict(
        table=_store(whole, column, info),
        every=every,
        spaces=spaces,
        before=before,
        held=held,
        unreliable=unreliable,
    )


def _correction(bare: Table, seen: Sequence[Timed]) -> Correction | None:
    parts = [_parts(bare, one.network) for one in seen]
    return fit_correction(parts, [one.latency_ms for one in seen])


def _store(whole: Table, column: str | None, info: TableInfo) -> Table:
    """Write what is now said of the table, or of one of its columns, and read it back."""
    if column is None:
        return Table.load(write_table(whole.rows, info, whole.path.parent))
    columns = {**whole.info.columns, column: info.pricing}
    path = write_table(whole.rows, replace(whole.info, columns=columns), whole.path.parent)
    return Table.load(path).column(column)


def conditions_changed(table: Table, runner: Runner) -> list[str]:
    """Where the runner's conditions differ from those of the table, a line each."""
    then = table.info.conditions
    lines = []
    for name, now in runner.conditions().items():
        if name in then and then[name] != now:
            lines.append(f"{name} was {then[name]}, now {now}")
    return lines


def all_remarks(
    table: Table, runner: Runner, blocks: Sequence[Quality], *, threads: int
) -> list[str]:
    """What makes an audit doubtful, a line each.

    That is a machine that is not quiet, and conditions or a pace other than the table's.
    """
    lines = remarks(blocks, threads=threads) if runner.in_process else []
    lines += conditions_changed(table, runner)
    then = table.info.reference_ms
    now = float(np.median([block.reference_ms for block in blocks])) if blocks else 0.0
    if then and now and abs(now / then - 1) > OTHER_PACE:
        lines.append(
            f"the reference kernel takes {now:.3f} ms, when the table was built {then:.3f} ms"
        )
    return lines


def threads_of(table: Table) -> int:
    """The threads a table was made with, 1 if it does not say."""
    stated = table.info.conditions.get("threads", 1)
    return stated if isinstance(stated, int) else 1


def _halves(timed: Sequence[Timed]) -> tuple[list[Timed], list[Timed]]:
    """Every second network of each space, and the others."""
    seen: list[Timed] = []
    held: list[Timed] = []
    for name in dict.fromkeys(one.space for one in timed):
        own = [one for one in timed if one.space == name]
        seen += own[::2]
        held += own[1::2]
    return seen, held


def _audit(table: Table, timed: Sequence[Timed]) -> Audit:
    estimates = [table.estimate(one.network) for one in timed]
    return audit(estimates, [one.first_ms for one in timed], [one.second_ms for one in timed])


def _parts(table: Table, network: Architecture) -> Parts:
    return [table.part(layer) for layer in network.layers]
