"""A supernet: shared weights of all networks of a space, and one network at a time as a module.

Per slot, position in the slot's layers and kind of op, each parameter exists once, in the largest
shape that any option asks for. A layer of a picked network holds views of them: the leading
channels, the middle of a kernel. So a step trains, and pays for, the picked network alone. Batch
norms keep running statistics per layer, which mean nothing before they are recalibrated: see
`nas.supernet.scoring`.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import torch
from torch import Tensor, nn

from nas.arch import Architecture, Layer
from nas.errors import ArchitectureError, UsageError
from nas.model import initialise, module
from nas.shape import Shape
from nas.space import SearchSpace, SizedSpace
from nas.strategies.differentiable import SHARING
from nas.supernet.cover import covering
from nas.trial import Genes

__all__ = ["SHARING", "Path", "Place", "Slim", "Supernet", "View", "starts_at_zero", "wake"]

Slim = Callable[[Architecture], Architecture]
"""From a network of the space to the one that is trained instead, layer by layer."""

Cut = tuple[slice, ...]

MOST_OWN = 8
"""``auto`` gives each layer weights of its own where nowhere more than so many layers can stand."""

KEPT_LAYERS = 1 << 13

LEAST_FACTOR = 1e-3
"""A layer scale that starts below leaves its block asleep: MobileNetV4's start at 0.00001."""


@dataclass(frozen=True)
class Place:
    """Where a layer stands: its slot, its position in that, what its weights are shared among."""

    slot: int
    position: int
    kind: str


@dataclass(frozen=True, eq=False)
class View:
    """A parameter of one layer: a view of the shared tensor of that name.

    ``whole``: it is all of the tensor.
    """

    name: str
    cut: Cut
    whole: bool
    leaf: nn.Parameter


