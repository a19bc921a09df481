"""SGD over views of shared tensors.

A step costs what the layers just used cost, not what the supernet holds.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nas.supernet.network import Supernet, View

__all__ = ["SharedSGD"]


class SharedSGD:
    """Nesterov momentum, of which every shared tensor has its own.

    What a step does not use stays as it was.

    ``weight_decay`` spares norms and biases, as in `nas.train.Training`.
    """

    def __init__(self, supernet: Supernet, *, momentum: float, weight_decay: float) -> None:
        self.supernet, self.momentum, self.weight_decay = supernet, momentum, weight_decay
        self.velocity = {name: torch.zeros_like(value) for name, value in supernet.shared.items()}

    def step(self, views: Iterable[View], lr: float) -> None:
        """Apply the gradients that the views hold, and clear them.

        A view may come more than once.
        """
        # By identity: networks of one step share layers, whose gradients are summed in the leaf.
        by_name: dict[str, dict[int, View]] = {}
        for view in views:
            if view.leaf.grad is not None:
                by_name.setdefault(view.name, {})[id(view)] = view
        weights: list[Tensor] = []
        gradients: list[Tensor] = []
        velocities: list[Tensor] = []
        for name, used in by_name.items():
            weight, gradient, velocity = self._joined(name, list(used.values()))
            weights.append(weight)
            gradients.append(gradient)
            velocities.append(velocity)
        self._apply(weights, gradients, velocities, lr)
        for used in by_name.values():
            for view in used.values():
                view.leaf.grad = None

    def _joined(self, name: str, views: list[View]) -> tuple[Tensor, Tensor, Tensor]:
        """Weight, gradient and velocity of one view, or of the whole tensor if several were used.

        Views of one tensor overlap, so its momentum must be applied once.
        """
        weight, velocity = self.supernet.shared[name], self.velocity[name]
        if len(views) == 1:
            [view] = views
            assert view.leaf.grad is not None
            return weight[view.cut], view.leaf.grad, velocity[view.cut]
        total = torch.zeros_like(weight)
        for view in views:
            assert view.leaf.grad is not None
            total[view.cut] += view.leaf.grad
        return weight, total, velocity

    @torch.no_grad()
    def _apply(
        self, weights: list[Tensor], gradients: list[Tensor], velocities: list[Tensor], lr: float
    ) -> None:
        # Norms and biases are the tensors of one dimension.
        decayed = [i for i, weight in enumerate(weights) if weight.ndim > 1]
        if self.weight_decay:
            torch._foreach_add_(
                [gradients[i] for i in decayed],
                [weights[i] for i in decayed],
                alpha=self.weight_decay,
            )
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients)
        # Nesterov's form as in torch.optim.SGD: gradient + momentum * velocity, after the update.
        torch._foreach_add_(gradients, velocities, alpha=self.momentum)
        torch._foreach_add_(weights, gradients, alpha=-lr)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over the velocities that another optimiser of the same supernet had."""
        for name, value in state.items():
            self.velocity[name].copy_(value)
