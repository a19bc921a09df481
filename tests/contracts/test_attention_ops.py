# ruff: noqa: E402
"""Ops that attend: declared costs are torch's, exports agree, and nothing is read at run time."""

import itertools

import pytest

torch = pytest.importorskip("torch")

from nas import catalog, networks
from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.export import python_source
from nas.export.onnx import onnx_model
from nas.export.verification import shake
from nas.model import build, module
from nas.model.relative import RelativePlaces
from nas.ops.conv import Classifier, Conv, Norm
from nas.ops.convnext import ConvNeXtBlock, Patchify
from nas.ops.efficientformer import AttentionDown, ConvFFN, TalkingAttention
from nas.ops.levit import LevitAttention, LevitDown
from nas.ops.relative import BottleneckAttention, HaloAttention
from nas.ops.sdta import SDTA
from nas.shape import Shape
from nas.testing.ops import check_op
from nas.train import swift

OPS = (
    Norm(),
    Conv(kernel=3, stride=2, channels=24, bias=True),
    ConvFFN(expand=3),
    ConvFFN(expand=0.5, kernel=5, act="relu"),
    TalkingAttention(heads=4, key_channels=4, value_channels=6),
    TalkingAttention(heads=2, key_channels=4, value_channels=8, inner_stride=2),
    AttentionDown(channels=24, heads=2),
    AttentionDown(stride=1, key_channels=5),
    LevitAttention(heads=2, key_channels=4, value_channels=6),
    LevitDown(channels=24, heads=2),
    LevitDown(stride=1, key_channels=5),
    ConvNeXtBlock(kernel=5, expand=3),
    Patchify(channels=24),
    Patchify(channels=12, stride=4, norm="after"),
    SDTA(heads=4),
    SDTA(scales=3, heads=3, positions=True, expand=2),
    BottleneckAttention(heads=2, ratio=1),
    BottleneckAttention(channels=32, stride=2),
    HaloAttention(heads=2, ratio=1, block=4, halo=1),
    HaloAttention(channels=24, stride=2, block=4, halo=2),
)
FOR_ONE_SIZE = tuple(
    op for op in OPS if hasattr(op, "key_channels") or isinstance(op, BottleneckAttention)
)
"""With weights for one resolution."""
HEADS = (Classifier(classes=4, norm="batch"), Classifier(classes=4, norm="layer"))


def network_of(op, size):
    ops = (op,) if op in HEADS else (op, Classifier(classes=4))
    made = build(Architecture(Shape(16, size), (Stage("body", ops),)))
    shake(made)
    return made.eval()


def images(size):
    return torch.randn(3, 16, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("op", OPS + HEADS, ids=str)
def test_declared_costs_are_torchs_at_any_size(op, size):
    check_op(op, Shape(16, size), module)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("op", OPS + HEADS, ids=str)
def test_onnx_agrees_and_looks_nothing_up(op, size):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = network_of(op, size)
    model = onnx_model(network, Shape(16, size))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"image": images(size).numpy()})
    with torch.no_grad():
        expected = network(images(size))
    assert abs(torch.from_numpy(found) - expected).max() <= 1e-5 * expected.abs().max()
    assert not {node.op_type for node in model.graph.node} & {"Shape", "Gather"}


@pytest.mark.parametrize("op", OPS, ids=str)
def test_the_readable_file_is_the_same_network(op):
    architecture = Architecture(Shape(16, 7), (Stage("body", (op, Classifier(classes=4))),))
    names = {"__name__": "exported"}
    exec(compile(python_source(architecture), "exported.py", "exec"), names)
    torch.manual_seed(3)
    theirs = names["network"]().eval()
    ours = build(architecture, seed=3).eval()
    with torch.no_grad():
        assert torch.equal(theirs(images(7)), ours(images(7)))


@pytest.mark.parametrize("op", OPS + HEADS, ids=str)
def test_the_fast_forward_pass_gives_what_the_modules_give(op):
    network = network_of(op, 7)
    with torch.no_grad():
        torch.testing.assert_close(
            swift.forward(network, images(7)), network(images(7)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    "name",
    [
        "efficientformerv2_s0",
        "convnext_tiny",
        "edgenext_xx_small",
        "levit_128s",
        "botnet26t",
        "halonet26t",
    ],
)
def test_published_networks_layer_by_layer(name):
    for layer in set(networks.get(name).layers):
        check_op(layer.op, layer.shape, module)


@pytest.mark.parametrize("resolution", [28, 224])
def test_a_sample_of_the_layers_of_the_space(resolution):
    space = catalog.space("efficientformer_v2", resolution=resolution)
    for layer in space.layers[::7]:
        check_op(layer.op, layer.shape, module)


@pytest.mark.parametrize("op", FOR_ONE_SIZE, ids=str)
def test_weights_of_another_resolution_are_refused_in_one_line(op):
    small, large = network_of(op, 4), network_of(op, 8)
    with pytest.raises(
        ArchitectureError, match=r"depends? on the resolution\. Build the network at"
    ):
        small.load_state_dict(large.state_dict())


def test_halo_attention_takes_weights_of_any_resolution():
    op = HaloAttention(heads=2, ratio=1, block=4, halo=1)
    small, large = network_of(op, 4), network_of(op, 9)
    small.load_state_dict(large.state_dict())


def test_halo_attention_of_one_block_without_a_halo_is_attention_over_the_whole_map():
    whole = network_of(BottleneckAttention(heads=2, ratio=1), 4)
    block = network_of(HaloAttention(heads=2, ratio=1, block=4, halo=0), 4)
    state = whole.state_dict()
    qkv = state.pop("stages.body.0.attend.qkv.weight")
    queries, keys, values = (part.reshape(2, 8, 16, 1, 1) for part in qkv.split(16))
    state["stages.body.0.attend.query.weight"] = queries.reshape(16, 16, 1, 1)
    # In one convolution, a head's keys and values stand one behind the other.
    state["stages.body.0.attend.kv.weight"] = torch.cat([keys, values], 1).reshape(32, 16, 1, 1)
    block.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(block(images(4)), whole(images(4)))


def test_scores_of_relative_positions_are_products_with_the_vector_of_their_distance():
    places = RelativePlaces(queries=3, keys=3, width=4)
    places.initialise()
    queries = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = places(queries)
        for query, key in itertools.product(range(9), repeat=2):
            down, across = key // 3 - query // 3, key % 3 - query % 3
            vector = places.rows[down + 2] + places.columns[across + 2]
            torch.testing.assert_close(found[:, query, key], queries[:, query] @ vector)
