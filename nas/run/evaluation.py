"""The evaluator of a search, made from its settings: here, and again in each worker."""

from nas import catalog, strategies
from nas.errors import UsageError
from nas.objectives import Objectives
from nas.progress import Watch, ignore
from nas.run.settings import Search, Teacher
from nas.study.evaluator import Data, Evaluator, EvaluatorKind

__all__ = ["check_measured", "evaluator_of", "make_evaluator", "open_data"]


def evaluator_of(settings: Search) -> Evaluator:
    """The evaluator of a search, as each worker builds its own."""
    kind = catalog.evaluator(settings.method.evaluator)
    return make_evaluator(kind, open_data(kind, settings), settings)


def open_data(kind: EvaluatorKind, settings: Search, watch: Watch = ignore) -> Data:
    """The data set. ``watch`` follows its reading. Raises `DataError` if it cannot be read."""
    problem = settings.problem
    return kind.open_data(problem.data, strict=problem.strict, groups=problem.groups, watch=watch)


def make_evaluator(kind: EvaluatorKind, data: Data, settings: Search) -> Evaluator:
    """Raises `UsageError` for settings that the kind does not take."""
    evaluator = kind.make(
        data,
        _recipe(settings),
        threads=settings.crew.threads,
        teacher=_open_teacher(kind, data, settings.teacher),
        settings=strategies.parse_spec(settings.method.evaluator)[1],
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


def _recipe(settings: Search) -> str:
    """Changes to the short training: those asked for, and the input whose size is its resolution.

    Where the search chooses the input's size, short trainings keep the sizes' proportions.
    """
    recipe, sizes = settings.method.recipe, settings.problem.resolution
    if not isinstance(sizes, tuple):
        return recipe
    return ",".join(filter(None, [recipe, f"input={max(sizes)}"]))


def check_measured(objectives: Objectives, kind: EvaluatorKind, evaluator: Evaluator) -> None:
    """Raise `UsageError` for an objective that the evaluator does not measure."""
    for name in objectives.qualities:
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
