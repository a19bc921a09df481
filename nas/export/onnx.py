"""A network as an ONNX file: any batch size, norms folded into convolutions, float32."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.onnx import register_custom_op_symbolic, symbolic_helper  # type: ignore[attr-defined]

from nas.errors import ArchitectureError, UsageError
from nas.shape import Shape

__all__ = ["OPSET", "register_shuffle", "require_onnx", "write_onnx"]

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


def write_onnx(network: nn.Module, shape: Shape, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a network for inference, ``image`` (batch, *shape) to ``logits``, and let onnx check it.

    ``metadata``: JSON values by name, kept in the file as properties. The network is left in evaluation mode.
    """
    import onnx

    register_shuffle()
    with warnings.catch_warnings():
        # This exporter is called old (the new one needs onnxscript) and warns of every `if` over a shape.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network.eval(),
                (torch.zeros(2, shape.channels, shape.size, shape.size),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ArchitectureError(f"torch cannot write this network as ONNX: {str(error).splitlines()[0]}") from None
    model = onnx.load(path)
    onnx.helper.set_model_props(
        model, {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def register_shuffle() -> None:
    """Teach torch's exporter the channel shuffle, which it does not know: reshape, transpose, reshape."""
    register_custom_op_symbolic("aten::channel_shuffle", _shuffle, OPSET)


@symbolic_helper.parse_args("v", "i")
def _shuffle(graph: Any, maps: Any, groups: int) -> Any:
    _, channels, height, width = maps.type().varyingSizes()

    def reshape(value: Any, *sizes: int) -> Any:
        return graph.op("Reshape", value, graph.op("Constant", value_t=torch.tensor(sizes)))

    turned = graph.op("Transpose", reshape(maps, -1, groups, channels // groups, height * width), perm_i=[0, 2, 1, 3])
    return reshape(turned, -1, channels, height, width).setType(maps.type())
