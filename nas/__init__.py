"""Neural architecture search for a device and a latency budget.

``nas.search(space="fbnet", device="pixel1")`` searches, ``nas.load(folder)`` opens a run. Both are
loaded when first used, so that ``import nas`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.run.run import Run, load
    from nas.run.search import search

__all__ = ["Run", "load", "search"]

_HOMES = {"Run": "nas.run.run", "load": "nas.run.run", "search": "nas.run.search"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
