"""State dicts of timm and torchvision for the networks that all of us have.

The map follows from both networks' structure, by four rules:

1. Tensors are taken in the order of the state dict, and gathered into units: a convolution or linear layer (``weight`` of
   two or four dimensions, ``bias``), or a norm (``weight``, ``bias``, ``running_mean``, ``running_var``). All three
   codes write a network's parts in the order in which they run.
2. The n-th unit of the file is the n-th of the network. Both must be of one kind and shape, but for the channels of the
   image in the first and the classes in the last.
3. A 1x1 convolution with bias and a linear layer are one thing: squeeze-and-excitation, and MobileNetV3's hidden layer,
   are convolutions there and linear layers here.
4. Norms here divide by sqrt(variance + 1e-3), there mostly by sqrt(variance + 1e-5). The weight of each norm is
   multiplied by what makes the quotient the same, so that predictions are the file's.

The file does not say its epsilon: it is assumed by source and family, as `EPSILONS` lists, and the
report says which. timm's ``tf_`` variants have the same names, but pad unevenly: their weights
load, and their predictions are not reproduced.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.errors import ArchitectureError
from nas.model.blocks import NORM_EPS
from nas.model.network import Network

__all__ = ["EPSILONS", "translate"]

# First names of a file: whose it is, and the epsilon of its norms.
EPSILONS: tuple[tuple[str, str, float], ...] = (
    ("conv_stem.weight", "timm", 1e-5),
    ("features.0.0.weight", "torchvision", 1e-5),
    ("layers.0.weight", "torchvision (MnasNet)", 1e-5),
)
COARSE_EPS = 1e-3
"""torchvision's MobileNetV3, EfficientNetV2 and EfficientNet-B5 to B7."""
LAYERS_OF_B4 = 35

COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Unit:
    """A layer's tensors by their last names; ``name`` is what stands before."""

    name: str
    parts: Mapping[str, Tensor]

    @property
    def norm(self) -> bool:
        """Whether it is one, by its running variance."""
        return "running_var" in self.parts

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight; a 1x1 convolution with bias counts as the linear layer that it is."""
        shape = tuple(self.parts["weight"].shape)
        return (
            shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) and "bias" in self.parts else shape
        )


def translate(given: Mapping[str, Tensor], network: Network) -> tuple[Mapping[str, Tensor], str]:
    """The state dict under the network's names, and whose it was; unchanged, with "", if its names are not foreign.

    Raises `ArchitectureError` where the file is of another network.
    """
    source = next((row for row in EPSILONS if row[0] in given), None)
    if source is None:
        return given, ""
    origin, eps = source[1], _epsilon(source, network)
    theirs, ours = units(given), units(network.state_dict())
    if len(theirs) != len(ours):
        raise ArchitectureError(
            f"{origin}'s file has {len(theirs)} layers and norms, this network {len(ours)}: it is of another network"
        )
    found: dict[str, Tensor] = {}
    for place, (there, here) in enumerate(zip(theirs, ours, strict=True)):
        free = {0: 1, len(ours) - 1: 0}.get(place)
        same = _but(there.shape, free) == _but(here.shape, free)
        if there.norm != here.norm or not same or set(there.parts) != set(here.parts):
            raise ArchitectureError(
                f"{origin}'s {there.name} {_form(there)} does not fit this network's {here.name} {_form(here)}: "
                "it is of another network"
            )
        found.update(_taken(there, here, eps))
    for name, value in network.state_dict().items():
        if name.endswith(COUNTER):
            found[name] = (
                value  # how many batches a norm has seen: of no use, as the momentum is fixed
            )
    return (
        found,
        f"names of {origin}, mapped by order and shape; norms assumed to have epsilon {eps:g}",
    )


def units(state: Mapping[str, Tensor]) -> list[Unit]:
    """Rule 1."""
    gathered: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        prefix, _, part = name.rpartition(".")
        if part != COUNTER:
            gathered.setdefault(prefix, {})[part] = value
    return [Unit(name, parts) for name, parts in gathered.items() if "weight" in parts]


def _but(shape: tuple[int, ...], free: int | None) -> tuple[int, ...]:
    """The shape with one dimension left open."""
    return tuple(0 if place == free else size for place, size in enumerate(shape))


def _taken(there: Unit, here: Unit, eps: float) -> dict[str, Tensor]:
    """Rules 3 and 4."""
    parts = dict(there.parts)
    if there.norm:
        variance = parts["running_var"].double()
        factor = torch.sqrt((variance + NORM_EPS) / (variance + eps))
        parts["weight"] = (parts["weight"].double() * factor).to(there.parts["weight"].dtype)
    elif here.parts["weight"].dim() != parts["weight"].dim():
        parts["weight"] = parts["weight"].reshape(
            parts["weight"].shape[:2] + here.parts["weight"].shape[2:]
        )
    return {f"{here.name}.{part}": value for part, value in parts.items()}


def _epsilon(source: tuple[str, str, float], network: Network) -> float:
    layers = network.architecture.layers
    late = any(
        layer.op.key == "fused_mbconv" or getattr(layer.op, "act", "") == "hswish"
        for layer in layers
    )
    coarse = source[1] == "torchvision" and (late or len(layers) > LAYERS_OF_B4)
    return COARSE_EPS if coarse else source[2]


def _form(unit: Unit) -> str:
    return f"({'norm ' if unit.norm else ''}{'x'.join(map(str, unit.parts['weight'].shape))})"
