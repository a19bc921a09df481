"""A plan carried out: networks are trained, recorded and reported in the run's folder."""

import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas import catalog, progress
from nas.errors import BoundError, DataError, ExistsError, NasError, RunError, UsageError
from nas.logs import Job, Logs
from nas.metadata import Metadata
from nas.objectives import SEARCH
from nas.programs import NOTHING_GIVEN, Given
from nas.progress import Progress, ignore
from nas.record.journal import LOCK
from nas.record.status import Keeper
from nas.record.store import Store, check_space
from nas.run import timings
from nas.run.copies import copy_space, copy_tables, record_program
from nas.run.earlier import copy_earlier
from nas.run.evaluation import evaluator_of, is_function
from nas.run.plan import Plan
from nas.run.run import Run
from nas.run.settings import Crew
from nas.strategies._warm import WarmStart
from nas.strategies.differentiable import Differentiable
from nas.study import ray
from nas.study.board import Board
from nas.study.evaluator import Evaluator
from nas.study.processes import Processes
from nas.study.progress import StudyProgress
from nas.study.ray import Cluster
from nas.study.study import Outcome, Study, Watch

__all__ = ["Result", "check_free", "execute"]

REPORTED = ("run.json", "front.csv", "front.png")
"""Files of a run that belong to its result."""
FRONT_ROUNDS, MOST_TIMED = 3, 24
"""How often the front is looked at, and how many of its networks are timed at a time."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a search came to."""

    run: Run
    outcome: Outcome
    remarks: tuple[str, ...] = ()
    """What its evaluator and strategy have to say, a line each."""


def execute(
    plan: Plan,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    watch: Watch = ignore,
    preparing: progress.Watch = ignore,
) -> Result:
    """Train networks until the budget is used, recording each, and write the reports.

    ``out``: the run's folder, by default `Plan.default_folder`. ``resume``: go on with the run
    there. ``watch`` is called after each trial; ``preparing`` after each step of what is trained
    once before the first, such as a supernet.
    """
    if resume and out is None:
        raise RunError("a resume needs the run's folder")
    folder = Path(out or plan.default_folder())
    if plan.settings.crew.ray is not None:
        # Before anything is written: without Ray no run begins.
        ray.require_ray()
    # Before the folder is made: a database that cannot be reached must leave no empty run behind.
    board = _board(plan, folder.resolve())
    with (
        _open_store(plan, folder, resume) as store,
        _open_logs(plan, store, resume) as logs,
        Keeper(store.folder) as keeper,
    ):

        def prepared(step: Progress[object]) -> None:
            keeper.stand("preparing", step)
            preparing(step)

        def watched(step: StudyProgress) -> None:
            # One at a time, a network's end is the next one's beginning. Kept once: where trials
            # are instant, to replace the file costs as much as to record them.
            if step.running or step.last is None or step.done == step.planned:
                keeper.stand(
                    "searching", step, stages=step.stages, running=step.running, doing=step.doing
                )
            _tell(logs, step)
            watch(step)

        def timed_one(step: Progress[object]) -> None:
            keeper.stand("timing", step)
            preparing(step)

        plan.evaluator.work_in(store.folder)
        remarks = [*_record_programs(plan, store), *_prepare(plan, store, prepared, resume)]
        study = Study(
            plan.domain,
            WarmStart(plan.strategy, plan.warm, plan.domain),
            plan.evaluator,
            store,
            watch=watched,
            hopeless=plan.settings.crew.hopeless,
            board=board,
            racing=plan.racing,
        )
        outcome = _run_study(study, plan, store.folder)
        # Before the run is given up: its lock guards this ledger, too.
        timed = _time_front(plan, store.folder, timed_one)
        keeper.ended(outcome.reason, outcome.seconds)
        run = Run(store.folder)
        run.given = plan.given
        reported = run.save_reports()
        logs.files([run.folder / name for name in REPORTED])
    told = (*remarks, *plan.evaluator.remarks, *_one_set(run), *timed, *reported, *logs.remarks)
    return Result(run=run, outcome=outcome, remarks=told)


def _one_set(run: Run) -> list[str]:
    """A line where a function of the user's scores one set alone, which then does two things."""
    quality = run.objectives.quality
    if not is_function(str(run.record.run_file.settings.get("evaluator", ""))):
        return []
    if all(SEARCH + quality in trial.metrics for trial in run.front_trials):
        return []
    return [
        f"the function gives no {SEARCH}{quality}: the front is chosen by the scores that steered "
        "the search, which flatters it; context.score(measure) keeps them apart"
    ]


def check_free(folder: Path) -> None:
    """Raise `ExistsError` unless a new run may be made there: a folder that is new or empty."""
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"'{folder}' is a file: choose another --out")
    if (folder / "run.json").exists():
        raise ExistsError(
            f"'{folder}' holds a run already: go on with --resume {folder}, or choose another --out"
        )
    ours = (LOCK, ".run.json.")  # all that a run killed in its first moment leaves behind
    if folder.is_dir() and not all(path.name.startswith(ours) for path in folder.iterdir()):
        raise ExistsError(f"'{folder}' holds other files: choose an --out that is new or empty")


def _time_front(plan: Plan, folder: Path, watch: progress.Watch) -> list[str]:
    """Time the front on every device that is here. Returns what is worth saying, a line each."""
    lines = []
    for table in plan.timed:
        unreliable: list[str] = []
        # What turns out slower lets others onto the front, which nobody has timed yet.
        for _ in range(FRONT_ROUNDS):
            networks = Run(folder).untimed(table.name)[:MOST_TIMED]
            if not networks:
                break
            found = timings.record(folder, table, networks, catalog.time_here, watch)
            unreliable += found.unreliable
        lines += Run(folder).timing_lines(table.name)
        lines += [f"timed on {table.name}, unreliable: {x}" for x in dict.fromkeys(unreliable)]
    return lines


