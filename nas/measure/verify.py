"""Whole networks timed against a table's estimates, and a correction learnt from them.

The audit of a corrected table is of networks left out: five times a fifth of them is estimated with
a correction that the others taught. The correction that is stored has seen all of them.

A search does not pick at random: it begins near published networks, and ends with what the table
has too low. So a sixth of the networks lies near published ones, and a third is drawn last, as a
search would pick them by what the others have taught, in three rounds.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture
from nas.cost.costs import latency_metric, space_costs
from nas.errors import TableError, UsageError
from nas.latency.audit import BANDS, Audit, Band, StoredAudit, audit, band_audits
from nas.latency.correction import (
    FEWEST_NETWORKS,
    Correction,
    Parts,
    fit_correction,
    worse_bands,
)
from nas.latency.estimate import Estimate
from nas.latency.files import write_table
from nas.latency.info import TableInfo
from nas.latency.table import Table
from nas.measure.drawing import draw_as_picked, draw_published, draw_spread
from nas.measure.graphs import empty_graph
from nas.measure.runners import Runner, runner_for
from nas.measure.timing import (
    Quality,
    disturbed_share,
    remarks,
)
from nas.measure.training import TrainingStep
from nas.measure.whole import Timed, network_subject, time_networks, training_subject
from nas.progress import Watch, ignore
from nas.space import SearchSpace
from nas.trial import Genes

__all__ = [
    "Circumstances",
    "Verdict",
    "all_remarks",
    "conditions_changed",
    "load_remarks",
    "threads_of",
    "verify",
    "verify_on",
]

FEWEST = 4  # a rank correlation of fewer says nothing
FOLDS = 5
PICKED_SHARE = 3
"""One network in so many is drawn as a search would pick it."""
PUBLISHED_SHARE = 6
"""One in so many lies near a published network."""
PICK_ROUNDS, FEWEST_OF_ROUND = 3, 3
"""After each, what was timed has taught another correction, by which other networks are picked."""
TOO_LOW, TOO_LOW_SDS = 0.1, 2.0
"""How far below the least that was timed a network may be priced: a tenth, or twice the error.

