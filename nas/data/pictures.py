"""The images of a folder, decoded when they are asked for, at the size that is asked for."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from nas.data import cache
from nas.data.cache import Slots
from nas.data.decode import reading
from nas.data.index import DEEP_GREY, Index
from nas.data.preprocess import prepared
from nas.errors import DataError
from nas.metadata import Preprocessing
from nas.size import Size, each_side, sides

__all__ = ["SHOWN", "ImageFiles"]

VERSION = 1
"""Of what a prepared image is; the cache holds each version apart."""
SHOWN = 0.875
"""Share of the shorter side that evaluations see: 224 of 256 pixels, as papers crop ImageNet."""
ALIKE = 0.1
"""Proportions are taken for the same up to so much, as small sizes are rounded."""
DETAIL = 1.5
"""What random crops are cut from, a side at least, as a multiple of the crop.

A crop of less than 44 % of the area is then enlarged. Whole photographs would take ten times the
cache.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFiles:
    """Some of the files of an index, in an order. Raises `DataError` for what cannot be decoded."""

    index: Index
    rows: NDArray[np.int64]
    """(n,): which of the index."""
    channels: int
    """1 or 3; grey files become colour."""
    ratio_of_all: float | None
    """Width over height where all files of the index are of one size."""
    whole: bool | None = None
    """Whether evaluations see the most that fits, not `SHOWN` of it a side.

    None: where all are of one size, in the proportions of what is asked for. Somebody made them so.
    """
    value_range: tuple[float, float] | None = None
    """Of grey of more than eight bits, the values that are 0 and 255; None: not known yet."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> "ImageFiles":
        """Those at some positions."""
        return dataclasses.replace(self, rows=self.rows[rows])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """How many, the largest height and width, channels."""
        facts = self.index.facts[self.rows]
        return len(self), int(facts["height"].max()), int(facts["width"].max()), self.channels

    @property
    def deep(self) -> NDArray[np.bool_]:
        """(n,): which are grey of more than eight bits."""
        return (self.index.facts["kind"][self.rows] & DEEP_GREY) > 0

    @property
    def digest(self) -> bytes:
        """Of the content of all."""
        facts = self.index.facts[self.rows]
        return hashlib.sha256(np.ascontiguousarray(facts["key"]).data).digest()

    def keys(self) -> list[bytes]:
        """A key of the content of each."""
        return [key.tobytes() for key in self.index.facts["key"][self.rows]]

    def measured(self, rows: NDArray[np.int64]) -> tuple[float, float]:
        """The range of values over those at some positions that have more than eight bits.

        Raises `DataError` if none has.
        """
        facts = self.index.facts[self.rows[rows][self.deep[rows]]]
        if not len(facts):
            raise DataError(
                f"{self.index.place}: {int(self.deep.sum())} images have more than eight bits, and "
                "none of them is in the set weights: declare their range by ,range=LOW-HIGH"
            )
        return float(facts["low"].min()), float(facts["high"].max())

    def shows_all(self, size: Size) -> bool:
        """Whether evaluations at that size see the most that fits."""
        if self.whole is not None:
            return self.whole
        if self.ratio_of_all is None:
            return False
        height, width = sides(size)
        return abs(math.log(self.ratio_of_all * height / width)) < ALIKE

    def preprocessing(self, size: Size) -> Preprocessing:
        """What evaluations at ``size`` pixels do to an image."""
        low, high = self.value_range or (0.0, 0.0)
        return Preprocessing(
            colour="RGB" if self.channels == 3 else "L",
            size=size,
            resize=size if self.shows_all(size) else each_side(size, _before_cut),
            interpolation="bilinear",
            low=low,
            high=high,
        )

    # -- as evaluations see them ------------------------------------------------------------------

    def fitted(self, size: Size) -> NDArray[np.uint8]:
        """All, (n, height, width, channels) of that size, from the cache where it has them."""
        out = np.empty((len(self), *sides(size), self.channels), np.uint8)
        self.fit(0, size)  # what all threads need is made once
        with ThreadPoolExecutor(cache.cores()) as pool:
            images = pool.map(partial(self.fit, size=size), range(len(self)))
            for position, image in enumerate(images):
                out[position] = image
        return out

    def fit(self, position: int, size: Size) -> NDArray[np.uint8]:
        """One, (height, width, channels)."""
        slots = self._slots(f"s{size}", size)
        row = int(self.rows[position])
        found = slots.read(row)
        if found is None:
            found = self._decoded(row, size)
            slots.write(row, found)
        return found

    def _decoded(self, row: int, size: Size) -> NDArray[np.uint8]:
        how = self.preprocessing(size)
        with self._reading(row) as image:
            picture = prepared(
                image, how.colour, sides(how.size), sides(how.resize), how.low, how.high
            )
            return np.asarray(picture).reshape(*sides(size), self.channels)

    # -- as random crops are cut from them --------------------------------------------------------

    def crop(
        self, position: int, size: Size, box: tuple[float, float, float, float]
    ) -> NDArray[np.uint8]:
        """A part of one, (height, width, channels); ``box``: left, top, right, bottom as shares."""
        detail = self._detail(position, size)
        height, width = detail.shape[:2]
        picture = Image.fromarray(detail if self.channels == 3 else detail[:, :, 0])
        pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        rows, columns = sides(size)
        cut = picture.resize((columns, rows), Image.Resampling.BILINEAR, box=pixels)
        return np.asarray(cut).reshape(rows, columns, self.channels)

    def ratio(self, position: int) -> float:
        """Width over height."""
        facts = self.index.facts[self.rows[position]]
        return float(facts["width"] / facts["height"])

    def _detail(self, position: int, size: Size) -> NDArray[np.uint8]:
        """One that just covers `DETAIL` times ``size``, or with its own pixels if it has fewer."""
        least = each_side(size, _detailed)
        slots = self._slots(f"d{least}", least)
        row = int(self.rows[position])
        found = slots.read(row)
        if found is not None:
            return found
        height, width, _ = slots.shapes[row].tolist()
        low, high = self.value_range or (0.0, 0.0)
        with self._reading(row) as image:
            picture = prepared(
                image, "RGB" if self.channels == 3 else "L", (0, 0), (0, 0), low, high
            )
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            found = np.asarray(picture).reshape(height, width, self.channels)
        slots.write(row, found)
        return found

    # -- both -------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self, row: int) -> Iterator[Any]:
        """The opened file. Raises `DataError` with its name for whatever is wrong with it."""
        try:
            with reading(self.index.source(row)) as image:
                yield image
        except DataError as error:
            self.index.mark_unreadable(row)
            raise DataError(
                f"{self.index.told(row)}: {error}. From now on it is left out: give the command "
                "again, for a training with another --out"
            ) from None

    def _slots(self, view: str, size: Size) -> Slots:
        name = (
            f"v{VERSION}-{self.index.digest}-{view}-{self.channels}-{'w' * self.shows_all(size)}-"
            f"{self.value_range}-pillow{PIL.__version__}"
        )
        short = hashlib.sha256(name.encode()).hexdigest()[:20]
        return _opened(short, self.index, size, self.channels, view.startswith("s"))


def _before_cut(side: int) -> int:
    """Pixels of which evaluations see the middle ``side``."""
    return max(side, round(side / SHOWN))


def _detailed(side: int) -> int:
    """Pixels that random crops of ``side`` are cut from, at least."""
    return round(DETAIL * side)


@lru_cache(maxsize=32)
def _opened(name: str, index: Index, size: Size, channels: int, fitted: bool) -> Slots:
    """Slots for images of that size, or else for those that just cover it."""
    count = len(index)
    rows, columns = sides(size)
    if fitted:
        shapes = np.tile(np.array([rows, columns, channels], np.int64), (count, 1))
    else:
        width = np.maximum(index.facts["width"].astype(float), 1)
        height = np.maximum(index.facts["height"].astype(float), 1)
        share = np.minimum(1, np.maximum(rows / height, columns / width))
        shapes = np.ones((count, 3), np.int64)
        shapes[:, 0] = np.maximum(1, np.round(height * share))
        shapes[:, 1] = np.maximum(1, np.round(width * share))
        shapes[:, 2] = channels
    return Slots(name, shapes).open()
