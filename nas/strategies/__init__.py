"""Search strategies, one per file; the file name, with dashes, is the name on the command line.

A file exports ``strategy``, a class or a function called as ``strategy(domain, *, seed,
objectives=1, **settings)``. Others add theirs through the entry-point group ``nas.strategies``:
each entry point names such a callable. A spec is ``name``, ``name:variant``,
``name:setting=value,...`` or both: ``evolution:population=20,sample=5``,
``optuna:NSGA-II,population_size=20``.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from nas.domain import Domain
from nas.errors import UsageError, unknown
from nas.files import between_commas, one_line
from nas.registry import loaders
from nas.settings import check_kind
from nas.strategies._earlier import Earlier
from nas.strategies.base import Strategy

__all__ = ["known", "learns_from_earlier", "make", "parse_spec"]

Factory = Callable[..., Strategy]
GIVEN = ("domain", "seed", "objectives")
"""What every factory gets, and no spec may set."""
EARLIER = "earlier"
"""What a factory also gets that can learn from earlier trainings."""


def known() -> dict[str, Callable[[], Factory]]:
    """A loader per name; nothing is imported before it is called. A name claimed twice raises."""
    return loaders(__name__, __path__, "strategy", besides=("base",))


def make(
    spec: str,
    domain: Domain,
    *,
    seed: int,
    objectives: int = 1,
    earlier: Earlier | None = None,
    **settings: object,
) -> Strategy:
    """The strategy that a spec describes; settings given by name override those of the spec.

    ``earlier``: trainings that it is to learn from, if it can; see `learns_from_earlier`. Raises
    `UsageError` for an unknown name, variant or setting.
    """
    name, of_spec = parse_spec(spec)
    factory = _factory(name)
    chosen = {**of_spec, **settings}
    _check_settings(name, spec, factory, chosen)
    if learns_from_earlier(spec):
        chosen[EARLIER] = earlier
    try:
        return factory(domain, seed=seed, objectives=objectives, **chosen)
    except ValueError as error:  # a library's word on a setting
        raise UsageError(f"strategy '{spec}': {one_line(error)}") from error


def learns_from_earlier(spec: str) -> bool:
    """Whether the strategy of a spec can learn from earlier trainings."""
    return EARLIER in inspect.signature(_factory(parse_spec(spec)[0])).parameters


def _factory(name: str) -> Factory:
    strategies = known()
    if name not in strategies:
        raise unknown("strategy", name, strategies)
    return strategies[name]()


def _check_settings(name: str, spec: str, factory: Factory, settings: Mapping[str, object]) -> None:
    """Raise `UsageError` for a setting that the factory does not take, or of another kind."""
    parameters = inspect.signature(factory).parameters
    takes = [parameter for parameter in parameters if parameter not in (*GIVEN, EARLIER)]
    # A factory with **settings checks them itself: an Optuna sampler's depend on the variant.
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in settings.items():
        if key in takes:
            check_kind(f"setting {key} of strategy '{name}'", value, parameters[key].annotation)
        elif takes_all:
            continue
        elif key == "variant":
            raise UsageError(
                f"strategy '{name}' has no variants, so '{spec}' means nothing: write '{name}'"
            )
        else:
            raise unknown(f"setting of strategy '{name}'", key, takes)


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """``name:variant,key=value,...``: the name, and the settings, the variant among them.

    Values are JSON or text.
    """
    name, _, rest = spec.partition(":")
    settings: dict[str, Any] = {}
    if not rest:
        return name, settings
    for place, pair in enumerate(between_commas(rest)):
        key, value = _setting(pair, first=place == 0)
        if key in settings:
            raise UsageError(f"'{spec[:80]}' gives {key} twice: keep one")
        settings[key] = value
    return name, settings


def _setting(pair: str, *, first: bool) -> tuple[str, object]:
    """One ``key=value``; the ``first`` of a spec may be a variant alone."""
    key, equals, text = pair.partition("=")
    if equals:
        return key, _value(text)
    if first:
        return "variant", pair
    raise UsageError(f"settings are written key=value, not '{pair}'")


def _value(text: str) -> object:
    with suppress(ValueError):
        return json.loads(text)
    # Numbers that are no JSON: .15 and 1.
    if re.fullmatch(r"[+-]?(\d+\.|\.\d+)", text):
        return float(text)
    return text
