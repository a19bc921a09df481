"""Torch modules of `nas.ops.gates`."""

import torch
from torch import Tensor, nn

from nas.model.blocks import activation

__all__ = ["Eca", "GlobalContext"]


CONTEXT_EPS = 1e-6
"""timm's, whose published networks have context blocks; the authors' is torch's 1e-5."""


class Eca(nn.Module):
    """Mean over the map, a filter ``conv`` over the channels, a gate on each channel.

    Wang et al. 2020, https://arxiv.org/abs/1910.03151, equation 9.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        # In two dimensions, of which one is 1: a supernet then slices the middle of its kernel.
        self.conv = nn.Conv2d(1, 1, (1, kernel), padding=(0, kernel // 2), bias=False)
        self.gate = nn.Sigmoid()

    def initialise(self) -> None:
        """Uniform within 1 / sqrt(kernel): torch's start of a filter, which the authors keep."""
        bound = self.conv.kernel_size[1] ** -0.5
        nn.init.uniform_(self.conv.weight, -bound, bound)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s), the same out."""
        means = maps.mean((2, 3))
        gate: Tensor = self.gate(self.conv(means[:, None, None]))
        return maps * gate.transpose(1, 3)


class GlobalContext(nn.Module):
    """A mean over positions weighted by ``attend``; ``reduce``, ``norm``, ``expand``; added to all.

    Cao et al. 2019, https://arxiv.org/abs/1904.11492, figure 4d.
    """

    def __init__(self, channels: int, width: int, act: str = "relu") -> None:
        super().__init__()
        self.attend = nn.Conv2d(channels, 1, 1)
        self.reduce = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width, eps=CONTEXT_EPS)
        self.act = activation(act)
        self.expand = nn.Linear(width, channels)

    def initialise(self) -> None:
        """``expand`` starts at 0, as the authors' does, so nothing is added; the others as He's."""
        nn.init.kaiming_normal_(self.attend.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.reduce.weight, nonlinearity="relu")
        nn.init.zeros_(self.expand.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s), the same out."""
        scores = self.attend(maps)
        # A softmax over both axes, written so that the module works at any size.
        shares = torch.exp(scores - scores.amax((2, 3), keepdim=True))
        context = (maps * shares).sum((2, 3)) / shares.sum((2, 3))
        added: Tensor = self.expand(self.act(self.norm(self.reduce(context))))
        return maps + added[:, :, None, None]
