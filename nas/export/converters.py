"""What foreign converters need: a network that returns a tuple, and silence around it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import torch
from torch import nn

__all__ = ["TupleOutputs", "silence"]


class TupleOutputs(nn.Module):
    """A network whose list of maps is a tuple, which a trace can return; other outputs stay."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """images: (1, c, s, s). What the network gives."""
        outputs = self.network(images)
        return tuple(outputs) if isinstance(outputs, list) else outputs


@contextmanager
def silence() -> Iterator[None]:
    """Without logging, warnings and what Python code writes to standard error.

    Off Apple's machines coremltools logs what it cannot load, and warns of every torch that is
    newer than it knows. Both converters draw progress bars. What goes wrong is still raised.
    """
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
