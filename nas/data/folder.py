"""A folder of images: a class per sub-folder, directly or under ``train/`` and ``test/``."""

import dataclasses
import math
from functools import partial
from pathlib import Path

import numpy as np

from nas.data.dataset import Dataset, Labels, Sealed, TestImages
from nas.data.decode import Seen, decode, frames_lines, gather
from nas.data.images import Images
from nas.data.index import COLOUR, SEVERAL, Folder, Index, make_index
from nas.data.names import check_name, class_folders, loose_text, others_text, walk
from nas.data.pictures import SHOWN, ImageFiles
from nas.errors import DataError
from nas.progress import Watch, ignore
from nas.size import Size, sides

__all__ = ["files_of", "read", "sizes_note"]


def read(
    place: str,
    *,
    strict: bool,
    size: Size | None = None,
    value_range: tuple[float, float] | None = None,
    watch: Watch = ignore,
) -> Dataset:
    """Images decoded when they are needed, at the size that is needed.

    With ``size`` they are scaled to it on the shorter side, the middle is cut out, and all are held
    in memory. Classes stand in the order of their names. ``value_range``: see `Dataset`. ``watch``
    follows the index. Raises `DataError`.
    """
    root = Path(place)
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    parted = (root / "train").is_dir()
    top = root / "train" if parted else root
    check_name(root.resolve())
    others: list[str] = []
    classes, remarks = class_folders(top, others)
    test = root / "test" if parted and (root / "test").is_dir() else None
    remarks += _loose(root, top, test)
    if len(classes) < 2:
        named = ", ".join(classes) or "none"
        remarks += _left_out(others)
        raise DataError(
            f"{top} must hold a sub-folder per class, at least two, not {len(classes)}: "
            f"{'; '.join((named, *remarks))}"
        )
    if test is not None:
        remarks += _names_of_test(test, classes, strict)
    if size is not None:
        return _in_memory(place, top, test, classes, remarks, strict, size, value_range, others)
    index, skipped = _readable(top, classes, strict, watch, others)
    images = files_of(index)

    def read_test() -> TestImages:
        assert test is not None
        found, unreadable = _readable(test, classes, strict, ignore, [])
        files = dataclasses.replace(
            files_of(found), channels=images.channels, ratio_of_all=images.ratio_of_all
        )
        return files, found.labels, unreadable

    return Dataset(
        name=root.resolve().name,
        images=images,
        labels=index.labels,
        classes=classes,
        names=index.names,
        skipped=skipped,
        test_part=None if test is None else Sealed(read_test),
        flip=images.channels == 3,
        note=sizes_note(images),
        remarks=(
            *remarks,
            *_left_out(others),
            *frames_lines(int((index.facts["kind"] & SEVERAL > 0).sum())),
        ),
        value_range=value_range,
    )


def _loose(root: Path, top: Path, test: Path | None) -> tuple[str, ...]:
    """A line about images beside the folders of the classes, if there are any."""
    tops = [root, top] if top != root else [root]
    text = loose_text(root, *tops, *([] if test is None else [test]))
    return (text,) if text else ()


def _left_out(others: list[str]) -> tuple[str, ...]:
    """A line about pictures of kinds that cannot be read here, if there are any."""
    if not others:
        return ()
    return (f"{others_text(others)}, left out: convert to JPEG or PNG",)


def _readable(
    top: Path, classes: tuple[str, ...], strict: bool, watch: Watch, others: list[str]
) -> tuple[Index, tuple[str, ...]]:
    """The index of the images that can be read, and the names of those that are broken.

    ``others`` gets the names of pictures of kinds that cannot be read here.
    """
    files = _image_names(top, classes, strict, others)
    return make_index(Folder(top), files, watch=watch, every=strict).readable(strict=strict)


def files_of(index: Index) -> ImageFiles:
    """All files of an index, in colour if any has colour."""
    facts = index.facts
    sizes = {(int(facts["width"].min()), int(facts["height"].min()))}
    sizes.add((int(facts["width"].max()), int(facts["height"].max())))
    ((width, height), *more) = sizes
    return ImageFiles(
        index=index,
        rows=np.arange(len(index)),
        channels=3 if (facts["kind"] & COLOUR).any() else 1,
        ratio_of_all=None if more else width / max(1, height),
    )


