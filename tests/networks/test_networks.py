import pytest

from nas import networks
from nas.errors import ArchitectureError, UsageError
from nas.networks import rules
from nas.scale import scaled

# Name, resolution, count, rule, decimals of the count in millions (None: exact), source.
PARAMS = (
    ("mobilenet_v2", 3_504_872, None),
    ("mobilenet_v3_large", 5_483_032, None),
    ("mobilenet_v3_small", 2_542_856, None),
    ("mnasnet_b1", 4_383_312, None),
    ("mnasnet_a1", 3.89, 2),
    ("mnasnet_small", 2.03, 2),
    ("efficientnet_b0", 5_288_548, None),
    ("efficientnet_b1", 7_794_184, None),
    ("efficientnet_b2", 9_109_994, None),
    ("efficientnet_b3", 12_233_232, None),
    ("efficientnet_b4", 19_341_616, None),
    ("efficientnet_b5", 30_389_784, None),
    ("efficientnet_b6", 43_040_704, None),
    ("efficientnet_b7", 66_347_960, None),
    ("efficientnet_b8", 87.41, 2),
    ("efficientnet_l2", 480.31, 2),
    ("efficientnet_v2_s", 21_458_488, None),
    ("efficientnet_v2_m", 54_139_356, None),
    ("efficientnet_v2_l", 118_515_272, None),
    ("efficientnet_v2_xl", 208.12, 2),
    ("efficientnet_v2_b0", 7.14, 2),
    ("efficientnet_v2_b1", 8.14, 2),
    ("efficientnet_v2_b2", 10.10, 2),
    ("efficientnet_v2_b3", 14.36, 2),
    ("uninet_b0", 11.451, 3),
    ("uninet_b1", 11.451, 3),
    ("uninet_b2", 16.211, 3),
    ("uninet_b3", 24.02, 2),
    ("uninet_b4", 43.796, 3),
    ("uninet_b5", 72.883, 3),
    ("uninet_b6", 117, 0),
    ("mobilenet_v4_conv_small_035", 1_905_384, None),
    ("mobilenet_v4_conv_small_050", 2_238_952, None),
    ("mobilenet_v4_conv_small", 3_774_024, None),
    ("mobilenet_v4_conv_medium", 9_715_512, None),
    ("mobilenet_v4_conv_large", 32_590_864, None),
    ("mobilenet_v4_hybrid_medium_075", 7_313_528, None),
    ("mobilenet_v4_hybrid_medium", 11_074_648, None),
    ("mobilenet_v4_hybrid_large_075", 22_754_984, None),
    ("mobilenet_v4_hybrid_large", 37_764_624, None),
    ("ghostnet_100", 5_182_508, None),
    ("ghostnet_130", 7_358_820, None),
    ("resnet18", 11_689_512, None),
    ("resnet34", 21_797_672, None),
    ("resnet50", 25_557_032, None),
    ("resnet101", 44_549_160, None),
    ("resnext50_32x4d", 25_028_904, None),
    ("wide_resnet50_2", 68_883_240, None),
    ("ecaresnet50", 25_557_032 + 80, None),
    ("gcresnext26ts", 10_476_600, None),
    ("mobileone_s1", 4.8, 1),
    ("skresnet18", 11_958_056, None),
)


@pytest.mark.parametrize(("name", "count", "decimals"), PARAMS)
def test_trained_values_are_the_published_ones(name, count, decimals):
    """torchvision's counts, timm's and the UniNet repository's rounded ones."""
    params = networks.get(name).params
    assert params == count if decimals is None else round(params / 1e6, decimals) == count


@pytest.mark.parametrize(("name", "millions"), [("fbnet_a", 4.27029), ("fbnet_c", 5.52542)])
def test_released_fbnets_have_the_released_number_of_weights(name, millions):
    """mobile-vision's model_info_fbnet."""
    assert (
        round(rules.conv_and_classifier_weights(networks.get(name).kernels()) / 1e6, 5) == millions
    )


