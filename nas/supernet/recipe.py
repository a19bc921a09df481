"""What a weight-sharing run can be told, and how its training is kept on disk."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nas.errors import RunError, UsageError
from nas.files import one_line
from nas.model import weights
from nas.objectives import TELLS
from nas.progress import Progress, Watch, ignore
from nas.settings import check_kind
from nas.supernet.network import SHARING
from nas.supernet.training import SAMPLING, SupernetTraining

__all__ = ["Sharing", "train"]

LARGEST_PATHS = 64
VERSION = 3
"""Of how a supernet starts and what a seed has it draw. A checkpoint of another is refused."""
RECENT = 50
"""Steps whose mean loss is shown."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How a supernet shares and trains its weights. Raises `UsageError` for what cannot be."""

    share: str = "auto"
    """Which layers share their weights, see `Supernet`."""
    sampling: str = "uniform"
    """How a step's networks are drawn, see `nas.supernet.training.sampler`.

    A sandwich distils from the largest network.
    """
    paths: int = 1
    """Networks drawn a step, see `nas.supernet.training.sampler`."""
    accumulate: int = 1
    """Parts that a batch is worked off in, to save memory."""
    longer: float = 12.0
    """Times the images and epochs of the short training of one network."""
    ramp: float = 0.5
    """As a share of the steps, see `nas.supernet.training.SupernetTraining`."""
    recalibrate: int = 512
    """Images of *weights* from which a network's batch norm statistics are taken."""
    tell: str = "likelihood"
    """What strategies learn from in the accuracy's place, or ``accuracy``.

    See `nas.objectives.TOLD`.
    """
    check: int = 8
    """Networks trained alone for a short while to see what the score is worth; 0 for none."""

    def __post_init__(self) -> None:
        for field in fields(self):
            check_kind(
                f"{field.name} of evaluator 'supernet'", getattr(self, field.name), field.type
            )
        for name, value, known in (
            ("share", self.share, SHARING),
            ("sampling", self.sampling, SAMPLING),
            ("tell", self.tell, TELLS),
        ):
            if value not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, not '{value}'")
        for name, low, high in (
            ("paths", 1, LARGEST_PATHS),
            ("accumulate", 1, 4096),
            ("longer", 0.01, 1e4),
            ("ramp", 0, 1),
            ("recalibrate", 2, 10**7),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name} must be {low:g} to {high:g}, not {value}")

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in asdict(self).items())


def train(
    training: SupernetTraining,
    file: Path,
    identity: Mapping[str, Any],
    *,
    watch: Watch = ignore,
    checkpoint_seconds: float = 60.0,
    stop_after: float | None = None,
) -> bool:
    """Train to the last step, or for ``stop_after`` seconds, from ``file`` if that is there.

    Whether the training is finished; the file then holds the supernet's final weights. A file made
    under another ``identity`` raises `RunError`. A loss that is not finite raises `TrainingError`,
    the last good checkpoint stays.
    """
    steps = training.schedule.steps
    identity = {"version": VERSION, **identity}
    before, finished = _restore(training, file, identity)
    if finished:
        return True
    begun = saved = time.monotonic()
    first = training.done
    losses: list[float] = []
    while training.done < steps:
        losses.append(training.advance())
        now = time.monotonic()
        if now - saved >= checkpoint_seconds:
            _save(training, file, identity, before + now - begun, finished=False)
            saved = now
        watch(
            Progress(
                what="supernet",
                done=training.done,
                planned=steps,
                seconds=before + now - begun,
                figures={
                    "loss": sum(losses[-RECENT:]) / len(losses[-RECENT:]),
                    **training.figures(),
                },
                eta_seconds=(now - begun) / (training.done - first) * (steps - training.done),
            )
        )
        if stop_after is not None and now - begun > stop_after and training.done < steps:
            _save(training, file, identity, before + now - begun, finished=False)
            return False
    training.finish()
    _save(training, file, identity, before + time.monotonic() - begun, finished=True)
    return True


def _save(
    training: SupernetTraining,
    file: Path,
    identity: Mapping[str, Any],
    seconds: float,
    *,
    finished: bool,
) -> None:
    state = training.result() if finished else training.state()
    weights.save(
        file, {**state, "identity": dict(identity), "seconds": seconds, "finished": finished}
    )


def _restore(
    training: SupernetTraining, file: Path, identity: Mapping[str, Any]
) -> tuple[float, bool]:
    """Seconds spent before, and whether that was all of it."""
    if not file.exists():
        return 0.0, False
    state = weights.read(file)
    there, here = _plain(state.get("identity")), _plain(identity)
    if there != here:
        there = there if isinstance(there, dict) else {}
        differs = next((n for n in {**there, **here} if there.get(n) != here.get(n)), "identity")
        raise RunError(
            f"'{file}' is the checkpoint of another supernet: its {differs} is "
            f"{str(there.get(differs))[:60]}, "
            f"here it is {str(here.get(differs))[:60]}. Remove it, or choose another --out"
        )
    try:
        seconds, finished = float(state["seconds"]), bool(state["finished"])
        (training.take if finished else training.restore)(state)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        text = one_line(error, 120)
        raise RunError(
            f"'{file}' is not a checkpoint of this supernet: {text}. Remove it to start anew"
        ) from None
    return seconds, finished


def _plain(value: Any) -> Any:
    """What can be compared: what is no plain JSON, such as a tensor, by its type's name."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return (
        value
        if value is None or isinstance(value, str | int | float)
        else f"a {type(value).__name__}"
    )
