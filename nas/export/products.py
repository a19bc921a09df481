"""What an export ships: a whole network, a backbone, or a network that names a class per pixel."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from nas.arch import Architecture
from nas.backbone import backbone, takes_any_size
from nas.export.python import features_source, masks_source, python_source
from nas.export.verification import macs_of, shake
from nas.metadata import Metadata
from nas.model import build
from nas.model.features import features_of
from nas.model.segmenter import MARK, Segmenter, body, segmenter
from nas.model.weights import Loaded, Weights, load_weights

__all__ = ["Product", "backbone_product", "network_product", "pixel_classes", "segmenter_product"]


def pixel_classes(weights: Weights | None) -> int:
    """How many classes per pixel the weights of a segmenter are for; 0 where they are none of a segmenter."""
    state = {} if weights is None else weights.state
    last = state.get("high.weight")
    if last is None or last.ndim != 4 or not any(name.startswith(MARK) for name in state):
        return 0
    return len(last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """A module to ship. ``other``: one like it, to try the Python file with; ``architecture`` goes into the JSON file.

    ``source`` is the Python file's text, ``made`` its function; ``outputs`` are the ONNX file's, of
    ``onnx``.
    """

    architecture: Architecture
    module: nn.Module
    other: nn.Module
    source: Callable[[], str]
    metadata: Metadata
    params: int
    macs: int
    loaded: Loaded | None = None
    onnx: nn.Module | None = None
    made: str = "network"
    outputs: tuple[str, ...] = ("logits",)
    any_size: bool = False


def network_product(
    architecture: Architecture, weights: Weights | None, metadata: Metadata
) -> Product:
    """The whole network. A new network's norms would hide mistakes: its Python file is tried with other ones."""
    network = other = build(architecture)
    loaded = None if weights is None else load_weights(network, weights)
    if weights is None:
        other = build(architecture)
        shake(other)
    return Product(
        architecture=architecture, module=network, other=other, loaded=loaded,
        source=lambda: python_source(architecture, metadata), metadata=metadata,
        params=architecture.params, macs=architecture.macs,
    )  # fmt: skip


def backbone_product(
    architecture: Architecture, weights: Weights | None, metadata: Metadata
) -> Product:
    """Its layers up to the last map; of a segmenter's weights, those of its body."""
    network, found, metadata = (
        build(architecture),
        backbone(architecture),
        dataclasses.replace(metadata, classes=()),
    )
    if weights is not None and pixel_classes(weights):
        own = {
            n.removeprefix(MARK): value for n, value in weights.state.items() if n.startswith(MARK)
        }
        weights = dataclasses.replace(weights, state=own)
    loaded = None if weights is None else load_weights(network, weights)
    other = features_of(build(architecture), found)
    shake(other)
    return Product(
        architecture=found.architecture, module=features_of(network, found), other=other, loaded=loaded,
        source=lambda: features_source(found, metadata), metadata=metadata, made="features",
        params=found.architecture.params, macs=found.architecture.macs,
        outputs=tuple(tap.output for tap in found.taps), any_size=True,
    )  # fmt: skip


class _WithMasks(nn.Module):
    """Logits and the class of each pixel, which is all that many a user of an ONNX file wants."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """images: (n, c, h, w). (n, classes, h, w) and (n, h, w) int64."""
        logits = self.network(images)
        return [logits, logits.argmax(1)]


def segmenter_product(architecture: Architecture, weights: Weights, metadata: Metadata) -> Product:
    """A class per pixel; the body is the network's layers up to stride 16."""
    pixels = pixel_classes(weights)
    made = segmenter(architecture, pixels)
    loaded = load_weights(made, weights)
    layers = body(architecture).architecture
    return Product(
        architecture=layers, module=made, other=made, loaded=loaded, onnx=_WithMasks(made),
        source=lambda: masks_source(architecture, pixels, metadata), metadata=metadata,
        params=sum(value.numel() for value in made.parameters()), macs=macs_of(made, architecture.input),
        outputs=("logits", "mask"), any_size=takes_any_size(layers),
    )  # fmt: skip
