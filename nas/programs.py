"""Functions of the user's own: by the file that they stand in, or as they are given from Python.

``./mine.py:evaluate`` names one. A file is run once a process, as Python would run it: its folder
is where it finds its neighbours, and a package stays a package.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nas.errors import NasError, UsageError, unknown
from nas.files import one_line

__all__ = [
    "GIVEN",
    "NOTHING_GIVEN",
    "Given",
    "Place",
    "function_name",
    "line_of",
    "load",
    "place_of",
    "refuse_while_read",
    "source_digest",
    "spec_place",
]

GIVEN = "python:"
"""Before the name of what was given from Python and stands in no file."""
SPEC = re.compile(r"(?P<file>.*\.py)(?::(?P<name>[^:/\\]*))?")
LONGEST_REASON = 160


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a function stands."""

    file: Path
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"

    @property
    def short(self) -> str:
        """The same without folders: it stays when files move."""
        return f"{self.file.name}:{self.name}"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a search was given from Python as it is: the settings hold names alone."""

    evaluate: Callable[..., Any] | None = None
    """The function that evaluates a network."""
    data: object = None
    """The data set, or what makes it."""


NOTHING_GIVEN = Given()


def spec_place(spec: str, default: str) -> Place | None:
    """The place that ``FILE.py`` or ``FILE.py:NAME`` names; None for any other text."""
    found = SPEC.fullmatch(spec)
    if found is None:
        return None
    return Place(file=Path(found["file"]), name=found["name"] or default)


def place_of(function: object) -> Place | None:
    """Where another process finds a function or a class.

    None for a lambda, a closure or a notebook's.
    """
    name = getattr(function, "__qualname__", "")
    if not inspect.isfunction(function) and not inspect.isclass(function):
        return None
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        # Of a class that is built in, or a notebook's.
        return None
    if not name.isidentifier():
        return None
    # A decorator that hides the function would have another process find the decorator's.
    found = getattr(sys.modules.get(function.__module__), name, None)
    if file is None or not Path(file).is_file() or found is not function:
        return None
    return Place(file=Path(file).resolve(), name=name)


def function_name(function: object) -> str:
    """A name for people, of whatever can be called."""
    name = str(getattr(function, "__qualname__", "") or type(function).__qualname__)
    return name.rpartition("<locals>.")[2][:80]


def source_digest(function: object) -> str:
    """Names the source of a function that stands in no file; empty if it has none."""
    try:
        text = inspect.getsource(function)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


# -- running a file -------------------------------------------------------------------------------

_loaded: dict[Path, tuple[int, ModuleType]] = {}
"""By file, when it was changed last before it was run, in nanoseconds, and its module."""
_reading: list[Path] = []


def load(place: Place, what: str) -> Callable[..., Any]:
    """The function at a place; its file is run if this process has not done so.

    ``what``: what it is for, as in ``evaluator``. Raises `UsageError` in one line.
    """
    module = _module(place.file, what)
    function = getattr(module, place.name, None)
    if function is None:
        names = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        raise unknown(f"function of {place.file}", place.name, names)
    if not callable(function):
        raise UsageError(
            f"{place} must be a function, not {type(function).__name__}: it is the {what}"
        )
    return function  # type: ignore[no-any-return]


def refuse_while_read() -> None:
    """Raise `UsageError` where a search begins as a file is read for its functions."""
    if _reading:
        raise UsageError(
            f"{_reading[-1]} begins a search as it is read for its functions: "
            "put its calls under if __name__ == '__main__':"
        )


def _module(path: Path, what: str) -> ModuleType:
    file = path.resolve()
    if not file.is_file():
        raise UsageError(f"no such file: {path}. The {what} is a function in a .py file")
    changed = file.stat().st_mtime_ns
    before = _loaded.get(file)
    # A notebook may go on for days, and its files change meanwhile.
    if before is None or before[0] != changed:
        known = _known(file) if before is None else None
        _loaded[file] = changed, known or _run(file, what)
    return _loaded[file][1]


def _known(file: Path) -> ModuleType | None:
    """The module of a file that was imported already, or is the script that runs."""
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if isinstance(module, ModuleType) and origin and Path(origin).resolve() == file:
            return module
    return None


def _run(file: Path, what: str) -> ModuleType:
    root, name = _importable(file)
    if str(root) not in sys.path:
        # Behind what is installed: a neighbour called json.py must not stand for Python's.
        sys.path.append(str(root))
    with _telling(file, what):
        if "." in name:
            module = sys.modules.get(name)
            return importlib.reload(module) if module else importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(_free_name(name, file), file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Before it runs: dataclasses and pickles look their module up.
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]
            raise
        return module


def _importable(file: Path) -> tuple[Path, str]:
    """The folder from which a file is imported, and its name there."""
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return root, ".".join(parts)


def _free_name(name: str, file: Path) -> str:
    """The name that neighbours import the file by, unless another module has it."""
    if name not in sys.modules:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin == str(file):
            return name
    return f"nas_own_{name}"


@contextmanager
def _telling(file: Path, what: str) -> Iterator[None]:
    """Whatever a file raises as it is run becomes one line."""
    _reading.append(file)
    try:
        yield
    except (NasError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a script may end in sys.exit
        reason = one_line(error, LONGEST_REASON)
        raise UsageError(
            f"{what} {file} does not load: {type(error).__name__}: {reason}{line_of(error, file)}"
        ) from None
    finally:
        _reading.remove(file)


def line_of(error: BaseException, file: Path | None = None) -> str:
    """`` (mine.py, line 12)``: where an error came from, in a file, or else at the end."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f" ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if file is not None and Path(frame.filename) == file]
    for frame in (own or frames)[-1:]:
        return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""
