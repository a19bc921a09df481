"""Families: published counts, rules of scaling, plans that hit their cost, and one line for what
cannot be."""

import math
import re

import pytest

from nas import networks
from nas.arch import Architecture, Stage
from nas.backbone import backbone
from nas.errors import ArchitectureError, UsageError
from nas.family import Coefficients, candidates, deviations, family, preset
from nas.family.steps import Plan
from nas.networks.archstring import arch_string
from nas.ops.conv import Classifier, Conv
from nas.ops.down import LocalDown
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.ops.mqa import MobileMQA
from nas.ops.uib import UIB
from nas.ops.unified import AttentionBlock, ConvBlock
from nas.report import plots
from nas.scale import scale
from nas.shape import Shape


def small(channels=(8, 16, 24), repeats=(1, 2), size=32):
    stem, *rest = channels
    stages = (
        Stage(
            f"stage{n}",
            tuple(MBConv(channels=c, expand=3, stride=2 if i == 0 else 1) for i in range(r)),
        )
        for n, (c, r) in enumerate(zip(rest, repeats, strict=True), 1)
    )
    head = Stage("head", (Conv(channels=64), Classifier(classes=10)))
    return Architecture(
        Shape(1, size), (Stage("stem", (Conv(kernel=3, channels=stem, stride=2),)), *stages, head)
    )


# -- presets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "base", "members"),
    [
        ("efficientnet", "efficientnet_b0", [f"efficientnet_b{n}" for n in range(8)]),
        ("efficientnetv2", "efficientnet_v2_b0", [f"efficientnet_v2_b{n}" for n in range(4)]),
        (
            "efficientnetv2",
            "efficientnet_v2_s",
            [f"efficientnet_v2_{n}" for n in ("s", "m", "l", "xl")],
        ),
        ("uninet", "uninet_b0", [f"uninet_b{n}" for n in range(7)]),
        ("uninet", "uninet_b1", [f"uninet_b{n}" for n in range(1, 7)]),
    ],
)
def test_a_published_base_gives_the_published_family(name, base, members):
    made = preset(name, networks.get(base), base_name=base)
    assert [m.network.digest for m in made] == [networks.get(n).digest for n in members]
    if name == "uninet" or base.endswith("_s"):
        assert all("not a pure scaling" in m.note for m in made[1:])


def test_a_published_family_takes_other_classes():
    made = preset("uninet", networks.get("uninet_b0", classes=10, in_channels=1))
    assert made[2].network.digest == networks.get("uninet_b2", classes=10, in_channels=1).digest


def test_v2_caps_the_resolution_and_adds_late_layers_beyond_b3():
    made = preset("efficientnetv2", networks.get("efficientnet_v2_b0"), count=7)
    assert [m.network.input.size for m in made] == [224, 240, 260, 300, 380, 456, 480, 480]
    assert any(r.what == "pixels (capped)" and r.exact == 528 for r in made[6].roundings)
    layers = [len(stage.ops) for stage in made[4].network.stages]
    assert layers[1:-1] == [math.ceil(1.8 * n) for n in (1, 2, 2, 3)] + [
        math.ceil(1.8 * n) + 1 for n in (5, 8)
    ]


def test_uninet_leaves_stem_and_head_alone():
    made = preset("uninet", networks.get("mobilenet_v2"))
    for member in made:
        assert member.network.stages[0] == made[0].network.stages[0]
        assert member.network.stages[-1] == made[0].network.stages[-1]


def test_the_formula_and_its_deviations_from_the_table():
    made = preset("efficientnet", networks.get("efficientnet_b0"), count=2, formula=True)
    assert (made[1].depth, made[1].width, made[1].resolution) == (1.2, 1.1, 1.15)
    assert made[2].network.input.size == 296
    b7 = deviations()[-1]
    assert b7.published == (3.1, 2.0, 600)
    nominal = [d * w**2 * r**2 for d, w, r in (b7.published, b7.formula)]
    assert nominal[0] == pytest.approx(nominal[1])
    assert b7.formula[0] == pytest.approx(1.2**b7.phi)
    assert b7.formula == pytest.approx((3.505, 1.926, 585.8), abs=0.06)


def test_what_no_preset_gives():
    b0 = networks.get("efficientnet_b0")
    with pytest.raises(
        UsageError, match=r"no preset named 'efficentnet'. Did you mean 'efficientnet'"
    ):
        preset("efficentnet", b0)
    with pytest.raises(
        UsageError, match=r"preset 'efficientnet' has 8 members beyond this base, not 9"
    ):
        preset("efficientnet", b0, count=9)
    with pytest.raises(UsageError, match=r"only preset 'efficientnet' has a formula, not 'uninet'"):
        preset("uninet", b0, formula=True)


