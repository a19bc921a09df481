"""Gates are priced, so they must do something: what they give depends on the image."""

import pytest
import torch

from nas.arch import Architecture, Stage
from nas.data import load, split
from nas.evaluate import Proxy, TrainingEvaluator
from nas.model.gates import Eca, GlobalContext
from nas.model.selective import SelectiveKernel
from nas.ops.conv import Classifier, Conv
from nas.ops.ghost import GhostBottleneck
from nas.ops.mbconv import MBConv
from nas.ops.residual import Bottleneck
from nas.ops.selective import SelectiveBlock
from nas.shape import Op, Shape

LEAST_DEVIATION = 0.01
"""Of what a gate gives, over images, on average over its channels."""


def network(op: Op) -> Architecture:
    """Two blocks behind a stem, as wide as a search trains them."""
    body = Stage("body", (op, op))
    head = Stage("head", (Classifier(classes=10),))
    return Architecture(Shape(1, 8), (Stage("stem", (Conv(kernel=3, channels=64),)), body, head))


def given(part: Eca | GlobalContext | SelectiveKernel) -> torch.nn.Module:
    """The module that gives one value per channel: the gate, or what is added."""
    return part.expand if isinstance(part, GlobalContext) else part.gate


@pytest.mark.parametrize(
    ("op", "kind", "times"),
    [
        (MBConv(expand=3, eca=True), Eca, 0.4),
        (GhostBottleneck(expand=3, eca=True), Eca, 0.4),
        # A block that starts as its shortcut has little to gate in its first steps.
        (Bottleneck(ratio=1, eca=True, gate_at="middle"), Eca, 1),
        (Bottleneck(ratio=1, gc=0.25), GlobalContext, 0.7),
        (SelectiveBlock(least=8), SelectiveKernel, 0.7),
    ],
    ids=str,
)
def test_what_a_gate_gives_varies_over_images_after_a_short_training(op, kind, times) -> None:
    evaluator = TrainingEvaluator(
        split(load("digits")), Proxy(resolution=8).times(times), thread_count=1
    )
    trained = evaluator.trained(network(op), seed=1)
    deviations: list[float] = []

    def look(part: torch.nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        values = out.reshape(len(out), -1)
        deviations.append(float(values.std(0).mean()))

    for part in trained.modules():
        if isinstance(part, kind):
            given(part).register_forward_hook(look)
    with torch.no_grad():
        trained.eval()(evaluator.selection[0])
    assert len(deviations) == 2
    assert min(deviations) > LEAST_DEVIATION, deviations
