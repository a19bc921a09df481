"""A folder of images: a class per sub-folder, directly or under ``train/`` and ``test/``."""

import math
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from nas.data.dataset import Dataset, Images, Labels, Sealed
from nas.data.decode import Seen, decode, gather
from nas.errors import DataError

__all__ = ["SIZE", "is_image_file", "read"]

SIZE = 64


def read(
    place: str, *, strict: bool, size: int, value_range: tuple[float, float] | None = None
) -> Dataset:
    """Images scaled to ``size`` on the shorter side, the middle cut out.

    ``value_range``: see `Dataset`.
    Classes stand in the order of their names. Raises `DataError`.
    """
    root = Path(place)
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    parted = (root / "train").is_dir()
    top = root / "train" if parted else root
    classes = _class_names(top)
    if len(classes) < 2:
        named = ", ".join(classes) or "none"
        raise DataError(
            f"{top} must hold a sub-folder per class, at least two, not {len(classes)}: {named}"
        )
    seen = Seen()
    images, labels, names, skipped = _part(top, classes, strict, size, seen)
    channels = images.shape[3]

    def read_test() -> tuple[Images, Labels]:
        return _read_test(root / "test", classes, strict, size, channels)

    return Dataset(
        name=root.resolve().name,
        images=images,
        labels=labels,
        classes=classes,
        names=names,
        skipped=skipped,
        test_part=Sealed(read_test) if parted and (root / "test").is_dir() else None,
        flip=channels == 3,
        note=_note(place, seen.sizes, size),
        remarks=tuple(seen.lines()),
        value_range=value_range,
    )


def _note(place: str, seen: set[tuple[int, int]], size: int) -> str:
    """Which sizes became which, and how to have another."""
    if seen == {(size, size)}:
        return ""
    smallest, largest = min(seen, key=math.prod), max(seen, key=math.prod)
    low, high = "{}x{}".format(*smallest), "{}x{}".format(*largest)
    sizes = low if low == high else f"{low} to {high}"
    return (
        f"images of {sizes} pixels are scaled and cropped to {size}x{size}; "
        f"another size: folder:{place},size=96"
    )


def _class_names(top: Path) -> tuple[str, ...]:
    folders = [path.name for path in top.iterdir() if path.is_dir()]
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def _image_files(top: Path, classes: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    """Each image file with the index of its class, class by class, by path."""
    for label, name in enumerate(classes):
        for path in sorted((top / name).rglob("*")):
            if is_image_file(path):
                yield path, label


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its name; what systems leave in folders is none."""
    return (
        path.suffix.lower() in _image_suffixes()
        and not path.name.startswith(".")
        and path.is_file()
    )


@cache
def _image_suffixes() -> frozenset[str]:
    from PIL import Image

    return frozenset(Image.registered_extensions())


def _part(
    top: Path, classes: tuple[str, ...], strict: bool, size: int, seen: Seen
) -> tuple[Images, Labels, tuple[str, ...], tuple[str, ...]]:
    files = list(_image_files(top, classes))
    names = [path.relative_to(top).as_posix() for path, _ in files]
    named = zip(names, (path for path, _ in files), strict=True)
    images, kept, skipped = gather(
        named, partial(decode, size=size, seen=seen), what=str(top), strict=strict
    )
    return (
        images,
        np.array([files[i][1] for i in kept], np.int64),
        tuple(names[i] for i in kept),
        skipped,
    )


def _read_test(
    top: Path, classes: tuple[str, ...], strict: bool, size: int, channels: int
) -> tuple[Images, Labels]:
    foreign = set(_class_names(top)) - set(classes)
    if foreign:
        raise DataError(
            f"{top} has classes that training has not: {', '.join(sorted(foreign))[:120]}"
        )
    images, labels, _, _ = _part(top, classes, strict, size, Seen())
    if images.shape[3] < channels:
        images = np.repeat(images, channels, axis=3)
    return images, labels
