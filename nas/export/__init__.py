"""A network as files that run without the toolkit: Python, ONNX, JSON, and weights.

Every export is verified in an interpreter that cannot import the toolkit before a file is seen
under its name. Three more formats are extras: ``tflite``, which is run here by LiteRT, ``coreml``,
converted and not executed here, and ``timm``, an architecture string.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from nas.arch import Architecture
from nas.errors import ArchitectureError
from nas.export.checks import (
    FORMATS,
    MORE,
    SUFFIXES,
    check_free,
    check_metadata,
    check_name,
    check_request,
)
from nas.export.coreml import write_coreml
from nas.export.onnx import OPSET, write_onnx
from nas.export.products import (
    Product,
    backbone_product,
    network_product,
    pixel_classes,
    segmenter_product,
)
from nas.export.python import python_source
from nas.export.tflite import tflite_difference, write_tflite
from nas.export.verification import Job, check
from nas.metadata import UNKNOWN, Metadata, save_network
from nas.model.weights import Loaded, Weights, load_weights, read_weights, write_tensors
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


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written. Differences are the largest of the outputs, relative to the largest."""

    files: dict[str, Path]
    """By format; ``weights`` if there are some."""
    weights: Loaded | None
    """What was read of a file of weights; None without one."""
    params: int
    macs: int
    """Of one image."""
    python_difference: float | None
    """From the source's; None without such a file."""
    onnx_difference: float | None
    """From the source's; None without such a file."""
    tflite_difference: float | None = None
    """From the source's; None without such a file."""

    @property
    def trained(self) -> bool:
        """Whether every tensor came from the file of weights."""
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
    """Write a network as ``name.py``, ``name.onnx``, ``name.json`` into a folder, verified.

    ``weights``: a state dict, or a folder of `nas train`, see `nas.model.weights`; they are written
    as ``name.pt``. Without them an ONNX file holds the untrained weights of seed 0. Those of a
    segmenter make the files a segmenter's, with ``architecture`` as its body. ``metadata``: class
    names and normalisation, written into every file but the weights. ``features``: the network
    without its head, which gives maps at strides 4 to 32 for input of any size, see `nas.backbone`;
    weights are still those of the whole network. Files that exist are overwritten only by
    ``force``. Raises `UsageError` and `ArchitectureError`, and then leaves no file.
    """
    folder = Path(folder)
    if isinstance(weights, str | Path):
        weights = read_weights(weights)
    pixels = 0 if features else pixel_classes(weights)
    check_request(architecture, name, formats, features=features, pixels=pixels)
    check_metadata(architecture, metadata, pixels)
    kinds = list(formats) if weights is None else [*formats, "weights"]
    targets = {kind: folder / f"{name}{SUFFIXES[kind]}" for kind in kinds}
    check_free(folder, targets.values(), force)
    if features:
        product = backbone_product(architecture, weights, metadata)
    elif weights is not None and pixels:
        product = segmenter_product(architecture, weights, metadata)
    else:
        product = network_product(architecture, weights, metadata)
    # Nothing has its name before all is verified: a kill leaves a hidden folder, and no export.
    unseen = _unseen_folder(folder)
    try:
        files = {kind: unseen / target.name for kind, target in targets.items()}
        _write(product, files)
        differences = _verify(product, files)
        folder.mkdir(parents=True, exist_ok=True)
        for kind, file in files.items():
            file.replace(targets[kind])
    except OSError as error:
        # The folder that is meant; an error of writing names none.
        if error.filename is None or str(error.filename).startswith(str(unseen)):
            error.filename = str(folder)
        raise
    finally:
        shutil.rmtree(unseen)
    return Exported(
        files=targets,
        weights=product.loaded,
        params=product.params,
        macs=product.macs,
        python_difference=differences.python,
        onnx_difference=differences.onnx,
        tflite_difference=differences.tflite,
    )


def _unseen_folder(folder: Path) -> Path:
    """A hidden one in the nearest that exists, so that files are moved within one disk."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    try:
        return Path(mkdtemp(prefix=".nas-export-", dir=existing))
    except OSError as error:
        # The folder that is meant.
        error.filename = str(folder)
        raise


def _write(product: Product, files: Mapping[str, Path]) -> None:
    architecture = product.architecture
    if "python" in files:
        files["python"].write_text(product.source(), encoding="utf-8")
    if "onnx" in files:
        _write_onnx(product, files["onnx"])
    if "json" in files:
        _write_json(product, files["json"])
    if "weights" in files:
        write_tensors(files["weights"], product.module.state_dict())
    if "timm" in files:
        document = arch_string(architecture).to_json()
        files["timm"].write_text(json.dumps(document, indent=1) + "\n")
    if "coreml" in files:
        write_coreml(product.module, architecture.input, files["coreml"], product.outputs)
    if "tflite" in files:
        write_tflite(product.module, architecture.input, files["tflite"])


def _write_onnx(product: Product, file: Path) -> None:
    properties: dict[str, object] = {
        "digest": product.architecture.digest,
        "params": product.params,
        "macs": product.macs,
        **product.metadata.to_json(),
    }
    write_onnx(
        product.onnx or product.module,
        product.architecture.input,
        file,
        properties,
        product.outputs,
        any_size=product.any_size,
    )


def _write_json(product: Product, file: Path) -> None:
    digest = product.architecture.digest
    save_network(product.architecture, product.metadata, file)
    # An op of another package may forget a setting in its JSON: the file would be another network.
    if Architecture.load(file).digest != digest:
        raise ArchitectureError(f"the architecture does not survive its JSON form: {digest}")


@dataclass(frozen=True, kw_only=True)
class _Differences:
    """See `Exported`."""

    python: float | None
    onnx: float | None
    tflite: float | None


def _verify(product: Product, files: Mapping[str, Path]) -> _Differences:
    shape = product.architecture.input
    # Two jobs: the Python file is given weights, the ONNX file holds those that are shipped.
    python, onnx = check(
        [
            Job(
                network=product.other,
                python=files.get("python"),
                shape=shape,
                params=product.params,
                macs=product.macs,
                function=product.function,
                any_size=product.any_size,
            ),
            Job(
                network=product.onnx or product.module,
                onnx=files.get("onnx"),
                shape=shape,
                any_size=product.any_size,
            ),
        ]
    )
    tflite = files.get("tflite")
    return _Differences(
        python=python.python_difference,
        onnx=onnx.onnx_difference,
        tflite=None if tflite is None else tflite_difference(product.module, shape, tflite),
    )
