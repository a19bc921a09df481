"""Distillation: a network learns from another one's logits beside the labels."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

__all__ = ["Distillation"]

Teacher = Callable[[Tensor, Tensor], Tensor]
"""(images (n, c, s, s), rows (n,)) to logits (n, classes) without gradients."""


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """A share ``weight`` of the loss is the divergence from the teacher's softened classes.

    Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531: logits are divided by
    ``temperature``, and the divergence multiplied by its square, so that its gradients keep their
    size.
    """

    teacher: Teacher
    temperature: float = 4.0
    weight: float = 0.5

    def __call__(self, loss: Tensor, logits: Tensor, images: Tensor, rows: Tensor) -> Tensor:
        """logits: (n, classes), of these images, which are the given rows, changed."""
        wanted = F.log_softmax(self.teacher(images, rows).float() / self.temperature, 1)
        own = F.log_softmax(logits.float() / self.temperature, 1)
        divergence = F.kl_div(own, wanted, log_target=True, reduction="batchmean")
        divergence = divergence * self.temperature**2
        return loss * (1 - self.weight) + divergence * self.weight
