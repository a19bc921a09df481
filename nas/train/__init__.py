"""The training loop and the scores of a trained network."""

from nas.train.augment import Augment
from nas.train.distil import Distillation
from nas.train.loop import Source, Training, fit
from nas.train.precision import precise
from nas.train.schedule import Schedule
from nas.train.scores import predict, score
from nas.train.threads import threads

__all__ = [
    "Augment",
    "Distillation",
    "Schedule",
    "Source",
    "Training",
    "fit",
    "precise",
    "predict",
    "score",
    "threads",
]
