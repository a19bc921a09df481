"""Weights that the blocks of space `mobile` share, on a cut-down space: a few steps of each."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from tiny_space import PROXY

from nas.cost.compiled import compile_costs
from nas.evaluate import slim
from nas.space import Choice, SearchSpace
from nas.strategies.differentiable import Settings
from nas.supernet.distribution import Distribution
from nas.supernet.network import Supernet
from nas.supernet.theta import ThetaTraining
from nas.train import Schedule
from search_spaces import mobile

KEPT = {"kernel": 2, "gate": 3, "act": 1, "depth": 2, "block": 6}


def cut() -> SearchSpace:
    """Stem, second stage and head; of some choices the first options alone."""
    space = mobile.space(resolution=32, classes=10, in_channels=1)
    slots = []
    for slot in (space.slots[0], space.slots[2], space.slots[-1]):
        choices = []
        for choice in slot.choices:
            options = dict(zip(choice.labels, choice.options, strict=True))
            kept = list(options)[: KEPT.get(choice.name, 2)]
            choices.append(Choice(choice.name, {label: options[label] for label in kept}))
        slots.append(dataclasses.replace(slot, choices=tuple(choices)))
    return SearchSpace(name="cut", input=space.input, slots=tuple(slots))


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    space = cut()
    return Supernet(space, lambda network: slim(network, PROXY, 1, 10), share="elastic", seed=1)


def test_every_block_is_a_path_that_gets_gradients(supernet) -> None:
    space = supernet.space
    place = space.gene_names.index("stage2.block")
    rng = np.random.default_rng(0)
    for block in range(6):
        genes = [int(rng.integers(size)) for size in space.gene_sizes]
        genes[place] = block
        logits = supernet.path(genes)(torch.randn(4, 1, 8, 8))
        assert logits.shape == (4, 10)
        logits.square().sum().backward()
        for view in supernet.views(genes):
            assert view.leaf.grad is not None
            view.leaf.grad = None


def test_a_distribution_over_its_networks_is_trained(supernet) -> None:
    space = supernet.space
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    low, high = costs.extreme("macs")[0], costs.extreme("macs", largest=True)[0]
    images = torch.randn(16, 1, 8, 8), torch.arange(16) % 10
    training = ThetaTraining(
        supernet,
        Distribution(costs, "macs", (low + high) / 2),
        images,
        images,
        Schedule(steps=6, batch_size=8),
        Settings(),
        seed=0,
    )
    before = [theta.detach().clone() for theta in training.distribution.theta]
    losses = [training.advance() for _ in range(6)]
    assert all(map(math.isfinite, losses))
    after = training.distribution.theta
    moved = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert any(moved)
