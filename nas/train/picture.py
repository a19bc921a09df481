"""A training batch as a picture, for eyes to check what the network sees."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from nas.data import Statistics
from nas.files import write_bytes

__all__ = ["draw_batch"]

MOST = 64
LEAST_SIDE, MARGIN, LINE = 64, 4, 14
"""Pixels: small images are enlarged to the first; between images; for a class name."""


def draw_batch(
    file: Path, images: Tensor, labels: Tensor, stats: Statistics, classes: Sequence[str]
) -> None:
    """Write the first images (n, c, s, s) of a batch, out of their normalisation, as a PNG file.

    Labels (n,) or shares (n, classes) stand below them by name; masks (n, s, s) have none.
    """
    count = min(MOST, len(images))
    size = images.shape[2]
    scale = max(1, math.ceil(LEAST_SIDE / size))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    step = size * scale + MARGIN
    sheet = Image.new("RGB", (columns * step, rows * (step + LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    mean, std = np.array(stats.mean), np.array(stats.std)
    for number in range(count):
        pixels = images[number].float().cpu().permute(1, 2, 0).numpy() * std + mean
        bytes_ = (pixels * 255).round().clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(bytes_ if bytes_.shape[2] == 3 else bytes_[:, :, 0])
        picture = picture.resize((size * scale, size * scale), Image.Resampling.NEAREST)
        place = (number % columns * step, number // columns * (step + LINE))
        sheet.paste(picture, place)
        text = _name(labels[number], classes)
        draw.text((place[0], place[1] + size * scale), text, fill="black")
    out = io.BytesIO()
    sheet.save(out, "PNG")
    write_bytes(file, out.getvalue())


def _name(label: Tensor, classes: Sequence[str]) -> str:
    """The class of an image, or its two largest shares."""
    if label.ndim == 0:
        return classes[int(label)]
    if label.ndim == 2:
        return ""
    shares = sorted(enumerate(label.tolist()), key=lambda pair: -pair[1])
    named = [f"{classes[index]} {share:.2f}" for index, share in shares[:2] if share > 0]
    return ", ".join(named)
