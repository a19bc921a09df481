"""What networks are trained and scored on: the words of ``--accelerator`` and ``--precision``.

A device is what a search is for; what it computes on meanwhile is called accelerator. The words are
checked here, without torch; `nas.train.accelerator` finds what is there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import unknown

__all__ = ["ACCELERATORS", "PRECISIONS", "USUAL", "Compute", "spread"]

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
NUMBERED = re.compile(r"cuda:(0|[1-9]\d{0,3})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where networks are computed, and in which numbers. Raises `UsageError` for other words."""

    accelerator: str = "auto"
    """One of `ACCELERATORS`, or ``cuda:N``. ``auto`` takes CUDA where there is one, else the CPU.
    """
    precision: str = "auto"
    """Of products, one of `PRECISIONS`; weights and sums stay float32.

    ``auto`` is bfloat16 on CUDA, or float16 where the GPU has no bfloat16, and float32 elsewhere.
    """

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS and not NUMBERED.fullmatch(self.accelerator):
            raise unknown("accelerator", self.accelerator, (*ACCELERATORS, "cuda:N"))
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    def described(self) -> dict[str, object]:
        """The precision that was asked for, for what a result depends on.

        Nothing for ``auto``, as in runs from before there was a choice.
        """
        return {} if self.precision == "auto" else {"precision": self.precision}


USUAL = Compute()
"""What is there, in the numbers that are usual on it."""


def spread(accelerator: str, workers: int, present: Sequence[str]) -> tuple[str, ...]:
    """What each of so many workers computes on, one after another over the GPUs.

    ``present``: what is there, as `nas.train.accelerator.present` names it. Worker i gets GPU i
    modulo their number; a numbered one, ``cpu`` and ``mps`` are for all workers.
    """
    gpus = [name for name in present if name.startswith("cuda")]
    if accelerator not in ("auto", "cuda") or not gpus:
        return (accelerator,) * workers
    return tuple(gpus[worker % len(gpus)] for worker in range(workers))
