"""State dicts of timm and torchvision for the networks that all of us have.

The map follows from both networks' structure, by four rules:

1. Tensors are taken in the order of the state dict, and gathered into units: a convolution or
   linear layer (``weight`` of two or four dimensions, ``bias``), a norm (``weight``, ``bias``,
   ``running_mean``, ``running_var``), or a tensor by itself under any name (a layer scale, the
   biases of an attention). All codes write a network's parts in the order in which they run, but
   for the path beside a block, which timm's ByobNet writes first: it is moved behind.
2. The n-th unit of the file is the n-th of the network. Both must be of one kind and shape, but for
   the channels of the image in the first and the classes in the last.
3. A 1x1 convolution and a linear layer are one thing: squeeze-and-excitation, and MobileNetV3's
   hidden layer, are convolutions there and linear layers here, LeViT's layers the other way round.
4. Norms here divide by sqrt(variance + 1e-3), there mostly by sqrt(variance + 1e-5). The weight of
   each norm is multiplied by what makes the quotient the same, so that predictions are the file's.

Networks that learnt from a teacher have a second classifier, ``head_dist``, and give the mean of
both. One classifier of means gives the same, and is what is loaded; where each has a norm of its
own (LeViT), the norms go into its weights, and the network's norm changes nothing.

The file does not say its epsilon: it is assumed by source and family, as `SOURCES` lists, and the
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
from nas.shape import Op

__all__ = ["SOURCES", "Source", "translate"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Whose a file is."""

    first: str
    """A name that every file of this source has."""
    name: str
    eps: float
    """Epsilon of its norms."""


SOURCES = (
    Source(first="conv_stem.weight", name="timm", eps=1e-5),
    Source(first="features.0.0.weight", name="torchvision", eps=1e-5),
    Source(first="layers.0.weight", name="torchvision (MnasNet)", eps=1e-5),
    Source(first="conv1.weight", name="torchvision or timm (ResNet)", eps=1e-5),
    Source(first="stem.conv1.conv.weight", name="timm", eps=1e-5),
    Source(first="stem.conv_kxk.conv.weight", name="timm (RepVGG)", eps=1e-5),
    Source(first="stem.conv_kxk.0.conv.weight", name="timm (MobileOne)", eps=1e-5),
    Source(first="stem.conv1.linear.weight", name="timm (LeViT)", eps=1e-5),
    Source(first="stem.0.weight", name="timm (ConvNeXt, EdgeNeXt)", eps=1e-5),
)
COARSE_EPS = 1e-3
"""torchvision's MobileNetV3, EfficientNetV2 and EfficientNet-B5 to B7."""
LAYERS_OF_B4 = 35

BESIDE = ".shortcut."
COUNTER = "num_batches_tracked"
HEAD, DISTILLED = "head", "head_dist"


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
    def alone(self) -> bool:
        """Whether it is one tensor under a name of its own."""
        return "weight" not in self.parts

    @property
    def main(self) -> Tensor:
        """The weight, or the only tensor."""
        (first, *_) = self.parts.values()
        return self.parts.get("weight", first)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight; a 1x1 convolution counts as the linear layer that it is."""
        shape = tuple(self.main.shape)
        return shape[:2] if shape[2:] == (1, 1) else shape

    def __str__(self) -> str:
        norm = "norm " if self.norm else ""
        sizes = "x".join(map(str, self.main.shape))
        own = f".{next(iter(self.parts))}" if self.alone else ""
        return f"{self.name}{own} ({norm}{sizes})"


def translate(state: Mapping[str, Tensor], network: Network) -> tuple[Mapping[str, Tensor], str]:
    """The state dict under the network's names, and whose it was.

    Unchanged, with "", if its names are not foreign. Raises `ArchitectureError` for a file of
    another network.
    """
    source = _source(state)
    if source is None:
        return state, ""
    eps = _epsilon(source, network)
    state = _one_classifier(state, eps)
    translated: dict[str, Tensor] = {}
    for there, here in _pairs(source, state, network):
        translated |= _taken(there, here, eps)
    # How many batches a norm has seen is of no use, as the momentum is fixed: the network's own.
    for name, value in network.state_dict().items():
        if name.endswith(COUNTER):
            translated[name] = value
    origin = f"names of {source.name}, mapped by order and shape"
    if any(name.endswith("running_var") for name in state):
        origin += f"; norms assumed to have epsilon {eps:g}"
    return translated, origin


def _source(state: Mapping[str, Tensor]) -> Source | None:
    """Whose names a state dict has, None for nobody's that is known."""
    for source in SOURCES:
        if source.first in state:
            return source
    return None


def units(state: Mapping[str, Tensor]) -> list[Unit]:
    """Rule 1."""
    gathered: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        prefix, _, part = name.rpartition(".")
        if part != COUNTER:
            gathered.setdefault(prefix, {})[part] = value
    found = []
    for name, parts in gathered.items():
        if "weight" in parts:
            found.append(Unit(name, parts))
            continue
        found += [Unit(name, {part: value}) for part, value in parts.items()]
    return found


def in_order_of_running(units: list[Unit]) -> list[Unit]:
    """The units with each path beside a block behind the block: rule 1, for timm's ByobNet."""
    ordered: list[Unit] = []
    beside: list[Unit] = []
    for unit in units:
        if beside and not unit.name.startswith(beside[0].name.partition(BESIDE)[0] + "."):
            ordered += beside
            beside = []
        (beside if BESIDE in unit.name else ordered).append(unit)
    return ordered + beside


