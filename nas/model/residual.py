"""Torch modules of `nas.ops.residual`."""

from collections import OrderedDict
from functools import partial
from typing import TypedDict

from torch import nn

from nas.model.blocks import ConvNorm, SqueezeExcite
from nas.model.dispatch import Recipe, recipe
from nas.model.gates import Eca, GlobalContext
from nas.model.mbconv import Block
from nas.ops import gates
from nas.ops import residual as ops
from nas.shape import Shape

__all__ = ["BasicBlock", "Bottleneck", "MaxPool"]


class MaxPool(nn.MaxPool2d):
    """3x3 maximum pool."""

    def __init__(self, stride: int) -> None:
        super().__init__(3, stride, 1)


class ResidualBlock(Block):
    """Parts in a row, with a path beside them, and the activation of the sum."""

    last = ""
    """The part whose norm stands before the sum; a gate may follow it."""

    def initialise(self) -> None:
        """Start as the shortcut: the weight of the last norm beside it is 0.

        Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1.
        """
        norm = self.get_submodule(f"{self.last}.norm")
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.zeros_(norm.weight)


def path_beside(in_channels: int, channels: int, stride: int, project: bool) -> nn.Module:
    """What stands beside a block: the identity, or a linear 1x1 convolution of the stride."""
    return ConvNorm(in_channels, channels, stride=stride) if project else nn.Identity()


def add_gate(
    parts: OrderedDict[str, nn.Module], channels: int, *, se: int, eca: int, gc: int
) -> None:
    """Append the gate on so many channels whose width, or kernel over channels, is not 0."""
    if se:
        parts["se"] = SqueezeExcite(channels, se, "relu")
    if eca:
        parts["eca"] = Eca(eca)
    if gc:
        parts["gc"] = GlobalContext(channels, gc)


class BasicBlock(ResidualBlock):
    """Two dense kernels: ``first`` with the stride, ``second`` without activation.

    Where ``project`` says so, a 1x1 convolution stands beside.
    """

    last = "second"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        act: str = "relu",
        se: int = 0,
        eca: int = 0,
        gc: int = 0,
        gate_at: str = "out",
        project: bool = False,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["first"] = ConvNorm(in_channels, channels, kernel=kernel, stride=stride, act=act)
        if gate_at == "middle":
            add_gate(parts, channels, se=se, eca=eca, gc=gc)
        parts["second"] = ConvNorm(channels, channels, kernel=kernel)
        if gate_at == "out":
            add_gate(parts, channels, se=se, eca=eca, gc=gc)
        super().__init__(parts, path_beside(in_channels, channels, stride, project), act)


class Bottleneck(ResidualBlock):
    """``reduce`` to ``middle`` channels, dense or grouped kernel (``spatial``), ``expand``.

    Where ``project`` says so, a 1x1 convolution stands beside.
    """

    last = "expand"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        middle: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: str = "relu",
        se: int = 0,
        eca: int = 0,
        gc: int = 0,
        gate_at: str = "out",
        project: bool = False,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["reduce"] = ConvNorm(in_channels, middle, act=act)
        parts["spatial"] = ConvNorm(
            middle, middle, kernel=kernel, stride=stride, groups=groups, act=act
        )
        if gate_at == "middle":
            add_gate(parts, middle, se=se, eca=eca, gc=gc)
        parts["expand"] = ConvNorm(middle, channels)
        if gate_at == "out":
            add_gate(parts, channels, se=se, eca=eca, gc=gc)
        super().__init__(parts, path_beside(in_channels, channels, stride, project), act)


class _Gate(TypedDict, total=False):
    """Arguments of both blocks; empty if they do not gate."""

    se: int
    eca: int
    gc: int
    gate_at: str


def _gate(op: ops.BasicBlock | ops.Bottleneck, channels: int) -> _Gate:
    if op.se:
        return {"se": gates.squeezed(channels, op.se), "gate_at": op.gate_at}
    if op.eca:
        return {"eca": gates.eca_kernel(channels), "gate_at": op.gate_at}
    if op.gc:
        return {"gc": gates.squeezed(channels, op.gc), "gate_at": op.gate_at}
    return {}


@recipe.register
def _max_pool(op: ops.MaxPool, shape: Shape) -> Recipe:
    return partial(MaxPool, op.stride)


@recipe.register
def _basic_block(op: ops.BasicBlock, shape: Shape) -> Recipe:
    out = op.out_shape(shape)
    return partial(
        BasicBlock,
        shape.channels,
        out.channels,
        kernel=op.kernel,
        stride=op.stride,
        act=op.act,
        project=shape != out,
        **_gate(op, out.channels),
    )


@recipe.register
def _bottleneck(op: ops.Bottleneck, shape: Shape) -> Recipe:
    out = op.out_shape(shape)
    middle = op.middle(shape)
    return partial(
        Bottleneck,
        shape.channels,
        out.channels,
        middle=middle,
        kernel=op.kernel,
        stride=op.stride,
        groups=ops.group_count(op.groups, middle),
        act=op.act,
        project=shape != out,
        **_gate(op, middle if op.gate_at == "middle" else out.channels),
    )
