"""Attention is priced, so it must do something: what it looks at depends on the image."""

import dataclasses

import pytest
import torch

from nas.arch import Architecture, Stage
from nas.data import load, split
from nas.evaluate import PRESETS, TrainingEvaluator
from nas.model.efficientformer import StridedAttention, Talking
from nas.model.levit import SelfScores
from nas.model.relative import Halo, WholeMap
from nas.model.sdta import ChannelAttention
from nas.ops.conv import Classifier, Conv
from nas.ops.efficientformer import AttentionDown, ConvFFN, TalkingAttention
from nas.ops.levit import LevitAttention
from nas.ops.relative import BottleneckAttention, HaloAttention
from nas.ops.sdta import SDTA
from nas.shape import Op, Shape

FULL_WIDTH = dataclasses.replace(PRESETS["small"], width=1, epochs=4)

LEAST_DEVIATION = 0.01
"""Of the shares of attention over images, relative to their mean."""


def network(op: Op) -> Architecture:
    """The op between a stem and a feed-forward layer, on maps of 4x4 pixels."""
    return Architecture(
        Shape(1, 8),
        (
            Stage("stem", (Conv(kernel=3, channels=16, stride=2),)),
            Stage("body", (op, ConvFFN(expand=2))),
            Stage("head", (Classifier(classes=10),)),
        ),
    )


@pytest.fixture(scope="module")
def evaluator() -> TrainingEvaluator:
    return TrainingEvaluator(split(load("digits")), FULL_WIDTH, thread_count=1)


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (TalkingAttention(heads=2, key_channels=8, value_channels=16), Talking),
        (AttentionDown(heads=2, key_channels=8, value_channels=16, stride=1), StridedAttention),
        (LevitAttention(heads=2, key_channels=8, value_channels=16), SelfScores),
        (SDTA(heads=2, positions=True), ChannelAttention),
        (BottleneckAttention(heads=2, ratio=1), WholeMap),
        (HaloAttention(heads=2, ratio=1, block=2, halo=1), Halo),
    ],
    ids=lambda value: getattr(value, "key", ""),
)
def test_what_is_looked_at_varies_over_images_after_a_short_training(
    op, kind, evaluator, monkeypatch
) -> None:
    trained = evaluator.trained(network(op), seed=1).eval()
    assert [part for part in trained.modules() if isinstance(part, kind)]
    shares: list[torch.Tensor] = []
    softmax = torch.Tensor.softmax

    def seen(scores: torch.Tensor, dim: int) -> torch.Tensor:
        shares.append(softmax(scores, dim))
        return shares[-1]

    monkeypatch.setattr(torch.Tensor, "softmax", seen)
    with torch.no_grad():
        trained(evaluator.selection[0])
    (looked,) = shares
    deviation = float(looked.std(0).mean() / looked.mean())
    assert deviation > LEAST_DEVIATION


def test_what_attention_adds_depends_on_the_image(evaluator) -> None:
    op = TalkingAttention(heads=2, key_channels=8, value_channels=16)
    trained = evaluator.trained(network(op), seed=1).eval()
    shares: list[float] = []

    def look(block, inputs, out) -> None:
        added = out - inputs[0]
        shares.append(float(added.std(0).mean() / inputs[0].std(0).mean()))

    trained.stages.body[0].register_forward_hook(look)
    with torch.no_grad():
        trained(evaluator.selection[0])
    assert shares[0] > LEAST_DEVIATION