def test_members_that_round_to_one_network_are_refused():
    tiny = Architecture(
        Shape(1, 8),
        (
            Stage("stem", (Conv(kernel=3, channels=8),)),
            Stage("head", (Conv(channels=8), Classifier(classes=2))),
        ),
    )
    with pytest.raises(
        ArchitectureError, match=r"members network and network_x1 round to one network .*Try fewer"
    ):
        preset("efficientnet", tiny)


def test_channels_that_are_no_multiples_of_eight_are_refused_with_a_way_out():
    odd = small(channels=(8, 20, 24))
    message = r"multiples of 8, and mbconv of stage1 has 20: .* Try --divisor 4"
    with pytest.raises(ArchitectureError, match=message):
        preset("efficientnet", odd)
    assert len(preset("efficientnet", odd, divisor=4)) == 8
    with pytest.raises(ArchitectureError, match=message):
        Plan(base=odd, cost=lambda a: a.macs, unit="macs", step=2)


# -- rules ----------------------------------------------------------------------------------------


def test_the_repeat_is_the_last_layer_that_keeps_the_map_and_stands_after_it():
    ops = (MBConv(channels=16), MBConv(channels=16, kernel=5), MBConv(channels=24, stride=2))
    network = Architecture(
        Shape(8, 16), (Stage("stage1", ops), Stage("head", (Classifier(classes=2),)))
    )
    made = scale(network, depth=1.5).network
    assert made.stages[0].ops == (ops[0], ops[1], ops[1], ops[1], ops[2])


def test_down_sampling_modules_classifiers_and_empty_stages_are_made_once():
    network = Architecture(
        Shape(8, 16),
        (
            Stage("none", ()),
            Stage("stage1", (LocalDown(channels=16), ConvBlock(), ConvBlock())),
            Stage("last", (Classifier(classes=2),)),
        ),
    )
    made = scale(network, depth=2.0, late=1).network
    assert [len(stage.ops) for stage in made.stages] == [0, 1 + 4 + 1, 1]
    assert [op.key for op in made.stages[1].ops] == ["down_local"] + ["uni_conv"] * 5


def test_depth_alone_gives_uninet_b2_from_b1():
    made = scale(networks.get("uninet_b1"), depth=1.5, resolution=256).network
    assert (made.params, made.macs) == (
        networks.get("uninet_b2").params,
        networks.get("uninet_b2").macs,
    )


def test_every_rounding_is_told():
    made = scale(networks.get("efficientnet_b0"), width=1.1, depth=1.2, head="scale")
    told = [str(found) for found in made.roundings]
    assert told[0] == "stem channels 35.2 -> 32"
    assert "stage2 layers 2.4 -> 3" in told
    assert len(told) == len(set(told))
    assert scale(networks.get("efficientnet_b0"), depth=2.0).roundings == ()


# -- plans ----------------------------------------------------------------------------------------


def macs(network):
    return float(network.macs)


def test_members_hit_their_step_and_say_how_far_off_they_are():
    plan = Plan(base=small(repeats=(2, 3)), cost=macs, unit="macs", step=2)
    made = family(plan, Coefficients(depth=1.2, width=1.1, resolution=1.15), 2)
    for number, member in enumerate(made):
        assert member.target == plan.cost(plan.base) * 2**number
        assert abs(plan.deviation(member)) <= 0.1
        assert plan.deviation(member) == member.network.macs / member.target - 1


def test_candidates_cost_one_step_and_hold_all_three_directions():
    plan = Plan(base=small(), cost=macs, unit="macs", step=2, tolerance=0.3)
    found, dropped = candidates(plan, 2)
    assert len(found) + len(dropped) == 6
    assert {c.pure for c, _ in found} >= {"depth", "width", "resolution"}
    assert all(abs(plan.deviation(member)) <= 0.3 for _, member in found)


def test_a_member_beyond_the_tolerance_is_refused():
    plan = Plan(base=small(), cost=macs, unit="macs", step=3, tolerance=0.01)
    with pytest.raises(
        ArchitectureError,
        match=r"814,080 macs, the nearest network costs \+6.8%, beyond ±1%. Try another --step",
    ):
        family(plan, Coefficients(depth=1, width=1.7, resolution=1), 1)
    with pytest.raises(
        ArchitectureError,
        match=r"0 of 3 directions have a network of their own within 0% of 1.01 times the",
    ):
        candidates(Plan(base=small(), cost=macs, unit="macs", step=1.01, tolerance=0.0001), 1)