A correction that goes lower is not stored. Of many networks the fastest is always one that the
correction has too low, by about as much as it errs.
"""
OTHER_PACE = 0.12
"""A difference of the machine's best pace that is told; timings are scaled by it."""
OTHER_MACHINE = 0.7
"""One after which nothing is learnt from the timings."""
TRAINING_BATCH = 8
SECONDS = 5.0
"""What a network may take in all, by default: 40 of them stay within four minutes."""


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
    estimates: Sequence[Estimate]
    """Theirs, by corrections that have not seen them."""
    unreliable: Sequence[str]
    """What makes it doubtful, a line each."""
    refused: Sequence[str] = ()
    """Why the correction that was learnt is not stored, a line each; empty if it is."""

    @property
    def bands(self) -> Sequence[Band]:
        """The thirds by latency."""
        stored = self.table.info.audit
        return () if stored is None else stored.bands


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What is known of a machine while it timed networks."""

    unreliable: Sequence[str] = ()
    """What makes the timings doubtful, a line each."""
    loaded: Sequence[str] = ()
    """Those of them that make a correction worthless."""
    disturbed: float = 0.0
    """Share of timings that were repeated, 0..1."""
    call_ms: float = 0.0
    """What an empty graph takes."""


def verify_on(
    table: Table,
    spaces: Mapping[str, SearchSpace],
    *,
    networks: int = 20,
    correct: bool = False,
    force: bool = False,
    training: bool = False,
    command: str | None = None,
    threads: int | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
    near: Mapping[str, Sequence[Genes]] | None = None,
    watch: Watch = ignore,
) -> Verdict:
    """Time networks of each space, over all its latencies, and `verify` the table on them.

    A third of each space's is drawn last, see the module. They are timed under the table's own
    conditions: in onnxruntime here, or by ``command``, which reaches its device. ``training``:
    whole training steps in torch, against the column ``train_ms``. ``threads``: other than the
    table's. ``seconds``: what a network may take in all. ``near``: by space, genes of a front near
    which a third of the others is taken. ``force``: store the correction whatever speaks against
    it. What was timed before a kill is not timed again: it stands in ``NAME.verify.journal`` until
    the audit is stored.
    """
    if training and command:
        raise UsageError("training steps are timed in torch here: --training goes without --runner")
    planned = networks * len(spaces)
    if correct and planned < FEWEST_NETWORKS:
        raise UsageError(
            f"a correction needs at least {FEWEST_NETWORKS} timed networks, not {planned}: "
            f"give --networks {-(-FEWEST_NETWORKS // len(spaces))} or more"
        )
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
    whole = table.column("train_ms") if training else table
    timed_as = _of_training(table) if training else table
    path = table.path.with_suffix(".training.verify.journal" if training else ".verify.journal")
    started = time.monotonic()
    time_all = partial(
        time_networks,
        runner=runner,
        threads=threads_used,
        seconds=seconds,
        seed=seed,
        subject=training_subject if training else network_subject,
        journal=path,
        reference_ms=timed_as.info.reference_ms,
        watch=watch,
    )

    def call_ms(blocks: Sequence[Quality]) -> float:
        return 0.0 if training else _call_ms(runner, blocks)

    drawing = _Drawing(whole, spaces, networks, seed, near or {})
    timed, blocks = time_all(drawing.spread(), to_come=drawing.left)
    for count in drawing.rounds:
        taught = whole
        if correct and len(timed) >= FEWEST_NETWORKS:
            taught = _taught(whole.uncorrected(), timed, call_ms(blocks))
        # All of them, though few are missing: so that all are stated at one pace.
        timed, blocks = time_all(
            drawing.as_picked(taught, count),
            to_come=drawing.left,
            gone_seconds=time.monotonic() - started,
        )
    # Every fold of an audit shall have some of each range.
    timed = sorted(timed, key=lambda one: (one.space, one.latency_ms))
    verdict = verify(
        table,
        timed,
        column="train_ms" if training else None,
        correct=correct,
        force=force,
        spaces=spaces,
        under=Circumstances(
            unreliable=all_remarks(timed_as, runner, blocks),
            loaded=load_remarks(timed_as, runner, blocks),
            disturbed=disturbed_share(blocks),
            call_ms=call_ms(blocks),
        ),
    )
    path.unlink(missing_ok=True)
    return verdict


class _Drawing:
    """The networks that a table is held against, drawn round by round."""

    def __init__(
        self,
        table: Table,
        spaces: Mapping[str, SearchSpace],
        networks: int,
        seed: int,
        near: Mapping[str, Sequence[Genes]],
    ) -> None:
        self._table, self._spaces, self._seed, self._near = table, spaces, seed, near
        self._networks, self._picked = networks, networks // PICKED_SHARE
        self._drawn: list[tuple[str, Architecture]] = []

    @property
    def left(self) -> int:
        """How many networks are still to be drawn; a small space may not have them."""
        return max(self._networks * len(self._spaces) - len(self._drawn), 0)

    @property
    def rounds(self) -> list[int]:
        """How many networks of a space are drawn as a search picks, by round; none is 0."""
        if not self._picked:
            return []
        rounds = max(1, min(PICK_ROUNDS, self._picked // FEWEST_OF_ROUND))
        each, over = divmod(self._picked, rounds)
        return [each + (number < over) for number in range(rounds)]

    def spread(self) -> list[tuple[str, Architecture]]:
        """Networks over all latencies, each with its space."""
        count = self._networks - self._picked
        bare = self._table.uncorrected()
        for name, space in self._spaces.items():
            wanted = self._networks // PUBLISHED_SHARE
            own = draw_published(space, bare, wanted, seed=self._seed)
            known = {network.digest for network in own}
            near = self._near.get(name, ())
            spread = draw_spread(space, bare, count - len(own), seed=self._seed, near=near)
            own += [network for network in spread if network.digest not in known]
            self._drawn += [(name, network) for network in own]
        return self._drawn

    def as_picked(self, table: Table, count: int) -> list[tuple[str, Architecture]]:
        """All networks so far, and so many of each space that a search by the table would pick."""
        known = {network.digest for _, network in self._drawn}
        for name, space in self._spaces.items():
            own = draw_as_picked(space, table, count, seed=self._seed, known=known)
            self._drawn += [(name, network) for network in own]
        return self._drawn


def _call_ms(runner: Runner, blocks: Sequence[Quality]) -> float:
    """What an empty graph takes: a whole network does, and its rows do not."""
    if runner.in_process:
        return statistics.median(block.call_ms for block in blocks)
    with suppress(TableError):
        run = runner.open(empty_graph())
        return statistics.median(run() for _ in range(runner.fewest_rounds))
    return 0.0


def _of_training(table: Table) -> Table:
    """The table with the conditions of its training steps, which have no reference kernel."""
    info = replace(table.info, conditions=table.info.training or {}, reference_ms=None)
    return replace(table, info=info)


def verify(
    table: Table,
    timed: Sequence[Timed],
    *,
    column: str | None = None,
    correct: bool = False,
    force: bool = False,
    seen: Sequence[Timed] = (),
    spaces: Mapping[str, SearchSpace] | None = None,
    under: Circumstances | None = None,
) -> Verdict:
    """Audit the table on timed networks and store the audit with it.

    With ``correct``, a correction is fitted to all of them, and the audit is by corrections that
    have not seen the network; or it is fitted to ``seen``, and the audit is of the others. A
    correction that the table had is replaced, unless something speaks against the new one and
    ``force`` is not given. ``column``: hold that column of the table against the networks, not its
    latencies; the verdict's table is then that column. ``spaces``: whose fastest networks must not
    be priced below the least that was timed.
    """
    if len(timed) < FEWEST:
        raise TableError(f"an audit needs at least {FEWEST} timed networks, not {len(timed)}")
    under = under or Circumstances()
    whole = table
    if column is not None:
        table = whole.column(column)
    found = _Found(table, _estimates(table, timed))
    bare: list[Estimate] = []
    refused: list[str] = []
    if correct:
        corrected = _corrected(table.uncorrected(), timed, seen, under.call_ms)
        bare = _estimates(table.uncorrected(), timed)
        if corrected.table.correction is not None:
            # The first is enough: all of them are told as what makes the audit doubtful.
            refused = [f"it was fitted under load: {reason}" for reason in under.loaded[:1]]
            refused += _worse(bare, corrected.estimates, timed)
            refused += _too_low(corrected.table, spaces or {}, timed)
        if refused and not force:
            bare = []
        else:
            found, refused = corrected, []
    stored = _stored(found, bare, timed, under)
    info = replace(found.table.info, audit=stored)
    before = None
    if bare:
        before = audit(bare, [one.first_ms for one in timed], [one.second_ms for one in timed])
    return Verdict(
        table=_store(whole, column, info),
        every=stored.every,
        spaces=stored.spaces,
        before=before,
        held=timed,
        estimates=found.estimates,
        unreliable=under.unreliable,
        refused=refused,
    )


@dataclass(frozen=True)
class _Found:
    """A table, and what it says of the timed networks, none of which its correction has seen."""

    table: Table
    estimates: Sequence[Estimate]


def _estimates(table: Table, timed: Sequence[Timed]) -> list[Estimate]:
    return [table.estimate(one.network) for one in timed]


def _corrected(
    bare: Table, timed: Sequence[Timed], seen: Sequence[Timed], call_ms: float
) -> _Found:
    """The table with a correction, and estimates by corrections that others taught."""
    taught_by = partial(_taught, bare, call_ms=call_ms)
    if seen:
        table = taught_by(seen)
        return _Found(table, _estimates(table, timed))
    # Networks come in the order of their latencies, so that every fold has some of each range.
    fold = np.arange(len(timed)) % FOLDS
    estimates: dict[int, Estimate] = {}
    for number in range(FOLDS):
        others = [one for one, own in zip(timed, fold, strict=True) if own != number]
        # Two networks fewer than a correction needs is no reason to audit none.
        taught = taught_by(others) if len(others) >= FEWEST_NETWORKS else taught_by(timed)
        for place in np.flatnonzero(fold == number).tolist():
            estimates[place] = taught.estimate(timed[place].network)
    return _Found(taught_by(timed), [estimates[place] for place in range(len(timed))])


def _taught(bare: Table, networks: Sequence[Timed], call_ms: float) -> Table:
    """The table with the correction that timed networks teach, if it is better than none."""
    return bare.corrected(_correction(bare, networks, call_ms))


def _correction(bare: Table, seen: Sequence[Timed], call_ms: float) -> Correction | None:
    parts = [_parts(bare, one.network) for one in seen]
    measured = [one.latency_ms for one in seen]
    fastest = _fastest(seen)

    def allowed(correction: Correction) -> bool:
        for place, one in enumerate(seen):
            least_ms = _least_price(correction) * one.latency_ms
            if one in fastest and correction.latency_ms(parts[place]) < least_ms:
                return False
        return True

    return fit_correction(parts, measured, call_ms=call_ms, allowed=allowed)


def _least_price(correction: Correction | None) -> float:
    """Of the least that was timed, what a network may be priced at."""
    common_sd = 0.0 if correction is None else correction.common_sd
    return 1 - max(TOO_LOW, TOO_LOW_SDS * common_sd)


def _fastest(timed: Sequence[Timed]) -> list[Timed]:
    """The fastest network of every space."""
    fastest: dict[str, Timed] = {}
    for one in timed:
        if one.space not in fastest or one.latency_ms < fastest[one.space].latency_ms:
            fastest[one.space] = one
    return list(fastest.values())


def _worse(
    before: Sequence[Estimate], after: Sequence[Estimate], timed: Sequence[Timed]
) -> list[str]:
    """Where a correction is worse than none, a line each."""
    measured = np.array([one.latency_ms for one in timed])

    def errors(estimates: Sequence[Estimate]) -> NDArray[np.float64]:
        estimated = np.array([estimate.latency_ms for estimate in estimates])
        return np.asarray(estimated / measured - 1)

    if len(timed) < 2 * BANDS:
        return []
    return [
        f"it is worse than none for networks of {low:.3g} to {high:.3g} ms"
        for low, high in worse_bands(errors(before), errors(after), measured)
    ]


def _too_low(table: Table, spaces: Mapping[str, SearchSpace], timed: Sequence[Timed]) -> list[str]:
    """Where a space's fastest network is priced below the least that was timed, a line each."""
    lines = []
    for one in _fastest(timed):
        if one.space not in spaces:
            continue
        costs = space_costs(spaces[one.space], [table])
        least_ms, _ = costs.extreme(latency_metric(table.name))
        if least_ms < _least_price(table.correction) * one.latency_ms:
            lines.append(
                f"it prices the fastest network of {one.space} at {least_ms:.3g} ms, "
                f"and the least that was timed is {one.latency_ms:.3g} ms"
            )
    return lines


