"""Published networks that attend: what timm publishes of them, and where they stand in spaces."""

import pytest

from nas import catalog, networks
from nas.networks.membership import membership

# Name, resolution, params (M), multiply-adds (G): timm's
# results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv (7479d451), two decimals.
PUBLISHED = (
    ("efficientformerv2_s0", 224, 3.60, 0.41),
    ("efficientformerv2_s1", 224, 6.19, 0.67),
    ("efficientformerv2_s2", 224, 12.71, 1.27),
    ("efficientformerv2_l", 224, 26.32, 2.59),
    ("convnext_tiny", 224, 28.59, 4.47),
    ("convnext_small", 224, 50.22, 8.71),
    ("edgenext_xx_small", 256, 1.33, 0.26),
    ("edgenext_x_small", 256, 2.34, 0.54),
    ("edgenext_small", 256, 5.59, 1.26),
    ("levit_128s", 224, 7.78, 0.31),
    ("levit_128", 224, 9.21, 0.41),
    ("levit_192", 224, 10.95, 0.66),
    ("levit_256", 224, 18.89, 1.13),
    ("levit_384", 224, 39.13, 2.36),
    ("botnet26t", 256, 12.49, 3.32),
    ("halonet26t", 256, 12.48, 3.19),
)


@pytest.mark.parametrize(("name", "resolution", "params", "macs"), PUBLISHED)
def test_counts_are_the_published_ones_by_their_rules(name, resolution, params, macs):
    network = networks.get(name)
    assert network.input.size == resolution
    counts = networks.published(name).counts(network)
    assert round(counts["params"] / 1e6, 2) == params
    assert round(counts["macs"] / 1e9, 2) == macs


@pytest.mark.parametrize(
    ("name", "head"),
    [("efficientformerv2_s0", 176 * 1000 + 1000), ("levit_128s", 2 * 384 + 384 * 1000 + 1000)],
)
def test_a_distillation_head_is_counted_by_its_rule_and_not_built(name, head):
    network = networks.get(name)
    counts = networks.published(name).counts(network)
    assert counts["params_rule"] == "with a distillation head"
    assert counts["params"] - network.params == head


@pytest.mark.parametrize("name", ["s0", "s1", "s2", "l"])
def test_efficientformers_are_points_of_their_space(name):
    network = networks.get(f"efficientformerv2_{name}")
    space = catalog.space(networks.published(f"efficientformerv2_{name}").space)
    found = membership(network, space)
    assert found.verdict == "in"
    assert space.decode(found.genes).digest == network.digest
