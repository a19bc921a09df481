"""Retrain networks of a front beside random ones of the same latency, and score both on *test*.

`nas.run.pairing` says which networks. Both sides get the same recipe, longer than the search's, and
seeds that no search uses. One seed a network is the default: networks differ by more than the
trainings of one do, so more networks tell more than more seeds (experiments/confirm_power.py).

Then the pick meets published networks of its latency (`nas.run.contest`).
"""

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas import catalog, networks
from nas.arch import Architecture
from nas.compute import Compute
from nas.errors import NasError, RunError, UsageError
from nas.files import one_line
from nas.objectives import QUALITY, UNTRAINED
from nas.programs import Given
from nas.progress import Progress, ignore
from nas.reading import to_json
from nas.record import ledger
from nas.record.identity import check_same
from nas.record.journal import RunLock
from nas.report.live import Live
from nas.run import confirmation
from nas.run.confirmation import (
    LEAST_ARRANGEMENTS,
    Confirmation,
    Key,
    Member,
    Plan,
    Training,
    too_few,
)
from nas.run.contest import AUTO, Contest, seeds_of
from nas.run.copies import program_spec
from nas.run.evaluation import kind_of, named_data, open_data
from nas.run.opponents import TimeWhole, opponent_network, scaled_to
from nas.run.pairing import WIDEST, band_metrics, chosen, members, usual_random
from nas.run.run import Run
from nas.run.settings import Search
from nas.size import Size
from nas.statistics import arrangements
from nas.study.evaluator import Retraining
from nas.units import counted, duration

__all__ = ["EPOCHS_FACTOR", "FULL_EPOCHS_FACTOR", "TOP", "Watch", "confirm"]

TOP = 6
EPOCHS_FACTOR = 3.0
"""Times the search's schedule: a short training ranks networks by how fast they begin."""
FULL_EPOCHS_FACTOR = 1.0
"""Times the schedule of ``nas train``."""
Watch = Callable[[Progress[str]], None]
"""Is called with the digest just trained; its figure is ``score``, unless the training failed."""


def confirm(
    run: Run,
    *,
    top: int = TOP,
    random: int | None = None,
    seeds: int = 1,
    epochs_factor: float | None = None,
    full: bool = False,
    resolution: Size | None = None,
    seed: int = 0,
    data: object = None,
    evaluate: Callable[..., Any] | None = None,
    against: Sequence[str] = AUTO,
    against_seeds: int | None = None,
    accelerator: str = "auto",
    precision: str | None = None,
    quiet: bool = False,
    say: Callable[[Sequence[str]], None] | None = None,
    watch: Watch | None = None,
) -> Confirmation:
    """Train what is missing of members of the front and of random networks, and report.

    ``top``: members. ``random``: random networks in all, at least one for each member; None: as
    many as `nas.run.pairing.usual_random` says. ``seeds``: trainings of each network.
    ``epochs_factor``: how many times the search's schedule, by default 3, or as the rung of a race
    that the front is of, if that is longer. ``full``: networks are
    trained themselves, for ``epochs_factor`` times the epochs of ``nas train``, by default 1, at
    ``resolution`` pixels a side or their own. ``data``: where the data lies now, if it has moved,
    or the data set itself. ``evaluate``: the run's function, where it stands in no file.
    ``against``: names of published networks that the pick meets; none for no contest.
    ``against_seeds``: trainings of the pick and of each of them, at least 2, by default 3.
    ``accelerator``, ``precision``: see `nas.compute.Compute`; by default the search's precision.
    What will be
    done, and each training, is said on stderr unless it is ``quiet``; ``say`` gets the lines
    instead, and ``watch`` each training. Opens the test set once, unless nothing is missing. Raises
    `NasError` in one line.
    """
    live = Live(quiet=quiet)
    say = live.lines if say is None else say
    watch = partial(_tell, live) if watch is None else watch
    for name in against:
        networks.published(name)
    if top < 1:
        raise UsageError(f"--top must be at least 1, not {top}: members of the front to compare")
    count = min(top, len(run.front_trials))
    if not count:
        raise RunError(
            f"run '{run.folder}' has no finished trial. Go on with nas search --resume {run.folder}"
        )
    if random is None:
        random = usual_random(count)
    if random < count:
        raise UsageError(
            f"--random {random} leaves members without a partner: it must be at least --top, {top}"
        )
    if resolution is not None and not full:
        raise UsageError(
            "--resolution is that of full trainings: add --full, or leave it out; slimmed copies "
            "are trained at the search's"
        )
    # Two that confirm one run would append to one file, and train the same networks.
    lock = RunLock(run.folder)
    try:
        metric, given = _metric(run), _given(run, evaluate, data)
        compute = Compute(accelerator=accelerator, precision=precision or "auto")
        proxy: dict[str, Any] = {**run.identity.proxy, "accelerator": compute.accelerator}
        if precision is not None:
            proxy["precision"] = compute.precision
        trainer = _trainer(run, metric, epochs_factor, given, full, resolution, proxy)
        plan = Plan(
            metric=metric,
            direction=run.objectives.direction(metric),
            seed=seed,
            seeds=seeds,
            recipe=trainer.describe_training(),
            threads=trainer.thread_count,
            members=chosen(run, top, random, seed),
        )
        planned = _recorded(run.folder, plan)
        contest_seeds = seeds_of(planned.contest, against_seeds)
        say(_lines(run, planned, trainer, top))
        session = _Session(run, trainer, watch)
        architectures = {n.digest: run.space.decode(n.genes) for n in plan.networks}
        session.train(plan, plan.wanted, planned.trainings, architectures)
        if against:
            _contest(session, _read(run.folder), against, contest_seeds, say)
        return _read(run.folder)
    finally:
        lock.release()


