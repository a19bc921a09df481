"""Images with a class per pixel: a folder of images and one of masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from nas.data.dataset import Dataset, Images, Sealed
from nas.data.decode import decode, reading, stacked, upright_size
from nas.data.groups import with_groups
from nas.data.preprocess import upright
from nas.errors import DataError, UsageError

__all__ = ["IGNORED", "LazyMasks", "MaskDataset", "load_masks"]

IGNORED = 255
"""The value of a pixel that belongs to no class and counts for nothing."""

SIZE = 64

# Any: uint8, where the labels of any other `Dataset` are int64.
Masks = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskDataset(Dataset):
    """As `Dataset`, with ``labels`` (n, height, width) uint8: a class index, or `IGNORED`."""

    def _check(self, images: Images, labels: Masks, what: str) -> None:
        if labels.shape != images.shape[:3] or labels.dtype != np.uint8:
            raise DataError(
                f"'{what}': masks must be uint8 of the images' size, "
                f"not {labels.dtype} {labels.shape}"
            )
        # The rules of images, with any labels that keep theirs.
        super()._check(images, np.zeros(len(images), np.int64), what)
        values = np.unique(labels)
        foreign = values[(values >= len(self.classes)) & (values != IGNORED)]
        if len(foreign):
            raise DataError(
                f"'{what}': masks must hold 0 to {len(self.classes) - 1}, or {IGNORED} for "
                f"nothing, not {foreign[0]}"
            )


def load_masks(spec: str, *, size: int = SIZE, groups: str | None = None) -> Dataset:
    """``folder:DIR`` with ``images/`` and ``masks/``, whose files have equal names.

    These may also lie in ``DIR/train`` and ``DIR/test``. A mask is a grey or palette image whose
    values are classes, 255 for none; ``DIR/classes.txt``, a name a line, may name them. Images and
    masks are scaled to ``size`` on the shorter side, and the middle is cut out. ``groups``: see
    `nas.data.groups`; file names there are the images'. Raises `DataError`.
    """
    kind, _, place = spec.partition(":")
    if kind != "folder" or not place:
        raise UsageError(
            f"segmentation reads folder:DIR with images/ and masks/, not '{spec[:80]}'"
        )
    root = Path(place)
    parted = (root / "train").is_dir()
    test = root / "test"
    images, labels, names = _part(root / "train" if parted else root, size)
    dataset = MaskDataset(
        name=root.resolve().name,
        images=images,
        labels=labels,
        classes=_classes(root, labels),
        names=names,
        test_part=Sealed(lambda: _part(test, size)[:2]) if parted and test.is_dir() else None,
        flip=True,
    )
    return dataset if groups is None else with_groups(dataset, groups)


def _classes(root: Path, labels: NDArray[np.uint8]) -> tuple[str, ...]:
    file = root / "classes.txt"
    if file.is_file():
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        return tuple(line for line in lines if line)
    count = int(labels[labels != IGNORED].max(initial=0)) + 1
    return tuple(map(str, range(count)))


def _part(top: Path, size: int) -> tuple[Images, Masks, tuple[str, ...]]:
    """Images (n, size, size, c), masks (n, size, size) and the images' file names."""
    pairs = _paired_files(top)
    images = [decode(image, size) for image, _ in pairs]
    masks = [_mask(mask, image, size) for image, mask in pairs]
    return stacked(images, str(top)), np.stack(masks), tuple(image.name for image, _ in pairs)


def _paired_files(top: Path) -> list[tuple[Path, Path]]:
    """Each image with its mask, by name. Raises `DataError` for one that stands alone."""
    images, masks = _files_by_stem(top / "images"), _files_by_stem(top / "masks")
    lonely = sorted(images.keys() ^ masks.keys())
    if lonely:
        raise DataError(
            f"{top}: every image needs a mask of its name; "
            f"{len(lonely)} stand alone, such as {lonely[0]}"
        )
    if not images:
        raise DataError(f"{top / 'images'} holds no image")
    return [(images[stem], masks[stem]) for stem in images]


def _files_by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(
            f"no folder {folder}: segmentation reads images/ and masks/ with files of equal names"
        )
    return {path.stem: path for path in sorted(folder.iterdir()) if path.is_file()}


def _mask(path: Path, image: Path, size: int) -> NDArray[np.uint8]:
    beside = upright_size(image)
    try:
        with reading(path) as opened:
            mask = upright(opened)
            # A mean of two classes would be a third one.
            fitted = ImageOps.fit(mask, (size, size), Image.Resampling.NEAREST)
            found, mode, values = mask.size, mask.mode, np.array(fitted)
    except DataError as error:
        why = str(error).removeprefix("cannot read an image: ")
        raise DataError(f"cannot read mask {path}: {why}") from None
    if found != beside:
        raise DataError(f"mask {path} is {found} pixels, its image {beside}, both upright")
    if mode not in ("L", "P", "1"):
        raise DataError(f"mask {path} must be grey or of a palette, a class per pixel, not {mode}")
    return values.astype(np.uint8)


class LazyMasks:
    """The masks of some rows at one size, the nearest pixel each, made batch by batch."""

    def __init__(
        self, masks: Masks, rows: NDArray[np.int64], size: int, device: torch.device
    ) -> None:
        self._masks, self._rows = masks, rows
        self._size = size
        self.device = device
        self.shape = torch.Size((len(rows), size, size))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """rows: (k,) int64, positions among the rows. (k, size, size) int64, on the device."""
        masks = self._masks[self._rows[rows.cpu().numpy()]]
        lines, columns = self._nearest(masks.shape[1]), self._nearest(masks.shape[2])
        nearest = masks[:, lines[:, None], columns].astype(np.int64)
        return torch.from_numpy(nearest).to(self.device)

    def _nearest(self, side: int) -> NDArray[np.int64]:
        """The source pixel of each of ``size`` pixels along a side."""
        # By centres, as images are interpolated: a mask would else lie half a pixel off.
        return ((np.arange(self._size) + 0.5) * side / self._size).astype(int)
