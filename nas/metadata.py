"""What goes beside a network: names of its logits, and how its images were normalised."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from nas.arch import LARGEST_FILE_BYTES, Architecture
from nas.errors import ArchitectureError
from nas.files import read_json, write_json

__all__ = ["UNKNOWN", "Metadata", "read_metadata", "save_network"]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Names and normalisation of a network's input and output. What is not known is empty."""

    classes: tuple[str, ...] = ()
    """In the order of the logits. They are other people's words: any text, never code."""
    mean: tuple[float, ...] = ()
    """Per channel, of pixels 0..1."""
    std: tuple[float, ...] = ()
    """Per channel, of pixels 0..1."""

    def to_json(self) -> dict[str, list[str] | list[float]]:
        """Plain JSON of what is known."""
        return {name: list(values) for name, values in asdict(self).items() if values}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "Metadata":
        """Read what a run, a training or an architecture file holds; older ones hold nothing.

        Raises `ArchitectureError`.
        """
        return cls(
            classes=_values(data, "classes", str),
            mean=_values(data, "mean", float),
            std=_values(data, "std", float),
        )

    def fitting(self, network: Architecture, pixel_classes: int = 0) -> "Metadata":
        """Leave out what is of another number of classes or channels than the network.

        A network may be shipped for other classes than a run's. ``pixel_classes``: how many a
        segmenter on this network has.
        """
        logits = pixel_classes or network.out_shape.channels
        classes_fit = len(self.classes) == logits
        pixels_fit = len(self.mean) == len(self.std) == network.input.channels
        return Metadata(
            classes=self.classes if classes_fit else (),
            mean=self.mean if pixels_fit else (),
            std=self.std if pixels_fit else (),
        )


UNKNOWN = Metadata()
"""Nothing is known."""

Value = TypeVar("Value", str, float)


def _values(data: Mapping[str, object], name: str, kind: type[Value]) -> tuple[Value, ...]:
    values = data.get(name, [])
    if not isinstance(values, list) or not all(_is(value, kind) for value in values):
        raise ArchitectureError(f"{name} of a network must be a list of {kind.__name__} values")
    return tuple(values)


def _is(value: object, kind: type) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, kind)


def save_network(network: Architecture, metadata: Metadata, path: str | Path) -> None:
    """Write an architecture file with the metadata beside the network."""
    write_json(Path(path), {**network.to_json(), **metadata.to_json()})


def read_metadata(path: str | Path) -> Metadata:
    """Read the metadata in an architecture file, one that `Architecture.load` has read."""
    return Metadata.from_json(read_json(Path(path), LARGEST_FILE_BYTES, "not an architecture"))
