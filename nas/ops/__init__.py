"""Operators, declared once and without torch: one file per family, found by listing this folder.

Others add theirs through the entry-point group ``nas.ops``: each entry point names a module whose
`Op` subclasses are registered by their ``key``.
"""

import dataclasses
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from nas.errors import ArchitectureError, unknown
from nas.shape import Op

__all__ = ["op_from_json", "op_from_signature", "op_to_json", "registry"]


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(__path__):
        yield import_module(f"{__name__}.{module.name}")
    for point in entry_points(group="nas.ops"):
        yield point.load()


@cache
def registry() -> dict[str, type[Op]]:
    """Every known op class by key. A key claimed twice raises."""
    known: dict[str, type[Op]] = {}
    for module in _modules():
        for kind in _op_classes(module):
            # A module also names the ops that it imports: the same class twice is no second claim.
            if known.setdefault(kind.key, kind) is not kind:
                raise ArchitectureError(
                    f"two ops claim the key '{kind.key}': {known[kind.key]} and {kind}"
                )
    return known


def _op_classes(module: ModuleType) -> Iterator[type[Op]]:
    """The op classes that a module names, its imports included; a base has no key of its own."""
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Op) and "key" in vars(value):
            yield value


def op_to_json(op: Op) -> dict[str, object]:
    """``{"op": key, setting: value, ...}`` with default settings left out."""
    return {"op": op.key, **op.settings}


def op_from_json(data: object) -> Op:
    """The op that `op_to_json` wrote. Unknown keys, unknown settings and wrong types raise."""
    if not isinstance(data, Mapping) or not isinstance(data.get("op"), str):
        raise ArchitectureError(f"an op must be an object with an 'op' key, not {str(data)[:80]}")
    try:
        kind = registry()[data["op"]]
    except KeyError:
        raise unknown("op", str(data["op"])[:40], registry()) from None
    fields = {f.name: f for f in dataclasses.fields(kind)}
    settings = {str(k): v for k, v in data.items() if k != "op"}
    for name, value in settings.items():
        if name not in fields:
            raise unknown(f"setting of op '{kind.key}'", name[:40], fields)
        _check_type(kind.key, name, value, fields[name].type)
    try:
        return kind(**settings)
    except TypeError as error:
        raise ArchitectureError(f"op '{kind.key}' cannot be built: {error}") from None


def op_from_signature(text: str) -> Op:
    """The op that ``Op.signature`` wrote: ``mbconv(channels=24,expand=6)``."""
    key, _, arguments = text.removesuffix(")").partition("(")
    settings: dict[str, object] = {}
    for pair in filter(None, arguments.split(",")):
        name, _, value = pair.partition("=")
        settings[name] = _value(value)
    return op_from_json({"op": key, **settings})


def _value(text: str) -> object:
    """A setting as a signature prints it: Python's truth values, a number, or a bare word."""
    if text in ("True", "False"):
        return text == "True"
    try:
        # A word without quotes is no JSON, and stays the text it is.
        value: object = json.loads(text)
    except ValueError:
        return text
    return value


LARGEST_SETTING = 1 << 24
WORD = re.compile(r"[A-Za-z0-9_-]{0,40}")

_TYPES: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def _check_type(key: str, name: str, value: object, declared: Any) -> None:
    allowed = _TYPES[declared]
    # To Python, True is an int.
    is_misplaced_bool = isinstance(value, bool) and declared is not bool
    if not isinstance(value, allowed) or is_misplaced_bool:
        raise ArchitectureError(
            f"setting '{name}' of op '{key}' must be {declared.__name__}, not {str(value)[:40]!r}"
        )
    # Not `abs(value) > LARGEST_SETTING`, which NaN would pass.
    if isinstance(value, int | float) and not -LARGEST_SETTING <= value <= LARGEST_SETTING:
        raise ArchitectureError(
            f"setting '{name}' of op '{key}' must be a number of an operator, not {str(value)[:40]}"
        )
    if isinstance(value, str) and not WORD.fullmatch(value):
        raise ArchitectureError(
            f"setting '{name}' of op '{key}' must be one short word, not {value[:40]!r}"
        )