def sizes_note(images: ImageFiles) -> str:
    """Sizes of files, and which part of them evaluations see."""
    facts = images.index.facts
    pixels = facts["width"].astype(np.int64) * facts["height"]
    ends = facts[[int(pixels.argmin()), int(pixels.argmax())]]
    low, high = (f"{end['height']}x{end['width']}" for end in ends)
    sizes = low if low == high else f"{low} to {high}"
    share = f"the middle {SHOWN:g} of the shorter side"
    if images.ratio_of_all == 1:
        share = "all"
    elif images.ratio_of_all is not None:
        share = f"all at --resolution {low} or in its proportions, else {share}"
    return f"images of {sizes} pixels; evaluations see {share}, scaled to the network's size"


def _in_memory(
    place: str,
    top: Path,
    test: Path | None,
    classes: tuple[str, ...],
    remarks: tuple[str, ...],
    strict: bool,
    size: Size,
    value_range: tuple[float, float] | None,
    others: list[str],
) -> Dataset:
    seen = Seen()
    images, labels, names, skipped = _part(top, classes, strict, size, seen, others)
    channels = images.shape[3]

    def read_test() -> TestImages:
        assert test is not None
        images, labels, _, unreadable = _part(test, classes, strict, size, Seen(), [])
        return np.repeat(images, channels // images.shape[3], axis=3), labels, unreadable

    return Dataset(
        name=Path(place).resolve().name,
        images=images,
        labels=labels,
        classes=classes,
        names=names,
        skipped=skipped,
        test_part=None if test is None else Sealed(read_test),
        flip=channels == 3,
        cut=True,
        note=_note(seen.sizes, size),
        remarks=(*remarks, *_left_out(others), *seen.lines()),
        value_range=value_range,
    )


def _note(seen: set[tuple[int, int]], size: Size) -> str:
    """Which sizes became which."""
    height, width = sides(size)
    if seen == {(width, height)}:
        return ""
    smallest, largest = min(seen, key=math.prod), max(seen, key=math.prod)
    low, high = (f"{high}x{wide}" for wide, high in (smallest, largest))
    sizes = low if low == high else f"{low} to {high}"
    return (
        f"images of {sizes} pixels are scaled and cropped to {height}x{width}; "
        f"without ,size={size} a training reads them at its own size"
    )


def _image_names(
    top: Path, classes: tuple[str, ...], strict: bool, others: list[str]
) -> list[tuple[str, int]]:
    """Each image file, relative to the top, with the index of its class, class by class.

    ``others``: see `_readable`; with ``strict`` they raise `DataError`.
    """
    files = []
    for label, name in enumerate(classes):
        found: list[str] = []
        files += [(f"{name}/{file}", label) for file in walk(top / name, found)]
        others += [f"{name}/{file}" for file in found]
    if others and strict:
        raise DataError(
            f"{top}: {others_text(others)}. Convert to JPEG or PNG, or leave out --strict to skip"
        )
    return files


def _part(
    top: Path,
    classes: tuple[str, ...],
    strict: bool,
    size: Size,
    seen: Seen,
    others: list[str],
) -> tuple[Images, Labels, tuple[str, ...], tuple[str, ...]]:
    files = _image_names(top, classes, strict, others)
    names = [name for name, _ in files]
    named = ((name, top / name) for name in names)
    images, kept, skipped = gather(
        named, partial(decode, size=size, seen=seen), what=str(top), strict=strict
    )
    return (
        images,
        np.array([files[i][1] for i in kept], np.int64),
        tuple(names[i] for i in kept),
        skipped,
    )


def _names_of_test(test: Path, classes: tuple[str, ...], strict: bool) -> tuple[str, ...]:
    """What is to be said of the names in a test part. Its images stay unread.

    Raises `DataError` for what would else be told at the end of a training.
    """
    foreign = set(class_folders(test)[0]) - set(classes)
    if foreign:
        raise DataError(
            f"{test} has classes that training has not: {', '.join(sorted(foreign))[:120]}"
        )
    others: list[str] = []
    if not _image_names(test, classes, strict, others):
        raise DataError(f"{test}: no image of a class")
    return tuple(f"test part: {line}" for line in _left_out(others))
