"""A training batch as a picture, for eyes to check what the network sees."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from nas.data import Statistics
from nas.data.masks import IGNORED
from nas.files import write_bytes

__all__ = ["draw_batch"]

MOST = 64
COLOURS = ("black", "yellow", "cyan", "magenta", "lime", "orange", "blue", "white", "red")
"""Of the classes of masks, in order, over and over; what has no class is black."""
LEAST_SIDE, MARGIN, LINE = 64, 4, 14
"""Pixels: small images are enlarged to the first; between images; for a class name."""


def draw_batch(
    file: Path, images: Tensor, labels: Tensor, stats: Statistics, classes: Sequence[str]
) -> None:
    """Write the first images (n, c, h, w) of a batch, out of their normalisation, as a PNG file.

    Labels (n,) or shares (n, classes) stand below them by name; masks (n, h, w) lie on them in
    colours, but for the first class.
    """
    count = min(MOST, len(images))
    high, wide = images.shape[2:]
    scale = max(1, math.ceil(LEAST_SIDE / max(high, wide)))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    right, down = wide * scale + MARGIN, high * scale + MARGIN + LINE
    sheet = Image.new("RGB", (columns * right, rows * down), "white")
    draw = ImageDraw.Draw(sheet)
    mean, std = np.array(stats.mean), np.array(stats.std)
    for number in range(count):
        pixels = images[number].float().cpu().permute(1, 2, 0).numpy() * std + mean
        pixels = np.broadcast_to(pixels, (high, wide, 3))
        if labels.ndim == 3:
            pixels = _tinted(pixels, labels[number].cpu().numpy())
        picture = Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8))
        picture = picture.resize((wide * scale, high * scale), Image.Resampling.NEAREST)
        place = (number % columns * right, number // columns * down)
        sheet.paste(picture, place)
        text = _name(labels[number], classes)
        draw.text((place[0], place[1] + high * scale), text, fill="black")
    out = io.BytesIO()
    sheet.save(out, "PNG")
    write_bytes(file, out.getvalue())


def _tinted(pixels: NDArray[np.float64], mask: NDArray[np.int64]) -> NDArray[np.float64]:
    """pixels: (h, w, 3), 0..1; mask: (h, w). Half of the colour of each pixel is its class's."""
    colours = np.array([ImageColor.getrgb(COLOURS[value % len(COLOURS)]) for value in range(256)])
    shown = (mask > 0) & (mask != IGNORED)
    tinted = np.where(shown[..., None], (pixels + colours[mask] / 255) / 2, pixels)
    return np.where((mask == IGNORED)[..., None], 0, tinted)


def _name(label: Tensor, classes: Sequence[str]) -> str:
    """The class of an image, or its two largest shares."""
    if label.ndim == 0:
        return classes[int(label)]
    if label.ndim == 2:
        return ""
    shares = sorted(enumerate(label.tolist()), key=lambda pair: -pair[1])
    named = [f"{classes[index]} {share:.2f}" for index, share in shares[:2] if share > 0]
    return ", ".join(named)
