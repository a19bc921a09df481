"""What is known of image files, in a folder or another place, before one of them is used.

A file is looked at once: its size, kind and content key. The index is kept in the cache folder; a
file is looked at again only if its length or its time of change is another one.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from nas.data import cache
from nas.data.decode import Encoded, decode, has_several_frames, reading
from nas.data.preprocess import DEEP, GREY, shown
from nas.errors import DataError
from nas.files import write_with
from nas.progress import Pace, Watch, ignore

__all__ = [
    "COLOUR",
    "DEEP_GREY",
    "SEVERAL",
    "UNREADABLE",
    "Folder",
    "Index",
    "Names",
    "Place",
    "make_index",
]

# What a file may be, added up.
COLOUR = 1
DEEP_GREY = 2
SEVERAL = 4
UNREADABLE = 8
VERSION = 1
CHUNK = 256
HEAD, TAIL = 1 << 17, 1 << 14
"""Bytes at both ends of a longer file that its key is of, beside its length."""
CHECKED_BYTES = 256 << 20
"""Folders of up to so many bytes are decoded to the end once, of larger ones what looks cut off."""
# A file that ends otherwise may still be whole: it is then decoded to see.
ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xaeB`\x82"}

FACTS = np.dtype(
    [
        ("bytes", np.int64),
        ("changed", np.int64),
        ("key", np.uint8, 16),
        ("width", np.int32),
        ("height", np.int32),
        ("kind", np.uint8),
        ("low", np.float64),
        ("high", np.float64),
    ]
)
"""Of a file; width and height are those of the upright image."""


class Names(Sequence[str]):
    """Many names, without an object for each."""

    def __init__(self, text: bytes, ends: NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        """As a list holds them."""
        parts = [os.fsencode(name) for name in names]
        return cls(b"".join(parts), np.cumsum([0, *map(len, parts)]))

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Names": ...
    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return self.at(np.arange(len(self))[index])
        index = range(len(self))[index]
        return os.fsdecode(self.text[self.ends[index] : self.ends[index + 1]])

    def at(self, rows: NDArray[np.int64]) -> "Names":
        """Those of some rows."""
        return Names.of([self[int(row)] for row in rows])


class Place(Protocol):
    """Where image files lie, each by a name. Its text is what people call it."""

    @property
    def identity(self) -> bytes:
        """What no other place has; the index is kept under it."""

    def source(self, name: str) -> Encoded:
        """A file."""

    def told(self, name: str) -> str:
        """What people call a file."""

    def status(self, names: Sequence[str]) -> Iterator[tuple[int, int]]:
        """The length in bytes of each file and its time of change, without a look into it."""


@dataclass(frozen=True)
class Folder:
    """Files below a folder, by their paths relative to it, with ``/``. See `Place`."""

    top: Path

    def __str__(self) -> str:
        return str(self.top)

    @property
    def identity(self) -> bytes:
        """See `Place`."""
        return os.fsencode(self.top.resolve())

    def source(self, name: str) -> Path:
        """See `Place`."""
        return self.top / name

    def told(self, name: str) -> str:
        """See `Place`."""
        return str(self.top / name)

    def status(self, names: Sequence[str]) -> Iterator[tuple[int, int]]:
        """See `Place`."""
        for name in names:
            found = os.stat(f"{self.top}/{name}")  # noqa: PTH116 - Paths would take half the time
            yield found.st_size, found.st_mtime_ns


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """Files of a place, with their classes."""

    place: Place
    names: Names
    labels: NDArray[np.int64]
    facts: NDArray[np.void]
    """(n,) of `FACTS`."""

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """Of the content of all files, in their order: 20 hex digits."""
        return hashlib.sha256(np.ascontiguousarray(self.facts["key"]).data).hexdigest()[:20]

    def source(self, row: int) -> Encoded:
        """A file."""
        return self.place.source(self.names[row])

    def told(self, row: int) -> str:
        """What people call a file."""
        return self.place.told(self.names[row])

    def at(self, rows: NDArray[np.int64]) -> "Index":
        """Some of the files."""
        return Index(
            place=self.place,
            names=self.names.at(rows),
            labels=self.labels[rows],
            facts=self.facts[rows],
        )

    def readable(self, *, strict: bool) -> "tuple[Index, tuple[str, ...]]":
        """The files that can be read, and the names of the others.

        Raises `DataError` if none can be read, and if ``strict`` allows no others.
        """
        broken = (self.facts["kind"] & UNREADABLE) > 0
        skipped = tuple(self.names.at(np.flatnonzero(broken)))
        if skipped and strict:
            raise DataError(
                f"{self.place}: {skipped[0]}: {_fault(self.place.source(skipped[0]))}. "
                "Remove it, or leave out --strict to skip it"
            )
        if len(skipped) == len(self):
            raise DataError(f"{self.place}: no readable image")
        return self.at(np.flatnonzero(~broken)) if skipped else self, skipped

    def mark_unreadable(self, row: int) -> None:
        """Write down that a file cannot be read to the end, so that later it is left out."""
        place = _index_file(self.place)
        known, facts = _known(place)
        facts["kind"][_places(known, Names.of([self.names[row]]))[0]] |= UNREADABLE
        _keep(place, known, facts[:-1])


def _fault(source: Encoded) -> str:
    """What is wrong with an image: it is read once more."""
    try:
        decode(source)
    except DataError as error:
        return str(error)
    return "cannot read an image"


def make_index(
    place: Place, files: Sequence[tuple[str, int]], *, watch: Watch = ignore, every: bool = False
) -> Index:
    """Look at files of a place, given by name and label, as far as that was not done before.

    ``every`` decodes each to the end, however many they are.
    """
    names = Names.of([name for name, _ in files])
    labels = np.array([label for _, label in files], np.int64)
    facts = np.zeros(len(files), FACTS)
    for row, status in enumerate(place.status([name for name, _ in files])):
        facts["bytes"][row], facts["changed"][row] = status
    kept = _index_file(place)
    known, known_facts = _known(kept)
    old = known_facts[_places(known, names)] if len(known) else np.zeros(len(files), FACTS)
    same = (old["bytes"] == facts["bytes"]) & (old["changed"] == facts["changed"])
    facts[same] = old[same]
    unseen = np.flatnonzero(~facts["key"].any(axis=1))
    if len(unseen):
        thorough = every or facts["bytes"].sum() <= CHECKED_BYTES
        _look_at(place, names, unseen, facts, thorough, watch)
    if len(unseen) or len(known) != len(names):
        _keep(kept, names, facts)
    return Index(place=place, names=names, labels=labels, facts=facts)


def _index_file(place: Place) -> Path:
    name = hashlib.sha256(place.identity).hexdigest()[:20]
    return cache.folder("index") / f"{name}.npz"


def _known(place: Path) -> tuple[Names, NDArray[np.void]]:
    """Names and facts of an earlier index; the last facts are no file's. None if it is unreadable.

    A name that is not there is at `_places` -1.
    """
    nothing = np.zeros(1, FACTS)
    nothing["changed"] = -1
    try:
        with np.load(place, allow_pickle=False) as stored:
            if int(stored["version"]) == VERSION and stored["facts"].dtype == FACTS:
                names = Names(stored["text"].tobytes(), stored["ends"])
                return names, np.concatenate([stored["facts"], nothing])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    return Names.of([]), nothing


def _places(known: Names, names: Names) -> NDArray[np.int64]:
    """Where names stand among those of an earlier index, -1 for new ones."""
    if known.text == names.text and np.array_equal(known.ends, names.ends):
        return np.arange(len(names))
    place_of = {name: place for place, name in enumerate(known)}
    return np.array([place_of.get(name, -1) for name in names], np.int64)


def _keep(place: Path, names: Names, facts: NDArray[np.void]) -> None:
    """Write the index; a folder that cannot be written to is done without."""
    text = np.frombuffer(names.text, np.uint8)

    def write(file: object) -> None:
        np.savez(file, version=VERSION, text=text, ends=names.ends, facts=facts)  # type: ignore[arg-type]

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_with(place, write)
    except OSError:
        return


def _look_at(
    place: Place,
    names: Names,
    rows: NDArray[np.int64],
    facts: NDArray[np.void],
    thorough: bool,
    watch: Watch,
) -> None:
    """Fill in the facts of some rows, by several threads: disks answer many questions at once."""
    pace = Pace("index", len(rows))
    done = 0
    look = partial(_facts, place, thorough=thorough)
    with ThreadPoolExecutor(4 * cache.cores()) as pool:
        for part in _chunks(rows, CHUNK):
            looked = pool.map(look, [names[row] for row in part])
            for row, found in zip(part, looked, strict=True):
                for name, value in found.items():
                    facts[name][row] = value
            done += len(part)
            watch(pace.at(done))


def _chunks(rows: NDArray[np.int64], size: int) -> Iterator[list[int]]:
    left = iter(rows.tolist())
    while part := list(islice(left, size)):
        yield part


def _facts(place: Place, name: str, thorough: bool) -> dict[str, object]:
    """The fields of `FACTS` that are not its length and time."""
    source = place.source(name)
    try:
        key, whole = _key(source)
    except OSError:
        return {"key": b"unreadable file!", "kind": UNREADABLE}
    facts: dict[str, object] = {"key": np.frombuffer(key, np.uint8)}
    try:
        with reading(source) as image:
            deep = image.mode in DEEP
            kind = SEVERAL * has_several_frames(image)
            kind |= DEEP_GREY if deep else COLOUR * (image.mode not in GREY)
            turned = image.format != "TIFF" and _turned(image)
            width, height = image.size
            if thorough or deep or not whole:
                picture = shown(image)
                turned, (width, height) = False, picture.size
                if deep:
                    facts["low"], facts["high"] = _range(picture)
    except DataError:
        return {**facts, "kind": UNREADABLE}
    if turned:
        width, height = height, width
    return {**facts, "width": width, "height": height, "kind": kind}


def _key(source: Encoded) -> tuple[bytes, bool]:
    """The key of a file's content, and whether it ends as such files do."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(HEAD)
        if size > HEAD:
            file.seek(max(HEAD, size - TAIL))
        tail = file.read(TAIL) if size > HEAD else head
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    digest.update(head)
    digest.update(tail)
    end = ENDS.get(head[:2])
    return digest.digest(), end is not None and tail.endswith(end)


def _turned(image: object) -> bool:
    """Whether a file that is opened, not read, stands on its side."""
    try:
        return image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # type: ignore[attr-defined]
    except Exception:  # whatever broken EXIF data raise: they turn nothing
        return False


def _range(picture: object) -> tuple[float, float]:
    values = np.asarray(picture)
    if not np.isfinite(values).all():
        raise DataError("it holds values that are no numbers")
    return float(values.min()), float(values.max())
