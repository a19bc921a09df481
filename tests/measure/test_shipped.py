"""What a table times is what an export ships: the same nodes, in the same order."""

import onnx
import pytest

from nas import catalog
from nas.arch import Architecture, Stage
from nas.export import export
from nas.export.onnx import write_onnx
from nas.export.verification import shake
from nas.latency.keys import kernel_from_key, kernel_key
from nas.measure.build import layers_of
from nas.measure.graphs import kernel_graph, layer_graph, network_graph
from nas.model import build
from nas.ops.conv import Classifier
from nas.ops.unified import AttentionBlock
from nas.shape import Shape

SPACES = ("efficientformer_v2", "fbnet", "fused_mbconv", "mnasnet", "nas_bench_macro", "uninet")
RESOLUTION = 32


def described(node):
    """Kind and attributes of a node, without the names of its values."""
    attributes = sorted((each.name, each.SerializeToString()) for each in node.attribute)
    return node.op_type, tuple(attributes)


def nodes_of(model):
    return [described(node) for node in onnx.load_from_string(model).graph.node]


def shipped(network, path):
    """Nodes of the file of a trained network: its weights are no longer those it was built with."""
    module = build(network)
    shake(module)
    write_onnx(module, network.input, path, {})
    return nodes_of(path.read_bytes())


def distinct(layers):
    """One layer for each op type and each set of kinds of kernels that its settings give it."""
    sample = {}
    for layer in layers:
        kinds = frozenset((kernel.kind, kernel.act) for kernel in layer.kernels)
        sample.setdefault((type(layer.op), kinds), layer)
    return list(sample.values())


LAYERS = distinct(layers_of([catalog.space(name, resolution=RESOLUTION) for name in SPACES]))


def of_kinds():
    """The sampled layers by type of op."""
    kinds = {}
    for layer in LAYERS:
        kinds.setdefault(type(layer.op).__name__, []).append(layer)
    return kinds


KINDS = of_kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_timed_as_it_ships(kind, tmp_path):
    for layer in KINDS[kind]:
        network = Architecture(layer.shape, (Stage("layer", (layer.op,)),))
        timed = nodes_of(layer_graph(layer))
        assert timed == shipped(network, tmp_path / "layer.onnx"), layer


@pytest.mark.parametrize("name", SPACES)
def test_layers_one_after_the_other_are_the_network_that_ships(name, tmp_path):
    space = catalog.space(name, resolution=RESOLUTION)
    genes = [min(number % 2, size - 1) for number, size in enumerate(space.gene_sizes)]
    network = space.decode(genes)
    nodes = shipped(network, tmp_path / "network.onnx")
    assert nodes_of(network_graph(network)) == nodes
    timed = []
    for layer in network.layers:
        timed += nodes_of(layer_graph(layer))
    assert timed == nodes


def test_an_untrained_export_has_the_nodes_of_a_trained_one(tmp_path):
    ops = (AttentionBlock(head_channels=8), AttentionBlock(head_channels=8), Classifier(classes=4))
    network = Architecture(Shape(16, 8), (Stage("body", ops),))
    export(network, tmp_path, name="untrained", formats=["onnx"])
    nodes = nodes_of((tmp_path / "untrained.onnx").read_bytes())
    assert nodes == shipped(network, tmp_path / "trained.onnx")
    kinds = [kind for kind, _ in nodes]
    assert "Identity" not in kinds
    assert kinds.count("MatMul") == 4
    assert kinds.count("Gemm") == 9


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_is_timed_with_nodes_of_a_layer_that_ships(kind):
    for layer in KINDS[kind]:
        nodes = set(nodes_of(layer_graph(layer)))
        for kernel in layer.kernels:
            window = kernel.kind == "pool" and kernel.out_size > 1
            if window and "AveragePool" in {kind for kind, _ in nodes}:
                continue  # a kernel does not say whether it is a mean or a maximum
            graph = kernel_graph(kernel_from_key(kernel_key(kernel)))
            assert set(nodes_of(graph)) <= nodes, (layer, kernel_key(kernel))
