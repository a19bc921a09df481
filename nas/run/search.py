"""`nas.search`: from a space, a device and a data set to a run with a Pareto front."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.errors import UsageError, unknown
from nas.programs import NOTHING_GIVEN, Given, refuse_while_read
from nas.progress import ignore
from nas.report.live import Live
from nas.run.calibrate import calibrated
from nas.run.evaluation import named_data, named_evaluator, usual_data
from nas.run.execute import execute
from nas.run.plan import Plan, plan
from nas.run.resume import changes, resumed
from nas.run.run import Run
from nas.run.settings import (
    FLAT,
    Bounds,
    Crew,
    Drivers,
    Method,
    Problem,
    Search,
    Teacher,
    Telling,
    pairs_text,
    spec_text,
)
from nas.size import Rect, Size, by_area, parse_size
from nas.study.budget import Budget
from nas.study.processes import refuse_unguarded
from nas.study.progress import StudyProgress
from nas.study.study import Watch
from nas.trial import Trial
from nas.units import counted

__all__ = ["resume", "search"]

BESIDE_SETTINGS = ("device", "evaluate", "on_trial", "out", "quiet", "watch")
ELSEWHERE = {
    "callbacks": "on_trial",
    "dataset": "data",
    "latency": "latency_ms",
    "n_jobs": "workers",
    "n_trials": "trials",
    "n_workers": "workers",
    "timeout": "seconds",
    "verbose": "quiet",
}
"""What other libraries call a setting, where the nearest name of ours would be another one's."""

OnTrial = Callable[[Trial], object]


