"""Images as what a network reads."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.dataset import Pictures
from nas.data.pictures import ImageFiles
from nas.data.preprocess import resized
from nas.size import Size, sides, size_of

__all__ = ["LazyTensors", "Statistics", "normalised", "statistics", "tensors"]

CHUNK = 1024  # images at a time, so that no second copy of all of them as floats is made
SMALLEST_STD = 1 / 255  # one grey level: a constant channel must not be divided by 0
SAMPLE, SAMPLE_SIDE = 4096, 64
"""Of files, so many of the set are measured, at that size. A set is in random order."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per channel, of pixels 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics(images: Pictures) -> Statistics:
    """images: (n, h, w, c), the *weights* set and nothing else."""
    if isinstance(images, ImageFiles):
        images = images[np.arange(min(SAMPLE, len(images)))].fitted(SAMPLE_SIDE)
    pixels = images.reshape(-1, images.shape[3])
    # By counting levels: exact for any number of images, and without a copy as floats.
    levels = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[3]):
        share = np.bincount(pixels[:, channel], minlength=256) / len(pixels)
        mean = float(share @ levels)
        std = float(np.sqrt(share @ (levels - mean) ** 2))
        means.append(mean)
        stds.append(max(std, SMALLEST_STD))
    return Statistics(tuple(means), tuple(stds))


def tensors(images: Pictures, stats: Statistics, resolution: Size) -> Tensor:
    """images: (n, h, w, c) to float32 (n, c, *sides of the resolution), normalised.

    Channels are last in memory. Files come as `ImageFiles.fitted`. Arrays become smaller by the
    mean over areas, larger bilinearly; a map of other proportions is stretched.
    """
    shape = (len(images), images.shape[3], *sides(resolution))
    out = torch.empty(shape, memory_format=torch.channels_last)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        array = part.fitted(resolution) if isinstance(part, ImageFiles) else part
        out[start : start + CHUNK] = _normalised(torch.tensor(array), stats, resolution)
    return out


def normalised(pixels: Tensor, stats: Statistics) -> Tensor:
    """pixels: uint8 (n, h, w, c), to float32 (n, c, h, w) on the same device."""
    return _normalised(pixels, stats, size_of(*pixels.shape[1:3]))


def _normalised(pixels: Tensor, stats: Statistics, resolution: Size) -> Tensor:
    mean = torch.tensor(stats.mean, device=pixels.device).view(1, -1, 1, 1)
    std = torch.tensor(stats.std, device=pixels.device).view(1, -1, 1, 1)
    maps = pixels.permute(0, 3, 1, 2).float().div_(255)
    return resized(maps, sides(resolution)).sub_(mean).div_(std)


class LazyTensors:
    """The images of some rows as `tensors` gives them, made batch by batch.

    As bytes they fit into memory, or lie on a disk; as floats they may not fit.
    """

    def __init__(
        self,
        images: Pictures,
        rows: NDArray[np.int64],
        stats: Statistics,
        resolution: Size,
        device: torch.device,
    ) -> None:
        self._images, self._rows = images, rows
        self._stats = stats
        self._resolution = resolution
        self.device = device
        self.shape = torch.Size((len(rows), images.shape[3], *sides(resolution)))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """rows: (k,) int64, positions among the rows.

        (k, c, height, width) float32 of the resolution, on the device.
        """
        chosen = self._images[self._rows[rows.cpu().numpy()]]
        return tensors(chosen, self._stats, self._resolution).to(self.device)
