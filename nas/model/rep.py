"""Torch modules of `nas.ops.rep`, and what folds the branches of any network."""

import copy
from collections import OrderedDict
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from nas.model.blocks import NORM_EPS, NORM_MOMENTUM, ConvNorm, activation
from nas.model.dispatch import Recipe, recipe
from nas.ops import rep as ops
from nas.shape import Shape

__all__ = ["FoldedConv", "RepConv", "folded"]

Part = TypeVar("Part", bound=nn.Module)


class FoldedConv(nn.Sequential):
    """Convolution with bias (``conv``), activation (``act``, where there is one)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: str = "relu",
    ) -> None:
        conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups)
        parts: list[tuple[str, nn.Module]] = [("conv", conv)]
        if act:
            parts.append(("act", activation(act)))
        super().__init__(OrderedDict(parts))


class RepConv(nn.Module):
    """The sum of ``branches``, a 1x1 convolution (``pointwise``), a norm (``identity``); ``act``.

    Ding et al. 2021, https://arxiv.org/abs/2101.03697, section 3.2. There is no ``pointwise`` at
    kernel 1, and the norm where ``keeps`` says that the shape stays.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        branches: int = 1,
        act: str = "relu",
        keeps: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.channels = in_channels, channels
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.identity = (
            nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM) if keeps else None
        )
        convolutions = []
        for _ in range(branches):
            convolutions.append(
                ConvNorm(in_channels, channels, kernel=kernel, stride=stride, groups=groups)
            )
        self.branches = nn.ModuleList(convolutions)
        self.pointwise = (
            ConvNorm(in_channels, channels, stride=stride, groups=groups) if kernel > 1 else None
        )
        self.act_name = act
        self.act = activation(act)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, s, s). Out: (n, channels, s / stride, s / stride), rounded up."""
        first, *others = self.branches
        total = first(maps)
        for branch in (*others, self.pointwise, self.identity):
            if branch is not None:
                total = total + branch(maps)
        out: Tensor = self.act(total)
        return out

    def folded(self) -> FoldedConv:
        """One convolution that gives what the branches give in evaluation mode.

        Section 3.3 and figure 4: each norm is a factor and an offset per channel, a 1x1 kernel the
        middle of a larger one, the identity a 1x1 kernel. Summed in double precision.
        """
        one = FoldedConv(
            self.in_channels,
            self.channels,
            kernel=self.kernel,
            stride=self.stride,
            groups=self.groups,
            act=self.act_name,
        )
        width = self.in_channels // self.groups
        side = self.kernel
        weight = torch.zeros(self.channels, width, side, side, dtype=torch.float64)
        bias = torch.zeros(self.channels, dtype=torch.float64)
        for kernel, norm in self._kernels():
            factor = norm["weight"].double() / torch.sqrt(norm["running_var"].double() + NORM_EPS)
            border = (side - kernel.shape[2]) // 2
            wide = nn.functional.pad(kernel.double(), (border, border, border, border))
            weight += wide * factor[:, None, None, None]
            bias += norm["bias"] - norm["running_mean"] * factor
        one.load_state_dict({"conv.weight": weight, "conv.bias": bias})
        return one

    def _kernels(self) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Of each branch its kernel, (channels, in_channels / groups, k, k), and its norm."""
        found = []
        for branch in (*self.branches, self.pointwise):
            if branch is not None:
                kernel = branch.state_dict()["conv.weight"]
                found.append((kernel, branch.get_submodule("norm").state_dict()))
        if self.identity is not None:
            same = torch.eye(self.in_channels // self.groups).repeat(self.groups, 1)
            found.append((same[:, :, None, None], self.identity.state_dict()))
        return found


def folded(network: Part) -> Part:
    """The network with every `RepConv` in it replaced by its folded form.

    Itself where there is none, or else a copy.
    """
    if not any(isinstance(part, RepConv) for part in network.modules()):
        return network
    copied = copy.deepcopy(network)
    for name, part in list(copied.named_modules()):
        if isinstance(part, RepConv):
            owner, _, last = name.rpartition(".")
            setattr(copied.get_submodule(owner), last, part.folded().train(part.training))
    return copied


@recipe.register
def _rep_conv(op: ops.RepConv, shape: Shape) -> Recipe:
    out = op.out_shape(shape)
    kind = FoldedConv if op.deploy else RepConv
    made = partial(
        kind,
        shape.channels,
        out.channels,
        kernel=op.kernel,
        stride=op.stride,
        groups=shape.channels if op.depthwise else 1,
        act=op.act,
    )
    if op.deploy:
        return made
    return partial(made, branches=op.branches, keeps=shape == out)
