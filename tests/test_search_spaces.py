import math
from dataclasses import replace
from itertools import product

import pytest

from nas import catalog
from nas.errors import UsageError
from nas.ops.conv import Conv
from nas.ops.mbconv import FusedMBConv
from nas.ops.mqa import MobileMQA
from nas.ops.uib import UIB
from nas.space import Choice, fixed
from search_spaces import fused_mbconv, mnasnet, mobile, mobilenet_v3, mobilenet_v4, uninet

MOBILE = 5_183_894_625_927_749_959_680_000


@pytest.mark.parametrize(
    ("name", "gene_tuples", "distinct"),
    [
        ("fbnet", 9**22, 327_700_343_401_999_790_625),
        ("mnasnet", 432**7, 342_378_257_213_030_400),
        ("fused_mbconv", 27_993_600_000, 27_993_600_000),
        ("fused_mbconv:base=b0", 4_031_078_400, 4_031_078_400),
        ("fused_mbconv:base=b4", 1_007_769_600_000, 1_007_769_600_000),
        ("uninet", 1875**5, 9_682_980_468_750_000),
        ("mobile", 1152 * 3888**5 * 1728 * 12 * 8, MOBILE),
        (
            "mobilenet_v4",
            math.prod((4, 64, 720, 216**2, 432, 108, 216**9, 6**6, 432, 108, 216**12, 6**6, 6, 2)),
            24_543_351_220_237_824_801_574_053_083_605_560_768_317_413_034_021_568_684_059_417_405_030_400,
        ),
        ("mobilenet_v3", (9 * 9 * 18 * 18) ** 5, 7_371**5),
        ("mobilenet_v3:width=1.2", (9 * 9 * 18 * 18) ** 5, 7_371**5),
    ],
)
def test_sizes(name, gene_tuples, distinct):
    space = catalog.space(name)
    assert (space.cardinality, space.distinct) == (gene_tuples, distinct)


def test_the_bases_of_fused_mbconv():
    assert fused_mbconv.space().name == "fused_mbconv"
    assert (
        catalog.space(fused_mbconv.space(base="b4").name).input
        == fused_mbconv.space(base="b4").input
    )
    with pytest.raises(
        UsageError, match=r"no base of space 'fused_mbconv' named 'b5'.*Known: b0, b4, s"
    ):
        fused_mbconv.space(base="b5")


def test_only_mbconv_has_squeeze_and_excitation_in_fused_mbconv():
    network = fused_mbconv.space().decode([1, 0, 1, 0] * 6)
    ops = [op for stage in network.stages[1:-1] for op in stage.ops]
    assert all(isinstance(op, FusedMBConv) and op.se == 0 for op in ops)


def test_floors_and_rounding_of_mnasnet():
    space = mnasnet.space()
    smallest = space.decode([0, 0, 0, 0, 0, 0] * 7)
    assert [len(stage.ops) for stage in smallest.stages] == [1, 1, 1, 2, 3, 2, 2, 1, 2]
    assert [stage.ops[-1].settings["channels"] for stage in smallest.stages[1:-1]] == [
        16,
        24,
        24,
        48,
        72,
        120,
        240,
    ]


def test_a_stage_of_uninet_without_blocks_keeps_its_module_and_idles_its_operator():
    space = uninet.space(32)
    empty, other = [0, 0, 2, 0, 0] * 5, [4, 3, 2, 0, 0] * 5
    network = space.decode(empty)
    assert [len(stage.ops) for stage in network.stages] == [1, 1, 1, 1, 2, 2, 3, 2]
    assert [op.key for op in network.stages[2].ops] == ["down_local"]
    assert space.canonical(other)[:2] == (0, 0)


def test_small_images_keep_a_last_map_of_at_least_four_pixels():
    for name in catalog.space_names():
        space = catalog.space(name, resolution=16)
        assert min(state.size for state in space.chain[-1].states) >= 4


def test_a_cut_down_mobile_holds_as_many_networks_as_are_found_one_by_one():
    space = mobile.space(32)
    # Widths 96 stand in both stages, of which neither has a stride: layers may move between them.
    stages = (space.slots[4], space.slots[5], space.slots[7])
    kept = {"block": (0, 4), "width": (0, -1), "depth": (0, 1), "gate": (0, -1), "act": (0,)}
    slots = []
    for slot in stages:
        choices = []
        for choice in slot.choices:
            options = [choice.options[place] for place in kept.get(choice.name, (0,))]
            choices.append(Choice(choice.name, options))
        slots.append(replace(slot, choices=tuple(choices)))
    cut = replace(space, slots=(fixed("stem", Conv(channels=96)), *slots, space.slots[-1]))
    every = product(*map(range, cut.gene_sizes))
    found = {cut.decode(genes).digest for genes in every}
    assert len(found) == cut.distinct < cut.cardinality


