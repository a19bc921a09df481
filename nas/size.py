"""Sizes of images and maps: pixels a side, or a height and a width that differ.

A square's size is a plain number, so what was written of square networks reads as it always did.
Anything that counts pixels asks the functions here, which take both.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from nas.errors import ArchitectureError, UsageError

__all__ = [
    "EXAMPLES",
    "LARGEST_SIDE",
    "Rect",
    "Size",
    "area",
    "as_json",
    "by_area",
    "covering",
    "each_side",
    "longer",
    "parse_size",
    "pixels_text",
    "rescaled",
    "shorter",
    "sides",
    "size_of",
    "strided",
]

EXAMPLES = "224, or 240x320 (height x width)"
"""How messages say what a size looks like."""
LARGEST_SIDE = 1 << 16
_RECT = re.compile(r"([0-9]{1,9})x([0-9]{1,9})")
_SIDE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Rect:
    """Pixels of a map whose height is not its width. `size_of` makes one, or a number.

    Raises `ValueError` for a square, which has one form only: its side.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height == self.width:
            raise ValueError(f"a square of {self.height} pixels a side is no Rect, but a number")

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Kept, since the sizes of maps are parts of what prices are looked up by."""
        return hash((self.height, self.width))

    def __lt__(self, other: "Size") -> bool:
        return by_area(self) < by_area(other)

    def __gt__(self, other: "Size") -> bool:
        return by_area(self) > by_area(other)

    def _is_no_number(self, other: object) -> NoReturn:
        raise ArchitectureError(
            f"{self} is a rectangle, and size a number of squares alone: count with "
            "shape.positions, shape.height and shape.width, or ask for a square by shape.side(op)"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _is_no_number
    __floordiv__ = __truediv__ = __mod__ = __pow__ = _is_no_number

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    def to_json(self) -> str:
        """``240x320``."""
        return str(self)

    @classmethod
    def from_text(cls, text: str) -> "Rect":
        """The rectangle that `to_json` wrote. Raises `ValueError` for any other text."""
        match = _RECT.fullmatch(text)
        if match is None:
            raise ValueError(f"a size is a number such as {EXAMPLES}, not {text[:40]!r}")
        return cls(int(match[1]), int(match[2]))


Size = int | Rect
"""Pixels a side of a square, or a rectangle."""


def size_of(height: int, width: int) -> Size:
    """The size of a map of that height and width."""
    return height if height == width else Rect(height, width)


def parse_size(text: str) -> Size:
    """``224`` or ``240x320``; a rectangle of equal sides is a square.

    Raises `UsageError` for anything else.
    """
    text = text.strip()
    if _SIDE.fullmatch(text):
        return int(text)
    match = _RECT.fullmatch(text)
    if match is None:
        raise UsageError(f"a size is pixels such as {EXAMPLES}, not {text[:40]!r}")
    return size_of(int(match[1]), int(match[2]))


def as_json(size: Size) -> int | str:
    """As JSON has it: a number, or ``240x320``."""
    return str(size) if isinstance(size, Rect) else size


def pixels_text(size: Size) -> str:
    """For people: ``224x224 pixels``, ``240x320 pixels``."""
    height, width = sides(size)
    return f"{height}x{width} pixels"


def sides(size: Size) -> tuple[int, int]:
    """Height and width in pixels."""
    return (size.height, size.width) if isinstance(size, Rect) else (size, size)


def shorter(size: Size) -> int:
    """Pixels of the shorter side."""
    return min(sides(size))


def longer(size: Size) -> int:
    """Pixels of the longer side."""
    return max(sides(size))


def area(size: Size) -> int:
    """Pixels in all."""
    return size * size if isinstance(size, int) else size.height * size.width


def by_area(size: Size) -> tuple[int, int]:
    """What sizes are sorted by: their pixels, and of as many the height."""
    return area(size), sides(size)[0]


def each_side(size: Size, change: Callable[[int], int]) -> Size:
    """The size after a change of each side by itself."""
    if isinstance(size, Rect):
        return size_of(change(size.height), change(size.width))
    return change(size)


def strided(size: Size, stride: int) -> Size:
    """The size of a map after that stride, each side divided and rounded up."""
    # Written out, as this is asked for every layer of a space.
    if isinstance(size, int):
        return -(-size // stride)
    return size_of(-(-size.height // stride), -(-size.width // stride))


def rescaled(size: Size, factor: float) -> Size:
    """The size times a factor, each side rounded, at least one pixel."""
    return each_side(size, lambda side: max(1, round(side * factor)))


def covering(size: Size, height: int, width: int) -> float:
    """The least factor by which an image of that height and width covers the size."""
    own_height, own_width = sides(size)
    return max(own_height / height, own_width / width)
