"""A class per pixel: a Lite R-ASPP head on a network's maps at strides 8 and 16."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.arch import Architecture
from nas.backbone import Backbone, backbone
from nas.model.blocks import ConvNorm
from nas.model.features import Features, features_of
from nas.model.network import build, initialise

__all__ = ["MARK", "STRIDES", "Segmenter", "body", "segmenter"]

STRIDES = (8, 16)
MARK = "backbone."
"""What names of a segmenter's body begin with in its state dict; those of its head do not."""


class Segmenter(nn.Module):
    """A body with a Lite R-ASPP head.

    Howard et al. 2019, https://arxiv.org/abs/1905.02244, section 6.4. ``project`` and ``gate`` see
    stride 16. Their product, enlarged, gives logits by ``high``, and stride 8 gives logits by
    ``low``. The sum is enlarged to the image. ``far``, ``near``: channels of the body's maps at
    strides 16 and 8.
    """

    def __init__(
        self, backbone: Features, far: int, near: int, classes: int, width: int = 128
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.project = ConvNorm(far, width, act="relu")
        # The paper pools in a large window. A mean serves images of any size.
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(far, width, 1, bias=False), nn.Sigmoid()
        )
        self.dropout = nn.Dropout(0.0)  # until a training sets it
        self.high = nn.Conv2d(width, classes, 1)
        self.low = nn.Conv2d(near, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, c, h, w). Logits: (n, classes, h, w)."""
        near, far = self.backbone(images)
        seen = self.dropout(self.project(far) * self.gate(far))
        logits = self.high(enlarged(seen, near)) + self.low(near)
        return enlarged(logits, images)

    def masks(self, images: Tensor) -> Tensor:
        """images: (n, c, h, w). The class of each pixel: (n, h, w) int64."""
        classes: Tensor = self(images).argmax(1)
        return classes


def enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """maps: (n, c, h, w), to the height and width of ``like``."""
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)


def body(architecture: Architecture) -> Backbone:
    """The layers up to stride 16.

    Raises `ArchitectureError` for a network without maps of strides 8 and 16.
    """
    return backbone(architecture, STRIDES, any_size=False)


def segmenter(architecture: Architecture, classes: int, seed: int = 0) -> Segmenter:
    """A network's layers up to stride 16 and a new head, initialised from the seed alone.

    See `body`.
    """
    base = body(architecture)
    near, far = (tap.channels for tap in base.taps)
    layers = features_of(build(base.architecture, seed=seed), base)
    with torch.random.fork_rng(devices=[]):
        # Not the seed itself: the head would repeat the first numbers that the body drew.
        torch.default_generator.manual_seed(seed + 1)
        network = Segmenter(layers, far, near, classes)
        for part in (network.project, network.gate, network.high, network.low):
            initialise(part)
    return network
