"""Prepared images on disk, so that a file is decoded once for a size, and not in every pass.

A file of our own, and not the Arrow cache of Hugging Face `datasets`: that one is written whole
before it is read, by one process, keeps whole rows, and grows without a bound. Here every image has
its place in one sparse file, with a checksum before it, so that any number of processes fill it in
any order while they train, a kill or a lost page shows, and reading one is one system call.

The folder is ``NAS_CACHE``, else ``~/.cache/nas``; ``NAS_CACHE_GB`` bounds it, 20 by default and at
most half of what is free.
"""

import contextlib
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Slots", "bound", "cores", "folder"]

GB = 10**9
DEFAULT_GB = 20.0
SUM_BYTES = 4


def cores() -> int:
    """Cores that this process may use; macOS does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def folder(part: str) -> Path:
    """A folder of the cache, which need not exist."""
    root = os.environ.get("NAS_CACHE") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/nas"
    return Path(root).expanduser() / part


def bound() -> int:
    """Bytes that prepared images may take on the disk."""
    try:
        asked = float(os.environ.get("NAS_CACHE_GB", DEFAULT_GB))
    except ValueError:
        asked = DEFAULT_GB
    place = folder("images")
    existing = next(parent for parent in (place, *place.absolute().parents) if parent.is_dir())
    return int(min(asked * GB, shutil.disk_usage(existing).free / 2))


class Slots:
    """Images of known shapes in one file, each in its place, filled in any order.

    ``shapes``: (n, 3), height, width and channels of each. ``name`` says content, size and version;
    what is read by one name is what was written by it. Where the disk refuses, images are only
    decoded more often.
    """

    def __init__(self, name: str, shapes: NDArray[np.int64]) -> None:
        self.name, self.shapes = name, shapes
        ends = np.cumsum(shapes.prod(axis=1) + SUM_BYTES)
        self.starts = np.concatenate([[0], ends])
        self.largest = 0
        """Bytes that are used at most; images behind them are decoded each time."""
        self._file = -1

    @property
    def kept(self) -> int:
        """How many images fit inside the bound."""
        return int(np.searchsorted(self.starts[1:], self.largest, side="right"))

    def open(self) -> "Slots":
        """Make or find the file; others give way to it, those first that were not used for long."""
        place = folder("images") / self.name
        room = bound()
        self.largest = min(int(self.starts[-1]), room)
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            _make_room(place, room - self.largest)
            self._file = os.open(place / "pixels", os.O_RDWR | os.O_CREAT, 0o644)
            os.utime(place)
        return self

    def read(self, row: int) -> NDArray[np.uint8] | None:
        """An image (h, w, c), None if it is not there whole."""
        if self._file < 0 or self.starts[row + 1] > self.largest:
            return None
        start, end = int(self.starts[row]), int(self.starts[row + 1])
        try:
            data = os.pread(self._file, end - start, start)
        except OSError:
            return None
        if len(data) < end - start or data[:SUM_BYTES] == b"\0\0\0\0":
            return None
        pixels = np.frombuffer(data, np.uint8, offset=SUM_BYTES)
        if _sum(pixels) != data[:SUM_BYTES]:
            return None
        return pixels.reshape(self.shapes[row])

    def __getstate__(self) -> dict[str, object]:
        # A process that was not forked has no open file of ours.
        return {**self.__dict__, "_file": -1}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.open()

    def write(self, row: int, image: NDArray[np.uint8]) -> None:
        """Keep an image; one of another shape, or beyond the bound, is left out."""
        fits = image.shape == tuple(self.shapes[row]) and self.starts[row + 1] <= self.largest
        if self._file < 0 or not fits:
            return
        pixels = np.ascontiguousarray(image)
        try:
            os.pwrite(self._file, _sum(pixels) + pixels.tobytes(), int(self.starts[row]))
        except OSError:
            # A full disk: what is there can still be read.
            self.largest = min(self.largest, int(self.starts[row]))


def _sum(pixels: NDArray[np.uint8]) -> bytes:
    """Never zeros, which are what an empty place holds."""
    return (zlib.crc32(pixels.data) or 1).to_bytes(SUM_BYTES, "little")


def _make_room(place: Path, room: int) -> None:
    """Remove other folders, the longest unused first, until those left take ``room`` bytes."""
    others = []
    for other in place.parent.iterdir():
        if other != place and other.is_dir():
            others.append((other.stat().st_mtime, _bytes(other), other))
    taken = sum(size for _, size, _ in others)
    for _, size, other in sorted(others):
        if taken <= room:
            return
        # A process that reads it keeps its open file.
        shutil.rmtree(other, ignore_errors=True)
        taken -= size


def _bytes(place: Path) -> int:
    """Of a sparse file, what it takes on the disk."""
    pixels = place / "pixels"
    return pixels.stat().st_blocks * 512 if pixels.exists() else 0
