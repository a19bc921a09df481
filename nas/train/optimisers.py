"""Optimisers: ``sgd`` with Nesterov momentum, ``rmsprop`` as TensorFlow writes it, ``adamw``."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn

from nas.train.schedule import Schedule

__all__ = ["RMSprop", "make"]

DECAY = 0.9  # of MnasNet's RMSProp, section 5

# Any: torch keeps parameters, rates and whatever else in one dict.
Group: TypeAlias = dict[str, Any]


def make(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The schedule's optimiser over a network's parameters.

    Weight decay spares those of one axis.
    """
    groups = _groups(network, schedule.weight_decay)
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(groups, schedule.lr, eps=schedule.epsilon)
    if schedule.optimiser == "rmsprop":
        return RMSprop(groups, schedule.lr, momentum=schedule.momentum, eps=schedule.epsilon)
    return torch.optim.SGD(groups, schedule.lr, schedule.momentum, nesterov=schedule.momentum > 0)


def _groups(network: nn.Module, weight_decay: float) -> list[Group]:
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    # As the papers' code does: decay is for filters, not for scales and shifts of norms.
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


class RMSprop(torch.optim.Optimizer):
    """RMSProp as MnasNet and EfficientNet were trained by, with decay 0.9.

    TensorFlow's form differs from torch's in three ways that its published rates rely on: the mean
    square starts at 1, ``eps`` is added under the root, and the rate is inside the momentum (so a
    falling rate does not scale what has been gathered). ``weight_decay`` is added to the gradient.
    """

    def __init__(self, groups: list[Group], lr: float, *, momentum: float, eps: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; there is no closure."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)

    def _update(self, params: list[torch.Tensor], group: Group) -> None:
        # square <- 0.9 square + 0.1 grad²
        # buffer <- momentum buffer + lr grad / sqrt(square + eps)
        # p      <- p - buffer
        squares, buffers = [], []
        for p in params:
            if p not in self.state:
                self.state[p] = {"square": torch.ones_like(p), "buffer": torch.zeros_like(p)}
            squares.append(self.state[p]["square"])
            buffers.append(self.state[p]["buffer"])
        grads = [p.grad for p in params if p.grad is not None]
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        # `_foreach`: one call for all parameters, where a loop would make hundreds.
        torch._foreach_mul_(squares, DECAY)
        torch._foreach_addcmul_(squares, grads, grads, 1 - DECAY)
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_addcdiv_(buffers, grads, roots, group["lr"])
        torch._foreach_sub_(params, buffers)
