"""Mixed precision: products in fewer bits, weights, sums and norms in float32.

As the number of threads, it holds for all that is computed inside of a block.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch

from nas.train.accelerator import usual_precision

__all__ = ["mixed", "needs_scaling", "precise"]

_ASKED: ContextVar[str] = ContextVar("precision", default="auto")


@contextmanager
def precise(precision: str) -> Iterator[None]:
    """Inside, `mixed` means that precision, one of `nas.compute.PRECISIONS`."""
    before = _ASKED.set(precision)
    try:
        yield
    finally:
        _ASKED.reset(before)


def mixed(device: torch.device) -> AbstractContextManager[object]:
    """Products on a device in the precision of the block, see `precise`."""
    precision = _precision(device)
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def needs_scaling(device: torch.device) -> bool:
    """Whether losses are scaled: float16 rounds small gradients to nothing."""
    return _precision(device) == "float16"


def _precision(device: torch.device) -> str:
    asked = _ASKED.get()
    return usual_precision(device) if asked == "auto" else asked
