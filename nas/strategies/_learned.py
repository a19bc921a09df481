"""What the training of a differentiable search found, as a run keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.errors import RunError
from nas.files import one_line, read_json
from nas.reading import LEFT_OUT, FormError, from_json
from nas.trial import Genes

__all__ = ["AGAIN", "Candidate", "Learned", "Snapshot", "read_learned"]

LARGEST_FILE_BYTES = 64 << 20
AGAIN = "Remove distribution.json: nas search --resume makes it again from the training in theta.pt"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network drawn from the distribution, scored with the supernet's weights on *selection*."""

    genes: Genes
    cost: float
    """In the unit of the metric aimed at."""
    skips: float
    """Share of slots that are empty, 0..1."""
    loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The distribution after so many steps."""

    step: int
    loss: float
    """Of the step."""
    expected: float
    """Cost of a network drawn from it."""
    entropy: float
    """As a share of the largest, 0..1."""
    temperature: float
    skips: float
    """Expected share of empty slots, 0..1."""
    options: float | None = field(default=None, metadata=LEFT_OUT)
    """Options left, if some fell away."""
    tilt: float
    """See `nas.supernet.distribution.Distribution`."""
    probabilities: Mapping[str, tuple[float, ...]]
    """Of each option, by ``slot.choice``."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A distribution over the networks of a space, and networks drawn from it."""

    metric: str
    """What it aims at."""
    window: tuple[float, float]
    """Least and largest cost of a derived network."""
    estimator: str
    """Of theta's gradient, in words."""
    expected: float
    """Cost of a network drawn from it."""
    entropy: float
    temperature: float
    skips: float
    options: Mapping[str, tuple[str, ...]]
    """Labels of each choice's options, by ``slot.choice``."""
    weights: tuple[tuple[float, ...], ...]
    """Per slot and option, at least 0."""
    candidates: tuple[Candidate, ...]
    """By rank."""
    warnings: tuple[str, ...]
    history: tuple[Snapshot, ...]


def read_learned(path: Path) -> Learned:
    """What a training found. Raises `RunError` for a file that does not hold it."""
    try:
        document = read_json(path, LARGEST_FILE_BYTES, "not a distribution")
        return from_json(Learned, document)
    except OSError as error:
        raise RunError(
            f"cannot read {path}: {error.strerror}. Strategy 'differentiable' proposes from it"
        ) from None
    except (FormError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {one_line(error, 120)}. {AGAIN}") from None
