"""What is timed, as ONNX: one kernel, all kernels of a layer, a whole network.

A layer's and a network's graph are made by `nas.export.onnx.onnx_model`, as ``nas export`` makes
them, in 20 to 40 ms a layer: kernels do not say how an op wires them (attention, the path beside a
block). A kernel's graph is written by hand from its `Kernel`, in milliseconds. Its nodes are those
that an exported layer has for such a kernel; a test compares them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture, Layer, Stage
from nas.errors import ArchitectureError
from nas.export.onnx import OPSET, onnx_model
from nas.model import build
from nas.shape import Kernel
from nas.size import area, sides

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto, ValueInfoProto

__all__ = ["empty_graph", "kernel_graph", "layer_graph", "network_graph"]

Setting = int | float | str | Sequence[int]
"""An attribute of a node."""

IR_VERSION = 10  # what the oldest runtime with this opset reads
ACTS: dict[str, tuple[str, dict[str, Setting]]] = {
    "relu": ("Relu", {}),
    "relu6": ("Clip", {}),
    "hswish": ("HardSwish", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "sigmoid": ("Sigmoid", {}),
    "hsigmoid": ("HardSigmoid", {"alpha": 1 / 6}),
}


def network_graph(architecture: Architecture) -> bytes:
    """The network with the untrained weights of seed 0, any batch, as ``nas export`` writes it."""
    model = onnx_model(build(architecture), architecture.input)
    return bytes(model.SerializeToString())


def layer_graph(layer: Layer) -> bytes:
    """One layer, with the nodes that it has inside an exported network."""
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
            f"no ONNX graph is known for kernels of kind '{kernel.kind}', "
            f"only for {', '.join(sorted(_WRITERS))}: time the op as a whole"
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
        self.nodes: list[NodeProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.constants: list[TensorProto] = []

    def input(self, name: str, first: int, *shape: int) -> str:
        """Declare an input. Its first size is ``first`` times the batch."""
        from onnx import TensorProto, helper

        sizes = (self.batch * first, *shape)
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        return name

    def constant(self, value: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.rng.normal(0, 0.1, shape).astype(np.float32))

    def sizes(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def node(self, kind: str, inputs: Sequence[str], **settings: Setting) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        node = helper.make_node(kind, list(inputs), [name])
        for setting, value in sorted(settings.items()):
            node.attribute.append(helper.make_attribute(setting, value))
        self.nodes.append(node)
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
    bounds = []
    if kind == "Clip":
        bounds = [graph.constant(np.array(bound, np.float32)) for bound in (0, 6)]
    return graph.node(kind, [value, *bounds], **settings)


def _map(graph: _Graph, k: Kernel, name: str = "image") -> str:
    return graph.input(name, k.rows, k.in_channels, *sides(k.in_size))


def _tokens(graph: _Graph, k: Kernel) -> str:
    return graph.input("image", 1, area(k.in_size), k.in_channels)


def _pads(k: Kernel) -> list[int]:
    """Above, left, below, right. An even kernel is as large as its stride, and cuts squares."""
    return [side // 2 if side % 2 else 0 for side in sides(k.kernel)] * 2


def _conv(graph: _Graph, k: Kernel) -> str:
    weights = graph.weights(k.out_channels, k.in_channels // k.groups, *sides(k.kernel))
    return graph.node(
        "Conv",
        [_map(graph, k), weights, graph.weights(k.out_channels)],
        kernel_shape=sides(k.kernel),
        strides=sides(k.stride),
        pads=_pads(k),
        dilations=[1, 1],
        group=k.groups,
    )


def _linear(graph: _Graph, k: Kernel) -> str:
    """A Gemm, of one vector or of all positions as rows."""
    positions = k.rows * area(k.in_size)
    # As exported: a head multiplies one vector by transposed weights, tokens go in as rows.
    if positions == 1:
        vector = graph.input("image", 1, k.in_channels)
        weights = graph.weights(k.out_channels, k.in_channels)
        bias = graph.weights(k.out_channels)
        return graph.node("Gemm", [vector, weights, bias], alpha=1.0, beta=1.0, transB=1)
    tokens = graph.input("image", 1, positions, k.in_channels)
    weights = graph.weights(k.in_channels, k.out_channels)
    bias = graph.weights(k.out_channels)
    rows = graph.node("Reshape", [tokens, graph.sizes(-1, k.in_channels)])
    product = graph.node("Gemm", [rows, weights, bias])
    return graph.node("Reshape", [product, graph.sizes(-1, positions, k.out_channels)])


def _matmul(graph: _Graph, k: Kernel) -> str:
    width = k.in_channels // k.groups
    columns = k.out_channels // k.groups
    first = graph.input("image", k.rows, k.groups, area(k.out_size), width)
    other = graph.input("other", k.rows, k.groups, width, columns)
    return graph.node("MatMul", [first, other])


def _gram(graph: _Graph, k: Kernel) -> str:
    width = k.in_channels // k.groups
    first = graph.input("image", 1, k.groups, width, area(k.in_size))
    other = graph.input("other", 1, k.groups, area(k.in_size), width)
    return graph.node("MatMul", [first, other])


def _softmax(graph: _Graph, k: Kernel) -> str:
    keys = k.in_channels // k.groups
    scores = graph.input("image", k.rows, k.groups, area(k.in_size), keys)
    return graph.node("Softmax", [scores], axis=-1)


def _pool(graph: _Graph, k: Kernel) -> str:
    """A mean over the map, or else a maximum over windows.

    A kernel does not say which pool it is: the average over windows of an MBConv's ``skip=pool`` is
    taken for a maximum too.
    """
    if k.out_size == 1 and k.kernel == k.in_size:
        return graph.node("ReduceMean", [_map(graph, k), graph.sizes(2, 3)], keepdims=0)
    return graph.node(
        "MaxPool",
        [_map(graph, k)],
        kernel_shape=sides(k.kernel),
        strides=sides(k.stride),
        pads=_pads(k),
        dilations=[1, 1],
        ceil_mode=0,
    )


def _bias(graph: _Graph, k: Kernel) -> str:
    """The trained values as they are added, one per head, query and key."""
    keys = k.in_channels // k.groups
    scores = graph.input("image", k.rows, k.groups, area(k.in_size), keys)
    return graph.node("Add", [scores, graph.weights(k.groups, area(k.in_size), keys)])


def _resize(graph: _Graph, k: Kernel) -> str:
    """Twice as large, and cut where half of an odd size was rounded up."""
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    large = graph.node(
        "Resize",
        [_map(graph, k), "", scales],
        coordinate_transformation_mode="half_pixel",
        cubic_coeff_a=-0.75,
        mode="linear",
        nearest_mode="floor",
    )
    for axis, side in zip((2, 3), sides(k.out_size), strict=True):
        if side % 2:
            bounds = (graph.sizes(0), graph.sizes(side), graph.sizes(axis), graph.sizes(1))
            large = graph.node("Slice", [large, *bounds])
    return large


def _norm(graph: _Graph, k: Kernel) -> str:
    # One group per channel is a batch norm that could not be folded, one group a layer norm.
    if k.groups > 1:
        moments = [graph.constant(np.ones(k.in_channels, np.float32)) for _ in range(4)]
        return graph.node(
            "BatchNormalization",
            [_map(graph, k), *moments],
            epsilon=1e-3,
            momentum=0.9,
            training_mode=0,
        )
    scale = graph.weights(k.in_channels)
    bias = graph.weights(k.in_channels)
    tokens = _tokens(graph, k)
    return graph.node("LayerNormalization", [tokens, scale, bias], axis=-1, epsilon=1e-5)


def _scale(graph: _Graph, k: Kernel) -> str:
    return graph.node("Mul", [_tokens(graph, k), graph.weights(k.in_channels)])


def _shuffle(graph: _Graph, k: Kernel) -> str:
    parts = (graph.batch, k.groups, k.in_channels // k.groups, area(k.in_size))
    whole = (graph.batch, k.in_channels, *sides(k.in_size))
    split = graph.node("Reshape", [_map(graph, k), graph.sizes(*parts)])
    turned = graph.node("Transpose", [split], perm=[0, 2, 1, 3])
    return graph.node("Reshape", [turned, graph.sizes(*whole)])


def _add(graph: _Graph, k: Kernel) -> str:
    return graph.node("Add", [_map(graph, k), _map(graph, k, "other")])


def _mul(graph: _Graph, k: Kernel) -> str:
    return graph.node("Mul", [_map(graph, k), graph.input("gate", 1, k.in_channels, 1, 1)])


def _concat(graph: _Graph, k: Kernel) -> str:
    first = k.in_channels // 2
    rest = k.in_channels - first
    maps = [
        graph.input("image", 1, first, *sides(k.in_size)),
        graph.input("other", 1, rest, *sides(k.in_size)),
    ]
    return graph.node("Concat", maps, axis=1)


_WRITERS: dict[str, Callable[[_Graph, Kernel], str]] = {
    "conv": _conv,
    "dwconv": _conv,
    "linear": _linear,
    "matmul": _matmul,
    "gram": _gram,
    "softmax": _softmax,
    "bias": _bias,
    "pool": _pool,
    "resize": _resize,
    "norm": _norm,
    "scale": _scale,
    "shuffle": _shuffle,
    "concat": _concat,
    "add": _add,
    "mul": _mul,
    "act": _map,
}
