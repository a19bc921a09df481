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
)


@pytest.mark.parametrize(("name", "resolution", "params", "macs"), PUBLISHED)
def test_counts_are_the_published_ones_by_their_rules(name, resolution, params, macs):
    network = networks.get(name)
    assert network.input.size == resolution
    counts = networks.published(name).counts(network)
    assert round(counts["params"] / 1e6, 2) == params
    assert round(counts["macs"] / 1e9, 2) == macs


def test_a_distillation_head_is_counted_by_its_rule_and_not_built():
    network = networks.get("efficientformerv2_s0")
    counts = networks.published("efficientformerv2_s0").counts(network)
    assert counts["params_rule"] == "with a distillation head"
    assert counts["params"] - network.params == 176 * 1000 + 1000


@pytest.mark.parametrize("name", ["s0", "s1", "s2", "l"])
def test_efficientformers_are_points_of_their_space(name):
    network = networks.get(f"efficientformerv2_{name}")
    space = catalog.space(networks.published(f"efficientformerv2_{name}").space)
    found = membership(network, space)
    assert found.verdict == "in"
    assert space.decode(found.genes).digest == network.digest