# Name, width, resolution, millions, rule.
MACS = (
    ("mobilenet_v2", 1, 224, 301, "conv+linear"),
    ("mobilenet_v3_large", 1, 224, 217, "conv+linear"),
    ("mobilenet_v3_small", 1, 224, 56.5, "conv+linear"),
    ("mnasnet_b1", 1, 224, 314, "conv+linear"),
    ("mnasnet_a1", 1, 224, 312, "conv+linear"),
    ("mnasnet_small", 1, 224, 68, "conv+linear"),
    ("mnasnet_a1", 1, 224, 315.2, "half of float operations"),
    ("mnasnet_a1", 1.4, 224, 591.5, "half of float operations"),
    ("mnasnet_a1", 0.75, 192, 166.9, "half of float operations"),
    ("mnasnet_a1", 0.5, 224, 105.2, "half of float operations"),
    ("mnasnet_a1", 0.35, 160, 32.9, "half of float operations"),
    ("mnasnet_a1", 1, 128, 104.1, "half of float operations"),
    ("fbnet_a", 1, 224, 244.52636, "conv+linear+average pool"),
    ("fbnet_c", 1, 224, 378.23344, "conv+linear+average pool"),
    ("efficientnet_b0", 1, 224, 386, "conv+linear"),
    ("efficientnet_b1", 1, 240, 687, "conv+linear"),
    ("efficientnet_b2", 1, 288, 1088, "conv+linear"),
    ("efficientnet_b3", 1, 300, 1827, "conv+linear"),
    ("efficientnet_b4", 1, 380, 4394, "conv+linear"),
    ("efficientnet_v2_s", 1, 384, 8366, "conv+linear"),
    ("efficientnet_v2_b0", 1, 224, 730, "fvcore"),
    ("efficientnet_v2_b1", 1, 240, 1210, "fvcore"),
    ("efficientnet_v2_b2", 1, 260, 1720, "fvcore"),
    ("efficientnet_v2_b3", 1, 300, 3040, "fvcore"),
    ("uninet_b0", 1, 160, 555, "fvcore"),
    ("uninet_b1", 1, 224, 1118, "fvcore"),
    ("uninet_b2", 1, 256, 2159, "fvcore"),
    ("uninet_b3", 1, 288, 4258, "fvcore"),
    ("uninet_b4", 1, 320, 9429, "fvcore"),
    ("mobilenet_v4_conv_small", 1, 224, 190, "fvcore"),
    ("mobilenet_v4_conv_small", 1, 256, 247, "fvcore"),
    ("mobilenet_v4_conv_medium", 1, 224, 840, "fvcore"),
    ("mobilenet_v4_conv_medium", 1, 256, 1100, "fvcore"),
    ("mobilenet_v4_conv_medium", 1, 320, 1710, "fvcore"),
    ("mobilenet_v4_conv_large", 1, 384, 6430, "fvcore"),
    ("mobilenet_v4_hybrid_medium", 1, 224, 980, "fvcore"),
    ("mobilenet_v4_hybrid_medium", 1, 256, 1290, "fvcore"),
    ("mobilenet_v4_hybrid_medium", 0.75, 224, 660, "fvcore"),
    ("mobilenet_v4_hybrid_large", 1, 384, 7770, "fvcore"),
    ("mobilenet_v4_hybrid_large", 0.75, 256, 2060, "fvcore"),
    ("ghostnet_100", 1, 224, 141, "conv+linear"),
    ("ghostnet_130", 1, 224, 226, "conv+linear"),
    ("resnet18", 1, 224, 1814, "conv+linear"),
    ("resnet50", 1, 224, 4089, "conv+linear"),
    ("resnext50_32x4d", 1, 224, 4230, "conv+linear"),
    ("wide_resnet50_2", 1, 224, 11398, "conv+linear"),
    ("gcresnext26ts", 1, 256, 2430, "fvcore"),
    ("mobileone_s1", 1, 224, 825, "conv+linear"),
    ("skresnet18", 1, 224, 1820, "fvcore"),
)


