"""Layer scales start at 1e-5, where a block is its shortcut: a short training must wake them."""

import dataclasses

import pytest
import torch

from nas.arch import Architecture, Stage
from nas.data import load, split
from nas.evaluate import Proxy, TrainingEvaluator
from nas.model import build
from nas.model.blocks import ChannelScale
from nas.model.mbconv import Block
from nas.ops.conv import Classifier, Conv
from nas.ops.mqa import MobileMQA
from nas.ops.uib import UIB
from nas.shape import Shape

HYBRID = Architecture(
    Shape(1, 8),
    (
        Stage("stem", (Conv(kernel=3, channels=16, stride=2),)),
        Stage("body", (UIB(first=3, scale=True), MobileMQA(heads=2, key_channels=8, kv_stride=2))),
        Stage("head", (Classifier(classes=10),)),
    ),
)
FULL_WIDTH = dataclasses.replace(Proxy(resolution=8), width=1)

LEAST_FACTOR = 0.01
"""Mean over channels. They start at 0.00001."""
LEAST_SHARE = 0.01
"""What a block adds varies over images at least so much, as a share of what it is added to."""
LEAST_TURN = 1e-5
"""One minus the cosine of a weight before and after: weight decay alone leaves it 0."""


@pytest.fixture(scope="module")
def evaluator() -> TrainingEvaluator:
    return TrainingEvaluator(split(load("digits")), FULL_WIDTH, thread_count=1)


@pytest.fixture(scope="module")
def trained(evaluator) -> torch.nn.Module:
    return evaluator.trained(HYBRID, seed=1).eval()


def test_factors_leave_their_start_and_differ_between_channels(trained) -> None:
    factors = [part.factor for part in trained.modules() if isinstance(part, ChannelScale)]
    assert len(factors) == 2
    for factor in factors:
        assert factor.abs().mean() > LEAST_FACTOR
        assert factor.std() > LEAST_FACTOR / 10


def test_what_a_block_adds_depends_on_the_image(trained, evaluator) -> None:
    shares: list[float] = []

    def look(block, inputs, out) -> None:
        added = out - inputs[0]
        shares.append(float(added.std(0).mean() / inputs[0].std(0).mean()))

    for block in [part for part in trained.modules() if isinstance(part, Block)]:
        block.register_forward_hook(look)
    with torch.no_grad():
        trained(evaluator.selection[0])
    assert len(shares) == 2
    assert min(shares) > LEAST_SHARE, shares


def test_queries_and_keys_learn_where_to_look(trained) -> None:
    before = dict(build(trained.architecture, seed=1).named_parameters())
    turns = {}
    for name, value in trained.named_parameters():
        if ".attention.query." in name or ".attention.key.project." in name:
            alike = torch.cosine_similarity(value.flatten(), before[name].flatten(), dim=0)
            turns[name] = 1 - float(alike.detach())
    assert len(turns) == 2
    assert min(turns.values()) > LEAST_TURN, turns
