"""A small space and an instant evaluator: studies without torch, in milliseconds."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from nas.arch import Architecture
from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.errors import TrainingError
from nas.ops.conv import Classifier, Conv
from nas.shape import Op, Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from nas.study.evaluator import Evaluator
from nas.trial import Metrics

__all__ = ["HashEvaluator", "toy_domain", "toy_space"]


def toy_space(layers: int = 4) -> SearchSpace:
    """``layers`` convolutions of kernel 1, 3 or 5 and 8 to 32 channels: 12^layers networks."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Sequence[Op]:
        return (Conv(kernel=picked["kernel"], channels=picked["channels"]),)

    choices = (
        Choice("kernel", {"k1": 1, "k3": 3, "k5": 5}),
        Choice("channels", (8, 16, 24, 32), ordinal=True),
    )
    slots = (
        Slot(name=f"layer{i}", stage=f"layer{i}", choices=choices, make=make)
        for i in range(1, layers + 1)
    )
    return SearchSpace(
        name="toy", input=Shape(3, 8), slots=(*slots, fixed("head", Classifier(classes=10)))
    )


def toy_domain(bounds: Sequence[Bound] = (), layers: int = 4) -> Domain:
    """`toy_space` with its params and macs."""
    space = toy_space(layers)
    costs = compile_costs(space, ("params", "macs"), lambda layer: (layer.params, layer.macs))
    return Domain(space, costs, bounds)


class HashEvaluator(Evaluator):
    """Accuracies that depend on the digest and the seed alone; a share of the networks fails."""

    qualities = ("accuracy",)
    lengthens = True

    def __init__(
        self, *, noisy: bool = False, failing: float = 0.0, sleep_seconds: float = 0.0
    ) -> None:
        self.noisy, self.failing, self.sleep_seconds = noisy, failing, sleep_seconds
        self.factor = 1
        self.calls: list[str] = []

    def longer(self, factor: int) -> "HashEvaluator":
        """Other accuracies, so that a score shows which of the two gave it."""
        other = copy(self)
        other.factor = factor
        return other

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """``accuracy`` and ``search_accuracy``, 0..1; `TrainingError` for networks that fail."""
        self.calls.append(architecture.digest)
        time.sleep(self.sleep_seconds)
        # Python's own hash of a text differs from process to process.
        text = f"{architecture.digest}:{seed}"
        if self.factor > 1:
            text = f"{text}:{self.factor}"
        seen = hashlib.sha256(text.encode()).digest()
        first, second, luck = (int.from_bytes(seen[i : i + 4], "big") / 2**32 for i in (0, 4, 8))
        if luck < self.failing:
            raise TrainingError("the loss is not finite")
        return {"accuracy": first, "search_accuracy": 0.9 * first + 0.1 * second}
