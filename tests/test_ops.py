import pytest

from nas.arch import Layer
from nas.errors import ArchitectureError
from nas.latency.keys import layer_key
from nas.ops import op_from_json
from nas.ops.down import GlobalDown
from nas.ops.gates import eca_kernel
from nas.ops.ghost import GhostBottleneck
from nas.ops.mbconv import MBConv
from nas.ops.mqa import MobileMQA
from nas.ops.rep import RepConv
from nas.ops.residual import Bottleneck, group_count
from nas.ops.selective import SelectiveBlock
from nas.ops.uib import UIB
from nas.ops.unified import AttentionBlock, ConvBlock, TokenMLPBlock, heads
from nas.shape import Kernel, Shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"op": "mbconv", "se_base": "output"},
            "se_base must be one of 'input', 'expanded', not 'output'",
        ),
        (
            {"op": "mbconv", "se_gate": "relu"},
            "se_gate must be one of 'sigmoid', 'hsigmoid', not 'relu'",
        ),
        ({"op": "uni_attention", "window": -1}, "window must be 0 .the whole map. to 1024, not -1"),
        ({"op": "uni_attention", "head_channels": 0}, "head_channels must be 1 to 1024, not 0"),
        ({"op": "down_global", "head_channels": 0}, "head_channels must be 1 to 1024, not 0"),
        ({"op": "down_local", "stride": 3}, "stride must be 1 or 2, not 3"),
        ({"op": "mobile_mqa", "heads": 0}, "heads must be 1 to 1024, not 0"),
        ({"op": "mobile_mqa", "kv_stride": 4}, "stride must be 1 or 2, not 4"),
        ({"op": "uib", "first": 2}, "kernel must be odd and 1 to 31, not 2"),
        (
            {"op": "uib", "kernel": 0, "stride": 2},
            "a stride of 2 needs a depthwise convolution .* Give one of them, or stride 1",
        ),
        (
            {"op": "mbconv", "se": 0.25, "eca": True},
            "op 'mbconv' takes one gate, not se=0.25 and eca=True: leave one of them out",
        ),
        ({"op": "basic_block", "gc": 2}, "gc must be a ratio from 0 to 1, not 2"),
        ({"op": "bottleneck", "gate_at": "in"}, "gate_at must be one of 'out', 'middle', not 'in'"),
        ({"op": "bottleneck", "ratio": 0}, "ratio must be above 0 and at most 8, not 0"),
        ({"op": "bottleneck", "groups": 0}, "groups must be at least 1, not 0"),
        ({"op": "rep_conv", "branches": 0}, "branches must be 1 to 16, not 0"),
        ({"op": "sk_block", "ratio": 0}, "ratio must be above 0 and at most 1, not 0"),
        ({"op": "sk_block", "least": 0}, "least must be 1 to 4096, not 0"),
        ({"op": "ghost", "stride": 3}, "stride must be 1 or 2, not 3"),
        ({"op": "uni_mlp", "tokens": 0}, "tokens must be 1 to 16384, not 0"),
        ({"op": "uni_conv", "expand": 0}, "expand must be above 0 and at most 64, not 0"),
        (
            {"op": "classifier", "hidden": -1},
            "channels must be 1 to 65536 .0: as the input., not -1",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ArchitectureError, match=message):
        op_from_json(settings)


def test_heads_divide_the_channels():
    assert [heads(c, 32) for c in (8, 32, 80, 104, 128, 56)] == [1, 1, 2, 2, 4, 1]
    assert all(c % heads(c, 32) == 0 for c in range(8, 600, 8))


def test_the_filter_of_eca_grows_with_the_logarithm_of_the_channels():
    assert [eca_kernel(channels) for channels in (1, 16, 64, 256, 1024)] == [3, 3, 3, 5, 5]
    # Halfway between 5 and 7: the paper's 80 parameters of ResNet-50 need the smaller one.
    assert eca_kernel(2048) == 5


def test_groups_stay_as_far_as_they_divide_the_channels():
    assert [group_count(32, channels) for channels in (128, 24, 16, 7)] == [32, 24, 16, 7]
    assert [group_count(4, channels) for channels in (16, 6, 7)] == [4, 3, 1]


def test_branches_cost_what_they_fold_into():
    shape = Shape(8, 14)
    branches, folded = RepConv(branches=2), RepConv(deploy=True)
    assert branches.deployed == folded == folded.deployed
    assert branches.kernels(shape) == folded.kernels(shape) == folded.trained(shape)
    assert Layer(branches, shape).params == 9 * 8 * 8 + 8
    trained = sum(kernel.params for kernel in branches.trained(shape))
    assert trained == 2 * 9 * 8 * 8 + 8 * 8 + 2 * 8 * 4
    assert layer_key(branches, shape) == layer_key(folded, shape) == "rep_conv(deploy=True)@8x14x14"


def test_a_depthwise_convolution_keeps_its_channels():
    with pytest.raises(ArchitectureError, match="keeps the 8 channels, and cannot make 16 of them"):
        Layer(RepConv(depthwise=True, channels=16), Shape(8, 4)).kernels  # noqa: B018


