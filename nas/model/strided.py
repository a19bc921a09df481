"""Around a fault of torch's CPU library in training strided 1x1 convolutions.

With channels last, oneDNN's gradient by the weights of a 1x1 convolution with a stride and fewer
than 8 input channels writes beyond its memory (seen with torch 2.13 on x86 with AVX2): the process
dies, or goes on with other values changed. Slimmed networks have such layers: FBNet's skip with a
stride, a residual's shortcut.
"""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PickedConv2d", "around_the_fault"]

SAFE_CHANNELS = 8
"""Input channels from which on the fault was not seen."""


class PickedConv2d(nn.Conv2d):
    """A 1x1 convolution that picks its pixels first, and then needs no stride: the same values."""

    def forward(self, input: Tensor) -> Tensor:
        """input: (n, channels, s, s)."""
        # Only gradients are at fault, and what is exported stays one convolution.
        if not self.training:
            return super().forward(input)
        down, across = self.stride
        return functional.conv2d(input[:, :, ::down, ::across], self.weight, self.bias)


def around_the_fault(module: nn.Module) -> nn.Module:
    """The module, with each convolution at fault turned into a `PickedConv2d` in its place."""
    for part in module.modules():
        if type(part) is nn.Conv2d and _at_fault(part):
            # Parameters, their names and all hooks stay.
            part.__class__ = PickedConv2d
    return module


def _at_fault(conv: nn.Conv2d) -> bool:
    pointwise = conv.kernel_size == (1, 1) and conv.groups == 1
    return pointwise and max(conv.stride) > 1 and conv.in_channels < SAFE_CHANNELS
