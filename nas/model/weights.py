"""Weights that move: a state dict into a network, whole, with another head, or as far as it fits; and a report of it.

Files of tensors are read without ever unpickling code, and written whole or not at all.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError, RunError, TrainingError
from nas.files import one_line, write_with
from nas.model.foreign import translate
from nas.model.network import Network
from nas.model.segmenter import Segmenter

__all__ = ["Loaded", "Weights", "load", "load_weights", "read", "read_weights", "save"]

FILE = "weights.pt"
SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A state dict, the file that it is of, and that file's digest; ``origin``: what else is to be said of it."""

    state: Mapping[str, Tensor]
    file: Path
    digest: str
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What of a state dict went into a network. Names are the network's, ``unknown`` ones the file's.

    ``head``: names of the classifier or segmentation head that keeps its fresh weights, as classes
    or task differ. ``origin``: whose names the file had, and what was assumed of it.
    """

    loaded: tuple[str, ...]
    head: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    origin: str = ""

    @property
    def whole(self) -> bool:
        """Whether every tensor of the network came from the file."""
        return not (self.head or self.missing or self.mismatched)

    def lines(self) -> list[str]:
        """For people."""
        found = [
            f"weights    {len(self.loaded)} tensors loaded{f'; {self.origin}' if self.origin else ''}"
        ]
        if self.head:
            found.append(
                f"           {len(self.head)} of the head are new, as its classes or its task differ"
            )
        for kind in ("missing", "mismatched", "unknown"):
            names = getattr(self, kind)
            if names:
                found.append(f"           {len(names)} {kind}: {_some(names)}")
        return found


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)}"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a file of tensors and plain values, whole or not at all."""
    try:
        write_with(path, lambda file: torch.save(dict(state), file))
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"cannot write '{path}': {error}. Mend that, then give the same command again"
        ) from None


def read(path: Path) -> dict[str, Any]:
    """A checkpoint of our own: tensors and plain values by name. Raises `TrainingError` for anything else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted unpickler raise anything
        why = one_line(error, 120) or "it is empty or cut short"
        raise TrainingError(
            f"cannot read {path} as tensors: {why}. Remove it, or put the right file there"
        ) from None
    if not isinstance(state, dict):
        raise TrainingError(
            f"cannot read {path} as tensors: it holds a {type(state).__name__}, not a state dict"
        )
    return state


def read_weights(path: str | Path) -> Weights:
    """The state dict of a file, or of the ``weights.pt`` in a folder.

    Nothing but tensors is ever unpickled. Raises `ArchitectureError` where there is no state dict.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / FILE).is_file():
            raise ArchitectureError(
                f"folder {path} holds no {FILE}: a search keeps no weights, but those of its supernet, which nas train "
                "takes. Name a folder that nas train made, or a file"
            )
        path = path / FILE
    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArchitectureError(f"cannot read weights {path}: {error.strerror or error}") from None
    except Exception:  # a damaged file makes the restricted unpickler raise anything
        raise ArchitectureError(
            f"{path} is not a file of weights: save them with torch.save(network.state_dict(), file)"
        ) from None
    if not isinstance(given, Mapping) or not all(
        isinstance(value, Tensor) for value in given.values()
    ):
        raise ArchitectureError(
            f"{path} holds no state dict, tensors by name: give a training's weights.pt, not its checkpoint, or save "
            "torch.save(network.state_dict(), file)"
        )
    state = {str(name)[:200]: value for name, value in given.items()}
    return Weights(
        state=state, file=path, digest=hashlib.sha256(path.read_bytes()).hexdigest()[:20]
    )


def load_weights(
    network: nn.Module, weights: str | Path | Weights, *, partial: bool = False
) -> Loaded:
    """Fill a network from weights that were read, from a file, or from the ``weights.pt`` of a folder; see `load`."""
    given = weights if isinstance(weights, Weights) else read_weights(weights)
    found = load(network, given.state, given.file, partial=partial)
    return replace(found, origin=given.origin) if given.origin else found


def load(
    network: nn.Module, given: Mapping[str, Tensor], path: str | Path, *, partial: bool = False
) -> Loaded:
    """Fill a network from a state dict with its own names, or those of timm or torchvision; see `nas.model.foreign`.

    A classifier or a segmentation head of other classes keeps its fresh weights. Anything else that
    does not fit raises `ArchitectureError`, which names the first of it, unless ``partial`` takes
    what fits. Not one tensor may be other than finite.
    """
    found, origin = translate(given, network) if isinstance(network, Network) else (given, "")
    own = network.state_dict()
    head = _head(network)
    unfit = {name for name in own if name in found and own[name].shape != found[name].shape}
    new = tuple(name for name in own if name in head and (name in unfit or name not in found))
    wrong = Loaded(
        loaded=tuple(name for name in own if name in found and name not in unfit),
        head=new,
        missing=tuple(name for name in own if name not in found and name not in new),
        mismatched=tuple(name for name in own if name in unfit and name not in new),
        unknown=tuple(name for name in found if name not in own),
        origin=origin,
    )
    broken = [name for name in wrong.loaded if not found[name].isfinite().all()]
    parts = {
        "missing": wrong.missing, "of another shape": wrong.mismatched, "unknown": wrong.unknown, "not finite": broken,
    }  # fmt: skip
    said = [f"{len(names)} {kind} ({_some(names)})" for kind, names in parts.items() if names]
    if broken or (said and not partial) or not wrong.loaded:
        raise ArchitectureError(f"weights {path} are not this network's: {'; '.join(said)}")
    network.load_state_dict({name: found[name] for name in wrong.loaded}, strict=False)
    return wrong


def _head(network: nn.Module) -> set[str]:
    """Names of what depends on the number of classes: the last linear layer, or a segmenter's last convolutions."""
    if isinstance(network, Segmenter):
        return {name for name in network.state_dict() if name.startswith(("high.", "low."))}
    if not isinstance(network, Network) or network.architecture.layers[-1].op.key != "classifier":
        return set()
    stage = network.architecture.stages[-1]
    prefix = f"stages.{stage.name}.{len(stage.ops) - 1}.linear."
    return {name for name in network.state_dict() if name.startswith(prefix)}
