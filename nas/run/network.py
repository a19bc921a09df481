"""NETWORK as commands take it: a published name, an ``architecture.json``, or ``RUN[:TRIAL]``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas import catalog, networks
from nas.arch import Architecture
from nas.errors import RunError, UsageError, unknown
from nas.latency.table import Table
from nas.metadata import Metadata, read_metadata
from nas.networks.membership import membership
from nas.record import store
from nas.run.run import Run
from nas.scale import relaxed, scaled
from nas.size import Size
from nas.space import SearchSpace
from nas.trial import Genes, Trial

__all__ = [
    "Placed",
    "metadata_of",
    "named_network",
    "network_maker",
    "placed_network",
    "run_and_trial",
]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A network, and where it stands in a search space."""

    network: Architecture
    space: SearchSpace | None = None
    genes: Genes | None = None
    """That spell it, or its nearest point; None if no space is known that is like it."""
    nearest: str = ""
    """If the genes are those of the nearest point: what the network has otherwise."""
    unplaced: str = ""
    """Why there are no genes, with the way out."""
    tables: tuple[Table, ...] = ()
    """What its run was priced with; none if it is of no run."""


def named_network(
    name: str,
    *,
    width: float = 1.0,
    resolution: Size | None = None,
    classes: int | None = None,
    small_images: bool = False,
) -> Architecture:
    """The network that NETWORK names; of a run without a trial, the best in the first objective.

    A published network is rebuilt at another width or resolution as its authors do. A file's or a
    trial's is scaled by `nas.scale.scaled`, channels rounded to multiples of 8. ``small_images``
    relaxes its strides, see `nas.scale.relaxed`.
    """
    make = network_maker(name, classes=classes, small_images=small_images)
    return make(width=width, resolution=resolution)


def network_maker(
    name: str, *, classes: int | None = None, small_images: bool = False
) -> Callable[..., Architecture]:
    """What makes the network of `named_network` at any ``width`` and ``resolution``; reads once."""
    if name in networks.names():
        return partial(networks.get, name, classes=classes or 1000, small_images=small_images)
    stored = _stored(name)

    def make(*, width: float = 1.0, resolution: Size | None = None) -> Architecture:
        network = scaled(stored, width=width, resolution=resolution, classes=classes)
        return relaxed(network) if small_images else network

    return make


def placed_network(
    name: str,
    *,
    space: str | None = None,
    resolution: Size | None = None,
    classes: int | None = None,
    small_images: bool = False,
) -> Placed:
    """The network that NETWORK names, with its genes where it is a point of a space.

    The space is its run's, or the one that its paper describes, or the one named ``space``, built
    for the network's own input and classes.
    """
    folder, number = run_and_trial(name)
    changed = resolution is not None or classes is not None or small_images
    if name not in networks.names() and folder.is_dir() and space is None and not changed:
        run = Run(folder)
        trial = _trial(run, number)
        return Placed(
            network=run.network_of(trial), space=run.space, genes=trial.genes, tables=run.tables
        )
    network = named_network(name, resolution=resolution, classes=classes, small_images=small_images)
    spec = space
    if spec is None and name in networks.names():
        spec = networks.published(name).space
    if not spec:
        if space is None and name in networks.names():
            why = f"{name} comes from no space of this toolkit; nas spaces lists them"
        else:
            why = "no space is known for it: name one, such as --space fbnet (nas spaces)"
        return Placed(network=network, unplaced=why)
    return _placed_in(network, spec)


def _placed_in(network: Architecture, spec: str) -> Placed:
    """The network in the space of that name, built for its input and classes."""
    shape, out = network.input, network.out_shape
    if out.size != 1:
        raise UsageError(
            f"a space's networks end in one vector, and this one ends in {out}: leave --space out"
        )
    built = catalog.space(
        spec, resolution=shape.size, classes=out.channels, in_channels=shape.channels
    )
    place = membership(network, built)
    differences = "; ".join(difference.text for difference in place.differences)
    if place.genes is None:
        unplaced = f"space {built.name} has nothing like it: {differences}"
        return Placed(network=network, unplaced=unplaced)
    return Placed(network=network, space=built, genes=place.genes, nearest=differences)


def metadata_of(name: str) -> Metadata:
    """Class names, and of a training also the normalisation, beside NETWORK; empty if not known."""
    if name in networks.names():
        return Metadata()
    folder, _ = run_and_trial(name)
    if folder.is_dir():
        return store.read(folder).run_file.metadata
    return read_metadata(name)


def run_and_trial(name: str) -> tuple[Path, str]:
    """The folder and the number in ``RUN:TRIAL``; the number is empty for RUN or a file alone.

    Folders may have colons in their names.
    """
    whole = Path(name)
    folder, _, number = name.rpartition(":")
    if not folder or whole.exists() or not Path(folder).is_dir():
        return whole, ""
    return Path(folder), number


def _stored(name: str) -> Architecture:
    folder, number = run_and_trial(name)
    if folder.is_dir():
        run = Run(folder)
        return run.network_of(_trial(run, number))
    if Path(name).is_file():
        return Architecture.load(name)
    raise unknown("network, file or run", name, networks.names())


def _trial(run: Run, number: str) -> Trial:
    if not number:
        return run.best()
    if number.isdecimal():
        return run.trial(int(number))
    raise RunError(f"a trial of run '{run.folder}' is a number, not '{number}': {run.folder}:0")
