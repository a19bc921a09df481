"""Images with a class per pixel: a folder of images and one of masks."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from nas.data.dataset import Dataset, Pictures, Sealed
from nas.data.decode import decode, reading, stacked, upright_size
from nas.data.groups import with_groups
from nas.data.images import Images
from nas.data.names import (
    check_name,
    is_image_file,
    is_left_behind,
    is_other_picture,
    others_text,
)
from nas.data.preprocess import upright
from nas.errors import DataError, UsageError
from nas.files import read_text
from nas.sheets import read_names
from nas.size import Size, pixels_text, sides
from nas.units import counted

__all__ = ["IGNORED", "LazyMasks", "MaskDataset", "load_masks"]

IGNORED = 255
"""The value of a pixel that belongs to no class and counts for nothing."""

SIZE = 64
SHOWN = 3
LARGEST_NAMES_BYTES = 1 << 20

# Any: uint8, where the labels of any other `Dataset` are int64.
Masks = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskDataset(Dataset):
    """As `Dataset`, with ``labels`` (n, height, width) uint8: a class index, or `IGNORED`."""

    def _check(self, images: Pictures, labels: Masks, what: str) -> None:
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


def load_masks(
    spec: str,
    *,
    size: Size = SIZE,
    groups: str | None = None,
    values: Sequence[int] | None = None,
) -> Dataset:
    """``folder:DIR`` with ``images/`` and ``masks/``, whose files have equal names.

    They may lie in sub-folders, those of both alike.

    These may also lie in ``DIR/train`` and ``DIR/test``. A mask is a grey or palette image whose
    values are classes, 255 for none; ``values`` are the ones that stand for the first class, the
    second, and so on. ``DIR/classes.txt``, a name a line, may name the classes. Images and masks
    are scaled to just cover ``size``, and the middle is cut out. ``groups``: see
    `nas.data.groups`; file names there are the images'. Raises `DataError`.
    """
    kind, _, place = spec.partition(":")
    if kind != "folder" or not place:
        hint = f" Did you mean folder:{spec}?" if Path(spec).is_dir() else ""
        raise UsageError(
            f"segmentation reads folder:DIR with images/ and masks/, not '{spec[:80]}'.{hint}"
        )
    root = Path(place)
    check_name(root.resolve())
    parted = (root / "train").is_dir()
    test = root / "test"
    top = root / "train" if parted else root
    images, labels, names, empty = _part(top, size, values)
    classes = _classes(root, labels, values)
    dataset = MaskDataset(
        name=root.resolve().name,
        images=images,
        labels=labels,
        classes=classes,
        names=names,
        test_part=Sealed(lambda: _part(test, size, values)[:2])
        if parted and test.is_dir()
        else None,
        flip=True,
        cut=True,
        note=f"images and masks are held in memory at {pixels_text(size)}, the middle of each",
        remarks=tuple(
            filter(
                None, (_others(top).removeprefix("; "), _left_out(empty), _unseen(classes, labels))
            )
        ),
    )
    _check_several(top, dataset, by_value=values is not None)
    return dataset if groups is None else with_groups(dataset, groups)


def _check_several(top: Path, dataset: Dataset, *, by_value: bool) -> None:
    """Raise `DataError` if all pixels that count are of one class.

    ``by_value``: whether it was said which values stand for the classes.
    """
    present = np.unique(dataset.labels)
    named = present[present != IGNORED].tolist()
    if len(named) > 1:
        return
    if named == [0] and IGNORED in present and not by_value:
        raise DataError(
            f"the masks of {top} hold 0 and 255 alone, and 255 means none; write the foreground as "
            "1, or give --mask-values 0,255"
        )
    names = [dataset.classes[value] for value in named]
    raise DataError(
        f"the masks of {top} hold one class alone, '{names[0]}': there is nothing to tell it from"
    )


def _unseen(classes: Sequence[str], labels: Masks) -> str:
    """Which classes no mask holds; empty if there are none."""
    present = set(np.unique(labels).tolist())
    unseen = [name for value, name in enumerate(classes) if value not in present]
    if not unseen:
        return ""
    more = ", ..." if len(unseen) > SHOWN else ""
    return (
        f"no mask holds {len(unseen)} of {len(classes)} classes: {', '.join(unseen[:SHOWN])}{more}"
    )


def _left_out(empty: Sequence[str]) -> str:
    """Which images have no class at all; empty if there are none."""
    if not empty:
        return ""
    return f"{counted(len(empty), 'image')} left out, whose mask is {IGNORED} alone: {empty[0]}"


def _classes(root: Path, labels: Masks, values: Sequence[int] | None) -> tuple[str, ...]:
    file = root / "classes.txt"
    if not file.is_file():
        count = int(labels[labels != IGNORED].max(initial=0)) + 1
        # At least two, so that what is said of too few classes is said by `_check_several`.
        return tuple(map(str, range(max(2, count) if values is None else len(values))))
    try:
        names = read_names(read_text(file, LARGEST_NAMES_BYTES, "not names of classes", DataError))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {error}") from None
    for place, name in enumerate(names):
        if name in names[:place]:
            raise DataError(f"{file} names class '{name}' twice")
        if any(unicodedata.category(letter) == "Cc" for letter in name):
            raise DataError(f"{file}: the name {name!r} holds a control character")
    if values is not None and len(names) != len(values):
        raise DataError(
            f"{file} names {len(names)} classes, and --mask-values has {len(values)} values: "
            "give one for each class"
        )
    return names


def _part(
    top: Path, size: Size, values: Sequence[int] | None
) -> tuple[Images, Masks, tuple[str, ...], tuple[str, ...]]:
    """Images (n, h, w, c), masks (n, h, w), the images' file names.

    Last the names of images that are left out, because no pixel of their mask has a class.
    """
    images, masks, names, empty = [], [], [], []
    for image, file in _paired_files(top):
        try:
            beside, pixels = upright_size(image), decode(image, size)
        except DataError as error:
            raise DataError(f"{image}: {error}. Remove it and its mask") from None
        mask = _mask(file, beside, size, values)
        if (mask == IGNORED).all():
            empty.append(_name(image, top))
            continue
        images.append(pixels)
        masks.append(mask)
        names.append(_name(image, top))
    if not images:
        raise DataError(f"the masks of {top} hold {IGNORED} alone, which means none")
    return stacked(images, str(top)), np.stack(masks), tuple(names), tuple(empty)


def _name(image: Path, top: Path) -> str:
    """A file's name below ``images/``, with the sub-folders that it lies in."""
    return image.relative_to(top / "images").as_posix()


