"""Torch modules of `nas.ops.ghost`."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from nas.model.blocks import ConvNorm, SqueezeExcite
from nas.model.dispatch import Recipe, recipe
from nas.model.gates import Eca
from nas.model.mbconv import Block
from nas.ops import gates
from nas.ops import ghost as ops
from nas.shape import Shape

__all__ = ["Ghost", "GhostBottleneck"]


class Ghost(nn.Module):
    """1x1 convolution to half of the channels (``primary``), depthwise kernel of those (``cheap``).

    Han et al. 2020, https://arxiv.org/abs/1911.11907, figure 2b. Of an odd number of channels the
    last of the second half falls away.
    """

    def __init__(self, in_channels: int, channels: int, *, kernel: int = 3, act: str = "") -> None:
        super().__init__()
        self.channels = channels
        half = -(-channels // 2)
        self.odd = 2 * half > channels
        self.primary = ConvNorm(in_channels, half, act=act)
        self.cheap = ConvNorm(half, half, kernel=kernel, groups=half, act=act)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, s, s). Out: (n, channels, s, s)."""
        first = self.primary(maps)
        both = torch.cat([first, self.cheap(first)], dim=1)
        return both[:, : self.channels] if self.odd else both


class GhostBottleneck(Block):
    """Ghost module to ``middle`` channels, kernel if strided, gate, linear ghost module.

    ``se``: width of squeeze-and-excitation, 0 for none; ``eca``: kernel over channels, 0 for none.
    With ``path``, a depthwise kernel and a 1x1 convolution stand beside, or else the identity.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        middle: int,
        kernel: int = 3,
        cheap: int = 3,
        stride: int = 1,
        act: str = "relu",
        se: int = 0,
        eca: int = 0,
        path: bool = False,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["expand"] = Ghost(in_channels, middle, kernel=cheap, act=act)
        if stride > 1:
            parts["depthwise"] = ConvNorm(
                middle, middle, kernel=kernel, stride=stride, groups=middle
            )
        if se:
            parts["se"] = SqueezeExcite(middle, se, "relu", "hsigmoid")
        if eca:
            parts["eca"] = Eca(eca)
        parts["project"] = Ghost(middle, channels, kernel=cheap)
        beside: nn.Module = nn.Identity()
        if path:
            convolutions: dict[str, nn.Module] = {
                "depthwise": ConvNorm(
                    in_channels, in_channels, kernel=kernel, stride=stride, groups=in_channels
                ),
                "project": ConvNorm(in_channels, channels),
            }
            beside = nn.Sequential(OrderedDict(convolutions))
        super().__init__(parts, beside)

    def initialise(self) -> None:
        """Start as the shortcut: the weights of both norms beside it are 0.

        Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1. The paper says nothing of
        its start. On digits a slimmed GhostNet then learns to .94 and .96 in 150 steps, from norms
        of 1, as the authors' code has them, to .92 and .93; untrained, its logits exceed 100,000.
        """
        for part in ("project.primary.norm", "project.cheap.norm"):
            norm = self.get_submodule(part)
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.zeros_(norm.weight)


@recipe.register
def _ghost(op: ops.GhostBottleneck, shape: Shape) -> Recipe:
    middle = op.middle(shape)
    out = op.out_shape(shape)
    return partial(
        GhostBottleneck,
        shape.channels,
        out.channels,
        middle=middle,
        kernel=op.kernel,
        cheap=op.cheap,
        stride=op.stride,
        act=op.act,
        se=op.squeeze(shape),
        eca=gates.eca_kernel(middle) if op.eca else 0,
        path=shape != out,
    )
