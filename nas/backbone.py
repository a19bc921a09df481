"""A network without its head: what detection and segmentation build on, with maps handed out at several strides."""

from dataclasses import dataclass

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError

__all__ = ["STRIDES", "Backbone", "Tap", "backbone"]

STRIDES = (4, 8, 16, 32)
FIXED_SIZE = ("uni_attention", "uni_mlp", "down_global", "down_local_global")
"""Ops whose torch modules work on maps of one size."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A map that is handed out: after layer ``position`` of ``stage``, at one ``stride`` of the input."""

    stride: int
    stage: str
    position: int
    channels: int

    @property
    def name(self) -> str:
        """Of the layer."""
        return f"{self.stage}.{self.position}"

    @property
    def output(self) -> str:
        """Of the map in an ONNX file."""
        return f"stride{self.stride}"


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The layers up to the last map, and the maps, finest first."""

    architecture: Architecture
    taps: tuple[Tap, ...]


def backbone(network: Architecture) -> Backbone:
    """The last layer of each of the `STRIDES` before the head; strides that the network does not reach are left out.

    The head is the stage of that name, and a classifier. Raises `ArchitectureError` where no map is left, or where an op
    works on maps of one size, so that the input could not be of any.
    """
    found: dict[int, Tap] = {}
    layers, stride, size = iter(network.layers), 1, network.input.size
    for stage in network.stages:
        for position in range(len(stage.ops)):
            layer = next(layers)
            if stage.name == "head" or layer.op.key == "classifier":
                continue
            if layer.op.key in FIXED_SIZE:
                raise ArchitectureError(
                    f"op '{layer.op.key}' of {stage.name} works on maps of one size: features at any input size need "
                    "convolutions only. Try another network, or leave --features out"
                )
            stride *= getattr(layer.op, "stride", 1)
            size = layer.out_shape.size
            if stride in STRIDES:
                found[stride] = Tap(
                    stride=stride, stage=stage.name, position=position, channels=layer.out_shape.channels
                )
    if not found:
        raise ArchitectureError(
            f"the network has no map at stride {', '.join(map(str, STRIDES))}: its last one before the head is at "
            f"stride {stride} ({size} pixels of {network.input.size})"
        )
    taps = tuple(found[stride] for stride in sorted(found))
    return Backbone(architecture=Architecture(network.input, _until(network.stages, taps[-1])), taps=taps)


def _until(stages: tuple[Stage, ...], last: Tap) -> tuple[Stage, ...]:
    """Stages up to the last map."""
    names = [stage.name for stage in stages]
    whole = stages[: names.index(last.stage)]
    end = stages[names.index(last.stage)]
    return (*whole, Stage(end.name, end.ops[: last.position + 1]))
