"""The space efficientformer_v2, and the settings of ops that attend."""

import itertools

import pytest

from nas import catalog
from nas.arch import Layer
from nas.errors import ArchitectureError
from nas.ops import op_from_json
from nas.ops.efficientformer import AttentionDown, ConvFFN, TalkingAttention
from nas.ops.levit import LevitAttention
from nas.ops.sdta import SDTA
from nas.shape import FLOAT_BYTES, Shape
from nas.testing.spaces import check_space
from search_spaces import efficientformer_v2


def test_size():
    space = catalog.space("efficientformer_v2")
    assert space.cardinality == 2 * 3 * 4 * 8 * (3 * 4**4) ** 2 * (6 * 7**14) * (6 * 7**9)
    assert space.distinct == 1_035_757_825_630_258_366_017_043_200


def test_the_count_of_a_cut_down_space_is_what_enumeration_finds(monkeypatch):
    stages = (((32, 40), 1), ((48,), 1), ((96,), 3), ((176,), 1))
    monkeypatch.setattr(efficientformer_v2, "STAGES", stages)
    for name in ("e3", "e4"):
        monkeypatch.delitem(efficientformer_v2.FFN, name)
    space = efficientformer_v2.space(32)
    every = itertools.product(*(range(size) for size in space.gene_sizes))
    assert space.distinct == len({space.decode(genes).digest for genes in every}) == 112
    assert space.cardinality == 2 * (2 * 3 * 3) * (2 * 2)


def test_the_contract_of_spaces():
    check_space(lambda **settings: catalog.space("efficientformer_v2", **settings), samples=10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"op": "conv_ffn", "expand": 0}, "expand must be above 0 and at most 64, not 0"),
        ({"op": "conv_ffn", "kernel": 2}, "kernel must be odd and 1 to 31, not 2"),
        ({"op": "talking_attention", "heads": 0}, "heads must be 1 to 256, not 0"),
        ({"op": "talking_attention", "inner_stride": 3}, "inner_stride must be 1 or 2, not 3"),
        ({"op": "attention_down", "key_channels": 0}, "key_channels must be 1 to 1024, not 0"),
        ({"op": "attention_down", "stride": 4}, "stride must be 1 or 2, not 4"),
        ({"op": "levit_attention", "value_channels": 0}, "value_channels must be 1 to 1024, not 0"),
        ({"op": "levit_down", "stride": 3}, "stride must be 1 or 2, not 3"),
        ({"op": "convnext", "kernel": 4}, "kernel must be odd and 1 to 31, not 4"),
        ({"op": "patchify", "stride": 32}, "stride must be 1 to 16, not 32"),
        ({"op": "patchify", "norm": "none"}, "norm must be one of 'before', 'after', not 'none'"),
        ({"op": "bottleneck_attention", "ratio": 9}, "ratio must be above 0 and at most 8, not 9"),
        ({"op": "halo_attention", "halo": -1}, "halo must be 0 to 64, not -1"),
        (
            {"op": "halo_attention", "block": 7, "stride": 2},
            "a stride of 2 needs a block that it divides, not 7: give an even block, or stride 1",
        ),
        ({"op": "sdta", "scales": 1}, "scales must be 2 to 16, not 1"),
        ({"op": "classifier", "norm": "group"}, "norm must be one of 'batch', 'layer', '', not"),
        (
            {"op": "classifier", "norm": "batch", "hidden": 8},
            "norm 'batch' stands ahead of the classes alone: leave norm or hidden out",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ArchitectureError, match=message):
        op_from_json(settings)


def test_channels_that_scales_do_not_split_are_refused():
    message = "4 scales of 3 channels leave nothing of 9 for the last: give fewer scales or more"
    with pytest.raises(ArchitectureError, match=message):
        SDTA(scales=4).out_shape(Shape(9, 8))


def test_queries_keys_and_values_of_one_value_are_held_while_a_part_is_read():
    op = LevitAttention(heads=2, key_channels=8, value_channels=16)
    shape = Shape(8, 4)
    held = op.held(shape)
    names = [step.writes for step in op.steps(shape)]
    assert held[names.index("scores")] == (8 + 2 * 16) * 16


def test_what_is_held_beside_a_kernel_is_what_later_ones_read():
    op = TalkingAttention(heads=2, key_channels=8, value_channels=16)
    shape = Shape(8, 4)
    image, queries, values = 8 * 16, 16 * 16, 32 * 16
    held = op.held(shape)
    names = [step.writes for step in op.steps(shape)]
    assert held[names.index("queries")] == 0
    assert held[names.index("keys")] == queries
    assert held[names.index("values")] == 2 * queries
    assert held[names.index("scores")] == image + 2 * values
    assert held[names.index("weighted")] == image + values
    assert held[names.index("out")] == 0
    scores = 2 * 16 * 16
    worst = image + 2 * values + 2 * queries + scores
    assert Layer(op, shape).peak_bytes == FLOAT_BYTES * worst


def test_every_kernel_of_an_op_that_attends_has_a_size_for_any_map():
    for op in (TalkingAttention(inner_stride=2), AttentionDown(channels=8), ConvFFN()):
        for size in (1, 2, 5, 14):
            layer = Layer(op, Shape(8, size))
            assert layer.macs > 0
            assert layer.kernels[-1].out_size == layer.out_shape.size
