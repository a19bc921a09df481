"""Encoded images (JPEG, PNG, ...) to arrays, the unreadable ones named."""

import io
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from nas.data.images import Images
from nas.data.preprocess import fitted, shown, upright
from nas.errors import DataError
from nas.size import Size, sides

__all__ = [
    "Encoded",
    "Seen",
    "decode",
    "frames_lines",
    "gather",
    "has_several_frames",
    "reading",
    "stacked",
    "upright_size",
]

Encoded = bytes | Path
"""A file, or its bytes."""


@dataclass
class Seen:
    """What was noticed of files while they were decoded."""

    sizes: set[tuple[int, int]] = field(default_factory=set)
    """Widths and heights, upright."""
    several_frames: int = 0
    """Files of which only the first frame is read."""

    def lines(self) -> list[str]:
        """For people, what is not as they may think."""
        return frames_lines(self.several_frames)


def frames_lines(count: int) -> list[str]:
    """A line about files of several frames, if there are any."""
    if not count:
        return []
    files = "1 file holds" if count == 1 else f"{count} files hold"
    return [f"{files} several frames; the first is read"]


@contextmanager
def reading(source: Encoded) -> Iterator[Image.Image]:
    """An opened file; whatever is wrong with it, then or inside the block, raises `DataError`."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # A few bytes may claim gigabytes of pixels; Pillow only warns below twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Of EXIF data or palettes that are odd, and do no harm.
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            with Image.open(file) as image:
                yield image
    except (
        OSError,
        ValueError,
        SyntaxError,
        struct.error,
        Warning,
        Image.DecompressionBombError,
    ) as error:
        raise DataError(f"cannot read an image: {error}") from None


def has_several_frames(image: Image.Image) -> bool:
    """Whether an opened file holds more than one picture to show."""
    # The further ones of a phone's MPO file are depths and gains of the first.
    return image.format != "MPO" and getattr(image, "n_frames", 1) > 1


def decode(source: Encoded, size: Size | None = None, seen: Seen | None = None) -> Images:
    """One image as it shows: uint8 (height, width, 1 or 3).

    Grey of more than eight bits is float32 (height, width, 1), in the file's own values. ``size``
    scales the image to just cover it and cuts out the middle. ``seen`` takes in what is noticed.

    Raises `DataError` for what Pillow cannot read to the end.
    """
    with reading(source) as image:
        several = seen is not None and has_several_frames(image)
        plain = shown(image)
        if seen is not None:
            seen.sizes.add(plain.size)
            seen.several_frames += several
        if size:
            plain = fitted(plain, sides(size), sides(size))
        array = np.asarray(plain)
    if not np.isfinite(array).all():
        raise DataError("cannot read an image: it holds values that are no numbers")
    return array.reshape(*array.shape[:2], -1)


def upright_size(source: Encoded) -> tuple[int, int]:
    """Width and height of an image as it shows. Raises `DataError`."""
    with reading(source) as image:
        width, height = upright(image).size
        return width, height


def gather(
    named: Iterable[tuple[str, Encoded]],
    read: Callable[[Encoded], Images],
    *,
    what: str,
    strict: bool,
) -> tuple[Images, list[int], tuple[str, ...]]:
    """All readable images (n, h, w, c), their positions, and the names of the others.

    ``strict`` allows no others. Grey images become colour if any of them has colour. Raises
    `DataError` for unequal sizes, for grey of more than eight bits among others, and if no image is
    left.
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
    return stacked(images, what), positions, tuple(skipped)


def stacked(images: Sequence[Images], what: str) -> Images:
    """Images (h, w, 1 or 3) as one array (n, h, w, c), in colour if any has colour.

    Raises `DataError` for unequal sizes, and for some of more than eight bits among others.
    """
    channels = max(image.shape[2] for image in images)
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        raise DataError(
            f"{what}: images must be of one size, not of {len(sizes)}, such as {sorted(sizes)[:2]}"
        )
    if len({image.dtype for image in images}) > 1 or (channels > 1 and images[0].dtype != np.uint8):
        deep = sum(image.dtype != np.uint8 for image in images)
        raise DataError(
            f"{what}: {deep} of {len(images)} images have more than eight bits a pixel and the "
            "others have eight: no range holds for both. Convert one kind"
        )
    coloured = [np.broadcast_to(image, (*image.shape[:2], channels)) for image in images]
    return np.stack(coloured)