def _tell(live: Live, progress: Progress[str]) -> None:
    score = progress.figures.get("score")
    live.step(
        f"training {progress.done}/{progress.planned}  {progress.last}  "
        f"{'failed' if score is None else format(score, '.4f')}  "
        f"{duration(progress.eta_seconds or 0.0)} left"
    )


def _given(run: Run, evaluate: Callable[..., Any] | None, data: object) -> Given:
    """What this confirmation was given from Python, or else what its search was."""
    return Given(
        evaluate=run.given.evaluate if evaluate is None else evaluate,
        data=run.given.data if data is None else data,
    )


def _settings(run: Run, given: Given) -> tuple[Search, Given]:
    """What the run was evaluated by, and on, as far as it may be run; what else was given."""
    recorded = run.record.run_file.settings
    evaluator, data = recorded["evaluator"], recorded["data"]
    if given.evaluate is None:
        evaluator = program_spec(run.folder, "evaluator", evaluator)
    if given.data is None:
        data = program_spec(run.folder, "data", data)
    else:
        data, thing = named_data(given.data)
        given = replace(given, data=thing)
    settings = Search().changed(
        evaluator=evaluator,
        data=data,
        strict=recorded["strict"],
        # The first runs were written before there were any.
        groups=recorded.get("groups"),
    )
    return settings, given


def _trainer(
    run: Run,
    metric: str,
    factor: float | None,
    given: Given,
    full: bool,
    resolution: Size | None,
    proxy: Mapping[str, Any],
) -> Retraining:
    """What trains on the run's own data, which must be what it was."""
    settings, given = _settings(run, given)
    kind = kind_of(settings, given)
    if full and kind.retrain is not None:
        raise UsageError(
            f"--full trains as nas train does, and the run was evaluated by {kind.name}: "
            "leave out --full"
        )
    dataset = open_data(kind, settings, given=given)
    trainer: Retraining
    if full:
        times = FULL_EPOCHS_FACTOR if factor is None else factor
        trainer = catalog.full_retraining()(dataset, proxy, times, resolution)
    else:
        # Not shorter than what has chosen them.
        usual = max(EPOCHS_FACTOR, float(run.rung.factor))
        times = usual if factor is None else factor
        if kind.retrain is None:
            trainer = catalog.retraining()(dataset, proxy, times)
        else:
            trainer = kind.retrain(dataset, proxy, times, metric)
    trainer.work_in(run.folder)
    # Other images would be trained on for hours, and compared with nothing.
    check_same(run.folder, {"data": run.identity.data}, {"data": trainer.describe_data()})
    return trainer


def _metric(run: Run) -> str:
    """The first quality among the objectives, else accuracy.

    An evaluator that trains nothing has an objective of its own; what it should find is accuracy.
    """
    measured = [name for name in run.objectives.qualities if name not in UNTRAINED]
    return (*measured, QUALITY[0])[0]


