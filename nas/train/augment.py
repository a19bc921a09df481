"""Random changes of a batch that leave its labels true."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Augment"]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Shift by up to ``pad`` pixels (a random crop of the padded image); mirror half of the images if ``flip``."""

    pad: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """images: (n, c, s, s), the same out, on the same device; the generator is the CPU's."""
        if self.pad:
            images = self._shifted(images, generator)
        if self.flip:
            mirrored = torch.rand(len(images), generator=generator).to(images.device) < 0.5
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        return images

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        padded = F.pad(images, (self.pad,) * 4, mode="replicate").permute(0, 2, 3, 1)
        offsets = torch.randint(2 * self.pad + 1, (2, count), generator=generator).to(images.device)
        rows = offsets[0, :, None] + torch.arange(height, device=images.device)
        columns = offsets[1, :, None] + torch.arange(width, device=images.device)
        number = torch.arange(count, device=images.device)
        return padded[number[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
