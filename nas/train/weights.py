"""Files of tensors: read without ever unpickling code, written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import RunError, TrainingError

__all__ = ["load_weights", "read", "read_weights", "save"]


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write the file whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        raise RunError(f"cannot write '{path}': {error}. Mend that, then give the same command again") from None


def read(path: Path) -> dict[str, Any]:
    """A file of tensors and plain values; nothing in it is ever unpickled into code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted unpickler raise anything
        raise TrainingError(f"cannot read {path} as weights: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(state, dict):
        raise TrainingError(f"cannot read {path} as weights: it holds a {type(state).__name__}, not a state dict")
    return state


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict. Raises `TrainingError` for anything else."""
    state = read(path)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise TrainingError(f"{path} is not a state dict: give the weights.pt of a training, not its checkpoint")
    return state


def load_weights(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill a network. Raises `TrainingError` where a tensor is missing, too many or of another shape."""
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise TrainingError(
            f"the weights are of another network (or other classes): {' '.join(str(error).split())[:160]}"
        ) from None
