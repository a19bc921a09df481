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
    rows = torch.arange(len(images), device=images.device)
    logits = []
    with torch.inference_mode():
        for part in torch.split(rows, batch_size):
            batch = images[part].contiguous(memory_format=torch.channels_last)
            logits.append(network(batch))
        return torch.cat(logits)


def score(network: nn.Module, images: Source, labels: Tensor) -> dict[str, float]:
    """images: (n, c, s, s); labels: (n,) int64. Fractions 0..1, and ``loss``.

    ``loss`` is the mean cross-entropy in nats.
    ``balanced_accuracy`` is the mean recall, ``macro_f1`` the mean F1, both over the classes among
    the labels.
    """
    # On the CPU: MPS has no double precision.
    logits, labels = predict(network, images).cpu().double(), labels.cpu()
    classes = logits.shape[1]
    pairs = torch.bincount(labels * classes + logits.argmax(1), minlength=classes**2)
    confusion = pairs.view(classes, classes).double()  # rows: labels, columns: predictions
    hits, actual, named = confusion.diag(), confusion.sum(1), confusion.sum(0)
    # A class without images has no recall; a mean over all would be NaN.
    present = actual > 0
    return {
        "accuracy": float(hits.sum() / actual.sum()),
        "balanced_accuracy": float((hits / actual)[present].mean()),
        "macro_f1": float((2 * hits / (actual + named))[present].mean()),
        "loss": float(F.cross_entropy(logits, labels)),
    }
