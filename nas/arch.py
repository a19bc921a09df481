"""A concrete network: every shape known, no space needed, one JSON form and one digest."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nas.errors import ArchitectureError
from nas.files import UNREADABLE, read_json, write_json
from nas.ops import op_from_json, op_to_json
from nas.shape import FLOAT_BYTES, Kernel, Op, Shape
from nas.size import LARGEST_SIDE, as_json, longer, parse_size
from nas.units import column_table, html_table

__all__ = ["Architecture", "Layer", "Stage"]

FORMAT = 1
LARGEST_FILE_BYTES = 16 << 20
LARGEST_PARAMS = 1 << 40
LAYER_COLUMNS = ("layer", "op", "input", "params", "macs (M)")
STAGE_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,80}")


def _check_format(number: object) -> None:
    if number != FORMAT:
        raise ArchitectureError(f"architecture format must be {FORMAT}, not {str(number)[:40]}")


def _input_shape(channels: object, size: object) -> Shape:
    if type(channels) is not int or type(size) not in (int, str):
        raise ArchitectureError(
            "architecture input must be two whole numbers, or one and a size such as '240x320', "
            f"not {str((channels, size))[:80]}"
        )
    size = size if isinstance(size, int) else parse_size(str(size))
    largest = max(channels, longer(size))
    if largest > LARGEST_SIDE:
        raise ArchitectureError(
            f"architecture input must be at most {LARGEST_SIDE}, not {str(largest)[:40]}"
        )
    return Shape(channels, size)


def _stage_name(name: object) -> str:
    """A stage's name stands in exported code: it is a word, and cannot be more."""
    if not isinstance(name, str) or not STAGE_NAME.fullmatch(name):
        raise ArchitectureError(
            f"a stage's name is letters, digits and _ . + -, at most 80, not {str(name)[:40]!r}"
        )
    return name


