import numpy as np
import pytest

from nas import catalog, networks
from nas.networks.membership import membership
from nas.scale import scaled


def stand(name, space=None, **settings):
    network = networks.get(name, **settings)
    space = catalog.space(space or networks.published(name).space, resolution=network.input.size)
    return network, space, membership(network, space)


@pytest.mark.parametrize("name", ["efficientnet_v2_s", "efficientnet_v2_b0", "efficientnet_b4"])
def test_points_of_their_spaces(name):
    network, space, found = stand(name)
    assert found.verdict == "in"
    assert space.decode(found.genes).digest == network.digest


@pytest.mark.parametrize(
    "name",
    [
        "conv_small_050",
        "conv_small",
        "conv_medium",
        "conv_large",
        "hybrid_medium_075",
        "hybrid_medium",
        "hybrid_large_075",
        "hybrid_large",
    ],
)
def test_mobilenet_v4s_are_points_of_their_space(name):
    network, space, found = stand(f"mobilenet_v4_{name}")
    assert found.verdict == "in"
    assert space.decode(found.genes).digest == network.digest


@pytest.mark.parametrize("name", ["mobilenet_v4_conv_small", "mobilenet_v4_hybrid_medium"])
def test_small_images_relax_networks_of_mobilenet_v4_as_they_relax_its_space(name):
    assert stand(name, resolution=32, small_images=True)[2].verdict == "in"


@pytest.mark.parametrize(
    ("name", "genes", "text"),
    [
        ("mnasnet_a1", ["block5.filters"], "near; block5: channels 112 instead of 120"),
        ("mnasnet_b1", ["block6.filters"], "near; block6: channels 192 instead of 200"),
        ("efficientnet_v2_b1", ["stage6.layers"], "near; stage6: 9 layers instead of 8"),
    ],
)
def test_the_nearest_point_and_the_genes_that_differ(name, genes, text):
    _, space, found = stand(name)
    assert str(found) == text
    assert [gene for difference in found.differences for gene in difference.genes] == genes
    assert space.check(found.genes) == found.genes


@pytest.mark.parametrize(
    "name", ["mnasnet_a1", "mnasnet_b1", "efficientnet_b0", "efficientnet_v2_b0"]
)
def test_points_of_mobile(name):
    network, space, found = stand(name, "mobile")
    assert found.verdict == "in"
    assert space.decode(found.genes).digest == network.digest


def test_the_nearest_points_of_mobile_keep_the_kind_of_block():
    near = {name: stand(name, "mobile") for name in ("mobilenet_v2", "mobilenet_v3_large")}
    for _, space, found in near.values():
        assert found.verdict == "near"
        told = space.describe(found.genes)
        assert {told[f"stage{stage}.block"] for stage in range(1, 7)} == {"mbconv"}
    texts = [difference.text for difference in near["mobilenet_v2"][2].differences]
    assert {text.partition(": ")[2] for text in texts} == {"act relu6 instead of relu"}
    assert "stage2: expand 4 instead of 3" in str(near["mobilenet_v3_large"][2])


def test_released_fbnets_lack_the_first_convolution_at_expansion_one():
    _, space, found = stand("fbnet_c")
    assert found.verdict == "near"
    assert [d.text for d in found.differences] == [
        f"{slot}: pointwise False instead of True" for slot in ("stage1_1", "stage2_3", "stage2_4")
    ]
    assert space.describe(found.genes)["stage2_3.block"] == "k3_e1"
    assert space.describe(found.genes)["stage2_2.block"] == "skip"


def test_what_the_space_does_not_search_is_outside():
    assert stand("mnasnet_small")[2].verdict == "outside"
    assert "head: channels 1504 instead of 1984" in str(stand("fbnet_a")[2])
    assert "instead of 8" in str(stand("efficientnet_v2_m")[2])
    network = networks.get("mnasnet_a1", resolution=128)
    assert (
        str(membership(network, catalog.space("mnasnet")))
        == "outside; input 3x128x128 instead of 3x224x224"
    )


def test_the_nearest_point_of_mobilenet_v3_large_differs_in_three_expansions_and_a_bias():
    _, space, found = stand("mobilenet_v3_large")
    assert [difference.text for difference in found.differences] == [
        "stage4_2: expand 2.5 instead of 3",
        "stage4_3: expand 2.3 instead of 3",
        "stage4_4: expand 2.3 instead of 3",
        "head: hidden_bias True instead of False",
    ]
    nearest = space.describe(space.canonical(found.genes))
    # Table 1 of its paper: 2, 3, 4, 2 and 3 blocks.
    kept = [nearest[f"stage{n}_{block}.kept"] for n in range(2, 7) for block in (3, 4)]
    assert kept == ["no", "no", "yes", "no", "yes", "yes", "no", "no", "yes", "no"]


@pytest.mark.parametrize("name", ["uninet_b0", "uninet_b1"])
def test_uninet_differs_in_channels_and_one_depth(name):
    found = stand(name)[2]
    genes = [gene for difference in found.differences for gene in difference.genes]
    assert found.verdict == "near"
    assert {gene.partition(".")[2] for gene in genes} == {"channels", "repeats"}


@pytest.mark.parametrize("name", ["fbnet", "mnasnet", "fused_mbconv", "uninet", "mobilenet_v3"])
def test_every_point_is_found_with_its_canonical_genes(name):
    space = catalog.space(name)
    rng = np.random.default_rng(0)
    for _ in range(20):
        genes = tuple(int(rng.integers(size)) for size in space.gene_sizes)
        found = membership(space.decode(genes), space)
        assert (found.verdict, found.genes) == ("in", space.canonical(genes))


def test_a_scaled_network_has_left_its_space():
    space = catalog.space("fused_mbconv")
    network = scaled(space.decode([0] * len(space.gene_sizes)), width=1.25)
    assert membership(network, space).verdict == "outside"
