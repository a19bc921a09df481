"""Modules that several op families share; their parameter names are those of every state dict."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

__all__ = [
    "ChannelScale",
    "ConvNorm",
    "PoolShortcut",
    "Shuffle",
    "SqueezeExcite",
    "activation",
    "set_norm_momentum",
    "shortcut",
]

# torch's momentum is the share of the new batch. 0.1 follows the weights within the few hundred
# steps of a search's training; the 0.01 of EfficientNet would still remember the initialisation.
NORM_MOMENTUM = 0.1
# TensorFlow's, which MnasNet and EfficientNet were trained with; torch's own is 1e-5.
NORM_EPS = 1e-3


def activation(name: str) -> nn.Module:
    """The activation of that name in an op's settings; ``""`` is the identity."""
    modules: dict[str, nn.Module] = {
        "": nn.Identity(),
        "relu": nn.ReLU(inplace=True),
        "relu6": nn.ReLU6(inplace=True),
        "hswish": nn.Hardswish(inplace=True),
        "swish": nn.SiLU(inplace=True),
        "gelu": nn.GELU(),
    }
    return modules[name]


def set_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Give every batch norm of a network that momentum, in torch's terms, 0..1."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = momentum


class ConvNorm(nn.Sequential):
    """Convolution (``conv``), batch norm (``norm``), activation (``act``, where there is one)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: str = "",
        bias: bool = False,
    ) -> None:
        conv = nn.Conv2d(
            in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=bias
        )
        norm = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        parts: list[tuple[str, nn.Module]] = [("conv", conv), ("norm", norm)]
        if act:
            parts.append(("act", activation(act)))
        super().__init__(OrderedDict(parts))


class SqueezeExcite(nn.Module):
    """Mean over the map, ``reduce`` to ``width``, ``expand`` back, a gate on each channel.

    Hu et al. 2017, https://arxiv.org/abs/1709.01507, equations 2 to 4.
    """

    def __init__(self, channels: int, width: int, act: str, gate: str = "sigmoid") -> None:
        super().__init__()
        self.gate = nn.Sigmoid() if gate == "sigmoid" else nn.Hardsigmoid()
        self.reduce = nn.Linear(channels, width)
        self.act = activation(act)
        self.expand = nn.Linear(width, channels)

    def initialise(self) -> None:
        """Start as the 1x1 convolutions that the originals have.

        Normal with a variance of 2 over the fan-out (He et al. 2015): MnasNet's and EfficientNet's
        code. With a deviation of 0.01, as a classifier starts, the gate never leaves 1/2.
        """
        for part in (self.reduce, self.expand):
            nn.init.normal_(part.weight, 0.0, (2.0 / part.out_features) ** 0.5)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s), the same out."""
        gate: Tensor = self.gate(self.expand(self.act(self.reduce(maps.mean((2, 3))))))
        return maps * gate[:, :, None, None]


class ChannelScale(nn.Module):
    """One trained factor per channel of a map (``factor``), each ``start`` in a new network.

    Touvron et al. 2021, https://arxiv.org/abs/2103.17239, section 2. 1e-5 is the start of the
    released networks of MobileNetV4 and EfficientFormerV2.
    """

    def __init__(self, channels: int, start: float = 1e-5) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels,), start))

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s), the same out."""
        return maps * self.factor[:, None, None]


class Shuffle(nn.Module):
    """Channel shuffle: groups become the fast index.

    Zhang et al. 2018, https://arxiv.org/abs/1707.01083.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s), the same out."""
        # Spelt out as reshapes, torch takes 2.5 times as long, and an ONNX file with 22 of them 1.4
        # times: it would compute sizes at run time. `nas.export.onnx` knows how to write this one.
        return nn.functional.channel_shuffle(maps, self.groups)


class PoolShortcut(nn.Sequential):
    """3x3 average pool of the block's stride (``pool``), and ``project`` if channels change.

    ``project`` is a 1x1 convolution with batch norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        # The mean of real pixels: with padding counted, a map's border would come out darker.
        pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        parts: list[tuple[str, nn.Module]] = [("pool", pool)]
        if channels != in_channels:
            parts.append(("project", ConvNorm(in_channels, channels)))
        super().__init__(OrderedDict(parts))


def shortcut(skip: str, in_channels: int, channels: int, stride: int) -> nn.Module | None:
    """The path beside a block: ``identity``, ``pool``, or None for ``none``."""
    if skip == "pool":
        return PoolShortcut(in_channels, channels, stride)
    return nn.Identity() if skip == "identity" else None
