"""Files as a stranger or a broken disk leaves them: edits of a sound file, for Hypothesis.

An edit is small, so that what it breaks is deep in a reader: one value of another type or size,
a key too many or missing, a line cut or doubled, bytes flipped.
"""

import copy
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["NASTY", "byte_edits", "edited", "edited_bytes", "edited_json", "json_edits"]

DEEP: Any = []
for _ in range(50):
    DEEP = [DEEP]

NASTY: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    7,
    2**31,
    2**63,
    10**40,
    -(10**40),
    0.5,
    -0.5,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "a",
    "1",
    "nan",
    "../../etc/passwd",
    "/etc/passwd",
    "__import__('os').abort()",
    "\n",
    "\x00",
    '"""',
    "'); import os; os.abort() #",
    "\ud800",
    "é" * 10,
    "x" * 10_000,
    [],
    {},
    [[]],
    [None],
    {"": {}},
    DEEP,
    list(range(1000)),
)
OPERATIONS = ("replace", "delete", "add", "rename", "swap")

Edit = tuple[int, str, Any]


def json_edits() -> "SearchStrategy[list[Edit]]":
    """One to three edits of a JSON document, for `edited_json`."""
    from hypothesis import strategies as st

    return st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(OPERATIONS), st.sampled_from(NASTY)),
        min_size=1,
        max_size=3,
    )


def edited_json(text: str, edits: Sequence[Edit]) -> str:
    """The document after the edits; NaN and infinities are written as Python's JSON writes them."""
    return json.dumps(edited(json.loads(text), edits))


def edited(document: Any, edits: Sequence[Edit]) -> Any:
    """The document after the edits; it is itself left as it was."""
    root = {"": copy.deepcopy(document)}
    for place, operation, given in edits:
        value = copy.deepcopy(given)
        places = list(_places(root))
        holder, key = places[place % len(places)]
        other_holder, other_key = places[(place // 7) % len(places)]
        if operation == "replace" or holder is root:
            holder[key] = value
        elif operation == "delete":
            del holder[key]
        elif operation == "add" and isinstance(holder, dict):
            holder[str(value)[:50]] = value
        elif operation == "add":
            holder.insert(key, value)
        elif operation == "rename" and isinstance(holder, dict):
            holder[str(value)[:50]] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(other_holder[other_key])
    return root.get("")


def _places(node: Any) -> Any:
    """Holder and key of every value below a node."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def byte_edits() -> "SearchStrategy[list[tuple[int, str, bytes]]]":
    """One to four edits of bytes, for `edited_bytes`."""
    from hypothesis import strategies as st

    return st.lists(
        st.tuples(
            st.integers(0, 10**9),
            st.sampled_from(("cut", "put", "over", "double", "drop")),
            st.binary(min_size=1, max_size=8),
        ),
        min_size=1,
        max_size=4,
    )


def edited_bytes(data: bytes, edits: Sequence[tuple[int, str, bytes]]) -> bytes:
    """The file after the edits: cut short, bytes put in or over, a line doubled or dropped."""
    for place, operation, bits in edits:
        at = place % (len(data) + 1)
        if operation == "cut":
            data = data[:at]
        elif operation == "put":
            data = data[:at] + bits + data[at:]
        elif operation == "over":
            data = data[:at] + bits + data[at + len(bits) :]
        else:
            lines = data.splitlines(keepends=True)
            if lines:
                line = lines.pop(place % len(lines))
                data = b"".join([*lines, line, line] if operation == "double" else lines)
    return data
