"""Encoded images (JPEG, PNG, ...) to arrays, the unreadable ones named."""

import io
import struct
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from nas.data.dataset import Images
from nas.errors import DataError

__all__ = ["decode", "gather"]


def decode(
    source: bytes | Path, size: int | None = None, seen: set[tuple[int, int]] | None = None
) -> Images:
    """One image: (height, width, 1 or 3).

    ``size`` scales the shorter side to it and cuts out the middle.

    ``seen`` takes in the width and height that the image had.

    Raises `DataError` for what Pillow cannot read to the end.
    """
    from PIL import Image, ImageOps

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # A few bytes may claim gigabytes of pixels; Pillow only warns below twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                image.load()  # to the end: opening reads the head alone
                plain = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
                if seen is not None:
                    seen.add(plain.size)
                if size:
                    plain = ImageOps.fit(plain, (size, size))
                array = np.asarray(plain)
    except (
        OSError,
        ValueError,
        SyntaxError,
        struct.error,
        Warning,
        Image.DecompressionBombError,
    ) as error:
        raise DataError(f"cannot read an image: {error}") from None
    return array.reshape(*array.shape[:2], -1)


def gather(
    named: Iterable[tuple[str, bytes | Path]],
    read: Callable[[bytes | Path], Images],
    *,
    what: str,
    strict: bool,
) -> tuple[Images, list[int], tuple[str, ...]]:
    """All readable images (n, h, w, c), their positions, and the names of the others.

    ``strict`` allows no others. Grey images become colour if any of them has colour. Raises
    `DataError` for unequal sizes, and if no image is left.
    """
    images: list[Images] = []
    positions: list[int] = []
    skipped: list[str] = []
    for position, (name, source) in enumerate(named):
        try:
            images.append(read(source))
            positions.append(position)
        except DataError as error:
            if strict:
                raise DataError(
                    f"{what}: {name}: {error}. Remove it, or leave out --strict to skip it"
                ) from None
            skipped.append(name)
    if not images:
        raise DataError(f"{what}: no readable image")
    channels = max(image.shape[2] for image in images)
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        raise DataError(
            f"{what}: images must be of one size, not of {len(sizes)}, such as {sorted(sizes)[:2]}"
        )
    coloured = [np.broadcast_to(image, (*image.shape[:2], channels)) for image in images]
    return np.stack(coloured), positions, tuple(skipped)
