"""Evaluations on a Ray cluster: Tune runs them, one driver claims, records and tells.

Tune asks our searcher for the next network and hands back what came of it; schedulers, resources,
retries after a lost worker or node, and loggers are Tune's own. Nothing of its state is ever read
again: a resume makes a new Tuner, and the record says what is left to do. Tune's files (``ray/`` in
the run folder) are for people to look at.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from nas.arch import Architecture
from nas.errors import NasError, RunError, UsageError, unknown
from nas.files import one_line
from nas.objectives import SEARCH, Direction
from nas.study.evaluator import Evaluator
from nas.study.processes import Processes
from nas.study.study import Outcome, Study
from nas.study.workers import Measured, Serial, Task, Workers
from nas.trial import Metrics

__all__ = ["SCHEDULERS", "Cluster", "Driver", "require_ray", "run"]

SCHEDULERS = ("asha", "median")
FOLDER = "ray"
OBJECT_STORE_BYTES = 100 << 20  # our tasks and results are a few kilobytes
LONGEST_REASON = 160


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where a study is evaluated, and how."""

    address: str = "local"
    """``local`` for a cluster of this machine's cores, ``auto``, ``HOST:PORT`` or ``ray://``."""
    workers: int = 1
    """Trials that run at a time, at most."""
    cpus: float = 1
    """CPUs that are reserved for a trial."""
    gpus: float = 0
    """GPUs that are reserved for a trial."""
    scheduler: str | None = None
    """How the worse trainings are ended early, one of `SCHEDULERS`; None for not at all."""
    max_failures: int = 3
    """How often a trial is begun anew after its worker or node was lost."""
    timeout_seconds: float | None = None
    """A training that takes longer fails; None for no limit."""
    # As many as a followed training reports, see `nas.evaluate.training`: ASHA counts by them.
    parts: int = 8
    """Into how many parts a training is cut."""

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.scheduler not in SCHEDULERS:
            raise unknown("scheduler", self.scheduler, SCHEDULERS)


def run(
    study: Study,
    make: Callable[[], Evaluator],
    cluster: Cluster,
    *,
    trials: int | None = None,
    seconds: float | None = None,
) -> Outcome:
    """As `Study.run`, on a cluster.

    ``make`` builds the evaluator there: a module's function, or a partial of one.
    """
    require_ray()
    import ray

    _connect(cluster)
    study.begin(trials=trials, seconds=seconds)
    driver = Driver(study, cluster)
    try:
        # What Tune prints would mix with the lines of the search.
        with redirect_stdout(None):
            _tune(driver, make)
    finally:
        ray.shutdown()
    if driver.problem is not None:
        raise driver.problem
    if not study.ended:
        raise RunError(f"Ray ended before the search did. Go on with --resume {study.store.folder}")
    study.stop_clock()
    return study.outcome()


def require_ray() -> None:
    """Raise `UsageError` unless Ray and its Tune can be imported."""
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupt is ours to tell
    # Ray's coming default, without its warning: with no GPU reserved, CUDA_VISIBLE_DEVICES stays.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray.tune  # noqa: F401
    except ImportError:
        raise UsageError(
            "--ray needs Ray: pip install 'nas-toolkit[ray]', or use --workers N without it"
        ) from None


