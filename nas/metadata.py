"""What goes beside a network: names of its logits, and how its images were normalised."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from nas.arch import LARGEST_FILE_BYTES, Architecture
from nas.errors import ArchitectureError
from nas.files import read_json, write_json
from nas.reading import FormError, from_json, to_json
from nas.shape import Shape
from nas.size import Rect, Size, sides, size_of

__all__ = ["UNKNOWN", "Metadata", "Preprocessing", "read_metadata", "save_network"]

LARGEST_SIZE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What was done to an image before it was normalised, in this order.

    It is upright, as its EXIF data say, the first of several frames, and transparent parts lie on
    white. Then `nas.data.preprocess.prepared`; a file without ``resize`` was stretched instead.
    """

    colour: str
    """Channels and their order: ``RGB`` or ``L``, grey."""
    size: Size
    """What the network sees."""
    resize: Size
    """What the image just covers before the middle is cut out; 0: the whole was stretched."""
    interpolation: str
    """``bilinear``, over all pixels that a new one covers; ``area``: means, bilinear if larger."""
    low: float = 0.0
    high: float = 0.0
    """Of grey of more than eight bits, the values that became 0 and 255; equal: none was seen."""

    def at(self, size: Size) -> "Preprocessing":
        """The same for a network of another size."""
        if not self.resize:
            return replace(self, size=size)
        was, now, before = sides(self.size), sides(size), sides(self.resize)
        height, width = (round(before[i] * now[i] / was[i]) for i in (0, 1))
        return replace(self, size=size, resize=size_of(height, width))

    def __str__(self) -> str:
        height, width = sides(self.size)
        scaled = f"stretched to {height}x{width}, {self.interpolation}"
        if isinstance(self.resize, Rect) or (isinstance(self.size, Rect) and self.resize):
            rows, columns = sides(self.resize)
            scaled = f"covering {rows}x{columns}, middle {height}x{width}, {self.interpolation}"
        elif self.resize:
            scaled = f"shorter side to {self.resize}, middle {height}x{width}, {self.interpolation}"
        deep = f", values {self.low:g} to {self.high:g} to 0..255" if self.low < self.high else ""
        colour = "grey" if self.colour == "L" else self.colour
        return f"upright, {colour}{deep}, {scaled}"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Names and normalisation of a network's input and output. What is not known is empty."""

    classes: tuple[str, ...] = ()
    """In the order of the logits. They are other people's words: any text, never code."""
    mean: tuple[float, ...] = ()
    """Per channel, of pixels 0..1."""
    std: tuple[float, ...] = ()
    """Per channel, of pixels 0..1."""
    preprocessing: Preprocessing | None = None
    """What was done to images before."""

    def to_json(self) -> dict[str, object]:
        """Plain JSON of what is known."""
        document: dict[str, object] = {}
        for name in ("classes", "mean", "std"):
            if getattr(self, name):
                document[name] = list(getattr(self, name))
        if self.preprocessing is not None:
            document["preprocessing"] = to_json(self.preprocessing)
        return document

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "Metadata":
        """Read what a run, a training or an architecture file holds; older ones hold nothing.

        Raises `ArchitectureError`.
        """
        return cls(
            classes=_values(data, "classes", str),
            mean=_values(data, "mean", float),
            std=_values(data, "std", float),
            preprocessing=_preprocessing(data.get("preprocessing")),
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
            preprocessing=self._at(network.input),
        )

    def _at(self, image: Shape) -> Preprocessing | None:
        """The preprocessing for a network of such images."""
        how = self.preprocessing
        if how is None or len(how.colour) != image.channels:
            return None
        return how.at(image.size)


UNKNOWN = Metadata()
"""Nothing is known."""

Value = TypeVar("Value", str, float)


def _values(data: Mapping[str, object], name: str, kind: type[Value]) -> tuple[Value, ...]:
    values = data.get(name, [])
    if not isinstance(values, list) or not all(_is(value, kind) for value in values):
        raise ArchitectureError(f"{name} of a network must be a list of {kind.__name__} values")
    return tuple(values)


def _preprocessing(value: object) -> Preprocessing | None:
    if value is None:
        return None
    try:
        how = from_json(Preprocessing, value)
    except FormError as error:
        raise ArchitectureError(f"preprocessing of a network: {error}") from None
    numbers = (how.low, how.high)
    resize_fits = how.resize == 0 or _fits(how.resize, 2 * LARGEST_SIZE)
    sizes_fit = _fits(how.size, LARGEST_SIZE) and resize_fits
    if how.colour not in ("RGB", "L") or not sizes_fit or not all(map(math.isfinite, numbers)):
        raise ArchitectureError(f"preprocessing of a network is not one of images: {how}")
    return how


def _fits(size: Size, largest: int) -> bool:
    return min(sides(size)) >= 1 and max(sides(size)) <= largest


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
