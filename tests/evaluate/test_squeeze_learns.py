"""Squeeze-and-excitation is priced, so it must do something: its gate depends on the image."""

import pytest
import torch

from nas.data import load, split
from nas.evaluate import Proxy, TrainingEvaluator
from nas.model.blocks import SqueezeExcite
from search_spaces import mnasnet, mobilenet_v3, uninet

LEAST_DEVIATION = 0.01
"""Of the gate over images. Linear layers that start at N(0, 0.01) stay at 0.0001."""


def gates(evaluator: TrainingEvaluator, network: torch.nn.Module) -> list[float]:
    """The mean deviation over images of each gate's channels."""
    found: list[float] = []

    def look(part: torch.nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        found.append(float(out.std(0).mean()))

    hooks = [
        part.gate.register_forward_hook(look)
        for part in network.modules()
        if isinstance(part, SqueezeExcite)
    ]
    with torch.no_grad():
        network.eval()(evaluator.selection[0])
    for hook in hooks:
        hook.remove()
    return found


# Options with squeeze-and-excitation, in small networks: all other genes are 0.
WANTED = {
    "mnasnet": {"op": 1, "se": 1, "layers": 1, "skip": 1},
    "uninet": {"op": 3},
    "mobilenet_v3": {"kept": 1},
}


@pytest.mark.parametrize(
    "space", [mnasnet.space(), uninet.space(), mobilenet_v3.space()], ids=lambda s: s.name
)
def test_gates_vary_over_images_after_a_short_training(space) -> None:
    genes = [0] * len(space.gene_sizes)
    wanted = WANTED[space.name]
    for place, name in enumerate(space.gene_names):
        choice = name.split(".")[1]
        genes[place] = wanted.get(choice, 0)
    evaluator = TrainingEvaluator(
        split(load("digits")), Proxy(resolution=8).times(0.3), thread_count=1
    )
    network = evaluator.trained(space.decode(genes), seed=1)
    deviations = gates(evaluator, network)
    assert len(deviations) >= 5
    assert sum(deviations) / len(deviations) > LEAST_DEVIATION, deviations