def search(
    out: str | Path | None = None,
    *,
    space: str | Mapping[str, Any] = "fbnet",
    device: str | Sequence[str] = "pixel1",
    devices: Sequence[str] | None = None,
    data: object = None,
    groups: str | None = None,
    strict: bool = False,
    resolution: Size | str | Sequence[Size | str] | None = None,
    classes: int | None = None,
    in_channels: int | None = None,
    objectives: Sequence[str] = ("accuracy", "latency_ms"),
    reward: str = "",
    target_ms: float | None = None,
    latency_ms: float | None = None,
    latency_min_ms: float | None = None,
    aim: str = "budget",
    confidence: float | None = None,
    maxima: Mapping[str, float] | None = None,
    minima: Mapping[str, float] | None = None,
    strategy: str | Mapping[str, Any] = "gp",
    warm: str = "auto",
    learn_from: str | Path | Sequence[str | Path] = (),
    race: int | str | Mapping[str, Any] = "",
    seed: int = 0,
    evaluate: Callable[..., Any] | str | None = None,
    evaluator: str | Mapping[str, Any] = "training",
    proxy: str | Mapping[str, Any] = "",
    teacher: str | None = None,
    teacher_weights: str | None = None,
    teacher_temperature: float = 4.0,
    teacher_weight: float = 0.5,
    workers: int = 1,
    threads: int = 1,
    trial_timeout_seconds: float | None = None,
    hopeless: bool = False,
    ray: str | None = None,
    scheduler: str | None = None,
    gpus: float = 0.0,
    accelerator: str = "auto",
    precision: str = "auto",
    calibrate: bool | None = None,
    time_front: bool | None = None,
    storage: str | None = None,
    study: str = "nas",
    log: str | Sequence[str] = (),
    trials: int | None = None,
    seconds: float | None = None,
    quiet: bool = False,
    on_trial: OnTrial | None = None,
    watch: Watch = ignore,
    **misspelt: object,
) -> Run:
    """Search, and return the run.

    ``nas.search(space="fbnet", device="pixel1", trials=32).front()``

    out: Run folder, new or empty; by default ``runs/SPACE-DEVICE-TIME``.
    Where the shell takes ``name:key=value``, ``space``, ``strategy`` and ``evaluator`` also take
    ``{"name": "gp", "initial": 8}``; ``proxy`` and ``race`` take ``{"epochs": 4}``.

    space: Search space: a name, ``name:setting=value`` or a ``.py`` file.
    device: Name, alias or table file; of several the first is what ``latency_ms`` means.
    devices: The same, for several.
    data: ``digits``, ``fashion-mnist[:DIR]``, ``npz:FILE``, ``folder:DIR`` or ``hf:NAME``; or a
        torch ``Dataset``, ``(images, labels)``, a Hugging Face data set, ``{"train": .., "test":
        ..}`` of these, or a function that makes one. By default ``digits``, and nothing beside
        ``evaluate``.
    groups: File with a group id per image: no split cuts a group.
    strict: Refuse a data set with a corrupt image instead of leaving the image out.
    resolution: Input side, in pixels, of the network to ship; by default the space's. Of several,
        such as ``(160, 192, 224)``, the search chooses.
    classes: Classes of the network to ship; by default the data's.
    in_channels: Input channels of the network to ship; by default the data's.
    objectives: Metrics that the front is made of; of your own as ``dice:max`` or ``rmse:min``.
    reward: Scalar to learn from instead, such as ``mnasnet_soft``; ``rl`` needs one.
    target_ms: Latency that the reward aims at; by default ``latency_ms``.
    latency_ms: Largest latency on the first device.
    latency_min_ms: Smallest latency on the first device, to search a band.
    aim: With ``latency_ms``: ``budget``, the best network of its last tenth, or ``front``.
    confidence: Probability, 0.5 to below 1, with which bounds on latencies are kept.
    maxima: Largest value by metric, such as ``{"params": 5e6}``; of one that is measured, such as
        ``{"rmse": 2}``, networks beyond it are infeasible once they are trained.
    minima: Smallest value by metric that is measured, such as ``{"recall": 0.9}``.
    strategy: Search strategy, with settings: ``name:key=value,...``.
    warm: Published networks to begin with, ``NAME,...``; ``none`` for none of them.
    learn_from: Earlier runs of the space whose trainings the search learns from, on whatever
        images.
    race: Train the better third for three times as long, and so on: 3, or ``eta=3,rungs=2``.
    seed: Seed of everything random.
    evaluate: Function ``fn(network, context)`` of your own that trains and gives the metrics, or
        ``FILE.py:FUNCTION``; see docs/your_training.md.
    evaluator: ``training``, ``supernet`` or ``zero_cost``, with settings.
    proxy: Changes to the short training, ``name=value,...``.
    teacher: Network, or ONNX file, that short trainings learn from too.
    teacher_weights: File of the teacher's weights.
    teacher_temperature: Softens the teacher's classes.
    teacher_weight: The teacher's share of the loss, 0 to 1.
    workers: Networks trained at a time.
    threads: CPU threads of a training.
    trial_timeout_seconds: A training that takes longer fails.
    hopeless: End trainings that can no longer reach the front.
    ray: Address of a Ray cluster to train on: ``local``, ``auto`` or ``HOST:PORT``.
    scheduler: How Ray ends the worse trainings early: ``asha`` or ``median``.
    gpus: GPUs that Ray reserves for a trial.
    accelerator: What networks are trained on: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision: Of products: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
    calibrate: Time networks of the budget before the search, and correct the table by what they
        take; None does so where the first device's table is of this machine.
    time_front: Time the front's networks as wholes before the search ends; None does so where the
        first device's table is of this machine.
    storage: Database URL that several searches of one study share.
    study: Name of the study in that database.
    log: Who is told of trials, too: ``tensorboard``, ``mlflow`` or ``wandb``, or several of them.
    trials: Networks to evaluate, in a race on its first rung; by default mostly 32.
    seconds: Time to end the trials within.
    quiet: Whether nothing is said on stderr of what is done, and where it stands.
    on_trial: Called with each trial that has finished. What it raises ends the search, which can
        be gone on with.
    watch: Called after each trial with where the search stands.

    Raises a `NasError` in one line for whatever cannot be: a name, a bound, a data set, a setting.
    """
    refuse_unguarded()
    refuse_while_read()
    # Not left to Python's TypeError: this names the nearest setting.
    for name in misspelt:
        raise _unknown_setting(name, (*FLAT, *BESIDE_SETTINGS))
    if not isinstance(out, str | Path | None):
        raise UsageError(f"out is the path of a run folder, not {out!r:.60}")
    evaluator, function = _evaluator(evaluate, spec_text("evaluator", evaluator))
    data, thing = named_data(usual_data(evaluator) if data is None else data)
    given = Given(evaluate=function, data=thing)
    settings = Search(
        problem=Problem(
            space=spec_text("space", space),
            devices=_names(device if devices is None else devices),
            data=data,
            groups=groups,
            strict=strict,
            resolution=_sizes(resolution),
            classes=classes,
            in_channels=in_channels,
            objectives=_names(objectives),
            reward=reward,
            target_ms=target_ms,
        ),
        bounds=Bounds(
            latency_ms=latency_ms,
            latency_min_ms=latency_min_ms,
            aim=aim,
            confidence=confidence,
            maxima=maxima or {},
            minima=minima or {},
        ),
        method=Method(
            strategy=spec_text("strategy", strategy),
            warm=warm,
            learn_from=_places(learn_from),
            race=_race(race),
            seed=seed,
            evaluator=evaluator,
            recipe=pairs_text("proxy", proxy),
        ),
        teacher=Teacher(
            network=teacher,
            weights=teacher_weights,
            temperature=teacher_temperature,
            share=teacher_weight,
        ),
        crew=Crew(
            workers=workers,
            threads=threads,
            trial_timeout_seconds=trial_timeout_seconds,
            hopeless=hopeless,
            ray=ray,
            scheduler=scheduler,
            gpus=gpus,
            accelerator=accelerator,
            precision=precision,
            calibrate=calibrate,
            time_front=time_front,
        ),
        drivers=Drivers(storage=storage, study=study),
        telling=Telling(log=_names(log)),
        budget=Budget(trials=trials, seconds=seconds),
    )
    live = Live(quiet=quiet)
    ready = calibrated(plan(settings, live.read, given), live.step, live.read)
    return _carried_out(ready, out, live, on_trial, watch, resume=False)


