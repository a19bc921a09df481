"""State dicts that move into a network: whole, with another head, or as far as they fit.

Files of tensors are read without ever unpickling code, and written whole or not at all.
"""

import argparse
import hashlib
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError, RunError, TrainingError
from nas.files import one_line, write_with
from nas.model.foreign import COUNTER, translate
from nas.model.hubs import find
from nas.model.network import Network
from nas.model.rep import FoldedConv, RepConv
from nas.model.segmenter import Segmenter

__all__ = [
    "Loaded",
    "State",
    "Weights",
    "head_names",
    "load",
    "load_weights",
    "read",
    "read_weights",
    "save",
    "write_tensors",
]

State = Mapping[str, Tensor]
"""A state dict: tensors by name."""

FILE = "weights.pt"
SHOWN = 3
SAFETENSORS = ".safetensors"
PREFIXES = ("module.", "_orig_mod.", "model.")
"""Before the names of networks that were wrapped by DataParallel or AveragedModel, or compiled.

``model.`` is of Lightning, for a module that its user calls so, as most do.
"""
NESTED = ("state_dict_ema", "model_ema", "ema", "state_dict", "model")
"""Keys of checkpoints that hold a state dict; an average comes first, as it is what was scored."""
DEEPEST = 3
CODE = re.compile(r"GLOBAL ([\w.]+)")
"""In torch's message: what it would have to import."""
AVERAGED = "n_averaged"
FIRST_BRANCH, FOLDED = "branches.0.conv.weight", "conv.weight"
SEGMENTER_HEAD = ("high.", "low.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A state dict that was read from a file."""

    state: State
    file: Path
    digest: str
    """Of the file: 20 hex digits."""
    origin: str = ""
    """What else is to be said of it."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What of a state dict went into a network. Names are the network's, but for ``unknown``."""

    loaded: tuple[str, ...]
    head: tuple[str, ...] = ()
    """Of the classifier or segmentation head, which stays fresh, as classes or task differ."""
    missing: tuple[str, ...] = ()
    """Not in the file."""
    mismatched: tuple[str, ...] = ()
    """Of another shape in the file."""
    unknown: tuple[str, ...] = ()
    """The file's names that the network lacks."""
    origin: str = ""
    """Whose names the file had, and what was assumed of it."""

    @property
    def whole(self) -> bool:
        """Whether every tensor of the network came from the file."""
        return not (self.head or self.missing or self.mismatched)

    def lines(self) -> list[str]:
        """For people."""
        origin = f"; {self.origin}" if self.origin else ""
        lines = [f"weights    {len(self.loaded)} tensors loaded{origin}"]
        if self.head:
            lines.append(
                f"           {len(self.head)} of the head are new, "
                "as its classes or its task differ"
            )
        for kind in ("missing", "mismatched", "unknown"):
            names = getattr(self, kind)
            if names:
                lines.append(f"           {len(names)} {kind}: {_some(names)}")
        return lines


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


# -- files ----------------------------------------------------------------------------------------


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a file of tensors and plain values, whole or not at all."""
    try:
        write_tensors(path, dict(state))
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(
            f"cannot write '{path}': {reason}. Mend that, then give the same command again"
        ) from None


def write_tensors(path: Path, value: object) -> None:
    """`torch.save`, whole or not at all. Raises `OSError` if the disk is full."""
    write_with(path, lambda file: _save_into(file, value))


def _save_into(file: BinaryIO, value: object) -> None:
    watched = _Watched(file)
    try:
        torch.save(value, watched)  # type: ignore[arg-type]
    except RuntimeError:
        # torch tells of positions in its archive, whatever the disk said.
        if watched.error is not None:
            raise watched.error from None
        raise


class _Watched:
    """A file that remembers why it could not be written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def read(path: Path) -> dict[str, Any]:
    """A checkpoint of our own: tensors and plain values by name.

    Raises `TrainingError` for anything else.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted unpickler raise anything
        why = one_line(error, 120) or "it is empty or cut short"
        raise TrainingError(
            f"cannot read {path} as tensors: {why}. Remove it, or put the right file there"
        ) from None
    if not isinstance(checkpoint, dict):
        kind = type(checkpoint).__name__
        raise TrainingError(f"cannot read {path} as tensors: it holds a {kind}, not a state dict")
    return checkpoint


def read_weights(path: str | Path) -> Weights:
    """The state dict of a file, of the ``weights.pt`` in a folder, or of a published name.

    For published names see `nas.model.hubs`. A file ``.safetensors`` is read as such. In a
    checkpoint the state dict may lie under a key of `NESTED`. Prefixes of wrappers are taken off
    the names. Nothing but tensors and plain values is ever unpickled. Raises `ArchitectureError`
    if there is no state dict, and what `nas.model.hubs.find` does.
    """
    published = find(path)
    file = _file_of(Path(path)) if published is None else published.file
    state, keys = _read_state(file)
    state, prefixes = _without_prefixes(state)
    for name, value in state.items():
        _check_plain(name, value, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:20]
    remarks = [published.origin] if published else []
    if keys:
        remarks.append(f"found under its key {keys}")
    if prefixes:
        remarks.append(f"prefix {prefixes} taken off its names")
    return Weights(state=state, file=file, digest=digest, origin="; ".join(remarks))


def _file_of(path: Path) -> Path:
    """The file itself, or the one in a folder of a training."""
    if not path.is_dir():
        return path
    file = path / FILE
    if not file.is_file():
        raise ArchitectureError(
            f"folder {path} holds no {FILE}: a search keeps no weights, but those of its "
            "supernet, which nas train takes. Name a folder that nas train made, or a file"
        )
    return file


def _read_state(file: Path) -> tuple[State, str]:
    """The file's state dict, and the keys under which it lies, empty if the file is one."""
    try:
        content = _content(file)
    except pickle.UnpicklingError as error:
        # What torch says goes on for a page, and ends with how to run any code that is in there.
        code = CODE.search(str(error))
        if code is None:
            raise _not_weights(file) from None
        raise ArchitectureError(
            f"{file} holds {code[1][:80]} beside tensors, and reading that would run code out of "
            "the file. Where you trust it, save its tensors alone: "
            "torch.save(network.state_dict(), file)"
        ) from None
    except OSError as error:
        raise ArchitectureError(f"cannot read weights {file}: {error.strerror or error}") from None
    except Exception:  # a damaged file makes the restricted unpickler raise anything
        raise _not_weights(file) from None
    state, keys = _nested(content)
    if not _is_state(state):
        raise ArchitectureError(
            f"{file} holds no state dict, tensors by name: give a training's weights.pt, not its "
            "checkpoint, or save torch.save(network.state_dict(), file)"
        )
    return {str(name)[:200]: value for name, value in state.items()}, ".".join(keys)


def _content(file: Path) -> Any:
    if file.suffix == SAFETENSORS:
        from safetensors.torch import load_file

        return load_file(file)
    # Checkpoints of timm and of torchvision's scripts hold their command's options: names and
    # values of a class that runs nothing.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(file, map_location="cpu", weights_only=True)


def _not_weights(file: Path) -> ArchitectureError:
    return ArchitectureError(
        f"{file} is not a file of weights: "
        "save them with torch.save(network.state_dict(), file), or as .safetensors"
    )


def _nested(content: Any) -> tuple[Any, list[str]]:
    """What lies under keys of `NESTED`, one in the other, and those keys."""
    keys: list[str] = []
    while isinstance(content, Mapping) and not _is_state(content) and len(keys) < DEEPEST:
        key = next((key for key in NESTED if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        content = content[key]
        keys.append(key)
    return content, keys


def _without_prefixes(state: State) -> tuple[State, str]:
    """The state dict without what wrappers of a network put before all names, and what that was."""
    prefixes = ""
    # An average of weights counts them beside the network that it wraps.
    inner = {name: value for name, value in state.items() if name != AVERAGED}
    while inner:
        prefix = next((prefix for prefix in PREFIXES if all(_starts(prefix, inner))), "")
        if not prefix:
            break
        inner = {name.removeprefix(prefix): value for name, value in inner.items()}
        prefixes += prefix
    return (inner, prefixes) if prefixes else (state, "")


def _starts(prefix: str, names: Iterable[str]) -> Iterator[bool]:
    return (name.startswith(prefix) for name in names)


def _check_plain(name: str, value: Tensor, file: Path) -> None:
    """Raise `ArchitectureError` for a tensor that holds its values in no plain way, or none."""
    kind = ""
    if value.layout != torch.strided:
        kind = "sparse: save value.to_dense()"
    elif value.is_quantized:
        kind = "quantised: save value.dequantize()"
    elif value.is_meta:
        kind = "without values, as torch.device('meta') makes them"
    elif value.is_complex():
        kind = "of complex numbers"
    if kind:
        raise ArchitectureError(f"tensor {name} in {file} is {kind}")


def _is_state(content: object) -> bool:
    if not isinstance(content, Mapping):
        return False
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())


# -- into a network -------------------------------------------------------------------------------


def load_weights(
    network: nn.Module, weights: str | Path | Weights, *, partial: bool = False
) -> Loaded:
    """Fill a network from weights that were read, or from what `read_weights` takes.

    See `load`.
    """
    if not isinstance(weights, Weights):
        weights = read_weights(weights)
    loaded = load(network, weights.state, weights.file, partial=partial)
    origin = "; ".join(filter(None, (weights.origin, loaded.origin)))
    return replace(loaded, origin=origin)


def load(network: nn.Module, state: State, path: str | Path, *, partial: bool = False) -> Loaded:
    """Fill a network from a state dict with its own names, or those of timm or torchvision.

    For foreign names see `nas.model.foreign`. A classifier or a segmentation head of other classes
    keeps its fresh weights. Anything else that does not fit raises `ArchitectureError`, which names
    the first of it, unless ``partial`` takes what fits. Not one tensor may be other than finite.
    """
    origin = ""
    if isinstance(network, Network):
        state, origin = translate(state, network)
    _check_forms(network, state, path)
    loaded = replace(_compared(network, state), origin=origin)
    _check(loaded, state, path, partial)
    network.load_state_dict({name: state[name] for name in loaded.loaded}, strict=False)
    return loaded


def _compared(network: nn.Module, state: State) -> Loaded:
    """Which tensors of the network the state dict has, by name and shape."""
    own, head = network.state_dict(), head_names(network)
    names: dict[str, list[str]] = {"loaded": [], "head": [], "missing": [], "mismatched": []}
    for name, value in own.items():
        # How many batches a norm has seen is of no use, as its momentum is fixed.
        if name.endswith(COUNTER) and name not in state:
            continue
        names[_fate(value, state.get(name), name in head)].append(name)
    unknown = tuple(name for name in state if name not in own)
    return Loaded(
        loaded=tuple(names["loaded"]),
        head=tuple(names["head"]),
        missing=tuple(names["missing"]),
        mismatched=tuple(names["mismatched"]),
        unknown=unknown,
    )


def _fate(own: Tensor, theirs: Tensor | None, in_head: bool) -> str:
    """What becomes of a tensor of the network: a field of `Loaded`."""
    if theirs is not None and theirs.shape == own.shape:
        return "loaded"
    if in_head:
        return "head"
    return "missing" if theirs is None else "mismatched"


def _check_forms(network: nn.Module, state: State, path: str | Path) -> None:
    """Raise `ArchitectureError` for branches given to a folded convolution, or the reverse."""
    for name, part in network.named_modules():
        if isinstance(part, FoldedConv) and f"{name}.{FIRST_BRANCH}" in state:
            raise ArchitectureError(
                f"weights {path} are of the form that is trained, and this network is the folded "
                f"one: its {name} has no branches. Give them to the network that was trained; "
                "nas export folds both"
            )
        if isinstance(part, RepConv) and f"{name}.{FOLDED}" in state:
            raise ArchitectureError(
                f"weights {path} are folded, and this network is the form that is trained: its "
                f"{name} has branches, which cannot be had back. Give them to the folded network, "
                "the JSON file that nas export wrote beside them"
            )


def _check(loaded: Loaded, state: State, path: str | Path, partial: bool) -> None:
    """Raise `ArchitectureError` for a state dict that must not be loaded."""
    broken = [name for name in loaded.loaded if not state[name].isfinite().all()]
    kinds: dict[str, Sequence[str]] = {
        "missing": loaded.missing,
        "of another shape": loaded.mismatched,
        "unknown": loaded.unknown,
        "not finite": broken,
    }
    faults = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
    harmless = partial or not faults
    if broken or not harmless or not loaded.loaded:
        raise ArchitectureError(f"weights {path} are not this network's: {'; '.join(faults)}")


def head_names(network: nn.Module) -> set[str]:
    """Names, in the state dict, of what depends on the number of classes.

    Of a classifier its last linear layer, of a segmenter its last convolutions.
    """
    prefix = _head_prefix(network)
    if not prefix:
        return set()
    return {name for name in network.state_dict() if name.startswith(prefix)}


def _head_prefix(network: nn.Module) -> str | tuple[str, ...]:
    """What the head's names start with; empty if there is no head."""
    if isinstance(network, Segmenter):
        return SEGMENTER_HEAD
    if not isinstance(network, Network) or network.architecture.layers[-1].op.key != "classifier":
        return ""
    stage = network.architecture.stages[-1]
    return f"stages.{stage.name}.{len(stage.ops) - 1}.linear."
