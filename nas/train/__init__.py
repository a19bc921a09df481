"""The training loop and the scores of a trained network."""

from nas.train.augment import Augment
from nas.train.loop import Schedule, Source, Training, fit
from nas.train.scores import predict, score
from nas.train.threads import threads

__all__ = ["Augment", "Schedule", "Source", "Training", "fit", "predict", "score", "threads"]
