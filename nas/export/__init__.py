"""A network as files that run without the toolkit: Python, ONNX, JSON, and weights.

Every export is verified in an interpreter that cannot import the toolkit before a file is seen
under its name. Three more formats are extras: ``tflite``, which is run here by LiteRT, ``coreml``,
converted and not executed here, and ``timm``, an architecture string.
"""

import json
import keyword
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from nas.arch import Architecture
from nas.backbone import backbone
from nas.errors import ArchitectureError, ExistsError, UsageError, unknown
from nas.export.coreml import require_coreml, write_coreml
from nas.export.onnx import OPSET, require_onnx, write_onnx
from nas.export.products import (
    Product,
    backbone_product,
    network_product,
    pixel_classes,
    segmenter_product,
)
from nas.export.python import python_source
from nas.export.tflite import require_tflite, tflite_difference, write_tflite
from nas.export.verification import Job, check
from nas.metadata import UNKNOWN, Metadata, save_network
from nas.model.weights import Loaded, Weights, load_weights, read_weights
from nas.networks.archstring import arch_string

__all__ = [
    "FORMATS",
    "MORE",
    "OPSET",
    "Exported",
    "check_name",
    "export",
    "load_weights",
    "pixel_classes",
    "python_source",
]

FORMATS = ("python", "onnx", "json")
MORE = ("timm", "coreml", "tflite")
SUFFIXES = {
    "python": ".py", "onnx": ".onnx", "json": ".json", "weights": ".pt", "timm": ".timm.json", "coreml": ".mlpackage",
    "tflite": ".tflite",
}  # fmt: skip
ELSEWHERE = {
    "tensorrt": "trtexec --onnx=FILE builds an engine from the ONNX file",
}
"""Formats that other tools make from ours; docs/families.md has the commands."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Files by format (``weights`` where there are some), and the largest difference of logits from the source's.

    Differences are relative to the largest logit; None where there is no such file. ``params``,
    ``macs``: of what was written. ``weights``: what was read of a file of weights; ``trained``:
    whether every tensor came from it.
    """

    files: dict[str, Path]
    weights: Loaded | None
    params: int
    macs: int
    python_difference: float | None
    onnx_difference: float | None
    tflite_difference: float | None = None

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
    weights: str | Path | Weights | None = None,
    metadata: Metadata = UNKNOWN,
    features: bool = False,
    force: bool = False,
) -> Exported:
    """Write a network as ``name.py``, ``name.onnx``, ``name.json`` into a folder, verified; weights as ``name.pt``.

    ``weights``: a state dict, or a folder of `nas train`, see `nas.model.weights`; without it an
    ONNX file holds the untrained weights of seed 0. Those of a segmenter make the files a
    segmenter's, with ``architecture`` as its body. ``metadata``: class names and normalisation,
    written into every file but the weights. ``features``: the network without its head, which gives
    maps at strides 4 to 32 for input of any size, see `nas.backbone`; weights are still those of
    the whole network. Files that exist are overwritten only by ``force``. Raises `UsageError` and
    `ArchitectureError`, and then leaves no file.
    """
    folder = Path(folder)
    given = read_weights(weights) if isinstance(weights, str | Path) else weights
    pixels = 0 if features else pixel_classes(given)
    if pixels and (other := set(formats) - set(FORMATS)):
        raise UsageError(
            f"a segmentation network is written as {', '.join(FORMATS)}, not {sorted(other)[0]}"
        )
    _check(architecture, name, formats, features)
    _check_metadata(architecture, metadata, pixels)
    wanted = [*formats, *(["weights"] if given is not None else [])]
    targets = {kind: folder / f"{name}{SUFFIXES[kind]}" for kind in wanted}
    _check_free(folder, targets.values(), force)
    if features:
        product = backbone_product(architecture, given, metadata)
    elif given is not None and pixels:
        product = segmenter_product(architecture, given, metadata)
    else:
        product = network_product(architecture, given, metadata)
    made = Path(mkdtemp(prefix=".nas-export-", dir=_existing(folder)))
    try:
        files = {kind: made / target.name for kind, target in targets.items()}
        _write(product, files)
        found = _verify(product, files)
        folder.mkdir(parents=True, exist_ok=True)
        for kind, file in files.items():
            file.replace(targets[kind])
    finally:
        shutil.rmtree(made)
    return Exported(
        files=targets, weights=product.loaded, params=product.params, macs=product.macs, **found
    )


