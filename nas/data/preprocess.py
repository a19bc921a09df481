"""From an image file to what a network reads. Exports take this code along: Pillow and torch alone.

Imports stand inside: an exported file must load where Pillow is not installed.
"""

import struct
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["DEEP", "as_tensor", "fitted", "in_eight_bits", "prepared", "shown", "upright"]

DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of grey in more than eight bits."""
GREY = ("1", "L", "LA", "La")


# Any: images of Pillow, which an exported file imports only when it reads one.
def upright(image: Any) -> Any:
    """Turn an opened image as its EXIF data say, in place; data that cannot be read turn nothing.

    Raises `OSError` and others for pixels that cannot be read.
    """
    from PIL import ImageOps

    image.load()
    with suppress(OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def shown(image: Any, least: int = 0) -> Any:
    """An opened image as a viewer shows it: mode L, RGB, or F for grey of more than eight bits.

    It is upright, of several frames the first, and what is transparent lies on white. A JPEG file
    may be read at a half, quarter or eighth of its size, with ``least`` pixels a side at least.
    """
    from PIL import Image

    if least:
        image.draft(image.mode, (least, least))
    image = upright(image)
    if image.mode in DEEP:
        return image.convert("F")
    mode = "L" if image.mode in GREY else "RGB"
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    # Converted to the mode that it has, it would be copied.
    return image if image.mode == mode else image.convert(mode)


def in_eight_bits(image: Any, low: float, high: float) -> Any:
    """A grey image of mode F as one of mode L: ``low`` becomes 0, ``high`` 255, more is cut off."""
    # One level at least, since a range may be a single value.
    scale = 255 / (high - low or 1)
    return image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def fitted(image: Any, size: tuple[int, int], resize: tuple[int, int]) -> Any:
    """The middle of ``size`` of an image that just covers ``resize``, cut and scaled in one step.

    Both are height and width. Bilinear, over all pixels that a new one covers.
    """
    from PIL import Image

    width, height = image.size
    # The side that is as long as it has to be, of the image and of what it covers.
    side, covered = height, resize[0]
    if width * resize[0] <= height * resize[1]:
        side, covered = width, resize[1]
    wide, high = side * size[1] / covered, side * size[0] / covered
    left, top = (width - wide) / 2, (height - high) / 2
    box = (left, top, left + wide, top + high)
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)


def prepared(
    image: Any,
    mode: str,
    size: tuple[int, int],
    resize: tuple[int, int],
    low: float,
    high: float,
) -> Any:
    """An opened image as evaluations see it: mode L or RGB, of that height and width.

    ``resize``: see `fitted`; zeros leave the size as it is. ``low`` and ``high``: see
    `in_eight_bits`; if they are equal, more than eight bits are refused. Raises `ValueError`.
    """
    # Twice the pixels that are needed keep what a JPEG decoder leaves out from showing. It decodes
    # before the image is turned upright, so that either side may be the longer one.
    image = shown(image, 2 * max(resize))
    if image.mode == "F":
        if not low < high:
            raise ValueError("more than eight bits a pixel, and the network has learnt from eight")
        image = in_eight_bits(image, low, high)
    if image.mode != mode:
        image = image.convert(mode)
    return fitted(image, size, resize) if any(resize) else image


def as_tensor(image: Any) -> Tensor:
    """An image of mode L or RGB as float32 (1, channels, height, width), 0 to 1."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    maps = pixels.view(1, image.height, image.width, -1).permute(0, 3, 1, 2)
    return maps.float().div_(255)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """images: (n, c, h, w), stretched to a size: smaller by area means, larger bilinearly.

    ``size``: height and width.
    """
    height, width = images.shape[2:]
    if (height, width) == size:
        return images
    # Bilinear shrinking would look at four pixels and leave the others out.
    if height >= size[0] and width >= size[1]:
        return F.interpolate(images, size=size, mode="area")
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)
