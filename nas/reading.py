"""From JSON to frozen dataclasses, held to their type hints, and back.

A document's form is written down once, as a dataclass:

    @dataclass(frozen=True, kw_only=True)
    class Member:
        digest: str
        genes: tuple[int, ...]
        costs: Mapping[str, float]
        note: str = ""  # may be missing

    try:
        member = from_json(Member, document)
    except FormError as error:
        raise RunError(f"{path} was edited, or is of another version: {error}") from None

`FormError` says where: ``genes[1] must be int, not "a"``. A hint is one of ``str``, ``int``,
``float`` (finite; a whole number stays an ``int``, to be written as it was), ``bool``, ``None``,
``object`` (any JSON), ``Literal``, ``X | Y``, ``tuple[X, ...]``, ``tuple[X, Y]``,
``Mapping[str, X]``, a TypedDict, a dataclass, a class with ``from_json`` and ``to_json`` of its
own, or one with ``from_text`` and ``to_json``, whose JSON is one text.
``Annotated[str, re.compile(...)]`` is a text that matches, also as the key of a mapping.

- A rule of the class's own, as a `NasError` or `ValueError` of ``__post_init__``, is told likewise.
- A field that has another name in JSON: ``field(metadata=key("notes"))``.
- A field that is not written while it has its default: ``field(default=0, metadata=LEFT_OUT)``.
- Keys that the class does not have are refused. With ``OPEN: ClassVar[bool] = True`` in the class
  they are dropped.

`to_json` writes a record as `from_json` reads it.
"""

import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache, partial
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from nas.errors import NasError

__all__ = ["LEFT_OUT", "FormError", "from_json", "key", "short", "to_json"]

LONGEST_VALUE = 60
LONGEST_NAME = 40
LEFT_OUT = types.MappingProxyType({"left_out": True})
"""Metadata of a field that is not written while it has its default."""
WORDS = {float: "int or float", types.NoneType: "null"}
"""Types that go by another word than their name."""

Value = TypeVar("Value")


class FormError(ValueError):
    """A value is not of the form that it must have: which, where, and what it must be."""


def key(name: str) -> Mapping[str, str]:
    """Metadata of a field that has another name in JSON."""
    return {"key": name}


def short(value: object) -> str:
    """A value as JSON, in at most 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


# -- reading --------------------------------------------------------------------------------------


def from_json(kind: type[Value], value: object, name: str = "") -> Value:
    """The value as ``kind``, a dataclass. ``name``: what the messages call it.

    Raises `FormError` for the first thing that is not of its form.
    """
    record: Value = _read_dataclass(kind, value, name)
    return record


def _read(hint: Any, value: object, name: str) -> Any:
    """The value as a hint says."""
    if hint is object or hint is Any:
        return value
    origin = get_origin(hint)
    if origin in _READERS:
        return _READERS[origin](get_args(hint), value, name)
    if is_typeddict(hint):
        return _read_typed_dict(hint, value, name)
    # Before dataclasses, for a dataclass may have a form of its own in JSON.
    if hasattr(hint, "from_text"):
        return _built(partial(hint.from_text, _read_scalar(str, value, name)), name)
    if hasattr(hint, "from_json"):
        return _built(partial(hint.from_json, _object(value, name)), name)
    if is_dataclass(hint):
        return _read_dataclass(hint, value, name)
    return _read_scalar(hint, value, name)


def _read_scalar(kind: type, value: object, name: str) -> object:
    if not _is_scalar(kind, value):
        raise FormError(f"{name} must be {_word(kind)}, not {short(value)}")
    return value


def _is_scalar(kind: type, value: object) -> bool:
    """Whether JSON's value is of the type; ``true`` is no number, and NaN none either."""
    # By type, for a bool is an int to isinstance. By size, for Python's JSON reads 1e999 as
    # infinity, and a whole number may be too large for a float.
    if kind is not float:
        return type(value) is kind
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _word(hint: Any) -> str:
    """What a message calls a type."""
    origin = get_origin(hint) or hint
    if origin is Annotated:
        return _word(get_args(hint)[0])
    if origin is Literal:
        return " or ".join(short(choice) for choice in get_args(hint))
    if origin is tuple:
        return "a list"
    if origin in WORDS:
        return WORDS[origin]
    if hasattr(origin, "from_text"):
        return "str"
    return origin.__name__ if origin in (str, int, bool) else "an object"


def _read_union(hints: tuple[Any, ...], value: object, name: str) -> Any:
    """The value as the first hint that takes it; where only one could, its own message."""
    if value is None and types.NoneType in hints:
        return None
    others = [hint for hint in hints if hint is not types.NoneType]
    if len(others) == 1 and not isinstance(others[0], type):
        return _read(others[0], value, name)
    for hint in others:
        try:
            return _read(hint, value, name)
        except FormError:
            # Only the dataclass could have taken an object, and its message says where it failed.
            if is_dataclass(hint) and isinstance(value, dict):
                raise
    raise FormError(f"{name} must be {' or '.join(map(_word, hints))}, not {short(value)}")


