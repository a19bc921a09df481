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
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nas.arch import Architecture
from nas.errors import NasError, RunError, UsageError, unknown
from nas.files import one_line
from nas.objectives import QUALITY, SEARCH
from nas.study.evaluator import Evaluator
from nas.study.study import Outcome, Study
from nas.study.workers import Measured, Processes, Serial, Task, Workers
from nas.trial import Metrics

__all__ = ["SCHEDULERS", "Cluster", "require_ray", "run"]

SCHEDULERS = ("asha", "median")
FOLDER = "ray"
OBJECT_STORE_BYTES = 100 << 20  # our tasks and results are a few kilobytes


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """``address``: ``local`` for a cluster of this machine's cores, ``auto``, or ``HOST:PORT`` (or ``ray://``).

    ``cpus`` and ``gpus`` are reserved for each trial, ``workers`` trials run at a time at most,
    ``max_failures`` times a trial is begun anew after its worker or node was lost. ``parts``: into
    how many parts a training is cut.
    """

    address: str = "local"
    workers: int = 1
    cpus: float = 1
    gpus: float = 0
    scheduler: str | None = None
    max_failures: int = 3
    timeout_seconds: float | None = None
    parts: int = 8

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
    """As `Study.run`, on a cluster. ``make`` builds the evaluator there: a module's function, or a partial of one."""
    ray = _connect(cluster)
    study.begin(trials=trials, seconds=seconds)
    try:
        with redirect_stdout(None):
            problem = _tune(study, make, cluster)
    finally:
        ray.shutdown()
    if problem is not None:
        raise problem
    if not study.ended:
        raise RunError(f"Ray ended before the search did. Go on with --resume {study.store.folder}")
    study.stop_clock()
    return study.outcome()


def require_ray() -> None:
    """Raise unless Ray and its Tune can be imported."""
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupt is ours to tell
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray.tune  # noqa: F401
    except ImportError:
        raise UsageError(
            "--ray needs Ray: pip install 'nas-toolkit[ray]', or use --workers N without it"
        ) from None