# -- the record -----------------------------------------------------------------------------------


def _open_store(plan: Plan, folder: Path, resume: bool) -> Store:
    """The run's record, new or gone on with; the run's space and tables lie beside it."""
    if resume:
        store = Store.resume(folder, plan.space, plan.identity)
    else:
        store = Store.create(
            folder,
            plan.space,
            plan.identity,
            command=sys.argv,
            settings=plan.settings.to_json(),
            metadata=Metadata(classes=tuple(map(str, plan.data.classes))),
        )
    try:
        check_space(store.folder, plan.space, store.opened.trials)
        # On a resume too: a kill may have come between the record and these.
        copy_space(store.folder, plan.settings.problem.space)
        copy_tables(store.folder, plan.tables)
        copy_earlier(store.folder, plan.earlier, plan.space)
    except RunError:
        store.close()
        raise
    except OSError as error:
        store.close()
        raise RunError(f"cannot write into run folder '{store.folder}': {error.strerror}") from None
    return store


def _record_programs(plan: Plan, store: Store) -> list[str]:
    """Keep which functions of the user's own a run goes on with. A line for each that changed."""
    settings, given, trials = plan.settings, plan.given, len(store.opened.trials)
    lines = [
        record_program(
            store.folder, "evaluator", settings.method.evaluator, given.evaluate, trials
        ),
        record_program(store.folder, "data", settings.problem.data, given.data, trials),
    ]
    return [line for line in lines if line]


def _open_logs(plan: Plan, store: Store, resume: bool) -> Logs:
    """What else is told of the trials. One that cannot begin is told before any training."""
    settings = plan.settings.to_json()
    job = Job(folder=store.folder, axis="trial", settings=settings)
    try:
        return Logs.opened(plan.settings.telling.log, job)
    except NasError:
        _as_not_begun(store, resume)
        raise


def _tell(logs: Logs, step: StudyProgress) -> None:
    """A trial that has finished: its metrics, and the study's figures so far."""
    last = step.last
    if last is None or not logs.logs:
        return
    rung = "" if step.what == "trials" else f"{step.what.partition(',')[0].replace(' ', '_')}/"
    values = {f"{rung}{name}": value for name, value in last.metrics.items()}
    for name, value in step.figures.items():
        values[f"{rung}so_far/{name}"] = value
    logs.values(last.number, values)


def _board(plan: Plan, folder: Path) -> Board | None:
    drivers = plan.settings.drivers
    if drivers.storage is None:
        return None
    # By machine and folder: a resume is the same driver as before, a copy of the folder another.
    return Board(drivers.storage, plan.identity, f"{platform.node()}:{folder}", study=drivers.study)


# -- before the first trial -----------------------------------------------------------------------


def _prepare(plan: Plan, store: Store, watch: progress.Watch, resume: bool) -> list[str]:
    """Train what is trained once. Returns what is worth saying of it, a line each."""
    try:
        return _trained_once(plan, store.folder, watch)
    except (UsageError, DataError, BoundError):
        _as_not_begun(store, resume)
        raise


def _as_not_begun(store: Store, resume: bool) -> None:
    """Refused before any training: as if the run had not been begun."""
    # A folder with weights may hold hours of training: it stays.
    if not resume and not list(store.folder.glob("*.pt")):
        store.close()
        shutil.rmtree(store.folder)


def _trained_once(plan: Plan, folder: Path, watch: progress.Watch) -> list[str]:
    method = plan.settings.method
    if plan.evaluator.prepares:
        plan.evaluator.prepare(plan.domain, folder, seed=method.seed, watch=watch)
    if not isinstance(plan.strategy, Differentiable):
        return []
    learn = catalog.differentiable()
    return learn(
        plan.strategy,
        plan.data,
        folder,
        proxy_text=method.recipe,
        thread_count=plan.settings.crew.threads,
        compute=plan.settings.crew.compute,
        watch=watch,
    )


# -- the trials -----------------------------------------------------------------------------------


def _run_study(study: Study, plan: Plan, folder: Path) -> Outcome:
    """Evaluate here, in processes beside this one, or on a Ray cluster."""
    crew, budget = plan.settings.crew, plan.budget
    # Data that only Python has goes with it, as it was read.
    given = NOTHING_GIVEN if plan.given.data is None else Given(data=plan.data)
    make = partial(_make, plan, folder, given)
    if crew.ray is not None:
        cluster = _cluster(crew, crew.ray)
        return ray.run(
            study, make(crew.accelerator), cluster, trials=budget.trials, seconds=budget.seconds
        )
    if not crew.elsewhere:
        return study.run(trials=budget.trials, seconds=budget.seconds)
    makes = [make(place) for place in plan.places]
    with Processes(makes, timeout_seconds=crew.trial_timeout_seconds) as workers:
        return study.run(trials=budget.trials, seconds=budget.seconds, workers=workers)


def _make(plan: Plan, folder: Path, given: Given, accelerator: str) -> Callable[[], Evaluator]:
    """What builds the evaluator of a worker that computes there."""
    settings = plan.settings.changed(accelerator=accelerator)
    return partial(evaluator_of, settings, folder, given, tuple(plan.identity.limits))


def _cluster(crew: Crew, address: str) -> Cluster:
    return Cluster(
        address=address,
        workers=crew.workers,
        cpus=crew.threads,
        gpus=crew.gpus,
        scheduler=crew.scheduler,
        timeout_seconds=crew.trial_timeout_seconds,
    )
