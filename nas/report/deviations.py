"""How far an accuracy may be off: it is read on some images, after one training of several."""

import math
from collections.abc import Mapping, Sequence

from nas.trial import Trial

__all__ = ["accuracy_deviations", "share_sd"]


def accuracy_deviations(
    trials: Sequence[Trial], shown: Sequence[Trial], images: int
) -> dict[str, float]:
    """By digest, one standard deviation of the accuracy of each complete trial of ``shown``.

    ``trials``: evaluations by one schedule. ``images``: how many the accuracies were read on. Part
    of the variance is that of so many images; the other that of trainings of one network with
    several seeds, pooled over ``trials``. It is unknown, and left out, where no network was trained
    twice.
    """
    of_trainings = _variance_of_trainings(trials)
    deviations = {}
    for trial in shown:
        accuracy = trial.metrics.get("accuracy")
        if accuracy is not None:
            of_images = _variance_of_images(accuracy, images)
            deviations[trial.digest] = math.sqrt(of_images + of_trainings)
    return deviations


def share_sd(metric: str, share: float, images: int) -> float | None:
    """One standard deviation of an accuracy on so many images; None for what is no accuracy."""
    if metric != "accuracy" or images < 1:
        return None
    return math.sqrt(_variance_of_images(share, images))


def _variance_of_images(share: float, images: int) -> float:
    # Agresti and Coull (1998): two of each kind added, so that a share of 1 is not taken for sure.
    nearer = (share * images + 2) / (images + 4)
    return nearer * (1 - nearer) / images


def _variance_of_trainings(trials: Sequence[Trial]) -> float:
    """Of one training, from the networks that have several; 0 if none has."""
    by_network: dict[str, list[float]] = {}
    for trial in trials:
        if trial.state == "complete" and "accuracy" in trial.metrics:
            by_network.setdefault(trial.digest, []).append(trial.metrics["accuracy"])
    return _pooled_variance(by_network)


def _pooled_variance(groups: Mapping[str, Sequence[float]]) -> float:
    squares, freedom = 0.0, 0
    for values in groups.values():
        mean = sum(values) / len(values)
        squares += sum((value - mean) ** 2 for value in values)
        freedom += len(values) - 1
    return squares / freedom if freedom else 0.0