@pytest.mark.parametrize(("name", "width", "resolution", "millions", "rule"), MACS)
def test_multiply_adds_are_within_half_a_percent_of_the_published_ones(
    name, width, resolution, millions, rule
):
    """torchvision, the papers, tensorflow/tpu's README, mobile-vision, timm's tables, the UniNet
    repository."""
    network = networks.get(name, width=width, resolution=resolution)
    assert rules.MACS[rule](network.kernels()) / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(
    ("name", "width", "millions"),
    [
        ("mobilenet_v2", 0.5, 1.97),
        ("mobilenet_v2", 1.4, 6.11),
        ("mnasnet_a1", 0.5, 2.1),
        ("mnasnet_a1", 1.4, 6.1),
        ("mobilenet_v4_conv_small", 0.5, 2.24),
        ("mobilenet_v4_hybrid_large", 0.75, 22.75),
    ],
)
def test_widths_round_as_their_authors_round(name, width, millions):
    """timm's mobilenetv2_050, mobilenetv2_140 and mobilenetv4; tensorflow/tpu's README."""
    decimals = 1 if name == "mnasnet_a1" else 2
    assert round(networks.get(name, width=width).params / 1e6, decimals) == millions


@pytest.mark.parametrize(
    ("name", "params"), [("repvgg_a0", 9_108_968), ("mobileone_s1", 4_825_192)]
)
def test_before_branches_are_folded_networks_have_timms_parameters(name, params):
    network = networks.get(name)
    assert rules.all_trainable(network.trained_kernels()) == params > network.params
    assert network.params == network.deployed.params


def test_repvgg_is_published_with_its_branches():
    counts = networks.published("repvgg_a0").counts(networks.get("repvgg_a0"))
    assert counts["params"] == 9_108_968
    assert counts["params_rule"] == "all trainable, before branches are folded"


def test_the_general_rules_agree_with_the_network_itself():
    network = networks.get("uninet_b0")
    assert rules.all_trainable(network.kernels()) == network.params
    assert rules.conv_and_linear(network.kernels()) < network.macs


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(
        UsageError, match=r"no published network named 'mobilnet_v2'. Did you mean 'mobilenet_v2'"
    ):
        networks.get("mobilnet_v2")


def test_names_are_sorted_and_unique():
    assert list(networks.names()) == sorted(set(networks.names()))


def test_the_head_of_mobilenet_v2_never_shrinks_and_that_of_mnasnet_never_changes():
    def head(name, width):
        return networks.get(name, width=width).stages[-1].ops[0].channels

    assert [head("mobilenet_v2", w) for w in (0.5, 1.0, 1.4)] == [1280, 1280, 1792]
    assert [head("mnasnet_a1", w) for w in (0.5, 1.0, 1.4)] == [1280, 1280, 1280]


def test_scaling_changes_resolution_classes_and_input_channels():
    small = networks.get("fbnet_c", resolution=32, classes=10, in_channels=1)
    assert (small.input.channels, small.input.size, small.out_shape.channels) == (1, 32, 10)
    assert networks.get("fbnet_c", resolution=128).params == networks.get("fbnet_c").params


def test_depth_repeats_the_last_layer_of_every_stage_at_stride_one():
    base = networks.get("mobilenet_v2")
    deeper = scaled(base, depth=1.5)
    assert [len(s.ops) for s in deeper.stages] == [1, 2, 3, 5, 6, 5, 5, 2, 2]
    assert deeper.stages[1].ops[1].stride == 1
    assert [layer.out_shape.size for layer in deeper.layers][-3:] == [7, 7, 1]


def test_a_scaling_of_one_gives_the_same_network():
    base = networks.get("mnasnet_a1")
    assert scaled(base) == base


def test_a_factor_out_of_range_is_refused():
    with pytest.raises(ArchitectureError, match="width must be above 0 and at most 16, not 0"):
        scaled(networks.get("mobilenet_v2"), width=0)
