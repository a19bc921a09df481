"""Which earlier trainings a search learns from: those of runs, or of a table."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from nas.errors import RunError, UsageError
from nas.files import read_text, write_text
from nas.run.run import Run
from nas.space import SearchSpace
from nas.strategies._earlier import Earlier, Training

__all__ = ["COPY", "copy_earlier", "earlier_trainings", "read_earlier", "read_table"]

COPY = "earlier.csv"
"""A run's own copy of what its search learnt from."""
LARGEST_BYTES = 1 << 28


def earlier_trainings(names: Sequence[str], space: SearchSpace) -> Earlier | None:
    """The trainings that a search of the space learns from.

    ``names``: run folders, and tables as `Earlier.to_csv` writes them. None for none. Raises
    `UsageError` for trainings of another space, for what is neither folder nor table, and for a run
    of too few networks.
    """
    if not names:
        return None
    trainings: list[Training] = []
    for name in names:
        place = Path(name)
        if place.is_dir():
            trainings += _of_run(place, space)
        elif place.is_file():
            trainings += read_table(place, space).trainings
        else:
            raise UsageError(
                f"--learn-from takes runs and tables of trainings, and '{name}' is neither: "
                "there is no such folder or file"
            )
    # A run may be named twice, or by its copy as well.
    return Earlier(tuple(dict.fromkeys(trainings)))


def read_table(file: Path, space: SearchSpace) -> Earlier:
    """The trainings in a file. Raises `UsageError`, which names it."""
    try:
        text = read_text(file, LARGEST_BYTES, "not a table of trainings", UsageError)
        return Earlier.from_csv(text, space)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (UsageError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None


def _of_run(folder: Path, space: SearchSpace) -> Iterator[Training]:
    """The first rung's networks: a race has trained the better ones alone for longer."""
    run = Run(folder)
    if not _same_choices(run.space, space):
        raise UsageError(
            f"run '{folder}' is of space '{run.space.name}', whose choices are not those of "
            f"'{space.name}': learn from runs of one space"
        )
    quality = run.objectives.first_quality
    for trial in run.trials:
        if trial.state == "complete":
            genes = space.canonical(trial.genes)
            yield Training(genes, quality.told(trial.metrics), str(folder.resolve()))


def _same_choices(first: SearchSpace, second: SearchSpace) -> bool:
    labels = [[choice.labels for choice in space.choices] for space in (first, second)]
    return first.gene_names == second.gene_names and labels[0] == labels[1]


# -- the run's copy -------------------------------------------------------------------------------


def copy_earlier(folder: Path, earlier: Earlier | None, space: SearchSpace) -> None:
    """Keep in the run's folder what its search learns from."""
    if earlier is not None and not (folder / COPY).exists():
        write_text(folder / COPY, earlier.to_csv(space))


def read_earlier(folder: Path, digest: str, space: SearchSpace) -> Earlier | None:
    """What the search of a run learnt from; ``digest``: of its identity.

    Raises `RunError` if the copy is missing or another.
    """
    if not digest:
        return None
    if not (folder / COPY).is_file():
        raise RunError(f"run '{folder}' lacks its {COPY}, which its search learnt from")
    earlier = read_table(folder / COPY, space)
    if earlier.digest(space) != digest:
        raise RunError(f"{folder / COPY} was edited: it is not what the run's search learnt from")
    return earlier
