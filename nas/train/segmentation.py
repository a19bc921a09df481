"""Segmentation: a class per pixel, by an LR-ASPP head on the maps of a network at strides 8 and 16."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.arch import Architecture
from nas.data.masks import IGNORED
from nas.model import Network, build
from nas.model.blocks import ConvNorm
from nas.model.maps import features, trunk
from nas.model.network import initialise
from nas.train.loop import Source

__all__ = ["Segmenter", "score_masks", "segmenter"]

WIDTH = 128
BATCH_SIZE = 32


class Segmenter(nn.Module):
    """A network's body with a Lite R-ASPP head: Howard et al. 2019, section 6.4, https://arxiv.org/abs/1905.02244.

    ``project`` and ``gate`` (a mean over the map, as the paper's large pooling window has it for images of any size) see
    stride 16; their product, enlarged, and stride 8 give logits by ``high`` and ``low``, which are enlarged to the image.
    """

    def __init__(self, backbone: Network, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        layers = backbone.architecture
        high = layers.out_shape.channels
        low = trunk(layers, 8).out_shape.channels
        self.project = ConvNorm(high, WIDTH, act="relu")
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, WIDTH, 1, bias=False), nn.Sigmoid())
        self.dropout = nn.Dropout(0.0)
        self.high = nn.Conv2d(WIDTH, classes, 1)
        self.low = nn.Conv2d(low, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, c, h, w). Logits: (n, classes, h, w)."""
        near, far = features(self.backbone, images, (8, 16))
        seen = self.dropout(self.project(far) * self.gate(far))
        logits = self.high(_enlarged(seen, near)) + self.low(near)
        return _enlarged(logits, images)


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)


def segmenter(architecture: Architecture, classes: int, seed: int) -> Segmenter:
    """A network's layers up to stride 16 and a new head, initialised from the seed alone.

    Raises `ArchitectureError` for a network without maps of strides 8 and 16.
    """
    backbone = build(trunk(architecture, 16), seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed + 1)
        made = Segmenter(backbone, classes)
        for part in (made.project, made.gate, made.high, made.low):
            initialise(part)
    return made


def score_masks(network: nn.Module, images: Source, masks: Source) -> dict[str, float]:
    """images: (n, c, s, s); masks: (n, s, s), `IGNORED` pixels aside. Fractions 0..1.

    ``miou``: intersection over union, counted over all pixels of all images, mean of the classes that are there or
    are named; ``pixel_accuracy``.
    """
    network.eval()
    confusion = torch.zeros(0)
    with torch.inference_mode():
        for rows in torch.split(torch.arange(len(images), device=images.device), BATCH_SIZE):
            logits = network(images[rows].contiguous(memory_format=torch.channels_last))
            classes = logits.shape[1]
            truth, named = masks[rows].flatten(), logits.argmax(1).flatten()
            counted = truth != IGNORED
            pairs = torch.bincount(truth[counted] * classes + named[counted], minlength=classes**2)
            confusion = pairs.view(classes, classes).double() + (confusion if len(confusion) else 0)
    hits = confusion.diag()
    union = confusion.sum(0) + confusion.sum(1) - hits
    return {
        "miou": float((hits / union)[union > 0].mean()),
        "pixel_accuracy": float(hits.sum() / confusion.sum()),
    }
