"""A network as files that run without the toolkit: Python, ONNX, JSON, and weights.

Every export is verified in an interpreter that cannot import the toolkit before a file is seen under its name. Two more
formats are not run: ``timm``, an architecture string, and ``coreml``, converted and not executed here.
"""

import dataclasses
import json
import keyword
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import torch

from nas.arch import Architecture
from nas.archstring import arch_string
from nas.backbone import backbone
from nas.errors import ArchitectureError, ExistsError, UsageError, unknown
from nas.export.coreml import require_coreml, write_coreml
from nas.export.onnx import OPSET, require_onnx, write_onnx
from nas.export.python import features_source, python_source
from nas.export.verification import Job, check, shake
from nas.model import Network, build
from nas.model.features import features_of
from nas.model.weights import Loaded, load_weights
from nas.notes import NONE, Notes, save_network

__all__ = ["FORMATS", "MORE", "OPSET", "Exported", "check_name", "export", "load_weights", "python_source"]

FORMATS = ("python", "onnx", "json")
MORE = ("timm", "coreml")
SUFFIXES = {
    "python": ".py", "onnx": ".onnx", "json": ".json", "weights": ".pt", "timm": ".timm.json", "coreml": ".mlpackage",
}  # fmt: skip
ELSEWHERE = {
    "tflite": "litert-torch converts the exported Python file",
    "tensorrt": "trtexec --onnx=FILE builds an engine from the ONNX file",
}
"""Formats that other tools make from ours; docs/families.md has the commands."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Files by format (``weights`` where there are some), and the largest difference of logits from the source's.

    Differences are relative to the largest logit; None where there is no such file. ``weights``: what was read of a file
    of weights; ``trained``: whether every tensor came from it.
    """

    files: dict[str, Path]
    weights: Loaded | None
    python_difference: float | None
    onnx_difference: float | None

    @property
    def trained(self) -> bool:
        """See the class."""
        return self.weights is not None and self.weights.whole


def export(
    architecture: Architecture,
    folder: str | Path,
    *,
    name: str = "network",
    formats: Sequence[str] = FORMATS,
    weights: str | Path | None = None,
    notes: Notes = NONE,
    features: bool = False,
    force: bool = False,
) -> Exported:
    """Write a network as ``name.py``, ``name.onnx``, ``name.json`` into a folder, verified; weights as ``name.pt``.

    ``weights``: a state dict, or a folder of `nas train`, see `nas.model.weights`; without it an ONNX file holds the
    untrained weights of seed 0. ``notes``: class names and normalisation, written into every file but the weights.
    ``features``: the network without its head, which gives maps at strides 4 to 32 for input of any size, see
    `nas.backbone`; weights are still those of the whole network. Files that exist are overwritten only by ``force``.
    Raises `UsageError` and `ArchitectureError`, and then leaves no file.
    """
    folder = Path(folder)
    _check(architecture, name, formats, notes, features)
    wanted = [*formats, *(["weights"] if weights is not None else [])]
    targets = {kind: folder / f"{name}{SUFFIXES[kind]}" for kind in wanted}
    _check_free(folder, targets.values(), force)
    network = build(architecture)
    loaded = None if weights is None else load_weights(network, weights)
    made = Path(mkdtemp(prefix=".nas-export-", dir=_existing(folder)))
    try:
        files = {kind: made / target.name for kind, target in targets.items()}
        if features:
            found = _features(network, files, dataclasses.replace(notes, classes=()))
        else:
            _write(network, files, notes)
            found = _verify(network, files, trained=weights is not None)
        folder.mkdir(parents=True, exist_ok=True)
        for kind, file in files.items():
            file.replace(targets[kind])
    finally:
        shutil.rmtree(made)
    return Exported(files=targets, weights=loaded, **found)


def check_name(name: str) -> None:
    """Raise unless a Python file of that name can be imported, and hides no module that it needs itself."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise UsageError(
            f"the name of an export must be letters, digits and _, as of a Python module, not '{name[:80]}'"
        )
    if name == "torch" or name in sys.stdlib_module_names:
        raise UsageError(f"an export cannot be named '{name}': its Python file would hide the module of that name")


def _check(architecture: Architecture, name: str, formats: Sequence[str], notes: Notes, features: bool) -> None:
    for kind in formats:
        if kind in ELSEWHERE:
            raise UsageError(
                f"{kind} is not written here: {ELSEWHERE[kind]}, see docs/families.md. Formats: {_known()}"
            )
        if kind not in (*FORMATS, *MORE):
            raise unknown("export format", kind, (*FORMATS, *MORE))
        if features and kind == "timm":
            raise UsageError("timm's strings are of whole networks: leave --features or timm out")
    if not formats:
        raise UsageError(f"an export needs at least one format of {', '.join(FORMATS)}")
    check_name(name)
    if "onnx" in formats:
        require_onnx()
    if "timm" in formats:
        arch_string(architecture)
    if "coreml" in formats:
        require_coreml()
    if features:
        backbone(architecture)
    logits, channels = architecture.out_shape.channels, architecture.input.channels
    if notes.classes and len(notes.classes) != logits:
        raise ArchitectureError(f"{len(notes.classes)} class names do not fit {logits} logits")
    if (notes.mean or notes.std) and not len(notes.mean) == len(notes.std) == channels:
        raise ArchitectureError(f"mean and std of {len(notes.mean)} channels do not fit {channels}")


def _known() -> str:
    return ", ".join((*FORMATS, *MORE))


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
    if "timm" in files:
        files["timm"].write_text(json.dumps(arch_string(architecture).to_json(), indent=1) + "\n")
    if "coreml" in files:
        write_coreml(network, architecture.input, files["coreml"], ("logits",))


def _features(network: Network, files: Mapping[str, Path], notes: Notes) -> dict[str, float | None]:
    """Write and verify a backbone, with norms that are not those of a new network in the Python file's trial."""
    found = backbone(network.architecture)
    made = features_of(network, found)
    architecture = found.architecture
    if "python" in files:
        files["python"].write_text(features_source(found, notes), encoding="utf-8")
    if "onnx" in files:
        metadata = {"digest": architecture.digest, "params": architecture.params, "macs": architecture.macs}
        write_onnx(
            made, architecture.input, files["onnx"], {**metadata, **notes.to_json()}, [tap.output for tap in found.taps]
        )
    if "json" in files:
        save_network(architecture, notes, files["json"])
    if "weights" in files:
        torch.save(made.state_dict(), files["weights"])
    if "coreml" in files:
        write_coreml(made, architecture.input, files["coreml"], [tap.output for tap in found.taps])
    other = features_of(build(network.architecture), found)
    shake(other)
    jobs = [
        Job(architecture=architecture, network=other, python=files.get("python"), made="features", any_size=True),
        Job(architecture=architecture, network=made, onnx=files.get("onnx"), made="features", any_size=True),
    ]
    verdicts = check(jobs)
    return {"python_difference": verdicts[0].python_difference, "onnx_difference": verdicts[1].onnx_difference}


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
