"""Evaluations on another device than the CPU: on torch's ``meta``, which computes nothing, but
refuses to mix devices."""

import pytest
import torch

from nas.data import load, split
from nas.evaluate.own import OwnEvaluator
from nas.evaluate.proxy import Proxy
from nas.evaluate.sets import NoData
from nas.evaluate.training import TrainingEvaluator
from search_spaces import nas_bench_macro

NETWORK = nas_bench_macro.space(resolution=32, classes=10, in_channels=1).decode((0,) * 8)


@pytest.fixture
def valued(monkeypatch):
    """Values for what has none: a tensor brought to the CPU is zero, a number is one."""
    brought = torch.Tensor.cpu

    def cpu(tensor):
        return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else brought(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    for name in ("item", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor: 1.0)


def test_a_short_training_and_its_scores_stay_on_their_device(valued) -> None:
    evaluator = TrainingEvaluator(
        split(load("digits")), Proxy(resolution=8, images=128), thread_count=1, device="meta"
    )
    metrics = evaluator.evaluate(NETWORK, 0)
    assert {"accuracy", "search_accuracy", "untrained_naswot", "untrained_grad_norm"} <= set(
        metrics
    )
    assert evaluator.weights[0].device.type == "meta"
    assert evaluator.describe_training()["device"] == "meta"
    assert evaluator.longer(3).device.type == "meta"


def test_a_function_finds_its_network_on_the_device() -> None:
    def evaluate(network, context):
        with context.autocast():
            logits = network(torch.ones(2, 1, 32, 32, device=context.device))
        assert logits.shape == (2, 10)
        return float(logits.is_meta and context.device.type == "meta")

    evaluator = OwnEvaluator(evaluate, NoData(), name="f", device="meta")
    assert evaluator.evaluate(NETWORK, 0) == {"accuracy": 1.0}
