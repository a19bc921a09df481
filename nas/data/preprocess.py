"""From an image file to what it shows. Exports take this code along: it needs Pillow alone."""

import struct
from contextlib import suppress

from PIL import Image, ImageOps

__all__ = ["DEEP", "in_eight_bits", "shown", "upright"]

DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of grey in more than eight bits."""
GREY = ("1", "L", "LA", "La")


def upright(image: Image.Image) -> Image.Image:
    """Turn an opened image as its EXIF data say, in place; data that cannot be read turn nothing.

    Raises `OSError` and others for pixels that cannot be read.
    """
    image.load()
    with suppress(OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def shown(image: Image.Image) -> Image.Image:
    """An opened image as a viewer shows it: mode L, RGB, or F for grey of more than eight bits.

    It is upright, of several frames the first, and what is transparent lies on white.
    """
    image = upright(image)
    if image.mode in DEEP:
        return image.convert("F")
    mode = "L" if image.mode in GREY else "RGB"
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    return image.convert(mode)


def in_eight_bits(image: Image.Image, low: float, high: float) -> Image.Image:
    """A grey image of mode F as one of mode L: ``low`` becomes 0, ``high`` 255, more is cut off."""
    # One level at least, since a range may be a single value.
    scale = 255 / (high - low or 1)
    return image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