def resume(
    run: str | Path | Run,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    evaluate: Callable[..., Any] | str | None = None,
    data: object = None,
    quiet: bool = False,
    on_trial: OnTrial | None = None,
    watch: Watch = ignore,
    **settings: Any,
) -> Run:
    """Go on with a run, by its own settings, and return it.

    ``nas.resume("runs/first", trials=64)``

    run: The run's folder, or the run.
    trials: Networks to evaluate, those of before included; by default as many as before.
    seconds: Time to end the trials within, that of before included.
    evaluate: The run's function, where it stands in no file, or has changed and is to be used as
        it is now.
    data: The run's data, where it lies in no file, or where it lies now.
    quiet: Whether nothing is said on stderr.
    on_trial: Called with each trial that has finished.
    watch: Called after each trial with where the search stands.
    settings: Other settings of `nas.search`, such as ``workers=2`` or ``race=3``.

    Raises a `NasError` in one line, also for settings under which the run was not begun.
    """
    refuse_unguarded()
    refuse_while_read()
    folder = run.folder if isinstance(run, Run) else Path(run)
    before = run.given if isinstance(run, Run) else NOTHING_GIVEN
    for name in settings:
        if name not in FLAT:
            raise _unknown_setting(name, FLAT)
    for name, value in (("trials", trials), ("seconds", seconds)):
        if value is not None:
            settings[name] = value
    function, thing = before.evaluate, before.data
    if evaluate is not None:
        settings["evaluator"], function = _evaluator(evaluate, "training")
    if data is not None:
        settings["data"], thing = named_data(data)
    given = Given(evaluate=function, data=thing)
    live = Live(quiet=quiet)
    ready = plan(resumed(folder, settings, given), live.read, given)
    return _carried_out(ready, folder, live, on_trial, watch, resume=True)


def _carried_out(
    ready: Plan,
    out: str | Path | None,
    live: Live,
    on_trial: OnTrial | None,
    watch: Watch,
    *,
    resume: bool,
) -> Run:
    """Search, and say on stderr what the shell would, unless that is not wanted."""
    folder = out or ready.default_folder()
    changed = changes(Path(folder), ready.identity) if resume else []
    live.lines(
        [*ready.lines(), f"run        {folder}", *(f"changed    {change}" for change in changed)]
    )

    def follow(progress: StudyProgress) -> None:
        live.watch(progress)
        # That a network is begun concerns the view alone.
        if progress.last is not None or not progress.running:
            watch(progress)
        # The longer trainings of a race are of trials that were told before.
        if on_trial is not None and progress.last is not None and progress.what == "trials":
            on_trial(progress.last)

    with live.about(ready.identity.title, folder):
        result = execute(ready, folder, resume=resume, watch=follow, preparing=live.prepare)
    run, outcome = result.run, result.outcome
    for remark in result.remarks:
        live.step(remark)
    live.step(
        f"{counted(outcome.evaluated, 'evaluation')} in {outcome.seconds:.0f} s "
        f"({outcome.reason}); {len(run.front_trials)} on the front{run.failures_text()}; "
        f"the run is in {folder}"
    )
    return run


def _unknown_setting(name: str, known: Iterable[str]) -> UsageError:
    if name in ELSEWHERE:
        return UsageError(f"no setting named '{name}'. Did you mean '{ELSEWHERE[name]}'?")
    return unknown("setting", name, known)


def _evaluator(
    evaluate: Callable[..., Any] | str | None, evaluator: str
) -> tuple[str, Callable[..., Any] | None]:
    """What the settings call the evaluator, and the function that they can only name."""
    if evaluate is None:
        return evaluator, None
    if evaluator != "training":
        raise UsageError(
            f"evaluate and evaluator '{evaluator:.40}' both score networks: give one of them"
        )
    if isinstance(evaluate, str):
        return evaluate, None
    return named_evaluator(evaluate), evaluate


def _size(size: Any) -> Any:
    """A size that is written as a text, such as ``240x320``; all else as it is."""
    if isinstance(size, str):
        with suppress(UsageError):
            return parse_size(size)
    return size


def _sizes(
    resolution: Size | str | Sequence[Size | str] | None,
) -> Size | tuple[Size, ...] | None:
    """One size, or several in ascending order; a text such as ``240x320`` is one too."""
    if not isinstance(resolution, Sequence) or isinstance(resolution, str):
        one: Size | None = _size(resolution)
        return one
    sizes = [_size(size) for size in resolution]
    # What is no size is told by `Search.check`.
    if not all(isinstance(size, int | Rect) for size in sizes):
        return tuple(sizes)
    ascending = tuple(sorted(set(sizes), key=by_area))
    return ascending[0] if len(ascending) == 1 else ascending


def _race(race: int | str | Mapping[str, Any]) -> str:
    """As the settings have it; what is none of these is told by `Search.check`."""
    # To Python, true is a number.
    return str(race) if type(race) is int else pairs_text("race", race)  # type: ignore[arg-type]


def _places(places: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """One run or table, or several."""
    if isinstance(places, str | Path):
        return (str(places),)
    return tuple(map(str, places))


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        return (names,)  # what is no text either is told by `Search.check`
    return tuple(names)
