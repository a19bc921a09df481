"""A labelled set of images, all of one size."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError

__all__ = ["Dataset", "Images", "Labels"]

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

LARGEST_SIDE = 1 << 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """``images`` (n, height, width, 1 or 3) and ``labels`` (n,), each an index into ``classes``.

    ``read_test`` opens the source's own test part, None where it has none; only `test` calls it, so
    that nothing about the test images is read (or can fail) before a confirmation needs them.
    ``groups`` (n,) tie images that one split must not separate. ``skipped`` names images that could
    not be read; ``names`` (n,) are the files of the others, where they have one each. ``flip`` says
    whether a mirrored image is still an image of its class. ``note``: what was done to the images,
    a line for people. Raises `DataError` where a rule is broken.
    """

    name: str
    images: Images
    labels: Labels
    classes: tuple[str, ...]
    read_test: Callable[[], tuple[Images, Labels]] | None = None
    groups: NDArray[np.int64] | None = None
    skipped: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    flip: bool = False
    note: str = ""

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

    def _check(self, images: Images, labels: Labels, what: str) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise DataError(
                f"'{what}': images must be uint8 of shape (n, height, width[, 1 or 3]), "
                f"not {images.dtype} {images.shape}"
            )
        if not 1 <= max(images.shape[1:3]) <= LARGEST_SIDE or min(images.shape) == 0:
            raise DataError(
                f"'{what}': images must be 1 to {LARGEST_SIDE} pixels a side, not {images.shape}"
            )
        if labels.shape != images.shape[:1]:
            raise DataError(
                f"'{what}': labels must be one per image, not {labels.shape} for {len(images)} images"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise DataError(
                f"'{what}': labels must be 0 to {len(self.classes) - 1} for {len(self.classes)} classes, "
                f"not {labels.min()} to {labels.max()}"
            )

    @property
    def in_channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.shape[3])

    @property
    def has_test(self) -> bool:
        """Whether the source has a test part of its own."""
        return self.read_test is not None

    @cached_property
    def test(self) -> tuple[Images, Labels]:
        """The source's own test part, read now: images (m, height, width, channels), labels (m,)."""
        if self.read_test is None:
            raise DataError(f"data set '{self.name}' has no test part of its own")
        images, labels = self.read_test()
        self._check(images, labels, f"{self.name}, test part")
        if images.shape[1:] != self.images.shape[1:]:
            raise DataError(
                f"'{self.name}': test images are {images.shape[1:]}, the others {self.images.shape[1:]} "
                "(height, width, channels); make them equal"
            )
        return images, labels

    @cached_property
    def digest(self) -> str:
        """Name of the content, own test part aside: 20 hex digits over shape, classes, labels, images and groups."""
        found = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        found.update(np.ascontiguousarray(self.labels).data)
        found.update(np.ascontiguousarray(self.images).data)
        if self.groups is not None:
            found.update(np.unique(self.groups, return_inverse=True)[1].astype(np.int64).data)
        return found.hexdigest()[:20]

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        n, height, width, channels = self.images.shape
        own = ", own test part" if self.has_test else ""
        return (
            f"{self.name}: {n} images {channels}x{height}x{width}, {len(self.classes)} classes{own}"
        )
