import json

import pytest

from nas import networks
from nas.arch import Architecture, Layer, Stage
from nas.errors import ArchitectureError, UsageError
from nas.ops import op_from_json, op_from_signature, op_to_json, registry
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.ops.unified import AttentionBlock
from nas.shape import Shape


def network(*ops, size=32, name="all"):
    return Architecture(Shape(3, size), (Stage(name, ops),))


STEM = Conv(kernel=3, channels=16, stride=2)
SMALL = (
    STEM,
    MBConv(channels=24, stride=2, se=0.25),
    MBConv(channels=24, expand=3),
    Classifier(classes=10),
)


def test_shapes_are_walked_once_and_strides_round_up():
    built = network(*SMALL, size=33)
    assert [str(layer.shape) for layer in built.layers] == [
        "3x33x33",
        "16x17x17",
        "24x9x9",
        "24x9x9",
    ]
    assert built.out_shape == Shape(10, 1)


def test_params_and_macs_by_hand():
    built = network(Conv(kernel=3, channels=8, stride=2), Classifier(classes=5), size=8)
    assert built.params == 3 * 9 * 8 + 2 * 8 + 8 * 5 + 5
    assert built.macs == 3 * 9 * 8 * 16 + 8 * 5
    assert built.size_bytes == 4 * built.params


def test_peak_memory_holds_the_residual_input():
    block = MBConv(expand=4)
    with_skip, without = (network(block.replace(skip=s), size=8) for s in ("identity", "none"))
    assert with_skip.peak_memory_bytes == without.peak_memory_bytes + 4 * 3 * 64


def test_peak_memory_counts_a_residual_once():
    """While the sum runs, three maps are alive; a kernel that reads the input holds no second."""
    assert networks.get("efficientnet_v2_s").peak_memory_bytes == 3 * 4 * 24 * 192 * 192
    block = FusedMBConv(expand=1)
    assert network(block, size=8).peak_memory_bytes == 3 * 4 * 3 * 64


def test_peak_memory_of_a_pooled_shortcut_by_hand():
    """The pool reads 3x8x8 and writes 3x4x4, beside the main path's 4x4x4; or the sum wins."""
    layer = Layer(FusedMBConv(expand=1, channels=4, stride=2, skip="pool"), Shape(3, 8))
    assert layer.peak_bytes == 4 * (3 * 64 + 3 * 16 + 4 * 16)
    layer = Layer(FusedMBConv(expand=1, channels=32, stride=2, skip="pool"), Shape(3, 8))
    assert layer.peak_bytes == 4 * 3 * (32 * 16)


def test_peak_memory_of_attention_by_hand():
    """The most are scores and their softmax, beside the residual and the values: one head."""
    shape = Shape(4, 8)
    whole, windows = AttentionBlock(expand=1), AttentionBlock(expand=1, window=4)
    assert Layer(whole, shape).peak_bytes == 4 * (2 * 64 * 64 + 2 * shape.elements)
    assert Layer(windows, shape).peak_bytes == 4 * (2 * 4 * 16 * 16 + 2 * shape.elements)


def test_what_is_held_is_said_for_each_kernel():
    class Wrong(Conv):
        def held(self, shape):
            return shape.elements

    message = "op 'conv': held must give a number for each of its 1 kernels, or none at all"
    with pytest.raises(ArchitectureError, match=message):
        _ = Layer(Wrong(channels=4), Shape(3, 8)).peak_bytes


def test_json_round_trip_and_digest():
    built = network(*SMALL)
    again = Architecture.from_json(json.loads(json.dumps(built.to_json())))
    assert again == built
    assert again.digest == built.digest


def test_digest_ignores_stage_borders_and_sees_everything_else():
    one = network(*SMALL)
    split = Architecture(one.input, (Stage("a", SMALL[:2]), Stage("b", SMALL[2:])))
    assert split.digest == one.digest
    others = [network(*SMALL, size=64), network(*SMALL[:2], *SMALL[3:]), network(STEM, *SMALL[2:])]
    assert len({one.digest, *(o.digest for o in others)}) == 4


def test_a_network_prints_as_its_layer_table():
    built = network(*SMALL, name="body")
    rows = str(built).splitlines()
    assert rows[0].split() == ["layer", "op", "input", "params", "macs", "(M)"]
    assert rows[2].split()[:3] == ["body", SMALL[0].signature, "3x32x32"]
    assert len(rows) == 2 + len(built.layers)
    assert built.layer_table({"more": ["1", "2", "3", "4"]}).splitlines()[-1].endswith("4")
    assert repr(built) == (
        f"Architecture({built.digest}: input 3x32x32, 4 layers, "
        f"{built.params:,} params, {built.macs / 1e6:,.1f} M macs)"
    )