@dataclass(frozen=True)
class Layer:
    """One op at one input shape; costs are those of its kernels, batch 1, float32."""

    op: Op
    shape: Shape

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Kept, since layers are keys wherever a space is priced, and their ops are deep."""
        return hash((self.op, self.shape))

    def __getstate__(self) -> dict[str, object]:
        """Without the hash, which is another one in another process."""
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    @cached_property
    def out_shape(self) -> Shape:
        """The map handed over."""
        return self.op.out_shape(self.shape)

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """What a runtime executes."""
        return self.op.kernels(self.shape)

    @cached_property
    def params(self) -> int:
        """All trained values."""
        return sum(k.params for k in self.kernels)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(k.macs for k in self.kernels)

    @cached_property
    def peak_bytes(self) -> int:
        """Activations alive at the layer's worst moment.

        These are a kernel's input and output, and what is held beside. Raises `ArchitectureError`
        unless the op says what is held for each kernel or for none.
        """
        alive = [kernel.in_elements + kernel.out_elements for kernel in self.kernels]
        held = self.op.held(self.shape) or [0] * len(alive)
        if not isinstance(held, Sequence) or len(held) != len(alive):
            raise ArchitectureError(
                f"op '{self.op.key}': held must give a number for each of its {len(alive)} "
                f"kernels, or none at all, not {held}"
            )
        both = zip(alive, held, strict=True)
        return FLOAT_BYTES * max((own + beside for own, beside in both), default=0)

    @cached_property
    def text(self) -> str:
        """Op and input shape as canonical JSON, what digests are made of."""
        row = [self.shape.channels, as_json(self.shape.size), op_to_json(self.op.at(self.shape))]
        return json.dumps(row, sort_keys=True, separators=(",", ":"))

    def __str__(self) -> str:
        return f"{self.op.signature}@{self.shape}"


@dataclass(frozen=True)
class Stage:
    """Layers that a space or a paper names together; scaling repeats inside a stage."""

    name: str
    ops: tuple[Op, ...]

    def to_json(self) -> dict[str, object]:
        """Plain JSON: the name, and ops by short key."""
        return {"name": self.name, "layers": [op_to_json(op) for op in self.ops]}


@dataclass(frozen=True)
class Architecture:
    """An input shape and stages of ops. Shapes are walked, and checked, when it is built."""

    input: Shape
    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        layers, shape = [], self.input
        for op in chain.from_iterable(stage.ops for stage in self.stages):
            layer = Layer(op, shape)
            _ = layer.kernels  # an op that cannot run at this shape raises here, not later
            layers.append(layer)
            shape = layer.out_shape
        if not layers:
            raise ArchitectureError("an architecture needs at least one layer")
        object.__setattr__(self, "layers", tuple(layers))

    @classmethod
    def of_layers(
        cls, input: Shape, stages: Iterable[tuple[str, tuple[Layer, ...]]]
    ) -> "Architecture":
        """The network of layers that were walked before, by stage name; nothing is checked again.

        Each layer's shape is what the one before hands over. For search spaces, which share priced
        layers between networks.
        """
        network = object.__new__(cls)
        named, flat = [], list[Layer]()
        for name, layers in stages:
            if layers:
                named.append(Stage(name, tuple(layer.op for layer in layers)))
                flat += layers
        object.__setattr__(network, "input", input)
        object.__setattr__(network, "stages", tuple(named))
        object.__setattr__(network, "layers", tuple(flat))
        if not flat:
            raise ArchitectureError("an architecture needs at least one layer")
        return network

    @cached_property
    def layers_by_stage(self) -> tuple[tuple[Stage, tuple[Layer, ...]], ...]:
        """Each stage with its layers, in order; a stage without layers has none."""
        stages, start = [], 0
        for stage in self.stages:
            end = start + len(stage.ops)
            stages.append((stage, self.layers[start:end]))
            start = end
        return tuple(stages)

    @property
    def out_shape(self) -> Shape:
        """What the last layer hands over; for a classifier ``classes x 1 x 1``."""
        return self.layers[-1].out_shape

    @cached_property
    def params(self) -> int:
        """All trained values."""
        return sum(layer.params for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def size_bytes(self) -> int:
        """Weights as float32."""
        return FLOAT_BYTES * self.params

    @cached_property
    def peak_memory_bytes(self) -> int:
        """Activations alive at the worst moment of inference: one image, float32, no weights."""
        return max(layer.peak_bytes for layer in self.layers)

    def kernels(self) -> Iterator[Kernel]:
        """Everything a runtime executes, in order."""
        return chain.from_iterable(layer.kernels for layer in self.layers)

    def trained_kernels(self) -> Iterator[Kernel]:
        """Everything a training executes: `kernels`, but for branches that are folded to ship."""
        return chain.from_iterable(layer.op.trained(layer.shape) for layer in self.layers)

    @property
    def deployed(self) -> "Architecture":
        """The network that ships: itself, but for branches that are folded."""
        stages = []
        for stage in self.stages:
            stages.append(Stage(stage.name, tuple(op.deployed for op in stage.ops)))
        return Architecture(self.input, tuple(stages))

    @cached_property
    def digest(self) -> str:
        """Name of the computation: 20 hex digits over the chain of (op, input shape).

        Where stages begin does not matter.
        """
        text = f"[{','.join([layer.text for layer in self.layers])}]"
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def _repr_html_(self) -> str:
        """The layers as a notebook shows them."""
        sizes = f"{self.params:,} params, {self.macs / 1e6:,.1f} M macs"
        title = f"{self.digest}: input {self.input}, {sizes}"
        return html_table(title, LAYER_COLUMNS, self._layer_rows())

    def __str__(self) -> str:
        return self.layer_table()

    def __repr__(self) -> str:
        size = f"{len(self.layers)} layers, {self.params:,} params, {self.macs / 1e6:,.1f} M macs"
        return f"Architecture({self.digest}: input {self.input}, {size})"

    def layer_table(self, more: Mapping[str, Sequence[str]] = MappingProxyType({})) -> str:
        """One line per layer: its stage, op, input shape, params and macs.

        ``more``: further columns by heading, a cell per layer.
        """
        cells = zip(*self._layer_rows(), strict=True)
        return column_table([*zip(LAYER_COLUMNS, cells, strict=True), *more.items()])

    def _layer_rows(self) -> list[tuple[str, ...]]:
        """Cells of `LAYER_COLUMNS` per layer."""
        rows: list[tuple[str, ...]] = []
        for stage, layers in self.layers_by_stage:
            for layer in layers:
                macs = f"{layer.macs / 1e6:.2f}"
                cells = (layer.op.signature, str(layer.shape), f"{layer.params:,}", macs)
                rows.append((stage.name, *cells))
        return rows

    def to_json(self) -> dict[str, object]:
        """Plain JSON: format, input, stages of ops by short key."""
        return {
            "format": FORMAT,
            "input": {"channels": self.input.channels, "size": as_json(self.input.size)},
            "stages": [stage.to_json() for stage in self.stages],
        }

    @classmethod
    def from_json(cls, data: Any) -> "Architecture":
        """The network that `to_json` wrote; anything else raises `ArchitectureError`."""
        try:
            _check_format(data["format"])
            shape = _input_shape(data["input"]["channels"], data["input"]["size"])
            stages = []
            for stage in data["stages"]:
                ops = tuple(op_from_json(op) for op in stage["layers"])
                stages.append(Stage(_stage_name(stage["name"]), ops))
        except (KeyError, TypeError) as error:
            raise ArchitectureError(
                f"not an architecture: missing or misplaced {str(error)[:80]}"
            ) from None
        network = cls(shape, tuple(stages))
        if max(network.params, network.peak_memory_bytes) > LARGEST_PARAMS:
            raise ArchitectureError(
                "an architecture of over 2^40 weights or bytes of activations is none"
            )
        return network

    def save(self, path: str | Path) -> None:
        """Write the JSON form."""
        write_json(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Architecture":
        """Read the JSON form; a file over 16 MiB or not JSON raises."""
        path = Path(path)
        try:
            document = read_json(path, LARGEST_FILE_BYTES, "not an architecture", ArchitectureError)
        except UNREADABLE as error:
            raise ArchitectureError(f"cannot read architecture {path}: {error}") from None
        try:
            return cls.from_json(document)
        except ArchitectureError as error:
            raise ArchitectureError(f"{path}: {error}") from None
