"""Images as what a network reads."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nas.data.dataset import Images

__all__ = ["LazyTensors", "Statistics", "statistics", "tensors"]

CHUNK = 1024  # images at a time, so that no second copy of all of them as floats is made
SMALLEST_STD = 1 / 255  # one grey level: a constant channel must not be divided by 0


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per channel, of pixels 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics(images: Images) -> Statistics:
    """images: (n, h, w, c), the *weights* set and nothing else."""
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


def tensors(images: Images, stats: Statistics, resolution: int) -> Tensor:
    """images: (n, h, w, c) to float32 (n, c, resolution, resolution), normalised.

    Channels are last in memory. Smaller by the mean over areas, larger bilinearly; a map that is
    not square is stretched.
    """
    mean = torch.tensor(stats.mean, dtype=torch.float32).view(1, -1, 1, 1)
    std = torch.tensor(stats.std, dtype=torch.float32).view(1, -1, 1, 1)
    shape = (len(images), images.shape[3], resolution, resolution)
    out = torch.empty(shape, memory_format=torch.channels_last)
    for start in range(0, len(images), CHUNK):
        part = torch.tensor(images[start : start + CHUNK]).permute(0, 3, 1, 2).float().div_(255)
        out[start : start + CHUNK] = _resized(part, resolution).sub_(mean).div_(std)
    return out


class LazyTensors:
    """The images of some rows as `tensors` gives them, made batch by batch.

    As bytes they fit into memory, as floats they may not.
    """

    def __init__(
        self,
        images: Images,
        rows: NDArray[np.int64],
        stats: Statistics,
        resolution: int,
        device: torch.device,
    ) -> None:
        self._images, self._rows = images, rows
        self._stats = stats
        self._resolution = resolution
        self.device = device
        self.shape = torch.Size((len(rows), images.shape[3], resolution, resolution))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """rows: (k,) int64, positions among the rows.

        (k, c, resolution, resolution) float32, on the device.
        """
        chosen = self._images[self._rows[rows.cpu().numpy()]]
        return tensors(chosen, self._stats, self._resolution).to(self.device)


def _resized(images: Tensor, resolution: int) -> Tensor:
    height, width = images.shape[2:]
    if (height, width) == (resolution, resolution):
        return images
    # Bilinear shrinking would look at four pixels and leave the others out.
    if height >= resolution and width >= resolution:
        return F.interpolate(images, size=(resolution, resolution), mode="area")
    return F.interpolate(
        images, size=(resolution, resolution), mode="bilinear", align_corners=False
    )
