"""NETWORK as commands take it: a published name, an ``architecture.json``, or ``RUN[:TRIAL]``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nas import networks
from nas.arch import Architecture
from nas.errors import RunError, unknown
from nas.metadata import Metadata, read_metadata
from nas.record import store
from nas.run.run import Run
from nas.scale import relaxed, scaled
from nas.trial import Trial

__all__ = ["metadata_of", "named_network", "network_maker"]


def named_network(
    name: str,
    *,
    width: float = 1.0,
    resolution: int | None = None,
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

    def make(*, width: float = 1.0, resolution: int | None = None) -> Architecture:
        network = scaled(stored, width=width, resolution=resolution, classes=classes)
        return relaxed(network) if small_images else network

    return make


def metadata_of(name: str) -> Metadata:
    """Class names, and of a training also the normalisation, beside NETWORK; empty if not known."""
    if name in networks.names():
        return Metadata()
    folder, _ = _run_and_trial(name)
    if folder.is_dir():
        return store.read(folder).run_file.metadata
    return read_metadata(name)


def _run_and_trial(name: str) -> tuple[Path, str]:
    folder, _, number = name.partition(":")
    return Path(folder), number


def _stored(name: str) -> Architecture:
    folder, number = _run_and_trial(name)
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