def test_what_a_selective_kernel_splits_needs_halves():
    with pytest.raises(ArchitectureError, match="op 'sk_block': 9 channels have no halves"):
        SelectiveBlock(split=True).out_shape(Shape(9, 4))
    assert SelectiveBlock().out_shape(Shape(9, 4)) == Shape(9, 4)
    assert [SelectiveBlock().width(Shape(channels, 4)) for channels in (64, 1024)] == [32, 64]


def test_a_ghost_module_needs_two_halves():
    with pytest.raises(ArchitectureError, match="op 'ghost' needs at least 2 channels, not 1x4x4"):
        GhostBottleneck().out_shape(Shape(1, 4))


def test_fractional_expansion_and_squeeze_round_as_mobilenet_v3():
    block = MBConv(expand=2.3, se=0.25, se_base="expanded")
    assert block.middle(Shape(80, 14)) == 184
    assert MBConv(expand=3, se=0.25, se_base="expanded").squeeze(Shape(24, 28)) == 24
    assert MBConv(expand=3, se=0.25).squeeze(Shape(24, 28)) == 6


@pytest.mark.parametrize(
    ("op", "kernels"),
    [
        (UIB(first=5, kernel=3), ["dwconv 5/1", "conv 1/1", "dwconv 3/2", "conv 1/1"]),
        (UIB(first=5, kernel=0), ["dwconv 5/2", "conv 1/1", "conv 1/1"]),
        (UIB(kernel=5), ["conv 1/1", "dwconv 5/2", "conv 1/1"]),
    ],
)
def test_the_stride_of_a_universal_bottleneck_is_its_last_depthwise_convolutions(op, kernels):
    found = op.replace(stride=2).kernels(Shape(20, 14))
    assert [f"{k.kind} {k.kernel}/{k.stride}" for k in found] == kernels
    assert found[0].act == ("" if op.first else "relu")
    assert op.middle(Shape(20, 14)) == 80


def test_attention_costs_grow_with_the_square_of_tokens_and_windows_bound_them():
    def mixing(op, size):
        return sum(k.macs for k in op.kernels(Shape(32, size)) if k.kind == "matmul")

    assert mixing(AttentionBlock(), 14) == 2 * 196**2 * 32
    assert mixing(AttentionBlock(window=7), 14) == 2 * 4 * 49**2 * 32
    assert mixing(AttentionBlock(window=7), 10) == mixing(AttentionBlock(window=7), 14)  # padded


def test_heads_share_keys_and_a_quarter_of_them_is_left_at_stride_two():
    def mixing(op):
        return sum(k.macs for k in op.kernels(Shape(160, 14)) if k.kind == "matmul")

    assert mixing(MobileMQA()) == 2 * 4 * 196**2 * 64
    assert mixing(MobileMQA(kv_stride=2)) == 2 * 4 * 196 * 49 * 64
    params = Layer(MobileMQA(), Shape(160, 14)).params
    # Query and projection of all heads, one key and one value, norm, layer scale.
    assert params == 160 * 64 * (4 + 4 + 1 + 1) + 3 * 160


def test_a_setting_that_changes_nothing_has_one_form():
    assert AttentionBlock(window=7).at(Shape(8, 7)) == AttentionBlock()
    assert AttentionBlock(window=7).at(Shape(8, 8)) == AttentionBlock(window=7)
    assert MBConv(skip="none", stride=2).at(Shape(8, 8)) == MBConv(stride=2)
    assert MBConv(skip="none").at(Shape(8, 8)).skip == "none"
    assert MobileMQA(kernel=5).at(Shape(8, 8)) == MobileMQA()
    assert MobileMQA(kernel=5, kv_stride=2).at(Shape(8, 8)).kernel == 5
    assert UIB(skip="none", stride=2).at(Shape(8, 8)) == UIB(stride=2)
    assert GhostBottleneck(kernel=5).at(Shape(8, 8)) == GhostBottleneck()
    assert GhostBottleneck(kernel=5, stride=2).at(Shape(8, 8)).kernel == 5
    assert Bottleneck(gate_at="middle").at(Shape(8, 8)) == Bottleneck()


def test_token_mixing_weights_depend_on_the_resolution_and_no_others_do():
    ops = (AttentionBlock(), AttentionBlock(window=7), ConvBlock(), GlobalDown(channels=16))
    assert [Layer(op, Shape(8, 8)).params == Layer(op, Shape(8, 11)).params for op in ops] == [
        True
    ] * 4
    assert Layer(TokenMLPBlock(), Shape(8, 8)).params < Layer(TokenMLPBlock(), Shape(8, 11)).params


def test_rows_multiply_work_and_activations_but_not_weights():
    one = Kernel(kind="linear", in_channels=49, out_channels=16, in_size=1, out_size=1, bias=True)
    many = Kernel(
        kind="linear", in_channels=49, out_channels=16, in_size=1, out_size=1, bias=True, rows=8
    )
    assert many.params == one.params == 49 * 16 + 16
    assert (many.macs, many.in_elements, many.out_elements) == (8 * 49 * 16, 8 * 49, 8 * 16)
