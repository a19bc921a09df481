"""Search strategies, one per file; the file name, with dashes, is the name on the command line.

A file exports ``strategy``, a class or a function called as ``strategy(domain, *, seed, objectives=1,
**settings)``. Others add theirs through the entry-point group ``nas.strategies``: each entry point names
such a callable. A spec is ``name``, ``name:variant``, ``name:setting=value,...`` or both:
``evolution:population=20,sample=5``, ``optuna:NSGA-II,population_size=20``.
"""

import inspect
import json
import pkgutil
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from nas.domain import Domain
from nas.errors import UsageError, unknown
from nas.strategies.base import Strategy

__all__ = ["known", "make"]

Factory = Callable[..., Strategy]
GIVEN = ("domain", "seed", "objectives")


def known() -> dict[str, Callable[[], Factory]]:
    """A loader per name; nothing is imported before it is called. A name claimed twice raises."""
    found: dict[str, Callable[[], Factory]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base" and not module.name.startswith("_"):
            found[module.name.replace("_", "-")] = _file_loader(f"{__name__}.{module.name}")
    for point in entry_points(group="nas.strategies"):
        if point.name in found:
            raise UsageError(f"two strategies claim the name '{point.name}': rename the one of {point.value}")
        found[point.name] = point.load
    return found


def _file_loader(module: str) -> Callable[[], Factory]:
    def load() -> Factory:
        factory: Factory = import_module(module).strategy
        return factory

    return load


def make(spec: str, domain: Domain, *, seed: int, objectives: int = 1, **settings: Any) -> Strategy:
    """The strategy that a spec describes; settings given by name override those of the spec.

    Raises `UsageError` for an unknown name, variant or setting.
    """
    name, _, rest = spec.partition(":")
    loaders = known()
    if name not in loaders:
        raise unknown("strategy", name, loaders)
    factory = loaders[name]()
    variant, pairs = _split(rest)
    given = {**({"variant": variant} if variant else {}), **dict(map(_setting, pairs)), **settings}
    parameters = inspect.signature(factory).parameters
    takes = [name for name in parameters if name not in GIVEN]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key == "variant" and key not in takes:
            raise UsageError(f"strategy '{name}' has no variants, so '{name}:{variant}' means nothing: write '{name}'")
        if key not in takes and not takes_all:
            raise unknown(f"setting of strategy '{name}'", key, takes)
    return factory(domain, seed=seed, objectives=objectives, **given)


def _split(rest: str) -> tuple[str, list[str]]:
    """``variant,key=value,...``: the variant, empty for none, and the pairs."""
    first, *pairs = rest.split(",")
    return (first, pairs) if "=" not in first else ("", [first, *pairs])


def _setting(pair: str) -> tuple[str, Any]:
    key, equals, value = pair.partition("=")
    if not equals:
        raise UsageError(f"a setting of a strategy is written key=value, not '{pair}'")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value