def _one_classifier(state: Mapping[str, Tensor], eps: float) -> Mapping[str, Tensor]:
    """The state dict with one classifier that gives the mean of its two, if it has two."""
    heads = [_plain_classifier(state, name, eps) for name in (HEAD, DISTILLED)]
    if not heads[1]:
        return state
    merged = dict(state)
    for name in state:
        if name.startswith(f"{DISTILLED}."):
            del merged[name]
    for part, value in heads[0].items():
        merged[f"{HEAD}.{part}"] = (value + heads[1][part]) / 2
    if f"{HEAD}.bn.weight" in state:
        merged |= _idle_norm(state, f"{HEAD}.bn", eps)
    return merged


def _plain_classifier(state: Mapping[str, Tensor], head: str, eps: float) -> dict[str, Tensor]:
    """Weight and bias of a linear classifier, the norm ahead of it taken in; empty without one."""
    if f"{head}.bn.weight" not in state:
        names = [part for part in ("weight", "bias") if f"{head}.{part}" in state]
        return {part: state[f"{head}.{part}"] for part in names}
    mean, variance = state[f"{head}.bn.running_mean"], state[f"{head}.bn.running_var"]
    factor = state[f"{head}.bn.weight"] / torch.sqrt(variance + eps)
    offset = state[f"{head}.bn.bias"] - mean * factor
    weight, bias = state[f"{head}.linear.weight"], state[f"{head}.linear.bias"]
    return {"linear.weight": weight * factor, "linear.bias": bias + weight @ offset}


def _idle_norm(state: Mapping[str, Tensor], name: str, eps: float) -> dict[str, Tensor]:
    """A norm that changes nothing, of the channels of that one."""
    ones = torch.ones_like(state[f"{name}.weight"])
    values = {"weight": ones, "bias": 0 * ones, "running_mean": 0 * ones}
    values["running_var"] = (1 - eps) * ones
    return {f"{name}.{part}": value for part, value in values.items()}


def _pairs(
    source: Source, state: Mapping[str, Tensor], network: Network
) -> list[tuple[Unit, Unit]]:
    """Rule 2: each of the file's units, and the network's that it goes into."""
    theirs, ours = in_order_of_running(units(state)), units(network.state_dict())
    pairs = list(zip(theirs, ours, strict=False))
    open_dimensions = {0: 1, len(ours) - 1: 0}  # image channels of the first, classes of the last
    counts = ""
    if len(theirs) != len(ours):
        counts = f"; it has {len(theirs)} layers and norms, this network {len(ours)}"
    for place, (there, here) in enumerate(pairs):
        if not _fits(there, here, open_dimensions.get(place)):
            size = "" if counts else ", or for images of another size"
            raise ArchitectureError(
                f"{source.name}'s {there} does not fit this network's {here}: "
                f"the file is of another network{size}{counts}"
            )
    if counts:
        raise ArchitectureError(
            f"{source.name}'s file goes on where this network ends, or ends before it: "
            f"the file is of another network{counts}"
        )
    return pairs


def _fits(there: Unit, here: Unit, open_dimension: int | None) -> bool:
    """Whether both are of one kind, and of one shape but for one dimension."""
    if there.alone != here.alone or there.norm != here.norm:
        return False
    if not there.alone and there.parts.keys() != here.parts.keys():
        return False
    return _but(there.shape, open_dimension) == _but(here.shape, open_dimension)


def _but(shape: tuple[int, ...], open_dimension: int | None) -> tuple[int, ...]:
    """The shape with 0 for the open dimension."""
    if open_dimension is None:
        return shape
    return (*shape[:open_dimension], 0, *shape[open_dimension + 1 :])


def _taken(there: Unit, here: Unit, eps: float) -> dict[str, Tensor]:
    """Rules 3 and 4."""
    if here.alone:
        (part,) = here.parts
        return {f"{here.name}.{part}": there.main}
    parts = dict(there.parts)
    weight, own = there.main, here.main
    if there.norm:
        parts["weight"] = _rescaled(weight, parts["running_var"], eps)
    elif own.dim() != weight.dim():
        parts["weight"] = weight.reshape(weight.shape[:2] + own.shape[2:])
    return {f"{here.name}.{part}": value for part, value in parts.items()}


def _rescaled(weight: Tensor, variance: Tensor, eps: float) -> Tensor:
    """Rule 4: weight, variance: (channels,). Computed in double precision."""
    variance = variance.double()
    factor = torch.sqrt((variance + NORM_EPS) / (variance + eps))
    return (weight.double() * factor).to(weight.dtype)


def _epsilon(source: Source, network: Network) -> float:
    layers = network.architecture.layers
    late = any(_is_late(layer.op) for layer in layers)
    coarse = late or len(layers) > LAYERS_OF_B4
    return COARSE_EPS if source.name == "torchvision" and coarse else source.eps


def _is_late(op: Op) -> bool:
    """Whether it is of MobileNetV3 or EfficientNetV2, which torchvision gives `COARSE_EPS`."""
    return op.key == "fused_mbconv" or getattr(op, "act", "") == "hswish"
