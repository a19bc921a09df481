# ruff: noqa: E402
"""Equal digests mean equal outputs, and declared costs are torch's, in the spaces with more than
one kind of op."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nas import catalog, networks
from nas.model import build, module
from nas.testing.ops import check_op
from nas.train import swift

NAMES = (
    "fbnet",
    "mnasnet",
    "fused_mbconv",
    "fused_mbconv:base=b0",
    "fused_mbconv:base=b4",
    "uninet",
    "mobilenet_v3:width=1.2",
    "mobile",
    "mobilenet_v4",
)


@pytest.mark.parametrize("name", NAMES[2:])
def test_a_sample_of_the_layers_of_every_space(name):
    """The full sweep, every distinct layer at several resolutions, is in experiments."""
    space = catalog.space(name, resolution=64)
    every = max(5, len(space.layers) // 300)
    for layer in space.layers[::every]:
        check_op(layer.op, layer.shape, module)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "efficientnet_v2_s",
        "ghostnet_130",
        "gcresnext26ts",
        "mobilenet_v4_hybrid_medium",
        "ecaresnet50",
    ],
)
def test_published_networks_layer_by_layer(name):
    for layer in set(networks.get(name).layers):
        check_op(layer.op, layer.shape, module)


def agree(network):
    made = build(network, seed=1)
    images = torch.randn(
        4, 3, network.input.size, network.input.size, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        torch.testing.assert_close(swift.forward(made, images), made(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "efficientnet_v2_b0",
        "uninet_b0",
        "ghostnet_100",
        "ecaresnet50",
        "gcresnext26ts",
        "repvgg_a0",
    ],
)
def test_the_fast_forward_pass_gives_what_the_modules_give(name):
    agree(networks.get(name, resolution=32, classes=5))


@pytest.mark.parametrize("op", range(5))
@pytest.mark.parametrize("down", range(3))
def test_the_fast_forward_pass_of_every_operator_of_uninet(op, down):
    agree(catalog.space("uninet", resolution=16, classes=5).decode([op, 0, 1, 3, down] * 5))


@pytest.mark.parametrize("name", ["fbnet", "mnasnet", "uninet", "mobilenet_v3"])
def test_equal_digests_mean_equal_outputs_with_copied_weights(name):
    space = catalog.space(name, resolution=16, classes=3)
    rng = np.random.default_rng(3)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    compared = 0
    while compared < 3:
        genes = tuple(int(rng.integers(size)) for size in space.gene_sizes)
        canonical = space.canonical(genes)
        if canonical == genes:
            continue
        first, second = space.decode(genes), space.decode(canonical)
        assert first.digest == second.digest
        one, other = build(first, seed=1).eval(), build(second, seed=2).eval()
        weights = one.state_dict().values()
        other.load_state_dict(dict(zip(other.state_dict(), weights, strict=True)))
        with torch.no_grad():
            assert torch.equal(one(images), other(images))
        compared += 1
