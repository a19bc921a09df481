"""The images of a folder, decoded when they are asked for, at the size that is asked for."""

import dataclasses
import hashlib
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

__all__ = ["SHOWN", "ImageFiles"]

VERSION = 1
"""Of what a prepared image is; the cache holds each version apart."""
SHOWN = 0.875
"""Share of the shorter side that evaluations see: 224 of 256 pixels, as papers crop ImageNet."""
DETAIL = 1.5
"""Shorter side that random crops are cut from, as a multiple of the crop.

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
    whole: bool
    """Whether evaluations see the whole shorter side, not `SHOWN` of it."""
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

    def preprocessing(self, size: int) -> Preprocessing:
        """What evaluations at ``size`` pixels do to an image."""
        low, high = self.value_range or (0.0, 0.0)
        return Preprocessing(
            colour="RGB" if self.channels == 3 else "L",
            size=size,
            resize=size if self.whole else max(size, round(size / SHOWN)),
            interpolation="bilinear",
            low=low,
            high=high,
        )

    # -- as evaluations see them ------------------------------------------------------------------

    def squares(self, size: int) -> NDArray[np.uint8]:
        """All, (n, size, size, channels), from the cache where it has them."""
        out = np.empty((len(self), size, size, self.channels), np.uint8)
        self.square(0, size)  # what all threads need is made once
        with ThreadPoolExecutor(cache.cores()) as pool:
            images = pool.map(partial(self.square, size=size), range(len(self)))
            for position, image in enumerate(images):
                out[position] = image
        return out

    def square(self, position: int, size: int) -> NDArray[np.uint8]:
        """One, (size, size, channels)."""
        slots = self._slots(f"s{size}", size)
        row = int(self.rows[position])
        found = slots.read(row)
        if found is None:
            found = self._decoded(row, size)
            slots.write(row, found)
        return found

    def _decoded(self, row: int, size: int) -> NDArray[np.uint8]:
        how = self.preprocessing(size)
        with self._reading(row) as image:
            picture = prepared(image, how.colour, how.size, how.resize, how.low, how.high)
            return np.asarray(picture).reshape(size, size, self.channels)

    # -- as random crops are cut from them --------------------------------------------------------

    def crop(
        self, position: int, size: int, box: tuple[float, float, float, float]
    ) -> NDArray[np.uint8]:
        """A part of one, (size, size, channels); ``box``: left, top, right, bottom as shares."""
        detail = self._detail(position, size)
        height, width = detail.shape[:2]
        picture = Image.fromarray(detail if self.channels == 3 else detail[:, :, 0])
        pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        cut = picture.resize((size, size), Image.Resampling.BILINEAR, box=pixels)
        return np.asarray(cut).reshape(size, size, self.channels)

    def ratio(self, position: int) -> float:
        """Width over height."""
        facts = self.index.facts[self.rows[position]]
        return float(facts["width"] / facts["height"])

    def _detail(self, position: int, size: int) -> NDArray[np.uint8]:
        """One with a shorter side of `DETAIL` times ``size``, or its own if that is less."""
        side = round(DETAIL * size)
        slots = self._slots(f"d{side}", side)
        row = int(self.rows[position])
        found = slots.read(row)
        if found is not None:
            return found
        height, width, _ = slots.shapes[row].tolist()
        low, high = self.value_range or (0.0, 0.0)
        with self._reading(row) as image:
            picture = prepared(image, "RGB" if self.channels == 3 else "L", 0, 0, low, high)
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

    def _slots(self, view: str, side: int) -> Slots:
        name = (
            f"v{VERSION}-{self.index.digest}-{view}-{self.channels}-{'w' * self.whole}-"
            f"{self.value_range}-pillow{PIL.__version__}"
        )
        short = hashlib.sha256(name.encode()).hexdigest()[:20]
        return _opened(short, self.index, side, self.channels, view.startswith("s"))


@lru_cache(maxsize=32)
def _opened(name: str, index: Index, side: int, channels: int, square: bool) -> Slots:
    count = len(index)
    if square:
        shapes = np.tile(np.array([side, side, channels], np.int64), (count, 1))
    else:
        width, height = index.facts["width"].astype(float), index.facts["height"].astype(float)
        shorter = np.maximum(np.minimum(width, height), 1)
        share = np.minimum(1, side / shorter)
        shapes = np.ones((count, 3), np.int64)
        shapes[:, 0] = np.maximum(1, np.round(height * share))
        shapes[:, 1] = np.maximum(1, np.round(width * share))
        shapes[:, 2] = channels
    return Slots(name, shapes).open()
