"""Graphs of kernels and layers run, and do the work that they are named for."""

import numpy as np
import onnx
import onnxruntime
import pytest

from nas import catalog
from nas.arch import Layer
from nas.errors import ArchitectureError
from nas.latency.keys import kernel_from_key, kernel_key
from nas.measure.build import grid, layers_of
from nas.measure.graphs import empty_graph, kernel_graph, layer_graph
from nas.ops.convnext import Patchify
from nas.ops.efficientformer import AttentionDown, TalkingAttention
from nas.ops.ghost import GhostBottleneck
from nas.ops.mbconv import MBConv
from nas.ops.mqa import MobileMQA
from nas.ops.relative import BottleneckAttention, HaloAttention
from nas.ops.residual import Bottleneck
from nas.ops.sdta import SDTA
from nas.ops.uib import UIB
from nas.shape import Kernel, Shape

SPACES = [
    catalog.space("fbnet", resolution=32),
    catalog.space("uninet", resolution=64),
    catalog.space("mnasnet", resolution=32),
]

LAYERS = [
    Layer(GhostBottleneck(expand=3, channels=9, stride=2, eca=True), Shape(16, 8)),
    Layer(Bottleneck(groups=4, gc=0.25), Shape(16, 8)),
    Layer(TalkingAttention(heads=2, inner_stride=2), Shape(16, 7)),
    Layer(AttentionDown(heads=2), Shape(16, 7)),
    Layer(SDTA(heads=2, positions=True), Shape(16, 8)),
    Layer(Patchify(channels=24, stride=4), Shape(16, 7)),
    Layer(BottleneckAttention(channels=24, stride=2), Shape(16, 7)),
    Layer(HaloAttention(heads=2, block=4), Shape(16, 7)),
    Layer(MobileMQA(heads=2, kv_stride=2), Shape(16, 7)),
    Layer(UIB(first=5, scale=True), Shape(16, 7)),
]
"""Of kinds of kernels that no space above has."""


def run(model):
    """Outputs on random inputs, batch 1; the model is checked first."""
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {
        i.name: rng.normal(size=[n if isinstance(n, int) else 1 for n in i.shape]).astype("f")
        for i in session.get_inputs()
    }
    return feed, session.run(None, feed)[0]


def one_of_each_kind():
    found = {}
    layers = [*layers_of(SPACES), *LAYERS]
    for kernel in (kernel for layer in layers for kernel in layer.kernels):
        found.setdefault(
            (kernel.kind, kernel.act, kernel.groups > 1, kernel.rows > 1, kernel.in_size > 1),
            kernel,
        )
    return list(found.values())


@pytest.mark.parametrize("kernel", one_of_each_kind(), ids=kernel_key)
def test_a_kernels_graph_reads_and_writes_what_the_kernel_says(kernel):
    feed, out = run(kernel_graph(kernel))
    assert out.size == kernel.out_elements
    assert sum(value.size for value in feed.values()) == kernel.in_elements
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    "kernel",
    [k for k in one_of_each_kind() if k.kind in ("conv", "dwconv", "linear")],
    ids=kernel_key,
)
def test_a_kernels_graph_holds_the_kernels_weights(kernel):
    graph = onnx.load_model_from_string(kernel_graph(kernel)).graph
    assert max(np.prod(c.dims) for c in graph.initializer) == kernel.weights


def test_an_unknown_kind_of_kernel_says_what_to_do():
    kernel = Kernel(kind="fft", in_channels=8, out_channels=8, in_size=8, out_size=8)
    with pytest.raises(
        ArchitectureError,
        match=r"no ONNX graph is known for kernels of kind 'fft'.*time the op as a whole",
    ):
        kernel_graph(kernel)


def test_the_empty_graph_hands_on_what_it_gets():
    feed, out = run(empty_graph())
    assert (out == feed["image"]).all()


def test_a_layers_graph_has_the_layers_shapes():
    layer = Layer(MBConv(kernel=5, expand=3, channels=24, stride=2, se=0.25), Shape(16, 9))
    feed, out = run(layer_graph(layer))
    assert feed["image"].shape == (1, 16, 9, 9)
    assert out.shape == (1, 24, 5, 5)


def test_a_kernels_key_names_it_fully():
    for kernel in grid(layers_of(SPACES)):
        assert kernel_from_key(kernel_key(kernel)) == kernel
    assert kernel_from_key("mbconv(channels=24)@16x8x8") is None


def test_the_grid_has_every_kind_and_is_the_same_each_time():
    layers = layers_of(SPACES)
    found = grid(layers, per_kind=6)
    assert {k.kind for k in found} == {k.kind for layer in layers for k in layer.kernels}
    assert found == grid(layers, per_kind=6)
    assert max(sum(k.kind == kind for k in found) for kind in ("conv", "linear", "pool")) <= 12
    widest = max(k.in_channels for layer in layers for k in layer.kernels if k.kind == "conv")
    assert max(k.in_channels for k in grid(layers) if k.kind == "conv") > widest / 2
    for kernel in found:
        run(kernel_graph(kernel))


def test_layers_of_several_spaces_have_a_row_each():
    layers = layers_of(SPACES[:1])
    assert len(layers_of([SPACES[0], SPACES[0]])) == len(layers)
    assert all(layer.kernels for layer in layers)