def test_stages_with_their_layers_are_all_layers():
    stages = (Stage("stem", SMALL[:1]), Stage("empty", ()), Stage("body", SMALL[1:]))
    built = Architecture(Shape(3, 32), stages)
    assert [(stage.name, len(layers)) for stage, layers in built.layers_by_stage] == [
        ("stem", 1),
        ("empty", 0),
        ("body", 3),
    ]
    assert built.layers_by_stage[2][1] == built.layers[1:]


def test_digest_is_pinned():
    """A digest names a network in other people's records: it may never change."""
    assert network(*SMALL).digest == PINNED


PINNED = "f49e6f3ba36c1ef40b09"


def test_equal_settings_written_differently_are_one_op():
    assert op_from_json({"op": "mbconv", "expand": 6.0}) == MBConv(expand=6)
    assert op_to_json(MBConv(expand=6.0)) == op_to_json(MBConv(expand=6)) == {"op": "mbconv"}


@pytest.mark.parametrize(
    "op", [*SMALL, FusedMBConv(expand=4, act="swish"), MBConv(groups=2, pointwise=True, se=0.25)]
)
def test_signature_round_trip(op):
    assert op_from_signature(op.signature) == op


def test_every_registered_op_builds_from_its_key():
    assert {"conv", "classifier", "mbconv", "fused_mbconv"} <= set(registry())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MBConv(kernel=4), "kernel must be odd"),
        (lambda: MBConv(stride=3), "stride must be 1 or 2, not 3"),
        (lambda: MBConv(expand=0), "expand must be above 0"),
        (lambda: MBConv(se=2), "se must be a ratio"),
        (lambda: MBConv(skip="maybe"), "skip must be one of identity, pool, none"),
        (lambda: Conv(act="tanh"), "act must be one of"),
        (lambda: Conv(channels=-1), "channels must be 1 to"),
        (lambda: Conv(groups=0), "groups must be at least 1"),
        (lambda: Classifier(classes=0), "classes must be 1 to"),
        (lambda: network(), "at least one layer"),
        (lambda: network(Conv(channels=8, groups=2)), "2 groups do not divide 3 and 8 channels"),
        (lambda: Shape(0, 3), "at least one channel and one pixel"),
    ],
)
def test_what_cannot_be_built_raises(make, message):
    with pytest.raises(ArchitectureError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": 2}, ArchitectureError, "format must be 1, not 2"),
        (
            {"stages": [{"name": "s", "layers": [{"op": "mbconf"}]}]},
            UsageError,
            "no op named 'mbconf'. Did you mean 'mbconv'",
        ),
        (
            {"stages": [{"name": "s", "layers": [{"op": "conv", "kernal": 3}]}]},
            UsageError,
            "Did you mean 'kernel'",
        ),
        (
            {"stages": [{"name": "s", "layers": [{"op": "conv", "kernel": "3"}]}]},
            ArchitectureError,
            "must be int",
        ),
        (
            {"stages": [{"name": "s", "layers": [{"op": "conv", "kernel": True}]}]},
            ArchitectureError,
            "must be int",
        ),
        (
            {"stages": [{"name": "s", "layers": ["conv"]}]},
            ArchitectureError,
            "an op must be an object",
        ),
        ({"stages": 3}, ArchitectureError, "not an architecture"),
        ({"input": {"channels": 3}}, ArchitectureError, "missing or misplaced 'size'"),
        ({"input": {"channels": 3, "size": 1.5}}, ArchitectureError, "two whole numbers"),
    ],
)
def test_bad_json_is_one_clear_error(change, error, message):
    with pytest.raises(error, match=message):
        Architecture.from_json({**network(*SMALL).to_json(), **change})


def test_files(tmp_path):
    path = tmp_path / "net.json"
    network(*SMALL).save(path)
    assert Architecture.load(path) == network(*SMALL)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ArchitectureError, match="cannot read architecture"):
        Architecture.load(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ArchitectureError, match="cannot read architecture"):
        Architecture.load(path)
    with pytest.raises(ArchitectureError, match="cannot read architecture"):
        Architecture.load(tmp_path / "absent.json")
