"""The evaluator of a search, made from its settings: here, and again in each worker."""

from collections.abc import Sequence
from pathlib import Path

from nas import catalog, strategies
from nas.errors import UsageError
from nas.objectives import Objectives, asked_quality
from nas.programs import GIVEN, NOTHING_GIVEN, Given, function_name, place_of, spec_place
from nas.progress import Watch, ignore
from nas.run.settings import Search, Teacher
from nas.size import Rect, by_area
from nas.study.evaluator import Data, Evaluator, EvaluatorKind

__all__ = [
    "check_measured",
    "evaluator_of",
    "is_function",
    "kind_of",
    "make_evaluator",
    "named_data",
    "named_evaluator",
    "open_data",
    "usual_data",
]

DEFAULT_DATA, NO_DATA = "digits", "none"


def evaluator_of(
    settings: Search,
    folder: Path | None = None,
    given: Given = NOTHING_GIVEN,
    limited: Sequence[str] = (),
) -> Evaluator:
    """The evaluator of a search, as each worker builds its own.

    ``folder``: the run's. ``limited``: metrics that are measured, and bounded.
    """
    kind = kind_of(settings, given)
    data = open_data(kind, settings, given=given)
    evaluator = make_evaluator(kind, data, settings, limited)
    if folder is not None:
        evaluator.work_in(folder)
    return evaluator


def named_evaluator(function: object) -> str:
    """What the settings call a function that was given from Python.

    By its file, where another process finds it there. Raises `UsageError` for what is none.
    """
    if not callable(function) or isinstance(function, type):
        raise UsageError(
            "evaluate must be a function of a network and a context that gives its metrics, "
            f"not {function!r:.60}"
        )
    place = place_of(function)
    return f"{GIVEN}{function_name(function)}" if place is None else str(place)


def is_function(evaluator: str) -> bool:
    """Whether the settings' evaluator is a function of the user's own, in a file or not."""
    return evaluator.startswith(GIVEN) or spec_place(evaluator, catalog.OWN_FUNCTION) is not None


def usual_data(evaluator: str) -> str:
    """The data of a search that was asked for none: a function brings its own."""
    return NO_DATA if is_function(evaluator) else DEFAULT_DATA


def named_data(thing: object) -> tuple[str, object]:
    """What the settings call a data set, and what they cannot name of it."""
    if isinstance(thing, str):
        return thing, None
    place = place_of(thing)
    if place is not None:
        return str(place), None
    return f"{GIVEN}{function_name(thing)}", thing


def kind_of(settings: Search, given: Given = NOTHING_GIVEN) -> EvaluatorKind:
    """What evaluates. Raises `UsageError` for a function that no worker would find."""
    spec = settings.method.evaluator
    if given.evaluate is None:
        return catalog.evaluator(spec)
    place = spec_place(spec, catalog.OWN_FUNCTION)
    if place is not None:
        return catalog.own_evaluator(given.evaluate, place.short)
    if settings.crew.elsewhere:
        raise UsageError(
            f"evaluate is {function_name(given.evaluate)}, which no other process finds: write it "
            "with def at the top of a .py file, or leave out workers, trial_timeout_seconds and ray"
        )
    return catalog.own_evaluator(given.evaluate)


def open_data(
    kind: EvaluatorKind, settings: Search, watch: Watch = ignore, given: Given = NOTHING_GIVEN
) -> Data:
    """The data set. ``watch`` follows its reading. Raises `DataError` if it cannot be read."""
    problem = settings.problem
    if given.data is not None:
        return catalog.own_data(given.data, kind, groups=problem.groups, watch=watch)
    if problem.data.startswith(GIVEN):
        raise catalog.data_not_given(problem.data)
    return kind.open_data(problem.data, strict=problem.strict, groups=problem.groups, watch=watch)


def make_evaluator(
    kind: EvaluatorKind, data: Data, settings: Search, limited: Sequence[str] = ()
) -> Evaluator:
    """Raises `UsageError` for settings that the kind does not take. ``limited``: as above."""
    spec = settings.method.evaluator
    evaluator = kind.make(
        data,
        _recipe(settings),
        threads=settings.crew.threads,
        teacher=_open_teacher(kind, data, settings.teacher),
        settings={} if is_function(spec) else strategies.parse_spec(spec)[1],
        objectives=tuple(dict.fromkeys([*_qualities(settings), *limited])),
        compute=settings.crew.compute,
    )
    # A worker builds an evaluator of its own, which nobody would have made ready.
    if evaluator.prepares and settings.crew.elsewhere:
        raise UsageError(
            f"evaluator '{kind.name}' is made ready once, in this process: "
            "leave out --workers, --trial-timeout and --ray"
        )
    if settings.crew.hopeless and not evaluator.trains:
        raise UsageError(
            f"evaluator '{kind.name}' trains no network that could be stopped: "
            "leave out --stop-hopeless"
        )
    return evaluator


def _qualities(settings: Search) -> tuple[str, ...]:
    """The names of the metrics that the evaluator has to measure."""
    asked = map(asked_quality, settings.problem.objectives)
    return tuple(quality.name for quality in asked if quality is not None)


def _recipe(settings: Search) -> str:
    """Changes to the short training: those asked for, and the input whose size is its resolution.

    Where the search chooses the input's size, short trainings keep the sizes' proportions, and
    those of a rectangle. A square's trainings have the recipe's resolution.
    """
    recipe, sizes = settings.method.recipe, settings.problem.resolution
    if isinstance(sizes, tuple):
        sizes = max(sizes, key=by_area)
    elif not isinstance(sizes, Rect):
        return recipe
    return ",".join(filter(None, [recipe, f"input={sizes}"]))


def check_measured(
    names: Sequence[str], objectives: Objectives, kind: EvaluatorKind, evaluator: Evaluator
) -> None:
    """Raise `UsageError` for an objective or a bound that the evaluator does not measure."""
    for name in names:
        if name not in evaluator.qualities:
            possible = ",".join([evaluator.qualities[0], *objectives.costs])
            raise UsageError(f"evaluator '{kind.name}' gives no {name}: try --objective {possible}")


def _open_teacher(kind: EvaluatorKind, data: Data, teacher: Teacher) -> object:
    """The teacher that has a share in each training's loss; None if none is asked for."""
    if teacher.network is not None:
        return kind.teacher(
            teacher.network, teacher.weights, data, teacher.temperature, teacher.share
        )
    if teacher.weights is not None:
        raise UsageError("--teacher-weights needs --teacher NETWORK")
    return None
