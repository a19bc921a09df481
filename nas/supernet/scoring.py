"""Scores of a path.

Batch norm statistics are taken anew from images of *weights*, then the path predicts.
"""

import torch
from torch import Tensor, nn

from nas.supernet.network import Path
from nas.train import score, swift
from nas.train.loop import SWIFT_SIDE, Source
from nas.train.precision import mixed

__all__ = ["recalibrate", "run", "score_path"]

BATCH = 256


def run(path: Path, images: Tensor) -> Tensor:
    """images: (n, c, h, w). Logits (n, classes) float32.

    They are of the fastest forward pass for such maps; see `nas.train.precision`.
    """
    with mixed(images.device):
        small = images.shape[2] * images.shape[3] <= SWIFT_SIDE**2
        if images.device.type == "cpu" and small:
            return swift.forward(path, images).float()
        out: Tensor = path(images.contiguous(memory_format=torch.channels_last))
    return out.float()


@torch.no_grad()
def recalibrate(path: Path, images: Source, count: int) -> None:
    """Running statistics of all batch norms: means over batches of the first ``count`` images.

    ``images``: of *weights*.
    """
    norms = [part for part in path.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    path.train()
    first = torch.arange(min(count, len(images)), device=images.device)
    for number, rows in enumerate(torch.split(first, BATCH), 1):
        # Momentum 1/n for the n-th batch makes the running statistics the mean over batches.
        for norm in norms:
            norm.momentum = 1 / number
        run(path, images[rows])
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    path.eval()


class _Swift(nn.Module):
    """A path that predicts by `run`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, c, h, w). Logits (n, classes)."""
        return run(self.path, images)


def score_path(path: Path, images: Source, labels: Tensor) -> dict[str, float]:
    """See `nas.train.score`; the path is recalibrated."""
    return score(_Swift(path), images, labels)
