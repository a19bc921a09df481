"""Published networks by name, rebuilt to the last parameter from paper or authors' code.

One file per family, found by listing this folder; a family lists its networks in ``NETWORKS``.
"""

import pkgutil
from functools import cache
from importlib import import_module

from nas.arch import Architecture
from nas.errors import UsageError, unknown
from nas.networks.published import Published
from nas.scale import relaxed, scaled
from nas.size import Size

__all__ = ["get", "names", "published"]


@cache
def _known() -> dict[str, Published]:
    known: dict[str, Published] = {}
    for found in pkgutil.iter_modules(__path__):
        for network in getattr(import_module(f"{__name__}.{found.name}"), "NETWORKS", ()):
            if known.setdefault(network.name, network) is not network:
                raise UsageError(f"two published networks are named '{network.name}'")
    return dict(sorted(known.items()))


def names() -> tuple[str, ...]:
    """Every published network, sorted."""
    return tuple(_known())


def published(name: str) -> Published:
    """What is known of a published network.

    An unknown name raises `UsageError` with the nearest one.
    """
    try:
        return _known()[name]
    except KeyError:
        raise unknown("published network", name, _known()) from None


def get(
    name: str,
    *,
    width: float = 1.0,
    resolution: Size | None = None,
    classes: int = 1000,
    in_channels: int = 3,
    small_images: bool = False,
) -> Architecture:
    """The published network, at its own resolution or another.

    ``width`` scales channels with the rounding of the network's family, and its rules for stem and
    head. Strides stay, unless ``small_images`` asks to relax them as the spaces do below 128
    pixels.
    """
    network = published(name)
    rebuilt = scaled(
        network.build(),
        width=width,
        resolution=resolution,
        classes=classes,
        in_channels=in_channels,
        head=network.head,
        stem=network.stem,
        rounding=network.rounding,
    )
    return relaxed(rebuilt) if small_images else rebuilt
