"""A network as files that run without the toolkit: Python, ONNX, JSON, and weights.

Every export is verified in an interpreter that cannot import the toolkit before a file is seen under its name.
"""

import keyword
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import torch

from nas.arch import Architecture
from nas.errors import ArchitectureError, ExistsError, UsageError, unknown
from nas.export.onnx import OPSET, require_onnx, write_onnx
from nas.export.python import python_source
from nas.export.verification import Job, check, shake
from nas.export.weights import load_weights
from nas.model import Network, build
from nas.notes import NONE, Notes, save_network

__all__ = ["FORMATS", "OPSET", "Exported", "check_name", "export", "load_weights", "python_source"]

FORMATS = ("python", "onnx", "json")
SUFFIXES = {"python": ".py", "onnx": ".onnx", "json": ".json", "weights": ".pt"}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Files by format (``weights`` where there are some), and the largest difference of logits from the source's.

    Differences are relative to the largest logit; None where there is no such file.
    """

    files: dict[str, Path]
    trained: bool
    python_difference: float | None
    onnx_difference: float | None


def export(
    architecture: Architecture,
    folder: str | Path,
    *,
    name: str = "network",
    formats: Sequence[str] = FORMATS,
    weights: str | Path | None = None,
    notes: Notes = NONE,
    force: bool = False,
) -> Exported:
    """Write a network as ``name.py``, ``name.onnx``, ``name.json`` into a folder, verified; weights as ``name.pt``.

    ``weights``: a file with the network's state dict; without it an ONNX file holds the untrained weights of seed 0.
    ``notes``: class names and normalisation, written into every file but the weights. Files that exist are overwritten only by ``force``.
    Raises `UsageError` and `ArchitectureError`, and then leaves no file.
    """
    folder = Path(folder)
    _check(architecture, name, formats, notes)
    wanted = [*formats, *(["weights"] if weights is not None else [])]
    targets = {kind: folder / f"{name}{SUFFIXES[kind]}" for kind in wanted}
    _check_free(folder, targets.values(), force)
    network = build(architecture)
    if weights is not None:
        load_weights(network, Path(weights))
    made = Path(mkdtemp(prefix=".nas-export-", dir=_existing(folder)))
    try:
        files = {kind: made / target.name for kind, target in targets.items()}
        _write(network, files, notes)
        found = _verify(network, files, trained=weights is not None)
        folder.mkdir(parents=True, exist_ok=True)
        for kind, file in files.items():
            file.replace(targets[kind])
    finally:
        shutil.rmtree(made)
    return Exported(files=targets, trained=weights is not None, **found)


def check_name(name: str) -> None:
    """Raise unless a Python file of that name can be imported, and hides no module that it needs itself."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise UsageError(
            f"the name of an export must be letters, digits and _, as of a Python module, not '{name[:80]}'"
        )
    if name == "torch" or name in sys.stdlib_module_names:
        raise UsageError(f"an export cannot be named '{name}': its Python file would hide the module of that name")


def _check(architecture: Architecture, name: str, formats: Sequence[str], notes: Notes) -> None:
    for kind in formats:
        if kind not in FORMATS:
            raise unknown("export format", kind, FORMATS)
    if not formats:
        raise UsageError(f"an export needs at least one format of {', '.join(FORMATS)}")
    check_name(name)
    if "onnx" in formats:
        require_onnx()
    logits, channels = architecture.out_shape.channels, architecture.input.channels
    if notes.classes and len(notes.classes) != logits:
        raise ArchitectureError(f"{len(notes.classes)} class names do not fit {logits} logits")
    if (notes.mean or notes.std) and not len(notes.mean) == len(notes.std) == channels:
        raise ArchitectureError(f"mean and std of {len(notes.mean)} channels do not fit {channels}")


def _check_free(folder: Path, targets: Iterable[Path], force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"{folder} is a file: an export needs a folder")
    for target in targets:
        if target.is_dir():
            raise ExistsError(f"{target} is a folder: choose another --name or --out")
        if target.exists() and not force:
            raise ExistsError(f"{target} exists: choose another --name or --out, or overwrite it with --force")


def _existing(folder: Path) -> Path:
    """The nearest folder that exists, so that finished files are moved within one disk."""
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())


def _write(network: Network, files: Mapping[str, Path], notes: Notes) -> None:
    architecture = network.architecture
    if "python" in files:
        files["python"].write_text(python_source(architecture, notes), encoding="utf-8")
    if "onnx" in files:
        metadata = {"digest": architecture.digest, "params": architecture.params, "macs": architecture.macs}
        write_onnx(network, architecture.input, files["onnx"], {**metadata, **notes.to_json()})
    if "json" in files:
        save_network(architecture, notes, files["json"])
    if "weights" in files:
        torch.save(network.state_dict(), files["weights"])


def _verify(network: Network, files: Mapping[str, Path], *, trained: bool) -> dict[str, float | None]:
    """Logits of both files. A new network's norms would hide mistakes: its Python file is tried with other ones."""
    architecture, other = network.architecture, network
    if "json" in files and Architecture.load(files["json"]).digest != architecture.digest:
        raise ArchitectureError(f"the architecture does not survive its JSON form: {architecture.digest}")
    if not trained:
        other = build(architecture)
        shake(other)
    jobs = [
        Job(architecture=architecture, network=other, python=files.get("python")),
        Job(architecture=architecture, network=network, onnx=files.get("onnx")),
    ]
    verdicts = check(jobs)
    return {"python_difference": verdicts[0].python_difference, "onnx_difference": verdicts[1].onnx_difference}
