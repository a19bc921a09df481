"""The forward pass on the CPU, on small maps, several times faster than torch's modules.

Depthwise convolutions dominate the training of mobile networks on a CPU, and torch's backward pass
of them costs milliseconds even where a map has four pixels. Here activations are kept
channel-major, (c, n, h, w): then a 1x1 convolution is one matrix product, a depthwise convolution
one batched product with each filter spread out as an (h w, h' w') matrix, and batch norm runs along
contiguous rows; nothing is copied in between. Parameters, gradients and running statistics are
those of the modules; sums differ in their order only.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.model.blocks import ChannelScale, Shuffle, SqueezeExcite
from nas.model.conv import Head
from nas.model.gates import Eca
from nas.model.ghost import Ghost
from nas.model.mbconv import Block
from nas.model.rep import RepConv
from nas.train.droppath import DropPath

__all__ = ["Staged", "forward", "run", "turned"]

# Entries of a spread filter, per channel: 8x8 to 8x8 has 4096, 16x16 to 8x8 has 16384, where 64
# images are still a tenth faster; from 16x16 to 16x16 torch's own kernel is.
LARGEST_SPREAD = 1 << 14


class Staged(Protocol):
    """A network, or a path of a supernet: layers in a row."""

    @property
    def stages(self) -> nn.Sequential:
        """The layers."""


def forward(network: Staged, images: Tensor) -> Tensor:
    """images: (n, c, h, w). What ``network(images)`` gives, up to rounding: logits (n, classes)."""
    return turned(run(network.stages, turned(images)))


def turned(maps: Tensor) -> Tensor:
    """(n, c, ...) to (c, n, ...) and back."""
    return maps.transpose(0, 1)


def run(part: nn.Module, maps: Tensor) -> Tensor:
    """maps: (c, n, h, w).

    A module is known by its ``forward``, so one that overrides it is never mistaken.
    """
    return _FASTER.get(type(part).forward, _turned_there_and_back)(part, maps)


def _turned_there_and_back(part: nn.Module, maps: Tensor) -> Tensor:
    """Any module at all."""
    images = turned(maps).contiguous(memory_format=torch.channels_last)
    return turned(part(images)).contiguous()


def _as_it_is(part: nn.Module, maps: Tensor) -> Tensor:
    """Modules that treat channels and images alike."""
    out: Tensor = part(maps)
    return out


# Activations of the networks work in place. Here a map is often a view, and to change a view costs
# the backward pass two more copies of it.


def _relu(part: nn.ReLU, maps: Tensor) -> Tensor:
    return F.relu(maps)


def _hardtanh(part: nn.Hardtanh, maps: Tensor) -> Tensor:
    # ReLU6 is one, with limits of its own.
    return F.hardtanh(maps, part.min_val, part.max_val)


def _hardswish(part: nn.Hardswish, maps: Tensor) -> Tensor:
    return F.hardswish(maps)


def _silu(part: nn.SiLU, maps: Tensor) -> Tensor:
    return F.silu(maps)


def _sequential(part: nn.Sequential, maps: Tensor) -> Tensor:
    for child in part:
        maps = run(child, maps)
    return maps


def _block(part: Block, maps: Tensor) -> Tensor:
    out = maps
    for name in part.parts:
        out = run(part.get_submodule(name), out)
    beside = part._modules.get("shortcut")
    if beside is not None:
        out = out + run(beside, maps)
    act = part._modules.get("act")
    return out if act is None else run(act, out)


def _conv(part: nn.Conv2d, maps: Tensor) -> Tensor:
    out = _products(part, maps)
    if out is None:
        # Dense k x k convolutions: torch's own kernel is the fastest.
        return _turned_there_and_back(part, maps)
    return out if part.bias is None else out + part.bias[:, None, None, None]


def _products(part: nn.Conv2d, maps: Tensor) -> Tensor | None:
    """The convolution without its bias; None where torch's own kernel is faster."""
    channels, count, height, width = maps.shape
    kernel, stride = part.kernel_size[0], part.stride[0]
    weight, groups = part.weight, part.groups
    if kernel == 1:
        pixels = maps if stride == 1 else maps[:, :, ::stride, ::stride]
        rows = pixels.reshape(groups, channels // groups, -1)
        products = torch.bmm(weight.reshape(groups, -1, channels // groups), rows)
        return products.view(-1, count, *pixels.shape[2:])
    out = -(-height // stride), -(-width // stride)
    depthwise = groups == channels == part.out_channels
    if depthwise and height * out[0] * width * out[1] <= LARGEST_SPREAD:
        places = _places(height, width, kernel, stride).to(weight)
        filters = weight.reshape(channels, -1) @ places
        spread = filters.view(channels, height * width, -1)
        products = torch.bmm(maps.reshape(channels, count, -1), spread)
        return products.view(channels, count, *out)
    return None


@cache
def _places(height: int, width: int, kernel: int, stride: int) -> Tensor:
    """(kernel², inputs x outputs): 1 where a filter's tap meets that input for that output."""
    rows, columns = _meets(height, kernel, stride), _meets(width, kernel, stride)
    return torch.einsum("iax,jby->ijabxy", rows, columns).reshape(kernel**2, -1)


def _meets(side: int, kernel: int, stride: int) -> Tensor:
    """The same along one axis: (kernel, side, out). What falls on the padding meets no input."""
    corners = torch.arange(-(-side // stride)) * stride - kernel // 2
    inputs = corners[None, :] + torch.arange(kernel)[:, None]
    return (inputs[:, None, :] == torch.arange(side)[None, :, None]).float()


def _norm(part: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    if part.training and part.num_batches_tracked is not None:
        part.num_batches_tracked.add_(1)
    rows = maps.reshape(1, len(maps), -1)
    mean, var = part.running_mean, part.running_var
    normed = F.batch_norm(
        rows, mean, var, part.weight, part.bias, part.training, part.momentum or 0.0, part.eps
    )
    return normed.view(maps.shape)


def _drop_path(part: DropPath, maps: Tensor) -> Tensor:
    return turned(part(turned(maps)))


def _channel_scale(part: ChannelScale, maps: Tensor) -> Tensor:
    return maps * part.factor[:, None, None, None]


def _shuffle(part: Shuffle, maps: Tensor) -> Tensor:
    return maps.view(part.groups, len(maps) // part.groups, -1).transpose(0, 1).reshape(maps.shape)


def _squeeze_excite(part: SqueezeExcite, maps: Tensor) -> Tensor:
    means = maps.mean((2, 3)).t()
    gate: Tensor = part.gate(part.expand(part.act(part.reduce(means))))
    return maps * gate.t()[:, :, None, None]


def _eca(part: Eca, maps: Tensor) -> Tensor:
    means = maps.mean((2, 3)).t()
    gate: Tensor = part.gate(part.conv(means[:, None, None]))
    return maps * gate.permute(3, 0, 1, 2)


def _ghost(part: Ghost, maps: Tensor) -> Tensor:
    first = run(part.primary, maps)
    return torch.cat([first, run(part.cheap, first)])[: part.channels]


def _rep_conv(part: RepConv, maps: Tensor) -> Tensor:
    first, *others = part.branches
    total = run(first, maps)
    for branch in (*others, part.pointwise, part.identity):
        if branch is not None:
            total = total + run(branch, maps)
    return run(part.act, total)


def _head(part: Head, maps: Tensor) -> Tensor:
    features = part.act(part.hidden(maps.mean((2, 3)).t()))
    logits: Tensor = part.linear(part.dropout(features))
    return logits.t()


# Any: each takes the modules of one class, which the key names.
Faster: TypeAlias = Callable[[Any, Tensor], Tensor]

_FASTER: Mapping[object, Faster] = {
    nn.Sequential.forward: _sequential,
    Block.forward: _block,
    nn.Conv2d.forward: _conv,
    nn.BatchNorm2d.forward: _norm,
    DropPath.forward: _drop_path,
    ChannelScale.forward: _channel_scale,
    Shuffle.forward: _shuffle,
    SqueezeExcite.forward: _squeeze_excite,
    Eca.forward: _eca,
    Ghost.forward: _ghost,
    RepConv.forward: _rep_conv,
    Head.forward: _head,
    nn.ReLU.forward: _relu,
    nn.Hardtanh.forward: _hardtanh,
    nn.Hardswish.forward: _hardswish,
    nn.SiLU.forward: _silu,
    **{kind.forward: _as_it_is for kind in (nn.AvgPool2d, nn.GELU, nn.Identity, nn.MaxPool2d)},
}