def _read_literal(choices: tuple[Any, ...], value: object, name: str) -> object:
    for choice in choices:
        # Python holds 1, 1.0 and true for equal; JSON's reader must not.
        if type(value) is type(choice) and value == choice:
            return value
    raise FormError(f"{name} must be {' or '.join(map(short, choices))}, not {short(value)}")


def _read_matching(hint: tuple[Any, ...], value: object, name: str) -> str:
    kind, pattern = hint
    text = str(_read(kind, value, name))
    if isinstance(pattern, re.Pattern) and not pattern.fullmatch(text):
        raise FormError(f"{name} has the name {short(text)}, which is none of ours")
    return text


def _list(value: object, name: str) -> list[object]:
    if not isinstance(value, list | tuple):
        raise FormError(f"{name} must be a list, not {short(value)}")
    return list(value)


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise FormError(f"{name} must be an object, not {short(value)}".lstrip())
    return value


def _read_tuple(hints: tuple[Any, ...], value: object, name: str) -> tuple[object, ...]:
    items = _list(value, name)
    if hints[-1] is Ellipsis:
        # `tuple[X, ...]`: one hint for all items.
        hints = hints[:1] * len(items)
    if len(items) != len(hints):
        raise FormError(f"{name} must hold {len(hints)} values, not {len(items)}")
    values = []
    for place, (hint, item) in enumerate(zip(hints, items, strict=True)):
        values.append(_read(hint, item, f"{name}[{place}]"))
    return tuple(values)


def _read_mapping(hints: tuple[Any, ...], value: object, name: str) -> dict[str, object]:
    key_hint, item_hint = hints
    document = {}
    for item_key, item in _object(value, name).items():
        _read(key_hint, item_key, name)
        document[item_key] = _read(item_hint, item, f"{name}.{item_key[:LONGEST_NAME]}")
    return document


def _read_typed_dict(kind: Any, value: object, name: str) -> dict[str, object]:
    document = _object(value, name)
    hints = _hints(kind)
    _check_keys(document, hints, kind.__required_keys__, name)
    values = {}
    for item_key, item in document.items():
        values[item_key] = _read(hints[item_key], item, _inner(name, item_key))
    return values


_READERS: Mapping[object, Callable[[tuple[Any, ...], object, str], object]] = {
    Union: _read_union,
    types.UnionType: _read_union,
    Annotated: _read_matching,
    Literal: _read_literal,
    tuple: _read_tuple,
    Mapping: _read_mapping,
    dict: _read_mapping,
}
"""By the origin of a hint, what reads its values, given the hint's arguments."""


def _read_dataclass(kind: Any, value: object, name: str) -> Any:
    document = _object(value, name)
    hints = _hints(kind)
    by_key = {_key(field): field for field in fields(kind)}
    required = [item_key for item_key, field in by_key.items() if _is_required(field)]
    if getattr(kind, "OPEN", False):
        document = {item_key: document[item_key] for item_key in by_key if item_key in document}
    _check_keys(document, by_key, required, name)
    values = {}
    for item_key, field in by_key.items():
        if item_key in document:
            inner = _inner(name, item_key)
            values[field.name] = _read(hints[field.name], document[item_key], inner)
    return _built(partial(kind, **values), name)


def _check_keys(
    document: Mapping[str, object], known: Iterable[str], required: Iterable[str], name: str
) -> None:
    for item_key in required:
        if item_key not in document:
            raise FormError(f"{_inner(name, item_key)} is missing")
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise FormError(f"{_inner(name, unknown[0][:LONGEST_NAME])} is none of ours")


def _built(make: Callable[[], object], name: str) -> object:
    """What a class makes of values of the right types, which may still break a rule of its own."""
    try:
        return make()
    except FormError:
        raise
    # A `FormError` is a `ValueError` too, but says where already: it went by above.
    except (NasError, ValueError) as error:
        raise FormError(f"{name}: {error}" if name else str(error)) from None


def _inner(name: str, item_key: str) -> str:
    return f"{name}.{item_key}" if name else item_key


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _key(field: Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


# -- writing --------------------------------------------------------------------------------------


def to_json(value: object) -> Any:
    """A record as plain JSON, its keys in the order of its fields: what `from_json` reads."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        document = {}
        for field in fields(value):
            item = getattr(value, field.name)
            if not _is_left_out(field, item):
                document[_key(field)] = to_json(item)
        return document
    if isinstance(value, Mapping):
        return {str(item_key): to_json(item) for item_key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def _is_left_out(field: Field[Any], value: object) -> bool:
    if "left_out" not in field.metadata:
        return False
    factory = field.default_factory
    default = field.default if factory is MISSING else factory()
    return value == default
