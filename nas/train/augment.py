"""Random changes of a batch: shifts and mirrors, RandAugment by kornia, images and labels mixed.

All but `RandAugment` draw from the training's own generator. Kornia draws from torch's global one,
which the loop therefore seeds for each step and puts back (`nas.train.chance`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data import Statistics
from nas.errors import UsageError

__all__ = ["FULL", "Augment", "Change", "Changes", "Mix", "RandAugment"]

GROUPS = 4
"""Kornia changes a whole call alike.

So many calls a batch keep its batch norms from swinging with the draw.
"""


FULL = 10.0
"""The magnitude at which the papers' code reaches the whole range of an operation."""
KORNIA_FULL = 30.0
LARGEST = 0.999  # kornia wants less than its 30


class Change(Protocol):
    """What is done to a batch before the network sees it."""

    @property
    def random(self) -> bool:
        """Whether it draws from torch's global generator."""

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """images: (n, c, s, s).

        Labels: (n,) int64, masks (n, s, s) int64, or shares (n, classes). The same out.
        """


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Shift by up to ``pad`` pixels, a random crop of the padded image; mirror half if ``flip``.

    Labels that are masks are moved with their images; what is shifted in repeats the border of
    both.
    """

    pad: int = 0
    flip: bool = False
    random: bool = field(default=False, init=False)

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """On the images' device; the generator is the CPU's."""
        masks = labels.ndim == 3
        if self.pad:
            rows, columns = self._places(images, generator)
            images = _taken(images, rows, columns)
            labels = _taken(labels[:, None], rows, columns)[:, 0] if masks else labels
        if self.flip:
            chance = torch.rand(len(images), generator=generator).to(images.device)
            mirrored = (chance < 0.5).view(-1, 1, 1, 1)
            images = torch.where(mirrored, images.flip(3), images)
            labels = torch.where(mirrored[:, 0], labels.flip(2), labels) if masks else labels
        return images, labels

    def _places(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows and columns, (n, s) each, of the shifted images.

        Outside of the image the border's.
        """
        count, _, height, width = images.shape
        drawn = torch.randint(2 * self.pad + 1, (2, count), generator=generator)
        offsets = drawn.to(images.device) - self.pad
        rows = offsets[0, :, None] + torch.arange(height, device=images.device)
        columns = offsets[1, :, None] + torch.arange(width, device=images.device)
        return rows.clamp(0, height - 1), columns.clamp(0, width - 1)


def _taken(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """maps: (n, c, s, s). The pixels at those places, channels last in memory."""
    number = torch.arange(len(maps), device=maps.device)[:, None, None]
    pixels = maps.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]
    return pixels.permute(0, 3, 1, 2)


class RandAugment:
    """``count`` random operations of strength ``magnitude``, above 0, by kornia.

    Cubuk et al. 2019, https://arxiv.org/abs/1909.13719. Magnitudes are those of the papers' code,
    where `FULL` is the whole range of an operation. Kornia goes no further: more acts as `FULL`,
    and `nas train` says so. Kornia works on pixels 0..1 with three channels: images are taken out
    of their normalisation and put back, grey ones tripled and averaged. Masks are not supported.
    """

    random = True

    def __init__(self, statistics: Statistics, *, magnitude: float, count: int = 2) -> None:
        try:
            from kornia.augmentation import auto
        except ImportError:
            raise UsageError(
                "RandAugment needs the package kornia: "
                "pip install 'nas-toolkit[train]', or --set randaugment=0"
            ) from None
        kornia: Any = auto  # its annotations want a whole magnitude, its code does not
        share = min(magnitude / FULL, LARGEST)
        self._kornia = kornia.RandAugment(n=count, m=share * KORNIA_FULL)
        self._mean = torch.tensor(statistics.mean).view(1, -1, 1, 1)
        self._std = torch.tensor(statistics.std).view(1, -1, 1, 1)

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `Change`."""
        mean, std = self._mean.to(images.device), self._std.to(images.device)
        pixels = (images * std + mean).clamp(0, 1)
        grey = pixels.shape[1] == 1
        pixels = pixels.expand(-1, 3, -1, -1) if grey else pixels
        changed = torch.cat([self._kornia(part.contiguous()) for part in pixels.chunk(GROUPS)])
        changed = changed.mean(1, keepdim=True) if grey else changed
        return (changed - mean) / std, labels


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Two images in one, by mixup or cutmix, an even chance if both are on.

    Labels become shares of classes.

    ``mixup``, ``cutmix``: alpha of the Beta distribution of the share, 0 for none; one share a
    batch. Zhang et al. 2017, https://arxiv.org/abs/1710.09412; Yun et al. 2019,
    https://arxiv.org/abs/1905.04899. Kornia's mixup draws its shares uniformly, so a published
    alpha could not be said with it; the tests hold both to kornia's pixels.
    """

    classes: int
    mixup: float = 0.0
    cutmix: float = 0.0
    random: bool = field(default=False, init=False)

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """labels: (n,) int64. Shares out: (n, classes)."""
        cut = self._cuts(generator)
        other = torch.randperm(len(images), generator=generator).to(images.device)
        share = _share(self.cutmix if cut else self.mixup, generator)
        if cut:
            images, share = _cut(images, other, share, generator)
        else:
            images = torch.lerp(images[other], images, share)
        shares = F.one_hot(labels, self.classes).float()
        return images, torch.lerp(shares[other], shares, share)

    def _cuts(self, generator: torch.Generator) -> bool:
        """Whether this batch is cut, not blended. Draws only if both are on."""
        if not self.cutmix:
            return False
        return not self.mixup or bool(torch.rand((), generator=generator) < 0.5)


def _share(alpha: float, generator: torch.Generator) -> float:
    """From the Beta distribution; numpy's, since torch's takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _cut(
    images: Tensor, other: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """A random box of the other images, clipped, and the share that is left of the first."""
    height, width = images.shape[2:]
    half = (1 - share) ** 0.5 / 2  # equation 2: the box has the area 1 - share
    middle = torch.tensor([height, width]) * torch.rand(2, generator=generator)
    row, column = middle.tolist()
    top, bottom = _clipped(row - height * half, height), _clipped(row + height * half, height)
    left, right = _clipped(column - width * half, width), _clipped(column + width * half, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[other, :, top:bottom, left:right]
    # Not the share that was drawn: clipping made the box smaller.
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _clipped(edge: float, size: int) -> int:
    return min(max(round(edge), 0), size)


class Changes:
    """Several, one after the other."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self.random = any(change.random for change in changes)

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `Change`."""
        for change in self._changes:
            images, labels = change(images, labels, generator)
        return images, labels