def check_name(name: str) -> None:
    """Raise unless a Python file of that name can be imported, and hides no module that it needs itself."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise UsageError(
            f"the name of an export must be letters, digits and _, as of a Python module, not '{name[:80]}'"
        )
    if name == "torch" or name in sys.stdlib_module_names:
        raise UsageError(
            f"an export cannot be named '{name}': its Python file would hide the module of that name"
        )


def _check(architecture: Architecture, name: str, formats: Sequence[str], features: bool) -> None:
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
    if "tflite" in formats:
        require_tflite()
    if features:
        backbone(architecture)


def _check_metadata(architecture: Architecture, metadata: Metadata, pixels: int) -> None:
    logits, channels = pixels or architecture.out_shape.channels, architecture.input.channels
    if metadata.classes and len(metadata.classes) != logits:
        raise ArchitectureError(f"{len(metadata.classes)} class names do not fit {logits} logits")
    if (metadata.mean or metadata.std) and not len(metadata.mean) == len(metadata.std) == channels:
        raise ArchitectureError(
            f"mean and std of {len(metadata.mean)} channels do not fit {channels}"
        )


def _known() -> str:
    return ", ".join((*FORMATS, *MORE))


def _check_free(folder: Path, targets: Iterable[Path], force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"{folder} is a file: an export needs a folder")
    for target in targets:
        if target.is_dir():
            raise ExistsError(f"{target} is a folder: choose another --name or --out")
        if target.exists() and not force:
            raise ExistsError(
                f"{target} exists: choose another --name or --out, or overwrite it with --force"
            )


def _existing(folder: Path) -> Path:
    """The nearest folder that exists, so that finished files are moved within one disk."""
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())


def _write(product: Product, files: Mapping[str, Path]) -> None:
    architecture = product.architecture
    if "python" in files:
        files["python"].write_text(product.source(), encoding="utf-8")
    if "onnx" in files:
        properties = {"digest": architecture.digest, "params": product.params, "macs": product.macs}
        write_onnx(
            product.onnx or product.module, architecture.input, files["onnx"], {**properties, **product.metadata.to_json()},
            product.outputs, any_size=product.any_size,
        )  # fmt: skip
    if "json" in files:
        save_network(architecture, product.metadata, files["json"])
        if Architecture.load(files["json"]).digest != architecture.digest:
            raise ArchitectureError(
                f"the architecture does not survive its JSON form: {architecture.digest}"
            )
    if "weights" in files:
        torch.save(product.module.state_dict(), files["weights"])
    if "timm" in files:
        files["timm"].write_text(json.dumps(arch_string(architecture).to_json(), indent=1) + "\n")
    if "coreml" in files:
        write_coreml(product.module, architecture.input, files["coreml"], product.outputs)
    if "tflite" in files:
        write_tflite(product.module, architecture.input, files["tflite"])


def _verify(product: Product, files: Mapping[str, Path]) -> dict[str, float | None]:
    """Outputs of both files."""
    common: dict[str, Any] = {
        "shape": product.architecture.input, "params": product.params, "macs": product.macs,
        "any_size": product.any_size, "made": product.made,
    }  # fmt: skip
    jobs = [
        Job(network=product.other, python=files.get("python"), **common),
        Job(network=product.onnx or product.module, onnx=files.get("onnx"), **common),
    ]
    verdicts = check(jobs)
    lite = files.get("tflite")
    return {
        "python_difference": verdicts[0].python_difference,
        "onnx_difference": verdicts[1].onnx_difference,
        "tflite_difference": None
        if lite is None
        else tflite_difference(product.module, product.architecture.input, lite),
    }
