"""An instant evaluator for runs without torch.

As a script, ``instant.py RUN``: a confirmation to kill.
"""

import hashlib
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from nas import catalog
from nas.errors import DataError, TrainingError
from nas.record.ledger import append_opening
from nas.run.confirm import confirm
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.run import Run
from nas.run.settings import Search
from nas.study import evaluator

SPACE = """
from nas.testing.toys import toy_space

def space(resolution=8, classes=10, in_channels=3):
    return toy_space()
"""
SLEEP_SECONDS = 0.02


def quality(digest, seed):
    return int.from_bytes(hashlib.sha256(f"{digest}:{seed}".encode()).digest()[:4], "big") / 2**32


def open_data(spec, *, strict=False, groups=None, watch=None):
    return SimpleNamespace(name=spec, classes=tuple(range(10)), in_channels=3)


class Evaluator(evaluator.Evaluator):
    def __init__(self, data, factor=1.0, gain=0.0):
        self.data, self.factor, self.gain, self.opened, self.seeds = data, factor, gain, 0, []

    lengthens = True

    def longer(self, factor):
        other = Evaluator(self.data, gain=factor)
        other.seeds = self.seeds
        return other

    def describe_data(self):
        return {"name": self.data.name, "digest": self.data.name}

    def describe_training(self):
        return {"epochs": 2 * self.factor, "threads": 1}

    def evaluate(self, architecture, seed):
        self.seeds.append(seed)
        value = quality(architecture.digest, seed)
        if self.data.name == "broken" and self.factor > 1 and value < 0.3:
            raise TrainingError("the loss is not finite")
        scores = {"accuracy": value, "search_accuracy": value}
        if self.factor > 1:
            # A confirmation's training: the other way round, so that it shows which one decides.
            scores["selection_accuracy"] = 1 - value
        return scores

    def open_test(self, ledger):
        if self.data.name == "corrupt":
            raise DataError("cannot read /data/t10k.gz: not a gzip file")
        self.opened += 1
        append_opening(ledger, 100)
        return 100


def make(data, text="", *, threads=1):
    return Evaluator(data)


KIND = evaluator.EvaluatorKind(name="instant", factory=make, open_data=open_data)


def retraining(data, recipe, factor):
    return Evaluator(data, factor)


def take_part():
    """Be an evaluator that ships, and the one that retrains."""
    catalog.EVALUATORS["instant"] = "instant"
    catalog.RETRAINING = "instant"


def searched(folder, **settings):
    """A finished run over the toy space."""
    return execute(plan(asked(folder, **settings)), folder).run


def asked(folder, **settings):
    """What is asked for by a search of the toy space into that folder."""
    take_part()
    space = Path(folder).parent / "toy.py"
    space.write_text(SPACE)
    given = {
        "data": "fake",
        "trials": 30,
        "strategy": "random",
        "objectives": ("accuracy", "latency_ms"),
        **settings,
    }
    return Search().changed(space=str(space), evaluator="instant", **given)


if __name__ == "__main__":
    take_part()
    confirm(
        Run(sys.argv[1]), top=4, random=4, seeds=4, watch=lambda step: time.sleep(SLEEP_SECONDS)
    )
