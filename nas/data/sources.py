"""A data set by its name on the command line."""

import re
from contextlib import suppress
from pathlib import Path

from nas.data import fashion_mnist, folder, hf, npz, own
from nas.data.dataset import LARGEST_SIDE, Dataset
from nas.data.groups import with_groups
from nas.errors import UsageError, unknown
from nas.programs import spec_place
from nas.progress import Watch, ignore
from nas.size import Size, longer, parse_size, shorter

__all__ = ["SOURCES", "load"]

SOURCES = (
    "digits",
    "fashion-mnist",
    "fashion-mnist:DIR",
    "folder:DIR[,size=SIZE][,range=LOW-HIGH][,flip=no]",
    "hf:NAME[:CONFIG][,size=SIZE][,range=LOW-HIGH][,flip=no]",
    "hf:DIR",
    "npz:FILE",
    "npz:FILE,TESTFILE",
    "FILE.py[:FUNCTION]",
)
# At the end alone: a folder's name may hold anything.
OPTIONS = re.compile(r"(,(size|range|flip)=[^,]*)*$")
NUMBER = r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})-({NUMBER})")
PLACES = {"folder": "DIR", "hf": "NAME", "npz": "FILE"}


def load(
    spec: str,
    *,
    strict: bool = False,
    size: Size | None = None,
    groups: str | None = None,
    watch: Watch = ignore,
) -> Dataset:
    """The data set that a spec such as ``digits`` or ``npz:FILE`` names; `SOURCES` lists them.

    ``strict`` refuses a source with unreadable images, which are otherwise skipped and named in
    ``Dataset.skipped``. Images of a folder are decoded when they are needed, at the size that is
    needed; ``size``, or ``folder:DIR,size=96``, holds
    them in memory with so many pixels a side. Raises `UsageError` for an unknown spec, `DataError`
    for a source that cannot be read. ``range=0-4095`` declares which values of images of more than
    eight bits are black and white. ``flip=no`` says that left and right count.
    ``groups``: see `nas.data.groups`.
    """
    dataset = _read(spec, strict, size, watch)
    return dataset if groups is None else with_groups(dataset, groups)


def _read(spec: str, strict: bool, size: Size | None, watch: Watch) -> Dataset:
    own_place = spec_place(spec, own.FUNCTION)
    if own_place is not None:
        return own.images_of(own.read_place(own_place, watch=watch))
    kind, _, place = spec.partition(":")
    if kind == "digits" and not place:
        return digits()
    if kind == "fashion-mnist":
        return fashion_mnist.read(place or None)
    if kind not in PLACES:
        raise _unknown(spec)
    if not place:
        raise UsageError(f"data set '{kind}' needs a path: {kind}:{PLACES[kind]}")
    if kind == "npz":
        return npz.read(place, strict=strict)
    place, options = _options(place)
    # Said first: a large folder takes minutes to read.
    one_sided = "flip" in options and _one_sided(options["flip"])
    size = _size(options["size"]) if "size" in options else size
    value_range = _range(options["range"]) if "range" in options else None
    read = hf.read if kind == "hf" else folder.read
    dataset = read(place, strict=strict, size=size, value_range=value_range, watch=watch)
    return dataset.as_one_sided() if one_sided else dataset


def _one_sided(text: str) -> bool:
    if text not in ("no", "yes"):
        raise UsageError(f"flip is no or yes, as in folder:street,flip=no, not '{text[:40]}'")
    return text == "no"


def _unknown(spec: str) -> UsageError:
    """The error for a data set nobody knows; a folder or an archive of that name is suggested."""
    path = Path(spec)
    archive = path.suffix == ".npz" and path.is_file()
    if not (archive or path.is_dir()):
        return unknown("data set", spec, SOURCES)
    kind, what = ("npz", "file") if archive else ("folder", "folder")
    return UsageError(
        f"no data set named '{spec}'. There is a {what} of that name: did you mean {kind}:{spec}?"
    )


def _options(place: str) -> tuple[str, dict[str, str]]:
    """A place without the options at its end, and their values by name."""
    found = OPTIONS.search(place)
    start = found.start() if found else len(place)
    options = {}
    for option in place[start:].split(",")[1:]:
        name, _, value = option.partition("=")
        options[name] = value
    return place[:start], options


def _range(text: str) -> tuple[float, float]:
    found = RANGE.fullmatch(text)
    if not found or not float(found[1]) < float(found[2]):
        raise UsageError(
            "the range of values must be two rising numbers, as in folder:scans,range=0-4095, "
            f"not '{text[:40]}'"
        )
    return float(found[1]), float(found[2])


def _size(text: str) -> Size:
    with suppress(UsageError):
        size = parse_size(text)
        if 1 <= shorter(size) <= longer(size) <= LARGEST_SIDE:
            return size
    raise UsageError(
        f"the size of images must be 1 to {LARGEST_SIDE} pixels, as in "
        f"folder:photos,size=96 or size=240x320, not '{text[:40]}'"
    )


def digits() -> Dataset:
    """1,797 handwritten digits, 8x8 grey: the test part of UCI's optdigits, by scikit-learn."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scaled = (images * (255 / 16)).round().astype("uint8").reshape(-1, 8, 8, 1)  # 16 grey levels
    return Dataset(
        name="digits",
        images=scaled,
        labels=labels.astype("int64"),
        classes=tuple(map(str, range(10))),
    )
