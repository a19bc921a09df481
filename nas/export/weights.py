"""Trained weights from a file, into a network of the same layers."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError

__all__ = ["load_weights"]


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network from a state dict that ``torch.save`` wrote; nothing but tensors is ever unpickled.

    Raises `ArchitectureError` where the file is no state dict, where a tensor is missing, too many, of another shape
    or not finite; it names the first ones.
    """
    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArchitectureError(f"cannot read weights {path}: {error.strerror or error}") from None
    except Exception:  # a damaged file makes the restricted unpickler raise anything
        raise ArchitectureError(
            f"{path} is not a file of weights: save them with torch.save(network.state_dict(), file)"
        ) from None
    if not isinstance(given, Mapping) or not all(isinstance(value, Tensor) for value in given.values()):
        raise ArchitectureError(
            f"{path} holds no state dict: save torch.save(network.state_dict(), file), tensors by name"
        )
    _check_same(network.state_dict(), given, path)
    network.load_state_dict(given)


def _check_same(own: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    wrong = {
        "missing": [name for name in own if name not in given],
        "unknown": [str(name)[:80] for name in given if name not in own],
        "of another shape": [name for name in own if name in given and own[name].shape != given[name].shape],
        "not finite": [name for name in own if name in given and not given[name].isfinite().all()],
    }
    found = [
        f"{len(names)} {kind} ({', '.join(names[:2])}{', ...' * (len(names) > 2)})"
        for kind, names in wrong.items()
        if names
    ]
    if found:
        raise ArchitectureError(f"weights {path} are not this network's: {'; '.join(found)}")
