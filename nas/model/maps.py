"""What a network sees before it classifies: its maps at strides 4, 8, 16 and 32."""

from collections.abc import Sequence

from torch import Tensor

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.model.network import Network
from nas.ops.conv import Classifier

__all__ = ["STRIDES", "features", "strides", "trunk"]

STRIDES = (4, 8, 16, 32)


def strides(architecture: Architecture) -> list[int]:
    """How many input pixels a side each layer's output pixel stands for; the head counts as well."""
    found, total = [], 1
    for layer in architecture.layers:
        total *= getattr(layer.op, "stride", 1)
        found.append(total)
    return found


def _taps(architecture: Architecture, wanted: Sequence[int]) -> list[int]:
    """The last layer of each wanted stride, those of a stage named ``head`` and classifiers aside."""
    names = [stage.name for stage in architecture.stages for _ in stage.ops]
    body = {
        stride: place
        for place, (stride, name, layer) in enumerate(
            zip(strides(architecture), names, architecture.layers, strict=True)
        )
        if name != "head" and not isinstance(layer.op, Classifier)
    }
    missing = [stride for stride in wanted if stride not in body]
    if missing:
        there = ", ".join(map(str, sorted(body)))
        raise ArchitectureError(
            f"this network has no map of stride {missing[0]}: its strides are {there}. Take a network with that stride"
        )
    return [body[stride] for stride in wanted]


def features(network: Network, images: Tensor, wanted: Sequence[int] = STRIDES) -> list[Tensor]:
    """images: (n, c, h, w). The last map of each wanted stride, without the head; nothing beyond is computed.

    Raises `ArchitectureError` where the network has no map of such a stride.
    """
    taps = _taps(network.architecture, wanted)
    found: dict[int, Tensor] = {}
    maps, place = images, 0
    for stage in network.stages:
        for layer in stage:  # type: ignore[attr-defined]
            if place <= max(taps):
                maps = layer(maps)
                found[place] = maps
            place += 1
    return [found[tap] for tap in taps]


def trunk(architecture: Architecture, stride: int) -> Architecture:
    """The network up to its last layer of that stride, without a head; names of weights stay."""
    left = _taps(architecture, (stride,))[0] + 1
    stages = []
    for stage in architecture.stages:
        ops = stage.ops[: max(0, left)]
        left -= len(stage.ops)
        stages += [Stage(stage.name, ops)] if ops else []
    return Architecture(architecture.input, tuple(stages))
