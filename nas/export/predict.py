"""What a shipped network says of an image file, by what its own files tell and nothing else."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.arch import Architecture
from nas.data.decode import reading
from nas.data.preprocess import as_tensor, prepared, resized
from nas.errors import ArchitectureError, UsageError
from nas.export.int8 import OnnxNetwork
from nas.export.products import pixel_classes
from nas.files import one_line
from nas.metadata import Metadata, read_metadata
from nas.model import build
from nas.model.weights import load_weights, read, read_weights
from nas.size import sides

__all__ = ["Predictor", "image_tensor", "metadata_of_onnx", "predictor"]

KEYS = ("classes", "mean", "std", "preprocessing")


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """A network with its class names."""

    classes: tuple[str, ...]
    tensor: Callable[[Path], Tensor]
    """An image file as the network takes it, (1, c, h, w)."""
    network: nn.Module

    def probabilities(self, image: Path) -> dict[str, float]:
        """Of each class, the likeliest first. Raises `DataError` for a file that is no image."""
        with torch.no_grad():
            logits = self.network(self.tensor(image))[0]
        shares = logits.double().softmax(0).tolist()
        names = self.classes or tuple(map(str, range(len(shares))))
        if len(names) != len(shares):
            raise ArchitectureError(f"{len(names)} class names do not fit {len(shares)} logits")
        return dict(sorted(zip(names, shares, strict=True), key=lambda pair: -pair[1]))


def predictor(path: Path) -> Predictor:
    """Of an ONNX file, a Python file beside its weights, or a folder of `nas train`.

    A Python file is run. Raises `UsageError` and `ArchitectureError`.
    """
    if path.is_dir():
        return _of_training(path)
    if not path.is_file():
        raise UsageError(
            f"no file {path}: give an exported .onnx or .py file, or a folder of nas train"
        )
    if path.suffix == ".onnx":
        network = OnnxNetwork(path)
        return _by_metadata(network, metadata_of_onnx(network), path)
    if path.suffix == ".py":
        return _of_python(path)
    raise UsageError(f"{path} is no exported network: give a .onnx or .py file, or a folder")


def image_tensor(path: Path, metadata: Metadata) -> Tensor:
    """(1, c, h, w), as an exported Python file's `preprocess` makes it. Raises `DataError`."""
    how = metadata.preprocessing
    assert how is not None
    with reading(path) as file:
        image = prepared(file, how.colour, sides(how.size), sides(how.resize), how.low, how.high)
    pixels = as_tensor(image) if how.resize else resized(as_tensor(image), sides(how.size))
    mean = torch.tensor(metadata.mean).view(1, -1, 1, 1)
    std = torch.tensor(metadata.std).view(1, -1, 1, 1)
    return (pixels - mean) / std


def _by_metadata(network: nn.Module, metadata: Metadata, path: Path) -> Predictor:
    if metadata.preprocessing is None or not metadata.mean:
        raise ArchitectureError(
            f"{path} does not say what was done to its images: train it with nas train, "
            "and export it with those weights"
        )
    return Predictor(
        classes=metadata.classes,
        tensor=lambda image: image_tensor(image, metadata),
        network=network.eval(),
    )


def metadata_of_onnx(network: OnnxNetwork) -> Metadata:
    """What an ONNX file says of itself. Raises `ArchitectureError`."""
    properties = network.session.get_modelmeta().custom_metadata_map
    document = {}
    for key in KEYS:
        if key in properties:
            try:
                document[key] = json.loads(properties[key])
            except ValueError:
                raise ArchitectureError(f"property {key} of the ONNX file is no JSON") from None
    return Metadata.from_json(document)


def _of_training(folder: Path) -> Predictor:
    file = folder / "architecture.json"
    if not file.is_file():
        raise UsageError(f"{folder} is no folder of a finished training: it has no {file.name}")
    weights = read_weights(folder)
    if pixel_classes(weights):
        raise UsageError(f"{folder} names a class per pixel, which nas predict does not")
    network = build(Architecture.load(file))
    load_weights(network, weights)
    return _by_metadata(network, read_metadata(file), folder)


def _of_python(path: Path) -> Predictor:
    weights = path.with_suffix(".pt")
    if not weights.is_file():
        raise UsageError(f"{path} needs its weights beside it, as {weights.name}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        network = module.network()
        preprocess = module.preprocess
    except Exception as error:  # other people's code may raise anything
        raise ArchitectureError(
            f"{path} is not a classifier exported with its preprocessing: {one_line(error, 120)}"
        ) from None
    try:
        network.load_state_dict(read(weights))
    except RuntimeError as error:
        raise ArchitectureError(f"{weights} does not fit {path}: {one_line(error, 120)}") from None

    def tensor(image: Path) -> Tensor:
        with reading(image):  # what is no image is told as everywhere
            made: Tensor = preprocess(str(image))
        return made

    return Predictor(
        classes=tuple(getattr(module, "CLASSES", ())), tensor=tensor, network=network.eval()
    )