def _recorded(folder: Path, plan: Plan) -> Confirmation:
    """The confirmation by this plan, which is recorded unless it is the last one already."""
    before = confirmation.read(folder)
    row = to_json(plan)
    if before is None or to_json(before.plan) != row:
        ledger.append(folder / confirmation.FILE, row)
    return _read(folder)


def _read(folder: Path) -> Confirmation:
    found = confirmation.read(folder)
    if found is None:
        raise RunError(f"{folder / confirmation.FILE} is gone: give the same command again")
    return found


def _open_test(file: Path, trainer: Retraining) -> None:
    """Open the test set. Raises `RunError` unless the file then holds a row of that."""
    before = ledger.openings(file)
    trainer.open_test(file)
    # Somebody else's retraining may forget it, and a score that is read uncounted stays uncounted.
    if ledger.openings(file) == before:
        raise RunError(
            f"the test set was opened, and {file} has no row of that: open_test of "
            f"{type(trainer).__name__} must call nas.record.ledger.append_opening"
        )


# -- training -------------------------------------------------------------------------------------


def training_seed(seed: int, digest: str, repeat: int) -> int:
    """0 to 2^32 - 1, of another stream than the search's."""
    text = f"confirm:{seed}:{digest}:{repeat}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class _Session:
    """What trains the networks of a confirmation. It opens the test set once, if at all."""

    def __init__(self, run: Run, trainer: Retraining, watch: Watch) -> None:
        self.run, self.trainer, self.watch = run, trainer, watch
        self.file = run.folder / confirmation.FILE
        self._opened = False

    def train(
        self,
        plan: Plan,
        wanted: Sequence[Key],
        done: Collection[Key],
        architectures: Mapping[str, Architecture],
    ) -> None:
        """Do the trainings that are missing; ``architectures``: by digest."""
        if all(key in done for key in wanted):
            return
        if not self._opened:
            _open_test(self.file, self.trainer)
            self._opened = True

        def tell(progress: Progress[ledger.Row]) -> None:
            row = progress.last or {}
            score = row.get("metrics", {}).get(plan.metric)
            figures = {} if score is None else {"score": score}
            self.watch(progress.about(row.get("digest"), figures))

        step = partial(_training, plan, self.trainer, architectures)
        ledger.complete(self.file, "trainings", wanted, done, step, watch=tell)


def _contest(
    session: _Session,
    confirmed: Confirmation,
    names: Sequence[str],
    seeds: int,
    say: Callable[[Sequence[str]], None],
) -> None:
    """Let the pick meet the published networks of these names, as far as they were not met."""
    run, plan = session.run, confirmed.plan
    member = _picked(confirmed)
    if member is None:
        return
    network = run.space.decode(member.genes)
    before = confirmed.contest
    if before is None or before.digest != member.digest:
        before = None
    contest = _met(run, plan, member, network, names, seeds, before, say)
    if confirmed.contest != contest:
        ledger.append(session.file, to_json(contest))
        confirmed = _read(run.folder)
    say(_contest_lines(contest, confirmed))
    architectures = {member.digest: network}
    for opponent in contest.opponents:
        architectures[opponent.digest] = opponent_network(
            opponent.name, network.input, network.out_shape.channels, width=opponent.width
        )
    if contest.opponents:
        session.train(plan, contest.wanted, confirmed.contest_trainings, architectures)


def _met(
    run: Run,
    plan: Plan,
    member: Member,
    network: Architecture,
    names: Sequence[str],
    seeds: int,
    before: Contest | None,
    say: Callable[[Sequence[str]], None],
) -> Contest:
    """The pick's contest with the networks of these names.

    Whom it has met ``before`` stays met, at the same width: else one could try names, or time them
    again, until one is beaten.
    """
    known: set[str] = set()
    if before is not None:
        known = {*(opponent.name for opponent in before.opponents), *before.left_out}
    new = [name for name in dict.fromkeys(names) if name not in known]
    if before is not None and not new:
        return before
    latency_ms = run.trial(member.trial).metrics[run.latency]
    # What is timed must not be compared with what a table says.
    time_whole = _time_whole(run, say) if before is None or before.timed else None
    met = scaled_to(new, network, latency_ms, run.tables[0], time_whole)
    return Contest(
        trial=member.trial,
        digest=member.digest,
        latency_ms=met.latency_ms,
        timed=time_whole is not None,
        first_repeat=plan.seeds,
        seeds=seeds,
        opponents=met.opponents if before is None else (*before.opponents, *met.opponents),
        left_out=met.left_out if before is None else {**before.left_out, **met.left_out},
    )