def _paired_files(top: Path) -> list[tuple[Path, Path]]:
    """Each image with its mask, by name. Raises `DataError` for one that stands alone."""
    images, masks = _files_by_stem(top / "images"), _files_by_stem(top / "masks")
    lonely = sorted(images.keys() ^ masks.keys())
    others = _others(top)
    if lonely:
        raise DataError(
            f"{top}: every image needs a mask of its name; "
            f"{len(lonely)} stand alone, such as {lonely[0]}{others}"
        )
    if not images:
        raise DataError(f"{top / 'images'} holds no image{others}")
    return [(images[stem], masks[stem]) for stem in images]


def _others(top: Path) -> str:
    """What is to be said of pictures that cannot be read here, as the end of a line."""
    names = [
        path.relative_to(top).as_posix()
        for part in ("images", "masks")
        for path in _below(top / part)
        if is_other_picture(path.name)
    ]
    return f"; {others_text(names)}: convert to PNG" if names else ""


def _below(folder: Path) -> list[Path]:
    """All files of a folder and its sub-folders, sorted, without what systems leave behind."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not any(is_left_behind(part) for part in path.relative_to(folder).parts):
            found.append(path)
    return found


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """Each image by its place below the folder, without the ending of its name."""
    if not folder.is_dir():
        raise DataError(
            f"no folder {folder}: segmentation reads images/ and masks/ with files of equal names"
        )
    files: dict[str, Path] = {}
    for path in _below(folder):
        if not is_image_file(path):
            continue
        check_name(path)
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise DataError(
                f"{folder} holds {files[stem].name} and {path.name}: image and mask go "
                "together by that name, so keep one"
            )
        files[stem] = path
    return files


def _mask(
    path: Path, beside: tuple[int, int], size: Size, values: Sequence[int] | None
) -> NDArray[np.uint8]:
    """(height, width): indices of classes, or `IGNORED`. ``beside``: the image's sides."""
    try:
        with reading(path) as opened:
            mask = upright(opened)
            # A mean of two classes would be a third one.
            height, width = sides(size)
            fitted = ImageOps.fit(mask, (width, height), Image.Resampling.NEAREST)
            full_size, mode, found = mask.size, mask.mode, np.array(fitted)
    except DataError as error:
        why = str(error).removeprefix("cannot read an image: ")
        raise DataError(f"cannot read mask {path}: {why}") from None
    if full_size != beside:
        raise DataError(f"mask {path} is {full_size} pixels, its image {beside}, both upright")
    if mode not in ("L", "P", "1"):
        raise DataError(f"mask {path} must be grey or of a palette, a class per pixel, not {mode}")
    found = found.astype(np.uint8)
    return found if values is None else _indices(found, values, path)


def _indices(mask: NDArray[np.uint8], values: Sequence[int], path: Path) -> NDArray[np.uint8]:
    """The class of each pixel by its value."""
    foreign = np.setdiff1d(mask, [*values, IGNORED])
    if len(foreign):
        some = ", ".join(map(str, foreign[:SHOWN].tolist()))
        raise DataError(f"mask {path} holds {some}, which --mask-values does not name")
    index_of = np.full(256, IGNORED, np.uint8)
    index_of[list(values)] = np.arange(len(values))
    return index_of[mask]


class LazyMasks:
    """The masks of some rows at one size, the nearest pixel each, made batch by batch."""

    def __init__(
        self, masks: Masks, rows: NDArray[np.int64], size: Size, device: torch.device
    ) -> None:
        self._masks, self._rows = masks, rows
        self._size = size
        self.device = device
        self.shape = torch.Size((len(rows), *sides(size)))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """rows: (k,) int64, positions among the rows. (k, height, width) int64, on the device."""
        masks = self._masks[self._rows[rows.cpu().numpy()]]
        height, width = sides(self._size)
        lines, columns = _nearest(masks.shape[1], height), _nearest(masks.shape[2], width)
        nearest = masks[:, lines[:, None], columns].astype(np.int64)
        return torch.from_numpy(nearest).to(self.device)


def _nearest(side: int, wanted: int) -> NDArray[np.int64]:
    """The source pixel of each of ``wanted`` pixels along a side."""
    # By centres, as images are interpolated: a mask would else lie half a pixel off.
    return ((np.arange(wanted) + 0.5) * side / wanted).astype(int)