def _connect(cluster: Cluster) -> Any:
    require_ray()
    import ray

    here = {"num_cpus": cluster.workers * cluster.cpus, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(
            address="local" if cluster.address == "local" else cluster.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            **({**here, "include_dashboard": False} if cluster.address == "local" else {}),
        )
    except (ConnectionError, ValueError, OSError, RuntimeError) as error:
        text = one_line(error, 160)
        raise RunError(
            f"no Ray cluster at '{cluster.address}': {text}. Start one with: ray start --head"
        ) from None
    return ray


def _tune(study: Study, make: Callable[[], Evaluator], cluster: Cluster) -> NasError | None:
    """Have Tune call us until the study has ended. What ended it early, if anything did."""
    from ray import tune

    searcher = _searcher(study, cluster)
    metric = _metric(study)
    followed = cluster.scheduler is not None or study.judge is not None

    def evaluate(config: dict[str, Any]) -> None:
        _evaluate(config, make, metric, cluster if followed else None, cluster.timeout_seconds)

    class Stop(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            return not searcher.goes_on(trial_id, result)

        def stop_all(self) -> bool:
            return searcher.problem is not None

    tune.Tuner(
        tune.with_resources(evaluate, {"cpu": cluster.cpus, "gpu": cluster.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_scheduler(cluster, metric),
            num_samples=-1,
            max_concurrent_trials=cluster.workers,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial_{trial.config['number']:06d}",
            trial_dirname_creator=lambda trial: (
                f"trial_{trial.config['number']:06d}_{trial.trial_id}"
            ),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(Path(study.store.folder) / FOLDER),
            stop=Stop(),
            verbose=0,
        ),
    ).fit()
    problem: NasError | None = searcher.problem
    return problem


def _metric(study: Study) -> str:
    quality = [name for name in study.store.objectives.names if name in QUALITY]
    return SEARCH + (quality or ["accuracy"])[0]


def _scheduler(cluster: Cluster, metric: str) -> Any:
    from ray.tune import schedulers

    if cluster.scheduler is None:
        return None
    settings = {"time_attr": "part", "metric": metric, "mode": "max"}
    if cluster.scheduler == "asha":
        return schedulers.AsyncHyperBandScheduler(
            **settings, max_t=cluster.parts, grace_period=1, reduction_factor=3
        )
    return schedulers.MedianStoppingRule(**settings, grace_period=2, min_samples_required=3)


# -- in the driver --------------------------------------------------------------------------------


def _searcher(study: Study, cluster: Cluster) -> Any:
    from ray.tune.search import Searcher

    class Driver(Searcher):  # type: ignore[misc]
        """What Tune takes for a search algorithm. An error of ours is kept, and ends the experiment.

        A network whose worker was lost is suggested again, as another trial of Tune's: what Tune
        itself would begin anew does not include a trial whose worker dies before its first step.
        """

        def __init__(self) -> None:
            super().__init__()
            self.tasks: dict[str, Task] = {}
            self.again: list[Task] = []
            self.lost: Counter[int] = Counter()
            self.curves: dict[str, list[Metrics]] = {}
            self.problem: NasError | None = None

        def __reduce__(self) -> tuple[Any, ...]:
            """Tune writes what it was given to disk; a study is not for that."""
            return dict, ()

        def __deepcopy__(self, memo: dict[int, Any]) -> "Driver":
            return self

        def set_search_properties(self, *given: Any, **settings: Any) -> bool:
            return True

        def suggest(self, trial_id: str) -> Any:
            if self.problem is not None:
                return Searcher.FINISHED
            try:
                task = self.again.pop() if self.again else study.take()
            except NasError as error:
                self.problem = error
                return Searcher.FINISHED
            if task is None:
                return Searcher.FINISHED if study.closed and not self.tasks else None
            self.tasks[trial_id] = task
            return {
                "number": task.number,
                "seed": task.seed,
                "network": json.dumps(task.network.to_json()),
            }

        def goes_on(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            scores = result.get("scores")
            if "measured" in result or scores is None or trial_id not in self.tasks:
                return True
            curve = self.curves.setdefault(trial_id, [])
            curve.append(scores)
            return study.judge is None or study.judge(
                self.tasks[trial_id].number, result["part"], scores
            )

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            task = self.tasks.pop(trial_id, None)
            curve = tuple(self.curves.pop(trial_id, ()))
            if task is None or self.problem is not None:
                return
            self.lost[task.number] += error
            if error and self.lost[task.number] <= cluster.max_failures:
                self.again.append(task)
                return
            try:
                study.give(task.number, _measured(result or {}, curve, cluster, lost=error))
            except NasError as problem:
                self.problem = problem

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save: the record is ours."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore."""

    return Driver()


def _measured(
    result: Mapping[str, Any], curve: tuple[Metrics, ...], cluster: Cluster, *, lost: bool
) -> Measured:
    seconds = float(result.get("time_total_s", 0.0))
    if lost:
        times = cluster.max_failures + 1
        return Measured(
            reason=f"its Ray worker was lost {times} times: out of memory?", seconds=seconds
        )
    if "measured" in result:
        found = json.loads(result["measured"])
        if "refused" in found:
            raise RunError(found["refused"])
        return Measured(**{**found, "curve": curve})
    who = cluster.scheduler or "the front"
    return Measured(
        reason=f"stopped early by {who} after part {len(curve)}",
        stopped=True,
        seconds=seconds,
        curve=curve,
    )


# -- in the workers -------------------------------------------------------------------------------


@cache
def _crew(make: Callable[[], Evaluator], timeout_seconds: float | None) -> Workers:
    """Built once in a Ray worker, which is used again. One that may have to be killed is a process of its own."""
    return (
        Serial(make())
        if timeout_seconds is None
        else Processes(make, 1, timeout_seconds=timeout_seconds)
    )


def _evaluate(
    config: Mapping[str, Any],
    make: Callable[[], Evaluator],
    metric: str,
    followed: Cluster | None,
    timeout_seconds: float | None,
) -> None:
    """One trial of Tune's: scores after each part, if anybody follows them, and at the end the result as JSON."""
    from ray import tune

    network = Architecture.from_json(json.loads(config["network"]))
    task = Task(number=config["number"], network=network, seed=config["seed"])

    def report(number: int, part: int, scores: Metrics) -> bool:
        tune.report({**scores, "scores": dict(scores), "part": part})
        return True

    try:
        crew = _crew(make, timeout_seconds)
        crew.submit(task)
        [(_, measured)] = crew.wait(None if followed is None else report)
        found = {**asdict(measured), "curve": ()}
    except NasError as error:
        measured, found = Measured(), {"refused": str(error)}
    except BaseException:  # Tune stops a function by leaving it
        _crew.cache_clear()
        raise
    plain = {metric: 0.0, **measured.metrics, "part": followed.parts if followed else 1}
    tune.report({**plain, "measured": json.dumps(found)})