def test_two_steps_that_round_to_one_network_are_refused():
    plan = Plan(base=small(), cost=macs, unit="macs", step=1.05)
    with pytest.raises(ArchitectureError, match=r"round to one network .*larger --step"):
        family(plan, Coefficients(depth=1, width=1.02, resolution=1), 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": 1}, "--step must be above 1"),
        ({"step": 2, "tolerance": 1}, "--tolerance is a fraction between 0 and 1"),
    ],
)
def test_a_plan_has_a_step_and_a_tolerance(settings, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Plan(base=small(), cost=macs, unit="macs", **settings)


def test_coefficients_are_at_least_one():
    with pytest.raises(UsageError, match="coefficients are 1 to 16, one of them above 1"):
        Coefficients(depth=1, width=1, resolution=1)


def test_labels_of_members_of_like_cost_do_not_stand_on_each_other():
    assert plots._apart([32.5, 51.9, 57.1, 121.0, 506.0]) == ["32.5", "51.9", "", "121", "506"]
    assert plots._apart([7.0]) == ["7"]


# -- backbones ------------------------------------------------------------------------------------


def test_maps_are_the_last_of_each_stride_before_the_head():
    found = backbone(networks.get("mobilenet_v2"))
    assert [(t.stride, t.name, t.channels) for t in found.taps] == [
        (4, "stage2.1", 24),
        (8, "stage3.2", 32),
        (16, "stage5.2", 96),
        (32, "stage7.0", 320),
    ]
    assert found.architecture.params == 1_811_712
    assert [stage.name for stage in found.architecture.stages][-1] == "stage7"


def test_what_has_no_backbone():
    with pytest.raises(
        ArchitectureError, match=r"op 'down_local_global' of stage5 works on maps of one size"
    ):
        backbone(networks.get("uninet_b0"))
    flat = Architecture(
        Shape(3, 8), (Stage("stem", (Conv(channels=8, stride=2),)), Stage("head", (Classifier(),)))
    )
    with pytest.raises(
        ArchitectureError, match=r"no map of stride 4 or 8 or 16 or 32: its strides are 2\. Take"
    ):
        backbone(flat)


# -- timm's strings -------------------------------------------------------------------------------

KINDS = {"ds": MBConv, "ir": MBConv, "er": FusedMBConv, "cn": Conv}
ACTS = {"re": "relu", "r6": "relu6", "hs": "hswish", "sw": "swish"}
LONG_ACTS = {
    "relu": "relu",
    "relu6": "relu6",
    "hard_swish": "hswish",
    "swish": "swish",
    "gelu": "gelu",
}


def decoded(block, default, base, inner, gate, scale):
    """timm's grammar, as its ``_decode_block_str`` documents it: a type, then tokens of letters and
    a number, any order."""
    kind, *tokens = block.split("_")
    flags = {token for token in tokens if token in ("skip", "noskip")}
    acts = [ACTS[token[1:]] for token in tokens if token[0] == "n" and token not in flags]
    numbers = {}
    for token in tokens:
        found = re.fullmatch(r"(r|k|s|e|c|se|a|h|d|v)([\d.]+)", token)
        if found:
            numbers[found[1]] = float(found[2])
        else:
            assert token in flags or token[0] == "n", f"unknown token {token}"
    act = acts[0] if acts else default
    common = {"kernel": int(numbers["k"]), "channels": int(numbers["c"]), "act": act}
    for index in range(int(numbers["r"])):
        stride = int(numbers["s"]) if index == 0 else 1
        if kind == "cn" and "skip" in flags:
            yield FusedMBConv(expand=1, stride=stride, **common)
        elif kind == "cn":
            yield Conv(stride=stride, **common)
        elif kind == "uir":
            first = int(numbers["a"])
            yield UIB(first=first, expand=numbers["e"], stride=stride, scale=scale, **common)
        elif kind == "mqa":
            heads, width, down = (int(numbers.get(name, 1)) for name in "hdv")
            yield MobileMQA(heads=heads, key_channels=width, kv_stride=down)
        else:
            se = (
                {"se": numbers["se"], "se_base": base, "se_act": inner, "se_gate": gate}
                if "se" in numbers
                else {}
            )
            skip = "none" if "noskip" in flags else "identity"
            expand = 1 if kind == "ds" else numbers["e"]
            yield KINDS[kind](expand=expand, stride=stride, skip=skip, **se, **common)


def rebuilt(text, size):
    """The network that timm would build."""
    given = text["arguments"]
    act = LONG_ACTS[given["act_layer"]]
    inner = LONG_ACTS[given.get("se_act", "relu")]
    gate = {"sigmoid": "sigmoid", "hard_sigmoid": "hsigmoid"}[given.get("se_gate", "sigmoid")]
    base = "expanded" if given.get("se_from_exp") else "input"
    scale = "layer_scale_init_value" in given
    body = [
        op
        for stage in text["arch_def"]
        for block in stage
        for op in decoded(block, act, base, inner, gate, scale)
    ]
    stem = Conv(kernel=3, stride=2, channels=given["stem_size"], act=act)
    if text["model"] == "EfficientNet":
        head = (
            Conv(channels=given["num_features"], act=act),
            Classifier(classes=given["num_classes"]),
        )
    else:
        norm = given.get("head_norm", False)
        head = (
            Classifier(
                classes=given["num_classes"],
                hidden=given["num_features"],
                hidden_norm=norm,
                act=act,
            ),
        )
    return Architecture(Shape(given["in_chans"], size), (Stage("all", (stem, *body, *head)),))


def bare(network):
    """Without what changes nothing: who is named as the activation inside squeeze-and-excitation,
    or at expansion 1."""
    found = []
    for layer in network.layers:
        kernels = [
            (k.kind, k.in_channels, k.out_channels, k.kernel, k.stride, k.groups, k.act)
            for k in layer.kernels
        ]
        found.append((layer.shape, kernels))
    return found


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b2",
        "efficientnet_v2_s",
        "fbnet_c",
        "mnasnet_a1",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "mobilenet_v4_conv_small",
        "mobilenet_v4_hybrid_large",
    ],
)
def test_an_independent_parser_reads_the_same_network(name):
    network = networks.get(name, classes=10)
    assert bare(rebuilt(arch_string(network).to_json(), network.input.size)) == bare(network)