def _connect(cluster: Cluster) -> None:
    import ray

    settings: dict[str, Any] = {}
    # A cluster that was started before has its sizes, and Ray refuses to be told others.
    if cluster.address == "local":
        settings = {
            "num_cpus": cluster.workers * cluster.cpus,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        ray.init(
            address=cluster.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            **settings,
        )
    except (ConnectionError, ValueError, OSError, RuntimeError) as error:
        raise RunError(
            f"no Ray cluster at '{cluster.address}': {one_line(error, LONGEST_REASON)}. "
            "Start one with: ray start --head"
        ) from None


# -- in the driver --------------------------------------------------------------------------------


class Driver:
    """Answers Tune out of a study. An error of ours is kept, and ends the experiment.

    A network whose worker was lost is suggested again, as another trial of Tune's: what Tune itself
    would begin anew does not include a trial whose worker dies before its first step.
    """

    def __init__(self, study: Study, cluster: Cluster) -> None:
        self.study, self.cluster = study, cluster
        self.problem: NasError | None = None
        self._tasks: dict[str, Task] = {}
        self._again: list[Task] = []
        self._lost: Counter[int] = Counter()
        self._curves: dict[str, list[Metrics]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune writes what it was given to disk; a study is not for that."""
        return dict, ()

    @property
    def followed(self) -> bool:
        """Whether somebody looks at the scores after each part of a training."""
        return self.cluster.scheduler is not None or self.study.judge is not None

    @property
    def finished(self) -> bool:
        """Whether nothing will be suggested any more."""
        return self.problem is not None or (self.study.closed and not self._tasks)

    def suggest(self, trial_id: str) -> dict[str, object] | None:
        """What a trial of Tune's is to evaluate; None if it must wait, or if all is finished."""
        task = self._next_task()
        if task is None:
            return None
        self._tasks[trial_id] = task
        return {
            "number": task.number,
            "seed": task.seed,
            "factor": task.factor,
            "network": json.dumps(task.network.to_json()),
        }

    def _next_task(self) -> Task | None:
        if self.problem is not None:
            return None
        if self._again:
            # Before new ones: its claim is in the record, and pending until it has a result.
            return self._again.pop()
        try:
            return self.study.take()
        except NasError as error:
            self.problem = error
            return None

    def goes_on(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether a training goes on after what it reported."""
        scores = result.get("scores")
        # The last report has nothing left to stop.
        if "measured" in result or scores is None or trial_id not in self._tasks:
            return True
        self._curves.setdefault(trial_id, []).append(scores)
        if self.study.judge is None:
            return True
        return self.study.judge(self._tasks[trial_id].number, result["part"], scores)

    def complete(self, trial_id: str, result: Mapping[str, Any], *, lost: bool) -> None:
        """Give the study what a trial came to; ``lost``: its worker died."""
        task = self._tasks.pop(trial_id, None)
        curve = tuple(self._curves.pop(trial_id, ()))
        if task is None or self.problem is not None:
            return
        self._lost[task.number] += lost
        if lost and self._lost[task.number] <= self.cluster.max_failures:
            self._again.append(task)
            return
        try:
            self.study.give(task.number, self._measured(result, curve, lost=lost))
        except NasError as error:
            self.problem = error

    def _measured(
        self, result: Mapping[str, Any], curve: tuple[Metrics, ...], *, lost: bool
    ) -> Measured:
        seconds = float(result.get("time_total_s", 0.0))
        if lost:
            times = self.cluster.max_failures + 1
            reason = f"its Ray worker was lost {times} times: out of memory?"
            return Measured(reason=reason, seconds=seconds)
        if "measured" in result:
            document = json.loads(result["measured"])
            if "refused" in document:
                raise RunError(document["refused"])
            return replace(Measured(**document), curve=curve)
        who = self.cluster.scheduler or "the front"
        reason = f"stopped early by {who} after part {len(curve)}"
        return Measured(reason=reason, stopped=True, seconds=seconds, curve=curve)


def _tune(driver: Driver, make: Callable[[], Evaluator]) -> None:
    """Have Tune call the driver until it has finished."""
    from ray import tune

    cluster = driver.cluster
    quality = driver.study.store.objectives.first_quality
    metric = SEARCH + quality.name
    followed = cluster if driver.followed else None

    def evaluate(config: Mapping[str, Any]) -> None:
        _evaluate(config, make, metric, followed, cluster.timeout_seconds)

    class Stop(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            return not driver.goes_on(trial_id, result)

        def stop_all(self) -> bool:
            return driver.problem is not None

    def name(trial: Any) -> str:
        return f"trial_{trial.config['number']:06d}"

    tune.Tuner(
        tune.with_resources(evaluate, {"cpu": cluster.cpus, "gpu": cluster.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=_searcher(driver),
            scheduler=_scheduler(cluster, metric, quality.direction),
            num_samples=-1,  # the study's budget ends the experiment
            max_concurrent_trials=cluster.workers,
            reuse_actors=True,  # an evaluator, with its images, is built once per worker
            trial_name_creator=name,
            trial_dirname_creator=lambda trial: f"{name(trial)}_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(Path(driver.study.store.folder) / FOLDER),
            stop=Stop(),
            verbose=0,
        ),
    ).fit()


def _scheduler(cluster: Cluster, metric: str, direction: Direction) -> Any:
    """``metric``: what is compared, the first quality on the *search* set."""
    from ray.tune import schedulers

    if cluster.scheduler is None:
        return None
    mode = "max" if direction == "maximize" else "min"
    settings = {"time_attr": "part", "metric": metric, "mode": mode}
    if cluster.scheduler == "asha":
        return schedulers.AsyncHyperBandScheduler(
            **settings, max_t=cluster.parts, grace_period=1, reduction_factor=3
        )
    return schedulers.MedianStoppingRule(**settings, grace_period=2, min_samples_required=3)


def _searcher(driver: Driver) -> Any:
    """The driver as Tune wants a search algorithm: a subclass of Tune's own."""
    from ray.tune.search import Searcher

    class Adapter(Searcher):  # type: ignore[misc]
        def __reduce__(self) -> tuple[Any, ...]:
            """As the driver's."""
            return dict, ()

        # A copy would answer for the one study beside the original.
        def __deepcopy__(self, memo: dict[int, Any]) -> "Adapter":
            return self

        def set_search_properties(self, *properties: Any, **settings: Any) -> bool:
            return True

        def suggest(self, trial_id: str) -> Any:
            config = driver.suggest(trial_id)
            return Searcher.FINISHED if config is None and driver.finished else config

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            driver.complete(trial_id, result or {}, lost=error)

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save: the record is ours."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore."""

    return Adapter()


# -- in the workers -------------------------------------------------------------------------------


@cache
def _crew(make: Callable[[], Evaluator], timeout_seconds: float | None) -> Workers:
    """Built once in a Ray worker, which is used again.

    One that may have to be killed is a process of its own.
    """
    if timeout_seconds is None:
        return Serial(make())
    return Processes([make], timeout_seconds=timeout_seconds)


def _evaluate(
    config: Mapping[str, Any],
    make: Callable[[], Evaluator],
    metric: str,
    followed: Cluster | None,
    timeout_seconds: float | None,
) -> None:
    """One trial of Tune's.

    Reports the scores after each part, if anybody follows them, and at the end the result as JSON.
    """
    from ray import tune

    network = Architecture.from_json(json.loads(config["network"]))
    task = Task(
        number=config["number"], network=network, seed=config["seed"], factor=config["factor"]
    )

    def report(number: int, part: int, scores: Metrics) -> bool:
        tune.report({**scores, "scores": dict(scores), "part": part})
        return True

    measured = Measured()
    document: dict[str, Any]
    try:
        crew = _crew(make, timeout_seconds)
        crew.submit(task)
        [(_, measured)] = crew.wait(None if followed is None else report)
        # The driver has the curve from the reports on the way.
        document = {**asdict(measured), "curve": ()}
    except NasError as error:
        document = {"refused": str(error)}
    except BaseException:  # Tune stops a function by leaving it
        # What it left half done must not meet the next trial of this worker.
        _crew.cache_clear()
        raise
    parts = followed.parts if followed else 1
    # A scheduler wants its metric in every report; a network that failed has none, and whoever
    # scores on one set alone has it under its plain name.
    last = measured.metrics.get(metric.removeprefix(SEARCH), 0.0)
    tune.report({metric: last, **measured.metrics, "part": parts, "measured": json.dumps(document)})
