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
from nas.model.rep import folded
from nas.model.segmenter import MARK, Segmenter, body, segmenter
from nas.model.weights import Loaded, Weights, load_weights

__all__ = ["Product", "backbone_product", "network_product", "pixel_classes", "segmenter_product"]


def pixel_classes(weights: Weights | None) -> int:
    """How many classes per pixel the weights of a segmenter are for; 0 for other weights."""
    if weights is None or not any(name.startswith(MARK) for name in weights.state):
        return 0
    last = weights.state.get("high.weight")
    if last is None or last.ndim != 4:
        return 0
    return len(last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """A module to ship, and what its files say."""

    architecture: Architecture
    """Goes into the JSON file."""
    module: nn.Module
    other: nn.Module
    """One like the module, to try the Python file with."""
    source: Callable[[], str]
    """Writes the Python file's text."""
    metadata: Metadata
    params: int
    macs: int
    """Of one image."""
    loaded: Loaded | None = None
    """What was read of a file of weights; None without one."""
    onnx: nn.Module | None = None
    """What the ONNX file computes, if not the module's outputs."""
    function: str = "network"
    """The function of the Python file that makes the module."""
    outputs: tuple[str, ...] = ("logits",)
    """Names of the ONNX file's outputs."""
    any_size: bool = False
    """Whether images of other sizes may be given."""


def network_product(
    architecture: Architecture, weights: Weights | None, metadata: Metadata
) -> Product:
    """The whole network."""
    network = build(architecture)
    loaded = None if weights is None else load_weights(network, weights)
    shipped = architecture.deployed
    module = other = folded(network)
    if weights is None:
        # A new network's norms are all the identity, which would hide mistakes in the Python file.
        other = build(shipped)
        shake(other)
    return Product(
        architecture=shipped,
        module=module,
        other=other,
        loaded=loaded,
        source=lambda: python_source(shipped, metadata),
        metadata=metadata,
        params=shipped.params,
        macs=shipped.macs,
    )


def backbone_product(
    architecture: Architecture, weights: Weights | None, metadata: Metadata
) -> Product:
    """Its layers up to the last map; of a segmenter's weights, those of its body."""
    network = build(architecture)
    shipped = architecture.deployed
    layers = backbone(shipped)
    # Maps have no class names.
    metadata = dataclasses.replace(metadata, classes=())
    if weights is not None and pixel_classes(weights):
        weights = _of_body(weights)
    loaded = None if weights is None else load_weights(network, weights)
    other = features_of(build(shipped), layers)
    shake(other)
    return Product(
        architecture=layers.architecture,
        module=features_of(folded(network), layers),
        other=other,
        loaded=loaded,
        source=lambda: features_source(layers, metadata),
        metadata=metadata,
        function="features",
        params=layers.architecture.params,
        macs=layers.architecture.macs,
        outputs=tuple(tap.output for tap in layers.taps),
        any_size=True,
    )


def _of_body(weights: Weights) -> Weights:
    """What a segmenter's weights hold of the network that it stands on, by that one's names."""
    state = {}
    for name, value in weights.state.items():
        if name.startswith(MARK):
            state[name.removeprefix(MARK)] = value
    return dataclasses.replace(weights, state=state)


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
    network = segmenter(architecture, pixels)
    loaded = load_weights(network, weights)
    network = folded(network)
    shipped = architecture.deployed
    layers = body(shipped).architecture
    return Product(
        architecture=layers,
        module=network,
        other=network,
        loaded=loaded,
        onnx=_WithMasks(network),
        source=lambda: masks_source(shipped, pixels, metadata),
        metadata=metadata,
        params=sum(value.numel() for value in network.parameters()),
        macs=macs_of(network, shipped.input),
        outputs=("logits", "mask"),
        # Layers up to stride 16 may hold operators of one size, such as attention over a map.
        any_size=takes_any_size(layers),
    )