class Path(nn.Module):
    """One network of a supernet.

    ``stages``: its layers in order. ``ends[slot]``: how many layers there are up to a slot.
    """

    def __init__(self, layers: Sequence[nn.Module], ends: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.Sequential(*layers)
        self.ends = tuple(ends)

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, c, s, s). Logits (n, classes)."""
        out: Tensor = self.stages(images)
        return out


class Supernet:
    """The weights of all networks of ``space``, each slimmed by ``slim``.

    They are drawn from ``seed`` alone, as `initialise` does, but no norm starts at 0: see `wake`.
    ``share`` none: every option has weights of its own; elastic: options of one kind of op share,
    sliced by the settings that the op declares elastic; auto: none where at no place more than
    `MOST_OWN` different layers can stand. Raises `ArchitectureError` for an op without a torch
    module.
    """

    def __init__(
        self,
        space: SearchSpace,
        slim: Slim,
        *,
        share: str = "auto",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if share not in SHARING:
            raise UsageError(f"share must be one of {', '.join(SHARING)}, not '{share}'")
        if isinstance(space, SizedSpace):
            sizes = ",".join(map(str, space.sizes))
            raise UsageError(
                f"networks share weights at one input size, not at {sizes}: give --resolution "
                f"{space.input.size} alone, or --evaluator training"
            )
        self.space, self.slim, self.seed, self.device = space, slim, seed, torch.device(device)
        places = self._places()
        self.share = share if share != "auto" else _sharing(places)
        grouped: dict[Place, list[Layer]] = {}
        for slot, position, layer in places:
            grouped.setdefault(self._place(slot, position, layer), []).append(layer)
        drawn = {place: self._drawn(place, layers) for place, layers in grouped.items()}
        wake(drawn)
        self.shared: dict[str, Tensor] = {}
        for place, values in drawn.items():
            self._keep(place, values)
        self._layers: OrderedDict[tuple[int, int, Layer], tuple[nn.Module, tuple[View, ...]]] = (
            OrderedDict()
        )

    @property
    def params(self) -> int:
        """All shared values."""
        return sum(value.numel() for value in self.shared.values())

    # -- allocation -------------------------------------------------------------------------------

    def _places(self) -> list[tuple[int, int, Layer]]:
        """Every (slot, position, slimmed layer) of the space, each once."""
        places: dict[tuple[int, int, Layer], None] = {}
        for genes in covering(self.space):
            small = self.slim(self.space.decode(genes))
            places |= dict.fromkeys(self._walk(genes, small))
        return list(places)

    def _walk(self, genes: Genes, small: Architecture) -> Iterator[tuple[int, int, Layer]]:
        layers = iter(small.layers)
        for slot, word in enumerate(self.space.words(genes)):
            for position in range(len(word)):
                layer = next(layers)
                yield slot, position, Layer(layer.op.at(layer.shape), layer.shape)

    def _place(self, slot: int, position: int, layer: Layer) -> Place:
        if self.share == "none":
            return Place(slot, position, str(layer))
        op = layer.op
        fixed = ",".join(
            f"{name}={value}" for name, value in op.settings.items() if name not in op.elastic
        )
        width = "" if "channels" in op.elastic else f"@{layer.shape.channels}"
        return Place(slot, position, f"{op.key}({fixed}){width}")

    def _drawn(self, place: Place, layers: list[Layer]) -> dict[str, Tensor]:
        """The place's parameters by name, in their largest shapes.

        They hold what `initialise` gives the layers that they are for.
        """
        asked = {layer: _shapes(layer.op, layer.shape) for layer in layers}
        largest: dict[str, tuple[int, ...]] = {}
        for shapes in asked.values():
            for name, shape in shapes.items():
                known = largest.get(name, shape)
                largest[name] = tuple(map(max, known, shape))
        values = {name: torch.zeros(shape) for name, shape in largest.items()}
        filled: dict[str, list[tuple[int, ...]]] = {name: [] for name in largest}
        for layer in sorted(asked, key=lambda layer: (-layer.params, str(layer))):
            # The largest came first: a layer inside one that is drawn starts as its part.
            new = [name for name, shape in asked[layer].items() if not _inside(shape, filled[name])]
            if not new:
                continue
            initial = self._initialised(place, layer)
            for name in new:
                shape = asked[layer][name]
                values[name][_cut(largest[name], shape)] = initial[name].detach()
                filled[name].append(shape)
        return values

    def _keep(self, place: Place, values: Mapping[str, Tensor]) -> None:
        """Put the place's parameters on the device."""
        for name, value in values.items():
            layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
            self.shared[self._name(place, name)] = value.to(self.device, memory_format=layout)

    def _initialised(self, place: Place, layer: Layer) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            # crc32, as Python's hash of a text differs from process to process.
            torch.default_generator.manual_seed(crc32(f"{self.seed}{place}{layer}".encode()))
            made = module(layer.op, layer.shape)
            initialise(made)
        return dict(made.named_parameters())

    def _name(self, place: Place, parameter: str) -> str:
        return f"{self.space.slots[place.slot].name}/{place.position}/{place.kind}/{parameter}"

    # -- one network ------------------------------------------------------------------------------

    def path(self, genes: Sequence[int]) -> Path:
        """The network that the genes describe, over the shared weights."""
        genes = self.space.check(genes)
        words = self.space.words(genes)
        ends, total = [], 0
        for word in words:
            total += len(word)
            ends.append(total)
        small = self.slim(self.space.decode(genes))
        return Path([self._layer(*place)[0] for place in self._walk(genes, small)], ends)

    def views(self, genes: Sequence[int]) -> list[View]:
        """The parameters of the path, each a view of a shared tensor; gradients arrive at them."""
        genes = self.space.check(genes)
        small = self.slim(self.space.decode(genes))
        return [view for place in self._walk(genes, small) for view in self._layer(*place)[1]]

    def options(self, slot: int) -> list[tuple[list[nn.Module], list[View]]]:
        """Every option of a slot, as layers and their parameters.

        Raises `UsageError` if the slot can meet several shapes.
        """
        states = self.space.chain[slot].states
        if len(states) > 1:
            raise UsageError(
                "a mixture of all options needs one shape handed over, and slot "
                f"'{self.space.slots[slot].name}' of space '{self.space.name}' can meet "
                f"{len(states)}: use --strategy differentiable, which takes one path at a time"
            )
        options = []
        first, last, _ = self.space.radix[slot]
        for option in range(self.space.slots[slot].options):
            zeros = (0,) * len(self.space.choices)
            genes = (*zeros[:first], *self.space.slot_genes(slot, option), *zeros[last:])
            small = self.slim(self.space.decode(genes))
            layers: list[nn.Module] = []
            views: list[View] = []
            for place in self._walk(genes, small):
                if place[0] == slot:
                    layer, own = self._layer(*place)
                    layers.append(layer)
                    views += own
            options.append((layers, views))
        return options

    def _layer(self, slot: int, position: int, layer: Layer) -> tuple[nn.Module, tuple[View, ...]]:
        key = (slot, position, layer)
        if key not in self._layers:
            self._layers[key] = self._bound(self._place(slot, position, layer), layer)
            if len(self._layers) > KEPT_LAYERS:
                self._layers.popitem(last=False)
        self._layers.move_to_end(key)
        return self._layers[key]

    def _bound(self, place: Place, layer: Layer) -> tuple[nn.Module, tuple[View, ...]]:
        # A new module draws weights that are thrown away: the global generator must not notice.
        with torch.random.fork_rng(devices=[]):
            made = module(layer.op, layer.shape).to(self.device)
        views = []
        for name, parameter in list(made.named_parameters()):
            known = self._name(place, name)
            shared, shape = self.shared.get(known), tuple(parameter.shape)
            if shared is None or any(map(int.__gt__, shape, shared.shape)):
                raise ArchitectureError(
                    f"the supernet of space '{self.space.name}' was not made for layer {layer}"
                )
            cut = _cut(tuple(shared.shape), shape)
            # A leaf of its own over the shared storage: gradients arrive in the view's shape.
            leaf = nn.Parameter(shared[cut])
            owner, _, last = name.rpartition(".")
            made.get_submodule(owner)._parameters[last] = leaf
            views.append(View(known, cut, shape == tuple(shared.shape), leaf))
        return made, tuple(views)

    # -- state ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """All shared tensors by name, themselves and not copies."""
        return dict(self.shared)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over shared tensors; those of another space or sharing raise `ArchitectureError`."""
        if _shapes_by_name(state) != _shapes_by_name(self.shared):
            raise ArchitectureError(
                f"the checkpoint is that of another supernet than '{self.space.name}' with "
                f"share={self.share}: "
                "its weights differ in name or shape. Start with another --out"
            )
        for name, value in state.items():
            self.shared[name].copy_(value)

    def __str__(self) -> str:
        alone = (
            "weights of its own for each option"
            if self.share == "none"
            else "weights shared by elastic settings"
        )
        return f"{self.params / 1e6:.2f} M parameters, {alone}"


def _sharing(places: list[tuple[int, int, Layer]]) -> str:
    standing = Counter((slot, position) for slot, position, _ in places)
    return "none" if max(standing.values()) <= MOST_OWN else "elastic"


def wake(drawn: Mapping[Place, Mapping[str, Tensor]]) -> None:
    """Let the last norms of residual blocks, and their layer scales, start above 0.

    A block whose last norm starts at 0 does nothing until that norm has grown. In a network trained
    alone it grows soon. Here a step trains one option of a slot: after 4,000 steps such norms were
    still at .17 to .52, where norms of blocks without a shortcut were at 1.1. With a start at 1 the
    sum of many blocks drowns the shortcut, and a deep supernet learns worse. Scaled by one over
    the root of their number, the blocks together weigh as much as the shortcut (De and Smith 2020,
    https://arxiv.org/abs/2002.10444, section 2).
    """
    asleep: dict[tuple[int, int], list[Tensor]] = {}
    for place, values in drawn.items():
        norms = [value for name, value in values.items() if starts_at_zero(name, value)]
        if norms:
            asleep.setdefault((place.slot, place.position), []).extend(norms)
    # FBNet on digits, 1,800 steps, mean accuracy of 24 random networks on *selection*, one seed
    # (experiments/supernet_start.py): .81 from a start at 0, .81 from here, which is .25 for its 16
    # blocks, .69 from 1.
    for norms in asleep.values():
        for norm in norms:
            norm.fill_(len(asleep) ** -0.5)


def starts_at_zero(name: str, value: Tensor) -> bool:
    """Whether it is the weight of a norm and 0 throughout, or a layer scale that hardly differs."""
    if name.endswith("scale.factor"):
        return bool((value <= LEAST_FACTOR).all())
    return name.endswith("weight") and value.ndim == 1 and not value.any()


@lru_cache(maxsize=1 << 15)
def _shapes(op: object, shape: Shape) -> dict[str, tuple[int, ...]]:
    """Shape by name of the parameters of an op's torch module."""
    with torch.device("meta"):
        made = module(op, shape)  # type: ignore[arg-type]
    return {name: tuple(value.shape) for name, value in made.named_parameters()}


def _cut(whole: Sequence[int], part: Sequence[int]) -> Cut:
    """The leading part of every dimension, the middle of the two of a convolution's kernel."""
    cut = []
    for dimension, (size, taken) in enumerate(zip(whole, part, strict=True)):
        # As in Once-for-All (Cai et al. 2020), but without its transforms between kernel sizes.
        centred = len(part) == 4 and dimension >= 2
        start = (size - taken) // 2 if centred else 0
        cut.append(slice(start, start + taken))
    return tuple(cut)


def _inside(shape: Sequence[int], known: Sequence[Sequence[int]]) -> bool:
    """Whether one of the known shapes is as large in every dimension."""
    return any(all(map(int.__le__, shape, other)) for other in known)


def _shapes_by_name(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
