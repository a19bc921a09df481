"""A data set by its name on the command line."""

from nas.data import fashion_mnist, folder, hf, npz
from nas.data.dataset import LARGEST_SIDE, Dataset
from nas.data.groups import with_groups
from nas.errors import UsageError, unknown

__all__ = ["SOURCES", "load"]

SOURCES = (
    "digits",
    "fashion-mnist",
    "fashion-mnist:DIR",
    "folder:DIR[,size=PIXELS]",
    "hf:NAME[:CONFIG]",
    "hf:DIR",
    "npz:FILE",
    "npz:FILE,TESTFILE",
)
SIZE = ",size="
PLACES = {"folder": "DIR", "hf": "NAME", "npz": "FILE"}


def load(
    spec: str, *, strict: bool = False, size: int = folder.SIZE, groups: str | None = None
) -> Dataset:
    """The data set that a spec such as ``digits`` or ``npz:FILE`` names; `SOURCES` lists them.

    ``strict`` refuses a source with unreadable images, which are otherwise skipped and named in
    ``Dataset.skipped``. ``size`` is the side, in pixels, of images from a folder;
    ``folder:DIR,size=96`` says it in the spec. Raises `UsageError` for an unknown spec, `DataError`
    for a source that cannot be read. ``groups``: see `nas.data.groups`.
    """
    dataset = _read(spec, strict, size)
    return dataset if groups is None else with_groups(dataset, groups)


def _read(spec: str, strict: bool, size: int) -> Dataset:
    kind, _, place = spec.partition(":")
    if kind == "digits" and not place:
        return digits()
    if kind == "fashion-mnist":
        return fashion_mnist.read(place or None)
    if kind not in PLACES:
        raise unknown("data set", spec, SOURCES)
    if not place:
        raise UsageError(f"data set '{kind}' needs a path: {kind}:{PLACES[kind]}")
    if kind == "npz":
        return npz.read(place, strict=strict)
    place, _, own_size = place.partition(SIZE)
    size = _size(own_size) if own_size else size
    read = hf.read if kind == "hf" else folder.read
    return read(place, strict=strict, size=size)


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_SIDE):
        raise UsageError(
            f"the size of images must be 1 to {LARGEST_SIDE} pixels, as in "
            f"folder:photos,size=96, not '{text[:40]}'"
        )
    return int(text)


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
