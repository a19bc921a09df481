"""The forward pass of a network on the CPU, on small maps, several times faster than torch's own modules.

Depthwise convolutions dominate the training of mobile networks on a CPU, and torch's backward pass of them costs
milliseconds even where a map has four pixels. Here activations are kept channel-major, (c, n, h, w): then a 1x1
convolution is one matrix product, a depthwise convolution one batched product with each filter spread out as an (h w, h'
w') matrix, and batch norm runs along contiguous rows; nothing is copied in between. Parameters,
gradients and running statistics are those of the modules; sums differ in their order only.
"""

from functools import cache, singledispatch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.model import Network
from nas.model.blocks import Shuffle, SqueezeExcite
from nas.model.conv import Head
from nas.model.mbconv import Block

__all__ = ["forward"]

# Beyond 8x8 a spread filter has over 4096 entries per channel, and torch's own kernel is as fast.
LARGEST_SIDE = 8


def forward(network: Network, images: Tensor) -> Tensor:
    """images: (n, c, s, s). What ``network(images)`` gives, up to rounding: logits (n, classes)."""
    return _turned(_run(network.stages, _turned(images)))


def _turned(maps: Tensor) -> Tensor:
    """(n, c, ...) to (c, n, ...) and back."""
    return maps.transpose(0, 1)


@singledispatch
def _run(part: nn.Module, maps: Tensor) -> Tensor:
    """maps: (c, n, h, w). What a module without a faster way gives, turned there and back."""
    return _turned(part(_turned(maps).contiguous())).contiguous()


@_run.register
def _(part: nn.Sequential, maps: Tensor) -> Tensor:
    for child in part:
        maps = _run(child, maps)
    return maps


@_run.register
def _(part: Block, maps: Tensor) -> Tensor:
    now = maps
    for name in part.parts:
        now = _run(part.get_submodule(name), now)
    beside = part._modules.get("shortcut")
    return now if beside is None else now + _run(beside, maps)


@_run.register(nn.ReLU)
@_run.register(nn.ReLU6)
@_run.register(nn.Hardswish)
@_run.register(nn.SiLU)
@_run.register(nn.GELU)
@_run.register(nn.Identity)
def _(part: nn.Module, maps: Tensor) -> Tensor:
    out: Tensor = part(maps)
    return out


@_run.register
def _(part: nn.Conv2d, maps: Tensor) -> Tensor:
    channels, count, side, _ = maps.shape
    kernel, stride = part.kernel_size[0], part.stride[0]
    weight, groups = part.weight, part.groups
    if kernel == 1 and part.bias is None:
        taken = maps if stride == 1 else maps[:, :, ::stride, ::stride]
        rows = taken.reshape(groups, channels // groups, -1)
        return torch.bmm(weight.view(groups, -1, channels // groups), rows).view(-1, count, *taken.shape[2:])
    if groups == channels == part.out_channels and side <= LARGEST_SIDE and part.bias is None:
        spread = (weight.view(channels, -1) @ _places(side, kernel, stride)).view(channels, side * side, -1)
        out = -(-side // stride)
        return torch.bmm(maps.reshape(channels, count, -1), spread).view(channels, count, out, out)
    return _turned(part(_turned(maps).contiguous(memory_format=torch.channels_last))).contiguous()


@cache
def _places(side: int, kernel: int, stride: int) -> Tensor:
    """(kernel², side² out²): 1 where a filter's tap meets that input for that output."""
    out = -(-side // stride)
    there = torch.arange(out) * stride - kernel // 2
    meets = (there[None, :] + torch.arange(kernel)[:, None])[:, None, :] == torch.arange(side)[None, :, None]
    return torch.einsum("iax,jby->ijabxy", meets.float(), meets.float()).reshape(kernel**2, -1)


@_run.register
def _(part: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    training, momentum = part.training, part.momentum or 0.0
    if training and part.num_batches_tracked is not None:
        part.num_batches_tracked.add_(1)
    rows = maps.reshape(1, len(maps), -1)
    normed = F.batch_norm(
        rows, part.running_mean, part.running_var, part.weight, part.bias, training, momentum, part.eps
    )
    return normed.view(maps.shape)


@_run.register
def _(part: Shuffle, maps: Tensor) -> Tensor:
    channels = len(maps)
    return maps.view(part.groups, channels // part.groups, -1).transpose(0, 1).reshape(maps.shape)


@_run.register
def _(part: SqueezeExcite, maps: Tensor) -> Tensor:
    gate: Tensor = part.gate(part.expand(part.act(part.reduce(maps.mean((2, 3)).t()))))
    return maps * gate.t()[:, :, None, None]


@_run.register
def _(part: nn.AvgPool2d, maps: Tensor) -> Tensor:
    out: Tensor = part(maps)
    return out


@_run.register
def _(part: Head, maps: Tensor) -> Tensor:
    logits: Tensor = part.linear(part.dropout(part.act(part.hidden(maps.mean((2, 3)).t()))))
    return logits.t()
