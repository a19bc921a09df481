"""A network without its head, with maps at several strides: for detection and segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError

__all__ = ["FIXED_SIZE", "STRIDES", "Backbone", "Tap", "backbone", "takes_any_size"]

STRIDES = (4, 8, 16, 32)
FIXED_SIZE = (
    "attention_down",
    "bottleneck_attention",
    "convnext",
    "down_global",
    "down_local_global",
    "halo_attention",
    "levit_attention",
    "levit_down",
    "patchify",
    "sdta",
    "talking_attention",
    "uni_attention",
    "uni_mlp",
)
"""Ops whose torch modules work on maps of one size."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A map that is handed out, after layer ``position`` of ``stage``."""

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


def backbone(
    network: Architecture, strides: Sequence[int] = (), *, any_size: bool = True
) -> Backbone:
    """The last layer before the head of each of the ``strides``, all of which must be there.

    Without ``strides``, of those of `STRIDES` that the network reaches. The head is the stage of
    that name, and a classifier. ``any_size`` refuses ops that work on maps of one size. Raises
    `ArchitectureError`, too where no map is left.
    """
    known = _taps(network)
    wanted = sorted(strides) or [stride for stride in STRIDES if stride in known]
    missing = [stride for stride in wanted if stride not in known]
    if missing or not wanted:
        there = ", ".join(map(str, sorted(known)))
        lacking = missing[:1] or STRIDES
        raise ArchitectureError(
            f"the network has no map of stride {' or '.join(map(str, lacking))}: "
            f"its strides are {there}. Take a network with that stride"
        )
    taps = tuple(known[stride] for stride in wanted)
    cut = Architecture(network.input, _until(network.stages, taps[-1]))
    fixed = _fixed(cut)
    if any_size and fixed:
        op, stage = fixed[0]
        raise ArchitectureError(
            f"op '{op}' of {stage} works on maps of one size: features at any input size need "
            "convolutions only. Try another network, or leave --features out"
        )
    return Backbone(architecture=cut, taps=taps)


def takes_any_size(network: Architecture) -> bool:
    """Whether no op's module is made for maps of one size."""
    return not _fixed(network)


def _fixed(network: Architecture) -> list[tuple[str, str]]:
    """Ops made for one size, by key and stage."""
    fixed = []
    for stage in network.stages:
        for op in stage.ops:
            if op.key in FIXED_SIZE:
                fixed.append((op.key, stage.name))
    return fixed


def _taps(network: Architecture) -> dict[int, Tap]:
    """The last layer of each stride, the head left out."""
    taps: dict[int, Tap] = {}
    stride = 1
    for stage, layers in network.layers_by_stage:
        for position, layer in enumerate(layers):
            if stage.name != "head" and layer.op.key != "classifier":
                stride *= getattr(layer.op, "stride", 1)
                channels = layer.out_shape.channels
                # A later layer of the same stride replaces it: its maps have seen more.
                taps[stride] = Tap(
                    stride=stride, stage=stage.name, position=position, channels=channels
                )
    return taps


def _until(stages: tuple[Stage, ...], last: Tap) -> tuple[Stage, ...]:
    """Stages up to the last map."""
    names = [stage.name for stage in stages]
    whole = stages[: names.index(last.stage)]
    end = stages[names.index(last.stage)]
    return (*whole, Stage(end.name, end.ops[: last.position + 1]))
