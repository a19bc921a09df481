"""Stochastic depth: in training, a block is left out for some images, its shortcut stays.

Huang et al. 2016, https://arxiv.org/abs/1603.09382; the rate grows linearly with the depth as in
EfficientNet: layer i of n drops ``rate * i / n``.
"""

import torch
from torch import Tensor, nn

from nas.model.down import LocalDown
from nas.model.mbconv import Block
from nas.model.unified import Residual, TokenBlock

__all__ = ["DropPath", "add_drop_path"]


class DropPath(nn.Module):
    """Zero for a share ``rate`` of the images, and the rest scaled up so that the mean stays."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, ...), the same out. Draws from torch's global generator."""
        if not self.training:
            return maps
        kept = torch.rand(len(maps), device=maps.device) >= self.rate
        factors = (kept / (1 - self.rate)).to(maps.dtype)
        per_image = (-1, *[1] * (maps.ndim - 1))
        return maps * factors.view(per_image)


def add_drop_path(network: nn.Module, rate: float) -> int:
    """Drop paths of blocks beside an identity shortcut.

    Returns how many. Parameters and their names stay as they are.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Block | TokenBlock)]
    # LocalDown is a Block by its form; a down-sampling module cannot be left out.
    blocks = [layer for layer in layers if not isinstance(layer, LocalDown)]
    changed = 0
    for number, block in enumerate(blocks):
        share = rate * number / len(blocks)
        if share and _add(block, share):
            changed += 1
    return changed


def _add(block: Block | TokenBlock, share: float) -> bool:
    """Drop the path of one block; false if nothing would stay without it."""
    if isinstance(block, TokenBlock):
        _extend(block.mixer, share)
        _extend(block.mlp, share)
        return True
    if not isinstance(block._modules.get("shortcut"), nn.Identity):
        return False
    block.add_module("drop", DropPath(share))
    block.parts = (*block.parts, "drop")
    return True


def _extend(part: Residual, share: float) -> None:
    """Drop what a residual part of a token block adds.

    Its last module, the layer scale, is followed by the drop.
    """
    # By a hook, not by wrapping the scale: names of the state dict must stay.
    drop = DropPath(share)
    part.scale.register_module("drop", drop)
    part.scale.register_forward_hook(lambda scale, inputs, out: drop(out))
