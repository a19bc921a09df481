"""Scores of a network that names a class per pixel."""

import torch
from torch import nn

from nas.data.masks import IGNORED
from nas.errors import TrainingError
from nas.train.loop import Source

__all__ = ["score_masks"]

BATCH_SIZE = 32


def score_masks(network: nn.Module, images: Source, masks: Source) -> dict[str, float]:
    """images: (n, c, s, s); masks: (n, s, s), `IGNORED` pixels aside. Fractions 0..1.

    ``miou``: intersection over union, counted over all pixels of all images, mean of the classes
    that occur in these masks; ``pixel_accuracy``; ``classes``, how many occur. A class that is
    named and does not occur has no overlap of its own, and costs those in whose place it stands.
    Raises `TrainingError` for masks in which no pixel has a class.
    """
    network.eval()
    confusion = torch.zeros(0)
    every_row = torch.arange(len(images), device=images.device)
    with torch.inference_mode():
        for rows in torch.split(every_row, BATCH_SIZE):
            logits = network(images[rows].contiguous(memory_format=torch.channels_last))
            classes = logits.shape[1]
            truth, named = masks[rows].flatten(), logits.argmax(1).flatten()
            counted = truth != IGNORED
            pairs = torch.bincount(truth[counted] * classes + named[counted], minlength=classes**2)
            # The first batch says how many classes there are.
            counts = pairs.view(classes, classes).double()
            confusion = confusion + counts if len(confusion) else counts
    pixels = confusion.sum(1)
    occurs = pixels > 0
    if not occurs.any():
        raise TrainingError("cannot score masks in which no pixel has a class")
    hits = confusion.diag()
    union = confusion.sum(0) + pixels - hits
    return {
        "miou": float((hits / union)[occurs].mean()),
        "pixel_accuracy": float(hits.sum() / pixels.sum()),
        "classes": float(occurs.sum()),
    }
