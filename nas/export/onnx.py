"""A network as an ONNX file: any batch size, norms folded into convolutions, float32."""

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.onnx import register_custom_op_symbolic, symbolic_helper  # type: ignore[attr-defined]

from nas.errors import ArchitectureError, UsageError
from nas.shape import Shape

__all__ = ["OPSET", "register_shuffle", "require_onnx", "with_gemms", "write_onnx"]

OPSET = 20  # the first that knows GELU; onnxruntime runs it since 1.17


def require_onnx() -> None:
    """Raise unless ONNX files can be written and run."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"ONNX files need the package {error.name}: pip install 'nas-toolkit[export]', or leave onnx out of --to"
        ) from None


def write_onnx(
    network: nn.Module,
    shape: Shape,
    path: Path,
    metadata: Mapping[str, Any],
    outputs: Sequence[str] = ("logits",),
    *,
    any_size: bool = False,
) -> None:
    """Write a network for inference, ``image`` (batch, *shape) to ``logits``, and let onnx check it.

    ``any_size``: outputs are maps, and height and width are free too; the output ``mask`` has no
    channels. ``metadata``: JSON values by name, kept in the file as properties. The network is left
    in evaluation mode.
    """
    import onnx

    register_shuffle()
    free = {"image": {0: "batch", **({2: "height", 3: "width"} if any_size else {})}}
    for name in outputs:
        sides = (
            {}
            if not any_size
            else {1: "height", 2: "width"}
            if name == "mask"
            else {2: "height", 3: "width"}
        )
        free[name] = {0: "batch", **{axis: f"{name}_{side}" for axis, side in sides.items()}}
    with warnings.catch_warnings():
        # This exporter is called old (the new one needs onnxscript) and warns of every `if` over a
        # shape.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network.eval(),
                (torch.zeros(2, shape.channels, shape.size, shape.size),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(outputs),
                dynamic_axes=free,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ArchitectureError(
                f"torch cannot write this network as ONNX: {str(error).splitlines()[0]}"
            ) from None
    model = with_gemms(onnx.load(path))
    onnx.helper.set_model_props(
        model,
        {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in metadata.items()
        },
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def with_gemms(model: Any) -> Any:
    """An ONNX model with every linear layer over tokens, (batch, positions, channels), as one Gemm over all rows.

    torch writes MatMul and Add. onnxruntime makes a Gemm of them only where the batch is a fixed
    number, and is slower by a tenth where it is not. A layer whose positions are not known is left
    as it is.
    """
    import onnx

    known = {
        value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    weights = {value.name: list(value.dims) for value in model.graph.initializer}
    products = {node.output[0]: node for node in model.graph.node if node.op_type == "MatMul"}
    uses = Counter(name for node in model.graph.node for name in node.input)
    nodes, used = [], set()
    for node in model.graph.node:
        bias, product = (*node.input, "")[0], products.get((*node.input, "", "")[1])
        if (
            node.op_type != "Add"
            or product is None
            or uses[product.output[0]] > 1
            or len(weights.get(bias, ())) != 1
        ):
            nodes.append(node)
            continue
        rows, weight = product.input
        positions = _positions(known.get(product.output[0]))
        if positions is None or len(weights.get(weight, ())) != 2:
            nodes.append(node)
            continue
        used.add(product.output[0])
        nodes += _gemm(
            rows,
            weight,
            bias,
            node.output[0],
            [positions, *weights[weight]],
            model.graph.initializer,
        )
    kept = [node for node in nodes if node.output[0] not in used]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def register_shuffle() -> None:
    """Teach torch's exporter the channel shuffle, which it does not know: reshape, transpose, reshape."""
    register_custom_op_symbolic("aten::channel_shuffle", _shuffle, OPSET)


@symbolic_helper.parse_args("v", "i")
def _shuffle(graph: Any, maps: Any, groups: int) -> Any:
    _, channels, height, width = maps.type().varyingSizes()

    def constant(*sizes: int) -> Any:
        return graph.op("Constant", value_t=torch.tensor(sizes))

    if None in (height, width):  # a backbone takes any size, known when it runs; 0 keeps the batch
        parts, whole = constant(0, groups, channels // groups, -1), graph.op("Shape", maps)
    else:
        parts, whole = (
            constant(-1, groups, channels // groups, height * width),
            constant(-1, channels, height, width),
        )
    turned = graph.op("Transpose", graph.op("Reshape", maps, parts), perm_i=[0, 2, 1, 3])
    return graph.op("Reshape", turned, whole).setType(maps.type())


def _positions(value: Any) -> int | None:
    """The middle size of a value of three dimensions, None where it is not known."""
    sizes = [] if value is None else value.type.tensor_type.shape.dim
    return sizes[1].dim_value or None if len(sizes) == 3 else None


def _gemm(
    rows: str, weight: str, bias: str, out: str, sizes: Sequence[int], initializers: Any
) -> list[Any]:
    """Reshape to rows, Gemm, reshape back; ``sizes``: positions, channels in, channels out."""
    from onnx import helper, numpy_helper

    positions, inputs, outputs = sizes
    shapes = {f"{out}.rows": [-1, inputs], f"{out}.tokens": [-1, positions, outputs]}
    initializers.extend(
        numpy_helper.from_array(np.array(shape), name) for name, shape in shapes.items()
    )
    return [
        helper.make_node("Reshape", [rows, f"{out}.rows"], [f"{out}.in"]),
        helper.make_node("Gemm", [f"{out}.in", weight, bias], [f"{out}.out"]),
        helper.make_node("Reshape", [f"{out}.out", f"{out}.tokens"], [out]),
    ]