def test_the_string_of_b0_is_timms_own():
    assert str(arch_string(networks.get("efficientnet_b0"))) == (
        "ds_r1_k3_s1_e1_c16_se0.25 ir_r2_k3_s2_e6_c24_se0.25 "
        "ir_r2_k5_s2_e6_c40_se0.25 ir_r3_k3_s2_e6_c80_se0.25 "
        "ir_r3_k5_s1_e6_c112_se0.25 ir_r4_k5_s2_e6_c192_se0.25 ir_r1_k3_s1_e6_c320_se0.25"
    )


def test_the_string_of_a_hybrid_mobilenet_v4_is_timms_own():
    found = arch_string(networks.get("mobilenet_v4_hybrid_large")).to_json()
    assert found["arch_def"][2][:5] == [
        "uir_r1_a3_s2_k5_e4_c192",
        "uir_r3_a3_s1_k3_e4_c192",
        "uir_r1_a3_s1_k5_e4_c192",
        "uir_r2_a5_s1_k3_e4_c192",
        "mqa_r1_k3_s1_h8_d48_v2_c192",
    ]
    assert found["arch_def"][4] == ["cn_r1_k1_s1_c960"]
    arguments = found["arguments"]
    assert (arguments["act_layer"], arguments["layer_scale_init_value"]) == ("gelu", 1e-5)
    assert (arguments["head_bias"], arguments["head_norm"]) == (False, True)


def within(*ops):
    stem, head = (
        Stage("stem", (Conv(kernel=3, channels=8, stride=2),)),
        Stage("head", (Conv(channels=64), Classifier())),
    )
    return Architecture(Shape(3, 32), (stem, Stage("stage1", ops), head))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: networks.get("fbnet_a"), "timm does not group the 1x1 convolutions"),
        (lambda: networks.get("uninet_b0"), "no word for 'uni_conv'"),
        (lambda: within(MBConv(act="gelu")), "no word for activation 'gelu'"),
        (lambda: within(UIB(), UIB(scale=True)), "blocks all have a layer scale, or none has"),
        (lambda: within(UIB(scale=True)), "timm's EfficientNet has no layer scale"),
        (lambda: within(AttentionBlock()), "no word for 'uni_attention'"),
        (lambda: within(MBConv(channels=8, skip="pool")), "timm's shortcut is the identity"),
        (lambda: within(Conv(channels=8, groups=2)), "timm's cn has no groups"),
        (
            lambda: within(FusedMBConv(channels=8, expand=1, se=0.25)),
            "timm's cn has no squeeze-and-excitation",
        ),
        (
            lambda: within(MBConv(channels=12), MBConv(channels=12, expand=3)),
            "timm rounds 12 x 3 channels",
        ),
        (
            lambda: within(MBConv(channels=8, se=0.25, se_base="expanded")),
            "squeezes to a share of a block's input",
        ),
        (
            lambda: within(
                MBConv(channels=8, se=0.25), MBConv(channels=8, se=0.25, se_gate="hsigmoid")
            ),
            "has one kind of",
        ),
        (
            lambda: Architecture(
                Shape(3, 8), (Stage("stem", (Conv(channels=8),)), *within().stages[2:])
            ),
            "timm's stem is a 3x3",
        ),
    ],
)
def test_what_no_timm_string_says(network, message):
    with pytest.raises(ArchitectureError, match=re.escape(message)):
        arch_string(network())
