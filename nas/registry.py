"""What the files of a package and an entry-point group offer, by name."""

import pkgutil
from collections.abc import Callable, Collection, Iterable
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from nas.errors import UsageError

__all__ = ["loaders"]


def loaders(
    package: str, path: Iterable[str], attribute: str, *, besides: Collection[str] = ()
) -> dict[str, Callable[[], Any]]:
    """By name, what loads the ``attribute`` of a file; nothing is imported before it is called.

    A file's name, with dashes, is the name. Files whose names begin with an underscore and those
    ``besides`` offer nothing. Others add theirs through the entry-point group that has the
    package's name. Raises `UsageError` if a name is claimed twice.
    """
    known: dict[str, Callable[[], Any]] = {}
    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_") and module.name not in besides:
            name = module.name.replace("_", "-")
            known[name] = partial(_load, f"{package}.{module.name}", attribute)
    for point in entry_points(group=package):
        if point.name in known:
            things = package.rpartition(".")[2]
            raise UsageError(
                f"two {things} claim the name '{point.name}': rename the one of {point.value}"
            )
        known[point.name] = point.load
    return known


def _load(module: str, attribute: str) -> Any:
    return getattr(import_module(module), attribute)
