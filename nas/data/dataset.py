"""A labelled set of images, all of one size."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nas.data.images import Images
from nas.data.pictures import ImageFiles
from nas.errors import DataError
from nas.metadata import Preprocessing
from nas.record.ledger import append_opening
from nas.size import Size

__all__ = ["Dataset", "Images", "Labels", "Pictures", "Sealed", "TestImages"]

Pictures = Images | ImageFiles
"""Pixels, or files that give them at any size."""
Labels = NDArray[np.int64]

LARGEST_SIDE = 1 << 12
"""Pixels of the longer side."""


TestImages = tuple[Pictures, Labels] | tuple[Pictures, Labels, Sequence[str]]
"""Images (m, height, width, 1 or 3), labels (m,), and names of images that could not be read."""


class Sealed:
    """A test set that can be had only by writing that it was had.

    Nothing is read before `open`.
    """

    def __init__(self, read: Callable[[], TestImages]) -> None:
        self.__read = read  # mangled, so that nobody reaches it by mistake

    def open(
        self,
        ledger: Path,
        check: Callable[[Pictures, Labels], None] = lambda images, labels: None,
    ) -> tuple[Pictures, Labels]:
        """Read and check the test set, add an ``opening`` to a ledger, and only then hand it over.

        ``ledger``: a file of JSON lines, see `nas.record.ledger`. What ``check`` raises leaves the
        test set unopened and uncounted.
        """
        images, labels, *unreadable = self.__read()
        check(images, labels)
        # Before anything is handed over: a kill from here on counts as an opening.
        append_opening(ledger, len(labels), *unreadable)
        return images, labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Images with a class each. Raises `DataError` if a rule is broken."""

    name: str
    images: Pictures
    """(n, height, width, 1 or 3)."""
    labels: Labels
    """(n,), each an index into ``classes``."""
    classes: tuple[str, ...]
    """Their names, at least two."""
    test_part: Sealed | None = None
    """The source's own test part, sealed: nothing of it is read before it is needed."""
    groups: NDArray[np.int64] | None = None
    """(n,): images of one number must not be separated by a split."""
    skipped: tuple[str, ...] = ()
    """Names of images that could not be read."""
    names: Sequence[str] = ()
    """(n,): the images' files, if they have one each."""
    flip: bool = False
    """Whether a mirrored image is still an image of its class."""
    one_sided: bool = False
    """Whether it was said that it is none; the digest tells."""
    note: str = ""
    """What was done to the images, a line for people."""
    remarks: tuple[str, ...] = ()
    """What else is to be known of the images, a line each."""
    cut: bool = False
    """Whether arrays are the middles of files, scaled; such ones are not stretched later."""
    value_range: tuple[float, float] | None = None
    """Of images of more than eight bits: the values that are 0 and 255. None: to be measured."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(
                f"data set '{self.name}' needs at least two classes, not {len(self.classes)}"
            )
        self._check(self.images, self.labels, self.name)
        if self.groups is not None and self.groups.shape != self.labels.shape[:1]:
            raise DataError(
                f"data set '{self.name}': groups must be one per image, not {self.groups.shape}"
            )

    def _check(self, images: Pictures, labels: Labels, what: str) -> None:
        if isinstance(images, ImageFiles):
            self._check_labels(images, labels, what)
            return
        channels = images.shape[3] if images.ndim == 4 else 0
        fits = images.dtype in (np.uint8, np.uint16, np.float32)
        if not fits or channels not in (1, 3):
            raise DataError(
                f"'{what}': images must be uint8 or uint16 of shape (n, height, width[, 1 or 3]), "
                f"not {images.dtype} {images.shape}"
            )
        if not 1 <= max(images.shape[1:3]) <= LARGEST_SIDE or min(images.shape) == 0:
            raise DataError(
                f"'{what}': images must be 1 to {LARGEST_SIDE} pixels a side, not {images.shape}"
            )
        self._check_labels(images, labels, what)

    def _check_labels(self, images: Pictures, labels: Labels, what: str) -> None:
        if labels.shape != (len(images),):
            raise DataError(
                f"'{what}': labels must be one per image, "
                f"not {labels.shape} for {len(images)} images"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise DataError(
                f"'{what}': labels must be 0 to {len(self.classes) - 1} for {len(self.classes)} "
                f"classes, not {labels.min()} to {labels.max()}"
            )

    @property
    def in_channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.shape[3])

    @property
    def has_test(self) -> bool:
        """Whether the source has a test part of its own."""
        return self.test_part is not None

    def in_eight_bits(self, rows: NDArray[np.int64]) -> Self:
        """The data set with images of more than eight bits scaled to uint8, the range said.

        The range is ``value_range``, or that of ``rows``, which are to be the *weights* set's.
        """
        if isinstance(self.images, ImageFiles):
            deep = bool(self.images.deep.any())
        else:
            deep = self.images.dtype != np.uint8
        if not deep:
            return self
        if self.value_range is not None:
            low, high = self.value_range
        elif isinstance(self.images, ImageFiles):
            low, high = self.images.measured(rows)
        else:
            low, high = _range(self.images[rows])
        origin = "measured over weights" if self.value_range is None else "as declared"
        remark = (
            f"values of more than eight bits: {low:g} to {high:g}, {origin}, become 0 to 255; "
            "another range: ,range=LOW-HIGH"
        )
        return dataclasses.replace(
            self,
            images=_in_eight_bits(self.images, low, high),
            remarks=(*self.remarks, remark),
            value_range=(low, high),
        )

    def as_one_sided(self) -> Self:
        """The data set of which no training mirrors an image."""
        remark = "no image is mirrored in training, as ,flip=no says"
        return dataclasses.replace(
            self, flip=False, one_sided=True, remarks=(*self.remarks, remark)
        )

    def preprocessing(self, size: Size) -> Preprocessing:
        """What evaluations at that size do to an image, for those who use the network."""
        if isinstance(self.images, ImageFiles):
            return self.images.preprocessing(size)
        low, high = self.value_range or (0.0, 0.0)
        return Preprocessing(
            colour="RGB" if self.in_channels == 3 else "L",
            size=size,
            resize=size if self.cut else 0,
            interpolation="bilinear" if self.cut else "area",
            low=low,
            high=high,
        )

    def open_test_part(self, ledger: Path) -> tuple[Pictures, Labels]:
        """The source's own test part, read now and counted in a ledger; see `Sealed.open`.

        Images (m, height, width, channels), labels (m,). Raises `DataError` for a part that is
        missing, cannot be read, or does not go with the other images.
        """
        if self.test_part is None:
            raise DataError(f"data set '{self.name}' has no test part of its own")
        images, labels = self.test_part.open(ledger, self._check_test_part)
        if self.value_range is not None:
            images = _in_eight_bits(images, *self.value_range)
        return images, labels

    def _check_test_part(self, images: Pictures, labels: Labels) -> None:
        self._check(images, labels, f"{self.name}, test part")
        if isinstance(images, ImageFiles) or isinstance(self.images, ImageFiles):
            return
        if (images.dtype == np.uint8) != (self.value_range is None):
            raise DataError(
                f"'{self.name}': test images are {images.dtype}, and the others have "
                f"{'eight' if self.value_range is None else 'more than eight'} bits; convert one"
            )
        if images.shape[1:] != self.images.shape[1:]:
            raise DataError(
                f"'{self.name}': test images are {images.shape[1:]}, the others "
                f"{self.images.shape[1:]} (height, width, channels); make them equal"
            )

    @cached_property
    def digest(self) -> str:
        """Name of the content, the own test part aside: 20 hex digits.

        It is over shape, classes, labels, images and groups.
        """
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.labels).data)
        if isinstance(self.images, ImageFiles):
            digest.update(self.images.digest)
        else:
            digest.update(np.ascontiguousarray(self.images).data)
        if self.groups is not None:
            digest.update(np.unique(self.groups, return_inverse=True)[1].astype(np.int64).data)
        if self.one_sided:
            digest.update(b"flip=no")
        return digest.hexdigest()[:20]

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        n, height, width, channels = self.images.shape
        own = ", own test part" if self.has_test else ""
        if isinstance(self.images, ImageFiles):
            kind = "grey" if channels == 1 else "colour"
            return f"{self.name}: {n} files, {kind}, {len(self.classes)} classes{own}"
        return (
            f"{self.name}: {n} images {channels}x{height}x{width}, {len(self.classes)} classes{own}"
        )


def _range(images: Images) -> tuple[float, float]:
    return float(images.min()), float(images.max())


def _in_eight_bits(images: Pictures, low: float, high: float) -> Pictures:
    if isinstance(images, ImageFiles):
        return dataclasses.replace(images, value_range=(low, high))
    return scaled_to_bytes(images, low, high)


def scaled_to_bytes(images: Images, low: float, high: float) -> Images:
    """images: any numbers, ``low`` to 0 and ``high`` to 255, more cut off. uint8."""
    out = np.empty(images.shape, np.uint8)
    # One after the other: all of them as floats may not fit into memory.
    for index, image in enumerate(images):
        scaled = (image.astype(np.float32) - low) * (255 / (high - low or 1))
        out[index] = np.clip(np.floor(scaled + 0.5), 0, 255)
    return out
