"""Names in folders of images: which are classes, which are images, and which are neither."""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from nas.errors import DataError
from nas.units import counted

__all__ = [
    "check_name",
    "class_folders",
    "is_image_file",
    "is_image_name",
    "is_left_behind",
    "is_other_picture",
    "loose_text",
    "others_text",
    "walk",
]

LEFT_BEHIND = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that archives and systems leave in others."""
SHOWN = 3
PHONES = (".heic", ".heif", ".hif", ".avif", ".avifs", ".jxl", ".jxr")
CAMERAS = (".raw", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2")
PROGRAMS = (".dcm", ".djvu", ".exr", ".hdr", ".svg", ".svgz", ".pdf", ".psb", ".xcf")
OTHER_PICTURES = frozenset((*PHONES, *CAMERAS, *PROGRAMS))
"""Suffixes of pictures that Pillow reads in part, by its version, or not at all."""


def class_folders(
    top: Path, others: list[str] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the sub-folders with an image, sorted, and what is to be said of the others.

    ``others`` gets the pictures of sub-folders without an image that cannot be read here. Raises
    `DataError` for a folder that cannot be read, and for a name that is no text.
    """
    try:
        folders = sorted(
            path for path in top.iterdir() if path.is_dir() and not is_left_behind(path.name)
        )
    except OSError as error:
        raise DataError(f"cannot read {top}: {error.strerror}") from None
    for path in folders:
        check_name(path)
    empty = []
    for path in folders:
        found: list[str] = []
        if next(walk(path, found), None) is None:
            empty.append(path.name)
            if others is not None:
                others += [f"{path.name}/{name}" for name in found]
    names = tuple(path.name for path in folders if path.name not in empty)
    if not empty:
        return names, ()
    kind = "a folder without images is" if len(empty) == 1 else "folders without images are"
    more = ", ..." if len(empty) > SHOWN else ""
    return names, (f"{kind} no class: {', '.join(empty[:SHOWN])}{more}",)


def is_left_behind(name: str) -> bool:
    """Whether a folder is hidden, or a system's and not its user's."""
    return name.startswith(".") or name in LEFT_BEHIND


def walk(top: Path, others: list[str] | None = None) -> Iterator[str]:
    """The images below a folder, by their names, relative to it, in a fixed order.

    ``others`` gets the names of pictures that cannot be read here. Raises `DataError`
    for a name that is no text.
    """
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not is_left_behind(name))
        place = Path(folder).relative_to(top).as_posix()
        for name in sorted(files):
            path = name if place == "." else f"{place}/{name}"
            if is_image_name(name):
                check_name(f"{folder}/{name}")
                yield path
            elif others is not None and is_other_picture(name):
                check_name(f"{folder}/{name}")
                others.append(path)


def loose_text(root: Path, *tops: Path) -> str:
    """For people, images that lie directly in folders of class folders; empty if there are none."""
    loose = []
    for top in tops:
        names = [path.name for path in top.iterdir() if is_image_file(path)]
        loose += [(top / name).relative_to(root).as_posix() for name in sorted(names)]
    if not loose:
        return ""
    more = ", ..." if len(loose) > SHOWN else ""
    # As bytes that may be no text: such a name is no reason to stop, as it is not used.
    shown = [os.fsencode(name).decode(errors="backslashreplace") for name in loose[:SHOWN]]
    lie = "image lies" if len(loose) == 1 else "images lie"
    return (
        f"{len(loose)} {lie} beside the folders of the classes, left out: {', '.join(shown)}{more}"
    )


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its name; what systems leave in folders is none."""
    return is_image_name(path.name) and path.is_file()


def is_image_name(name: str) -> bool:
    """See `is_image_file`, for a name in a listing of files."""
    return not name.startswith(".") and Path(name).suffix.lower() in _image_suffixes()


def is_other_picture(name: str) -> bool:
    """Whether a file is a picture by its name, of a kind that cannot be read here."""
    suffix = Path(name).suffix.lower()
    return not name.startswith(".") and suffix in OTHER_PICTURES - _image_suffixes()


def others_text(others: Sequence[str]) -> str:
    """For people, pictures that cannot be read here: how many, of which kinds, one by name."""
    kinds = sorted({Path(name).suffix.lower() for name in others})
    kind = "a kind" if len(kinds) == 1 else "kinds"
    files = counted(len(others), "file")
    return f"{files} of {kind} that cannot be read here ({', '.join(kinds)}), such as {others[0]}"


@cache
def _image_suffixes() -> frozenset[str]:
    """Those that this Pillow can open."""
    from PIL import Image

    kinds = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in kinds.items() if _opens(kind))


def _opens(kind: str) -> bool:
    from PIL import Image

    # MPO, several JPEG pictures in one file, is opened as JPEG.
    return kind in Image.OPEN or kind == "MPO"


def check_name(path: Path | str) -> None:
    """Raise `DataError` for a path with bytes that are no UTF-8, which no report could name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise DataError(
            f"the name {shown} holds bytes that are not UTF-8: rename it, for example with convmv"
        ) from None
