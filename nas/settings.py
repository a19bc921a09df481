"""Frozen settings changed by words: ``name=value,...`` for a dataclass of numbers and names."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, get_args

from nas.errors import UsageError, unknown
from nas.size import EXAMPLES, Rect, Size, parse_size, sides

__all__ = ["Ranges", "changed", "check_kind", "check_ranges"]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Ranges = Mapping[str, tuple[float, float]]
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "None": "null",
}


def changed(base: T, text: str, what: str) -> T:
    """``base``, a dataclass, changed by ``name=value,...``, such as ``resolution=16,width=0.25``.

    Fields are ``int``, ``float``, ``str``, ``int | None``, or a size such as ``240x320``.

    Raises `UsageError`, which calls the settings ``what``.
    """
    kinds = {field.name: field.type for field in dataclasses.fields(base)}
    changes: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        name, sign, value = (word.strip() for word in part.partition("="))
        if name not in kinds:
            raise unknown(f"{what} setting", name[:40], kinds)
        if not sign or name in changes:
            raise UsageError(f"{what} settings are name=value, each once, not '{part[:40]}'")
        kind = kinds[name]
        if Rect in get_args(kind):
            changes[name] = _size(value, f"{what} {name}")
            continue
        if not isinstance(kind, type):
            kind = int  # of ``int | None``: None cannot be said in words
        try:
            changes[name] = kind(value)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise UsageError(f"{what} {name} must be {number}, not '{value[:40]}'") from None
    return dataclasses.replace(base, **changes)


def _size(text: str, what: str) -> Size:
    try:
        return parse_size(text)
    except UsageError:
        raise UsageError(f"{what} must be a size such as {EXAMPLES}, not '{text[:40]}'") from None


def check_kind(what: str, value: object, annotation: object) -> None:
    """Raise `UsageError` unless a value is of a parameter's annotation.

    Annotations other than int, float, bool, str and None are not looked at.
    """
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    kinds = {part.strip() for part in text.split("|")}
    if not kinds <= KINDS.keys():
        return
    own = "None" if value is None else type(value).__name__
    # By name, not `isinstance`: a bool is an int, and ``true`` no number. Whole numbers are floats.
    if own in kinds or (own == "int" and "float" in kinds):
        return
    due = " or ".join(words for kind, words in KINDS.items() if kind in kinds)
    raise UsageError(f"{what} must be {due}, not '{str(value)[:40]}'")


def check_ranges(settings: object, ranges: Ranges, what: str) -> None:
    """Raise `UsageError` for a setting outside its range; its borders and None are inside."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if isinstance(value, Rect):
            if not low <= min(sides(value)) <= max(sides(value)) <= high:
                raise UsageError(f"{what} {name} must be {low:g} to {high:g} a side, not {value}")
            continue
        # Not `value < low or value > high`, which NaN would pass.
        if value is not None and not low <= value <= high:
            raise UsageError(f"{what} {name} must be {low:g} to {high:g}, not {value:g}")