def test_blocks_of_mobile_take_the_settings_that_they_have():
    space = mobile.space(32)
    names = space.gene_names
    genes = [0] * len(names)
    genes[names.index("stage3.kernel")] = 1
    genes[names.index("stage3.gate")] = 1
    genes[names.index("stage3.act")] = 1
    blocks = []
    for block in range(6):
        genes[names.index("stage3.block")] = block
        blocks.append(space.decode(genes).stages[3].ops[-1].settings)
    common = {"act": "hswish", "channels": 32}
    hard = {"se": 0.25, "se_base": "expanded", "se_act": "relu", "se_gate": "hsigmoid"}
    assert blocks == [
        {**common, **hard, "kernel": 5, "expand": 3},
        {**common, **hard, "kernel": 5, "expand": 3},
        {**common, "first": 5, "kernel": 5, "expand": 3},
        {**common, "first": 5, "kernel": 0, "expand": 3},
        {**common, "se": 0.25, "cheap": 5, "expand": 3},
        {**common, "se": 0.25, "kernel": 5},
    ]


def test_a_cut_down_mobilenet_v3_holds_as_many_networks_as_are_found_one_by_one():
    space = mobilenet_v3.space(32)
    # Of one stage: a block that always stands, and both that may be left out.
    cut = replace(space, slots=(*space.slots[:3], *space.slots[4:6], space.slots[-1]))
    every = product(*map(range, cut.gene_sizes))
    assert len({cut.decode(genes).digest for genes in every}) == cut.distinct == 9 * (1 + 9 + 81)


def test_left_out_blocks_of_mobilenet_v3_are_spelled_last_first():
    space = mobilenet_v3.space(32)
    names = space.gene_names
    genes = [0] * len(names)
    genes[names.index("stage2_3.kept")] = 1
    genes[names.index("stage2_4.kernel")] = 2
    told = space.describe(space.canonical(genes))
    assert [told[f"stage2_{block}.kept"] for block in (3, 4)] == ["yes", "no"]
    assert told["stage2_3.kernel"] == "7"


def test_a_cut_down_mobilenet_v4_holds_as_many_networks_as_are_found_one_by_one():
    space = mobilenet_v4.space(32)
    slots = {slot.name: slot for slot in space.slots}
    attention = slots["stage3_7_attention"]
    layers = [slots[name] for name in ("stage3_6", "stage3_7", "stage3_8")]
    two = (mobilenet_v4.DISPENSABLE[0], Choice("first", (0, 3)), Choice("kernel", (0, 5)))
    one = (Choice("expand", (2,)), Choice("style", {"relu": UIB()}))
    small = [replace(slot, choices=(*two, *one)) for slot in layers]
    cut = replace(space, slots=(slots["stem"], small[0], attention, *small[1:], slots["head"]))
    every = product(*map(range, cut.gene_sizes))
    found = {tuple(layer for word in cut.words(genes) for layer in word) for genes in every}
    assert len(found) == cut.distinct < cut.cardinality


def test_attention_of_mobilenet_v4_keeps_all_keys_on_small_maps_alone():
    def keys(resolution):
        names = mobilenet_v4.space(resolution).gene_names
        return {name.partition("_")[0] for name in names if name.endswith("_attention.keys")}

    assert keys(384) == {"stage4"}
    assert keys(224) == {"stage3", "stage4"}
    strides = [
        layer.op.kv_stride
        for layer in mobilenet_v4.space(448).layers
        if isinstance(layer.op, MobileMQA) and layer.shape.size > 14
    ]
    assert set(strides) == {2}


def test_widths_of_mobilenet_v3():
    wide = mobilenet_v3.space(width=1.2)
    network = wide.decode([0] * len(wide.gene_sizes))
    stages = [stage.ops[-1].settings["channels"] for stage in network.stages[:-1]]
    assert stages == [24, 24, 32, 48, 96, 136, 192]
    head, classifier = network.stages[-1].ops
    assert (head.channels, classifier.hidden, classifier.hidden_bias) == (1152, 1536, False)
    assert catalog.space(wide.name).input == wide.input
    with pytest.raises(UsageError, match=r"width of space 'mobilenet_v3' must be 1.0 or 1.2, not "):
        mobilenet_v3.space(width=1.1)