def _stored(
    found: _Found, bare: Sequence[Estimate], timed: Sequence[Timed], under: Circumstances
) -> StoredAudit:
    """The audit as the table keeps it."""
    first = [one.first_ms for one in timed]
    second = [one.second_ms for one in timed]
    spaces = {}
    for name in dict.fromkeys(one.space for one in timed):
        places = [place for place, one in enumerate(timed) if one.space == name]
        spaces[name] = audit(
            [found.estimates[place] for place in places],
            [first[place] for place in places],
            [second[place] for place in places],
        )
    return StoredAudit(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        corrected=found.table.correction is not None,
        every=audit(found.estimates, first, second),
        spaces=spaces,
        unreliable=tuple(under.unreliable),
        bands=band_audits(found.estimates, first, second, bare),
        disturbed=round(under.disturbed, 4),
    )


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


def load_remarks(table: Table, runner: Runner, blocks: Sequence[Quality]) -> list[str]:
    """What makes timings too doubtful to learn from, a line each.

    That is another load beside them, or a machine of quite another pace than the table's.
    """
    lines = remarks(blocks) if runner.in_process else []
    return [*lines, *_pace_remarks(table, blocks, OTHER_MACHINE)]


def _pace_remarks(table: Table, blocks: Sequence[Quality], most: float) -> list[str]:
    then = table.info.reference_ms
    now = min((block.reference_ms for block in blocks), default=0.0)
    if not then or not now or abs(now / then - 1) <= most:
        return []
    return [
        f"the reference kernel takes {now:.3f} ms, when the table was built {then:.3f} ms: "
        "timings are scaled by that"
    ]


def all_remarks(table: Table, runner: Runner, blocks: Sequence[Quality]) -> list[str]:
    """What makes an audit doubtful, a line each.

    That is a machine that is not quiet, and conditions or a pace other than the table's.
    """
    lines = remarks(blocks) if runner.in_process else []
    lines += _pace_remarks(table, blocks, OTHER_PACE)
    return [*lines, *conditions_changed(table, runner)]


def threads_of(table: Table) -> int:
    """The threads a table was made with, 1 if it does not say."""
    stated = table.info.conditions.get("threads", 1)
    return stated if isinstance(stated, int) else 1


def _parts(table: Table, network: Architecture) -> Parts:
    return [table.part(layer) for layer in network.layers]
