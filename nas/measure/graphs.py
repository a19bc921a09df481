"""What is timed, as ONNX: one kernel, all kernels of a layer, a whole network.

A kernel's graph is written by hand from its `Kernel`, in milliseconds. A layer's and a network's
come from torch by way of `nas.export`, 20 to 40 ms a layer: the kernels do not say how an op wires
them (attention, the path beside a block), and what is timed is then what ``nas export`` ships, node
for node.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.arch import Architecture, Layer, Stage
from nas.errors import ArchitectureError
from nas.export.onnx import OPSET, register_shuffle
from nas.model import build
from nas.shape import Kernel

__all__ = ["empty_graph", "kernel_graph", "layer_graph", "network_graph"]

Floats = NDArray[np.float32]

IR_VERSION = 10  # what the oldest runtime with this opset reads
ACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "relu6": ("Clip", {}),
    "hswish": ("HardSwish", {}),
    "gelu": ("Gelu", {}),
    "sigmoid": ("Sigmoid", {}),
    "hsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}


def network_graph(architecture: Architecture) -> bytes:
    """The network with the untrained weights of seed 0, any batch, as ``nas export`` writes it."""
    register_shuffle()
    made = io.BytesIO()
    shape = architecture.input
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # see nas.export.onnx
        try:
            torch.onnx.export(
                build(architecture).eval(),
                (torch.zeros(2, shape.channels, shape.size, shape.size),),
                made,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ArchitectureError(
                f"torch cannot write this network as ONNX: {str(error).splitlines()[0]}"
            ) from None
    return made.getvalue()


def layer_graph(layer: Layer) -> bytes:
    """One layer: a network of a single op."""
    return network_graph(Architecture(layer.shape, (Stage("layer", (layer.op,)),)))


def empty_graph() -> bytes:
    """One number handed through: what a call into the runtime takes by itself."""
    graph = _Graph()
    graph.node("Identity", [graph.input("image", 1, 1)])
    return graph.bytes()


def kernel_graph(kernel: Kernel, *, batch: int = 1) -> bytes:
    """One kernel, norm and bias folded into it. An unknown kind raises `ArchitectureError`."""
    graph = _Graph(batch)
    if kernel.kind not in _WRITERS:
        raise ArchitectureError(
            f"no ONNX graph is known for kernels of kind '{kernel.kind}', only for {', '.join(sorted(_WRITERS))}: "
            "time the op as a whole"
        )
    value = _WRITERS[kernel.kind](graph, kernel)
    if kernel.act:
        _activation(graph, value, kernel.act)
    return graph.bytes()


class _Graph:
    """Nodes in a row; every output goes by a number, the last one is the graph's."""

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch
        self.rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: list[Any] = []

    def input(self, name: str, first: int, *shape: int) -> str:
        """``first`` counts what stands beside each other in one image; the batch multiplies it."""
        from onnx import TensorProto, helper

        self.inputs.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (self.batch * first, *shape))
        )
        return name

    def constant(self, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.rng.normal(0, 0.1, shape).astype(np.float32))

    def sizes(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def node(self, kind: str, inputs: Sequence[str], **settings: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **settings))
        return name

    def bytes(self) -> bytes:
        from onnx import TensorProto, helper, shape_inference

        out = helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "kernel", self.inputs, [out], self.constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        return bytes(shape_inference.infer_shapes(model).SerializeToString())


def _activation(graph: _Graph, value: str, act: str) -> str:
    if act == "swish":
        return graph.node("Mul", [value, graph.node("Sigmoid", [value])])
    kind, settings = ACTS[act]
    bounds = [graph.constant(np.array(b, np.float32)) for b in (0, 6)] if kind == "Clip" else []
    return graph.node(kind, [value, *bounds], **settings)


def _map(graph: _Graph, k: Kernel, name: str = "image") -> str:
    return graph.input(name, 1, k.in_channels, k.in_size, k.in_size)


def _conv(graph: _Graph, k: Kernel) -> str:
    weights = graph.weights(k.out_channels, k.in_channels // k.groups, k.kernel, k.kernel)
    return graph.node(
        "Conv",
        [_map(graph, k), weights, graph.weights(k.out_channels)],
        kernel_shape=[k.kernel] * 2,
        strides=[k.stride] * 2,
        pads=[k.kernel // 2] * 4,
        group=k.groups,
    )


def _linear(graph: _Graph, k: Kernel) -> str:
    """As torch writes it: a Gemm for a single vector, a product and a sum for many positions."""
    positions = k.rows * k.in_size**2
    weights, bias = graph.weights(k.in_channels, k.out_channels), graph.weights(k.out_channels)
    if positions == 1:
        return graph.node("Gemm", [graph.input("image", 1, k.in_channels), weights, bias])
    product = graph.node("MatMul", [graph.input("image", 1, positions, k.in_channels), weights])
    return graph.node("Add", [product, bias])


def _matmul(graph: _Graph, k: Kernel) -> str:
    width, columns = k.in_channels // k.groups, k.out_channels // k.groups
    first = graph.input("image", k.rows, k.groups, k.out_size**2, width)
    return graph.node("MatMul", [first, graph.input("other", k.rows, k.groups, width, columns)])


def _softmax(graph: _Graph, k: Kernel) -> str:
    return graph.node(
        "Softmax", [graph.input("image", k.rows, k.groups, k.in_size**2, k.in_channels // k.groups)]
    )


def _pool(graph: _Graph, k: Kernel) -> str:
    if k.out_size == 1 and k.kernel == k.in_size:
        return graph.node("GlobalAveragePool", [_map(graph, k)])
    window = {
        "kernel_shape": [k.kernel] * 2,
        "strides": [k.stride] * 2,
        "pads": [k.kernel // 2] * 4,
    }
    return graph.node("MaxPool", [_map(graph, k)], **window)


def _norm(graph: _Graph, k: Kernel) -> str:
    if k.groups > 1:
        moments = [graph.constant(np.ones(k.in_channels, np.float32)) for _ in range(4)]
        return graph.node("BatchNormalization", [_map(graph, k), *moments])
    tokens = graph.input("image", 1, k.in_size**2, k.in_channels)
    return graph.node(
        "LayerNormalization", [tokens, graph.weights(k.in_channels), graph.weights(k.in_channels)]
    )


def _scale(graph: _Graph, k: Kernel) -> str:
    return graph.node(
        "Mul", [graph.input("image", 1, k.in_size**2, k.in_channels), graph.weights(k.in_channels)]
    )


def _shuffle(graph: _Graph, k: Kernel) -> str:
    split = graph.node(
        "Reshape",
        [
            _map(graph, k),
            graph.sizes(graph.batch, k.groups, k.in_channels // k.groups, k.in_size**2),
        ],
    )
    turned = graph.node("Transpose", [split], perm=[0, 2, 1, 3])
    return graph.node(
        "Reshape", [turned, graph.sizes(graph.batch, k.in_channels, k.in_size, k.in_size)]
    )


_WRITERS: dict[str, Callable[[_Graph, Kernel], str]] = {
    "conv": _conv,
    "dwconv": _conv,
    "linear": _linear,
    "matmul": _matmul,
    "softmax": _softmax,
    "pool": _pool,
    "norm": _norm,
    "scale": _scale,
    "shuffle": _shuffle,
    "add": lambda graph, k: graph.node("Add", [_map(graph, k), _map(graph, k, "other")]),
    "mul": lambda graph, k: graph.node(
        "Mul", [_map(graph, k), graph.input("gate", 1, k.in_channels, 1, 1)]
    ),
    "act": lambda graph, k: _map(graph, k),
}
