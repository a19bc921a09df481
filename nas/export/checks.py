"""What is refused before an export is written, and the formats there are."""

import keyword
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from nas.arch import Architecture
from nas.backbone import backbone
from nas.errors import ArchitectureError, ExistsError, UsageError, unknown
from nas.export.coreml import require_coreml
from nas.export.onnx import require_onnx
from nas.export.tflite import require_tflite
from nas.metadata import Metadata
from nas.networks.archstring import arch_string

__all__ = [
    "FORMATS",
    "MORE",
    "SUFFIXES",
    "check_free",
    "check_metadata",
    "check_name",
    "check_request",
]

FORMATS = ("python", "onnx", "json")
MORE = ("timm", "coreml", "tflite")
SUFFIXES = {
    "python": ".py",
    "onnx": ".onnx",
    "json": ".json",
    "weights": ".pt",
    "timm": ".timm.json",
    "coreml": ".mlpackage",
    "tflite": ".tflite",
}
ELSEWHERE = {
    "tensorrt": "trtexec --onnx=FILE builds an engine from the ONNX file",
}
"""Formats that other tools make from ours; docs/deploying.md has the commands."""


def check_request(
    architecture: Architecture, name: str, formats: Sequence[str], *, features: bool, pixels: int
) -> None:
    """Raise unless the network can be written so, with what is installed.

    ``features``: without its head. ``pixels``: classes of a segmenter; 0 for another network.
    """
    foreign = sorted(set(formats) - set(FORMATS))
    if pixels and foreign:
        raise UsageError(
            f"a segmentation network is written as {', '.join(FORMATS)}, not {foreign[0]}"
        )
    for kind in formats:
        _check_format(kind, features)
    if not formats:
        raise UsageError(f"an export needs at least one format of {', '.join(FORMATS)}")
    check_name(name)
    if "onnx" in formats:
        require_onnx()
    if "timm" in formats:
        arch_string(architecture)
    if "coreml" in formats:
        require_coreml()
    if "tflite" in formats:
        require_tflite()
    if features:
        backbone(architecture)


def _check_format(kind: str, features: bool) -> None:
    known = (*FORMATS, *MORE)
    if kind in ELSEWHERE:
        raise UsageError(
            f"{kind} is not written here: {ELSEWHERE[kind]}, see docs/deploying.md. "
            f"Formats: {', '.join(known)}"
        )
    if kind not in known:
        raise unknown("export format", kind, known)
    if features and kind == "timm":
        raise UsageError("timm's strings are of whole networks: leave --features or timm out")


def check_name(name: str) -> None:
    """Raise unless a Python file of that name can be imported, and hides no module it needs."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise UsageError(
            "the name of an export must be letters, digits and _, as of a Python module, "
            f"not '{name[:80]}'"
        )
    if name == "torch" or name in sys.stdlib_module_names:
        raise UsageError(
            f"an export cannot be named '{name}': "
            "its Python file would hide the module of that name"
        )


def check_metadata(architecture: Architecture, metadata: Metadata, pixels: int) -> None:
    """Raise unless there is a name for each logit and a mean and deviation for each channel.

    What is not known may be left out.
    """
    logits = pixels or architecture.out_shape.channels
    channels = architecture.input.channels
    if metadata.classes and len(metadata.classes) != logits:
        raise ArchitectureError(f"{len(metadata.classes)} class names do not fit {logits} logits")
    normalised = metadata.mean or metadata.std
    if normalised and not len(metadata.mean) == len(metadata.std) == channels:
        raise ArchitectureError(
            f"mean and std of {len(metadata.mean)} channels do not fit {channels}"
        )


def check_free(folder: Path, targets: Iterable[Path], force: bool) -> None:
    """Raise if a file is there already, unless ``force`` allows to overwrite it."""
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"{folder} is a file: an export needs a folder")
    for target in targets:
        if target.is_dir():
            raise ExistsError(f"{target} is a folder: choose another --name or --out")
        if target.exists() and not force:
            raise ExistsError(
                f"{target} exists: choose another --name or --out, or overwrite it with --force"
            )