def _time_whole(run: Run, say: Callable[[Sequence[str]], None]) -> TimeWhole | None:
    """What times networks on the run's first device; None where that is not here, or not wanted."""
    told: set[str] = set()
    table = run.tables[0]
    # Older runs do not say.
    wanted = run.record.run_file.settings.get("time_front") is not False
    if not wanted or catalog.not_here(table):
        return None

    def time_whole(architectures: Sequence[Architecture]) -> list[float]:
        timed = catalog.time_here(table, architectures, ignore)
        new = [line for line in timed.unreliable if line not in told]
        told.update(new)
        say([f"unreliable {line}" for line in new])
        return [one.latency_ms for one in timed.measured]

    return time_whole


def _picked(confirmed: Confirmation) -> Member | None:
    """The member with the best score on *selection*, of equals the cheapest.

    None if no member has such a score.
    """
    ranks: dict[int, tuple[float, ...]] = {}
    for member in confirmed.plan.members:
        score = confirmed.selection_score(member.digest)
        if score is not None:
            ranks[member.trial] = (-confirmed.plan.sign * score, *member.costs.values())
    scored = [member for member in confirmed.plan.members if member.trial in ranks]
    return min(scored, key=lambda member: ranks[member.trial], default=None)


def _training(
    plan: Plan, trainer: Retraining, architectures: Mapping[str, Architecture], key: Key
) -> ledger.Row:
    digest, repeat = key
    start = time.monotonic()
    metrics, reason = None, ""
    try:
        metrics = trainer.evaluate(architectures[digest], training_seed(plan.seed, digest, repeat))
    except (UsageError, RunError):
        raise  # not the network's fault: as a failed training it would leave a pair out for good
    except NasError as error:
        reason = one_line(error, 300)
    training = Training(
        digest=digest,
        repeat=repeat,
        seed=plan.seed,
        recipe=plan.recipe,
        metrics=metrics,
        reason=reason,
        seconds=round(time.monotonic() - start, 3),
    )
    row: ledger.Row = to_json(training)
    return row


# -- for people -----------------------------------------------------------------------------------


def _lines(run: Run, planned: Confirmation, trainer: Retraining, top: int) -> list[str]:
    """What will be done, a line each."""
    plan = planned.plan
    random = sum(plan.others)
    widest = max(member.band for member in plan.members)
    lines = [
        f"run        {run.folder}",
        f"networks   {len(plan.members)} of the front, the best of each of as many equal parts; "
        f"{random} random within {widest:.0%} of their {', '.join(band_metrics(run))}",
    ]
    compared = {member.trial for member in plan.members}
    wanted = [trial.number for trial in members(run, top)]
    lines += [
        f"left out   trial {number}: no other network costs what it does, within {WIDEST:.0%}"
        for number in wanted
        if number not in compared
    ]
    if len(wanted) < top:
        lines.append(f"           --top is {top}, but the front has no more: a longer search may")
    if arrangements(plan.others) < LEAST_ARRANGEMENTS:
        lines.append(f"           they can show nothing: {too_few(plan.others)}")
    lines += trainer.lines()
    lines.append(
        f"trainings  {len(planned.missing)} of {len(plan.wanted)} to do, "
        f"{counted(plan.seeds, 'seed')} a network"
    )
    return lines


def _contest_lines(contest: Contest, confirmed: Confirmation) -> list[str]:
    """Whom the pick meets, a line each."""
    lines = [
        f"against    {opponent}, {opponent.latency_ms:.4g} ms; trial {contest.trial}, the pick, "
        f"takes {contest.latency_ms:.4g} ms{', both as timed here' if contest.timed else ''}"
        for opponent in contest.opponents
    ]
    lines += [f"left out   {name}: {why}" for name, why in contest.left_out.items()]
    if contest.opponents:
        missing, wanted = len(confirmed.contest_missing), len(contest.wanted)
        lines.append(f"trainings  {missing} of {wanted} to do, {contest.seeds} seeds a network")
    return lines
