"""Neural architecture search for a device and a latency budget.

``nas.search(space="fbnet", device="pixel1")`` searches, ``nas.resume(folder)`` goes on with a run,
``nas.load(folder)`` opens one, ``nas.confirm(run)`` trains its best networks anew. All are loaded
when first used, so that ``import nas`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas import errors
    from nas.run.confirm import confirm
    from nas.run.run import Run, load
    from nas.run.search import resume, search
    from nas.run.settings import Search

__all__ = ["Run", "Search", "confirm", "errors", "load", "resume", "search"]

_HOMES = {
    "Run": "nas.run.run",
    "Search": "nas.run.settings",
    "confirm": "nas.run.confirm",
    "errors": "nas.errors",
    "load": "nas.run.run",
    "resume": "nas.run.search",
    "search": "nas.run.search",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute '{name}'")
    home = import_module(_HOMES[name])
    return home if home.__name__ == f"nas.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    # Not the modules that happen to be loaded: what is offered.
    return sorted(__all__)
