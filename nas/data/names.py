"""Names in folders of images: which are classes, which are images, and which are neither."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from nas.errors import DataError

__all__ = ["check_name", "class_folders", "is_image_file", "is_image_name", "walk"]

LEFT_BEHIND = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that archives and systems leave in others."""
SHOWN = 3


def class_folders(top: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the sub-folders with an image, sorted, and what is to be said of the others.

    Raises `DataError` for a folder that cannot be read, and for a name that is no text.
    """
    try:
        folders = sorted(
            path for path in top.iterdir() if path.is_dir() and not _is_a_systems(path.name)
        )
    except OSError as error:
        raise DataError(f"cannot read {top}: {error.strerror}") from None
    for path in folders:
        check_name(path)
    empty = [path.name for path in folders if not _holds_an_image(path)]
    names = tuple(path.name for path in folders if path.name not in empty)
    if not empty:
        return names, ()
    kind = "a folder without images is" if len(empty) == 1 else "folders without images are"
    more = ", ..." if len(empty) > SHOWN else ""
    return names, (f"{kind} no class: {', '.join(empty[:SHOWN])}{more}",)


def _is_a_systems(name: str) -> bool:
    """Whether a folder is hidden, or a system's and not its user's."""
    return name.startswith(".") or name in LEFT_BEHIND


def _holds_an_image(folder: Path) -> bool:
    return next(walk(folder), None) is not None


def walk(top: Path) -> Iterator[str]:
    """The images below a folder, by their names, relative to it, in a fixed order.

    Raises `DataError` for a name that is no text.
    """
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not _is_a_systems(name))
        place = Path(folder).relative_to(top).as_posix()
        for name in sorted(files):
            if is_image_name(name):
                path = name if place == "." else f"{place}/{name}"
                check_name(path)
                yield path


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its name; what systems leave in folders is none."""
    return is_image_name(path.name) and path.is_file()


def is_image_name(name: str) -> bool:
    """See `is_image_file`, for a name in a listing of files."""
    return not name.startswith(".") and Path(name).suffix.lower() in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    from PIL import Image

    return frozenset(Image.registered_extensions())


def check_name(path: Path | str) -> None:
    """Raise `DataError` for a path with bytes that are no UTF-8, which no report could name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise DataError(
            f"the name {shown} holds bytes that are not UTF-8: rename it, for example with convmv"
        ) from None
