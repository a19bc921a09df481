"""A network as an ONNX file: any batch size, norms folded into convolutions, float32."""

import io
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.onnx import register_custom_op_symbolic, symbolic_helper  # type: ignore[attr-defined]

from nas.errors import ArchitectureError, UsageError
from nas.model.mqa import MultiQuery
from nas.model.rep import folded
from nas.shape import Shape

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

__all__ = ["OPSET", "onnx_model", "require_onnx", "write_onnx"]

OPSET = 20  # the first that knows GELU; onnxruntime runs it since 1.17


def require_onnx() -> None:
    """Raise unless ONNX files can be written and run."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"ONNX files need the package {error.name}: pip install 'nas-toolkit[export]', "
            "or leave onnx out of --to"
        ) from None


def write_onnx(
    network: nn.Module,
    shape: Shape,
    path: Path,
    metadata: Mapping[str, object],
    outputs: Sequence[str] = ("logits",),
    *,
    any_size: bool = False,
) -> None:
    """Write `onnx_model` into a file, and let onnx check it.

    ``metadata``: JSON values by name, kept in the file as properties. Raises `ArchitectureError`.
    """
    import onnx

    model = onnx_model(network, shape, outputs, any_size=any_size)
    properties = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in metadata.items()
    }
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def onnx_model(
    network: nn.Module,
    shape: Shape,
    outputs: Sequence[str] = ("logits",),
    *,
    any_size: bool = False,
) -> "ModelProto":
    """A network for inference: ``image`` (batch, *shape) to ``logits``.

    Whatever is shipped or timed as ONNX is made here, so that a latency table is of the graphs that
    `nas export` writes. Branches are folded. ``any_size``: outputs are maps, and height and width
    are free too; the output ``mask`` has no channels. The network is left in evaluation mode.
    Raises `ArchitectureError` if torch cannot write it.
    """
    import onnx

    network = folded(network)
    _register_shuffle()
    for part in network.modules():
        if isinstance(part, MultiQuery):
            part.any_size = any_size
    file = io.BytesIO()
    with warnings.catch_warnings():
        # This exporter is called old (the new one needs onnxscript) and warns of every `if` over a
        # shape.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network.eval(),
                (torch.zeros(2, shape.channels, *shape.sides),),
                file,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(outputs),
                dynamic_axes=_free_axes(outputs, any_size),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ArchitectureError(
                f"torch cannot write this network as ONNX: {str(error).splitlines()[0]}"
            ) from None
    model = onnx.load_from_string(file.getvalue())
    _name_constants_directly(model)
    _look_up(model)
    _write_gemms(model)
    return model


def _free_axes(outputs: Sequence[str], any_size: bool) -> dict[str, dict[int, str]]:
    """By value, the axes that are known only when the file runs, and their names."""
    axes = {name: {0: "batch"} for name in ("image", *outputs)}
    if not any_size:
        return axes
    axes["image"] |= {2: "height", 3: "width"}
    for name in outputs:
        height = 1 if name == "mask" else 2
        axes[name] |= {height: f"{name}_height", height + 1: f"{name}_width"}
    return axes


def _name_constants_directly(model: "ModelProto") -> None:
    """Let nodes read a constant itself if they read an Identity of it, and drop the Identity.

    torch keeps one of several equal constants and hands it on through Identity nodes. Zero biases
    are equal as long as a network is untrained: without this it would be another graph than after
    its training, and a table of untrained layers would be of graphs that nobody ships.
    """
    graph = model.graph
    constants = {value.name for value in graph.initializer}
    names = {}
    nodes = []
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in constants:
            names[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    _replace_nodes(model, nodes)


def _look_up(model: "ModelProto") -> None:
    """Replace what is picked out of a constant, such as the biases of an attention, by a constant.

    torch writes a Gather that every runtime would have to take for what it is.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {value.name: value for value in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    nodes = []
    for node in graph.node:
        if node.op_type != "Gather" or not set(node.input) <= constants.keys():
            nodes.append(node)
            continue
        table, places = (numpy_helper.to_array(constants[name]) for name in node.input)
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        picked = np.ascontiguousarray(np.take(table, places, axis))
        graph.initializer.append(numpy_helper.from_array(picked, node.output[0]))
    if len(nodes) < len(graph.node):
        _replace_nodes(model, nodes)
        _drop_unread(model)


def _drop_unread(model: "ModelProto") -> None:
    """Leave out constants that no node reads any more."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    nodes = []
    for node in graph.node:
        if node.op_type != "Constant" or node.output[0] in read:
            nodes.append(node)
    _replace_nodes(model, nodes)
    kept = [value for value in graph.initializer if value.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _write_gemms(model: "ModelProto") -> None:
    """Make every linear layer over tokens one Gemm over all rows.

    Tokens are (batch, positions, channels), for which torch writes MatMul and Add. onnxruntime
    makes a Gemm of them only if the batch is a fixed number, and is slower by a tenth if it is not.
    A layer whose positions are not known is left as it is.
    """
    linears = _linears(model)
    products = {linear.product for linear in linears.values()}
    nodes = []
    for node in model.graph.node:
        linear = linears.get(node.output[0])
        if linear is not None:
            nodes += linear.nodes()
            model.graph.initializer.extend(linear.shapes())
        elif node.output[0] not in products:
            nodes.append(node)
    _replace_nodes(model, nodes)


def _replace_nodes(model: "ModelProto", nodes: "Sequence[NodeProto]") -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@dataclass(frozen=True, kw_only=True)
class _Linear:
    """A MatMul and the Add behind it, which are a linear layer over tokens."""

    rows: str
    weight: str
    bias: str
    product: str
    """The value between both nodes."""
    output: str
    positions: int
    in_channels: int
    out_channels: int

    def nodes(self) -> "list[NodeProto]":
        """Reshape to rows, Gemm, reshape back."""
        from onnx import helper

        name = self.output
        return [
            helper.make_node("Reshape", [self.rows, f"{name}.rows"], [f"{name}.in"]),
            helper.make_node("Gemm", [f"{name}.in", self.weight, self.bias], [f"{name}.out"]),
            helper.make_node("Reshape", [f"{name}.out", f"{name}.tokens"], [name]),
        ]

    def shapes(self) -> "list[TensorProto]":
        """What the two reshapes read."""
        from onnx import numpy_helper

        rows = np.array([-1, self.in_channels])
        tokens = np.array([-1, self.positions, self.out_channels])
        return [
            numpy_helper.from_array(rows, f"{self.output}.rows"),
            numpy_helper.from_array(tokens, f"{self.output}.tokens"),
        ]


def _linears(model: "ModelProto") -> dict[str, _Linear]:
    """The linear layers over tokens by the name of their output."""
    import onnx

    graph = model.graph
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    if not products:
        return {}
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    values = {value.name: value for value in inferred}
    constants = {value.name: list(value.dims) for value in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    linears = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        bias, product = node.input
        if product not in products or uses[product] > 1 or len(constants.get(bias, ())) != 1:
            continue
        rows, weight = products[product].input
        positions = _positions(values.get(product))
        if positions is None or len(constants.get(weight, ())) != 2:
            continue
        in_channels, out_channels = constants[weight]
        linears[node.output[0]] = _Linear(
            rows=rows,
            weight=weight,
            bias=bias,
            product=product,
            output=node.output[0],
            positions=positions,
            in_channels=in_channels,
            out_channels=out_channels,
        )
    return linears


def _positions(value: "ValueInfoProto | None") -> int | None:
    """The middle size of a value of three dimensions, None if it is not known."""
    sizes = [] if value is None else value.type.tensor_type.shape.dim
    return sizes[1].dim_value or None if len(sizes) == 3 else None


def _register_shuffle() -> None:
    """Teach torch's exporter the channel shuffle: reshape, transpose, reshape."""
    register_custom_op_symbolic("aten::channel_shuffle", _shuffle, OPSET)


@symbolic_helper.parse_args("v", "i")
def _shuffle(graph: Any, maps: Any, groups: int) -> Any:
    _, channels, height, width = maps.type().varyingSizes()

    def constant(*sizes: int) -> Any:
        return graph.op("Constant", value_t=torch.tensor(sizes))

    if None in (height, width):
        # A backbone takes any size, known when it runs; 0 keeps the batch.
        parts = constant(0, groups, channels // groups, -1)
        whole = graph.op("Shape", maps)
    else:
        parts = constant(-1, groups, channels // groups, height * width)
        whole = constant(-1, channels, height, width)
    turned = graph.op("Transpose", graph.op("Reshape", maps, parts), perm_i=[0, 2, 1, 3])
    return graph.op("Reshape", turned, whole).setType(maps.type())
