"""A training's curves for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import UsageError

__all__ = ["Curves"]


class Curves:
    """Writes scalars into a folder that ``tensorboard --logdir`` shows.

    Steps from ``start`` on replace older ones.
    """

    def __init__(self, folder: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "--tensorboard needs the package tensorboard: "
                "pip install 'nas-toolkit[train]', or leave it out"
            ) from None
        make: Any = SummaryWriter  # it has no types
        self._writer = make(str(folder), purge_step=start)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name, after that many steps."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
