"""How good predictions are."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.train.loop import Source

__all__ = ["predict", "score"]

BATCH_SIZE = 256


def predict(network: nn.Module, images: Source, batch_size: int = BATCH_SIZE) -> Tensor:
    """images: (n, c, s, s), n at least 1.

    Logits (n, classes), in evaluation mode, without gradients.
    """
    network.eval()
    with torch.inference_mode():
        return torch.cat(
            [
                network(images[rows].contiguous(memory_format=torch.channels_last))
                for rows in torch.split(torch.arange(len(images), device=images.device), batch_size)
            ]
        )


def score(network: nn.Module, images: Source, labels: Tensor) -> dict[str, float]:
    """images: (n, c, s, s); labels: (n,) int64. Fractions 0..1, and ``loss``, the mean cross-entropy in nats.

    ``balanced_accuracy`` is the mean recall, ``macro_f1`` the mean F1, both over the classes among
    the labels.
    """
    logits = predict(network, images).double()
    classes = logits.shape[1]
    confusion = torch.bincount(labels * classes + logits.argmax(1), minlength=classes**2).view(
        classes, classes
    )
    hits, actual, named = (
        confusion.diag().double(),
        confusion.sum(1).double(),
        confusion.sum(0).double(),
    )
    present = actual > 0
    return {
        "accuracy": float(hits.sum() / actual.sum()),
        "balanced_accuracy": float((hits / actual)[present].mean()),
        "macro_f1": float((2 * hits / (actual + named))[present].mean()),
        "loss": float(F.cross_entropy(logits, labels)),
    }
