"""Images with a class per pixel: a folder of images and one of masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.dataset import Dataset, Images, Sealed
from nas.data.decode import decode
from nas.data.groups import with_groups
from nas.errors import DataError, UsageError

__all__ = ["IGNORED", "LazyMasks", "MaskDataset", "load_masks"]

IGNORED = 255
"""The value of a pixel that belongs to no class and counts for nothing."""

SIZE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskDataset(Dataset):
    """As `Dataset`, with ``labels`` (n, height, width) uint8: an index into ``classes``, or `IGNORED`."""

    def _check(self, images: Images, labels: NDArray[Any], what: str) -> None:
        if labels.shape != images.shape[:3] or labels.dtype != np.uint8:
            raise DataError(
                f"'{what}': masks must be uint8 of the images' size, not {labels.dtype} {labels.shape}"
            )
        super()._check(images, np.zeros(len(images), np.int64), what)
        values = np.unique(labels)
        foreign = values[(values >= len(self.classes)) & (values != IGNORED)]
        if len(foreign):
            raise DataError(
                f"'{what}': masks must hold 0 to {len(self.classes) - 1}, or {IGNORED} for nothing, not {foreign[0]}"
            )


def load_masks(spec: str, *, size: int = SIZE, groups: str | None = None) -> Dataset:
    """``folder:DIR`` with ``images/`` and ``masks/``, files of equal names; ``DIR/train`` and ``DIR/test`` may hold these.

    A mask is a grey or palette image whose values are classes, 255 for none; ``DIR/classes.txt``, a
    name a line, may name them. Images and masks are scaled to ``size`` on the shorter side, and the
    middle is cut out. ``groups``: see `nas.data.groups`; file names there are the images'. Raises
    `DataError`.
    """
    kind, _, place = spec.partition(":")
    if kind != "folder" or not place:
        raise UsageError(
            f"segmentation reads folder:DIR with images/ and masks/, not '{spec[:80]}'"
        )
    root = Path(place)
    parted = (root / "train").is_dir()
    images, labels, names = _part(root / "train" if parted else root, size)
    test = root / "test"
    found = MaskDataset(
        name=root.resolve().name, images=images, labels=labels, classes=_classes(root, labels), names=names,
        test_part=Sealed(lambda: _part(test, size)[:2]) if parted and test.is_dir() else None, flip=True,
    )  # fmt: skip
    return found if groups is None else with_groups(found, groups)


def _classes(root: Path, labels: NDArray[Any]) -> tuple[str, ...]:
    file = root / "classes.txt"
    if file.is_file():
        return tuple(
            filter(None, (line.strip() for line in file.read_text(encoding="utf-8").splitlines()))
        )
    return tuple(map(str, range(int(labels[labels != IGNORED].max(initial=0)) + 1)))


def _part(top: Path, size: int) -> tuple[Images, Any, tuple[str, ...]]:
    for folder in (top / "images", top / "masks"):
        if not folder.is_dir():
            raise DataError(
                f"no folder {folder}: segmentation reads images/ and masks/ with files of equal names"
            )
    images, masks = (
        {p.stem: p for p in sorted((top / n).iterdir()) if p.is_file()} for n in ("images", "masks")
    )
    lonely = sorted(set(images) ^ set(masks))
    if lonely or not images:
        raise DataError(
            f"{top}: every image needs a mask of its name; {len(lonely)} stand alone, such as {lonely[0]}"
            if lonely
            else f"{top / 'images'} holds no image"
        )
    pairs = [
        (decode(images[name], size), _mask(masks[name], images[name], size)) for name in images
    ]
    channels = max(image.shape[2] for image, _ in pairs)
    stacked = np.stack([np.broadcast_to(image, (size, size, channels)) for image, _ in pairs])
    return (
        stacked,
        np.stack([mask for _, mask in pairs]),
        tuple(path.name for path in images.values()),
    )


def _mask(path: Path, image: Path, size: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as mask, Image.open(image) as beside:
            if mask.size != beside.size:
                raise DataError(f"mask {path} is {mask.size} pixels, its image {beside.size}")
            if mask.mode not in ("L", "P", "1"):
                raise DataError(
                    f"mask {path} must be grey or of a palette, a class per pixel, not {mask.mode}"
                )
            fitted = ImageOps.fit(mask, (size, size), Image.Resampling.NEAREST)
            return np.array(fitted, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"cannot read mask {path}: {error}") from None


class LazyMasks:
    """The masks of some rows at one size, the nearest pixel each, made batch by batch."""

    def __init__(
        self, masks: NDArray[Any], rows: NDArray[np.int64], size: int, device: torch.device
    ) -> None:
        self._masks, self._rows, self._size, self.device = masks, rows, size, device
        self.shape = torch.Size((len(rows), size, size))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """rows: (k,) int64, positions among the rows. (k, size, size) int64, on the device."""
        chosen = self._masks[self._rows[rows.cpu().numpy()]]
        places = [
            ((np.arange(self._size) + 0.5) * side / self._size).astype(int)
            for side in chosen.shape[1:]
        ]
        return torch.from_numpy(chosen[:, places[0][:, None], places[1]].astype(np.int64)).to(
            self.device
        )
