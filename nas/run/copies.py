"""What a run folder holds copies of, so that it can be read wherever it goes: tables and space.

A search space that is a file is a program. Somebody else's run is opened without running theirs.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from nas import catalog
from nas.errors import RunError
from nas.latency.table import Table
from nas.space import SearchSpace

__all__ = ["copy_space", "copy_tables", "read_space", "read_tables"]

DEVICES = "devices"
SPACE = "space.py"
TRUST = "NAS_TRUST"
"""Environment variable: run folders, or folders of runs, whose programs may be run.

Separated as in PATH.
"""


def copy_tables(folder: Path, tables: Iterable[Table]) -> None:
    """Copy the files of the latency tables into the run's folder."""
    target = folder / DEVICES
    target.mkdir(exist_ok=True)
    for table in tables:
        # Both make a table: its rows, and what is known of them.
        for suffix in (".csv", ".json"):
            _copy(table.path.with_suffix(suffix), target / f"{table.name}{suffix}")


def _copy(file: Path, copy: Path) -> None:
    # A run whose table is given as the path of its own copy would copy the file onto itself.
    if not (copy.exists() and copy.samefile(file)):
        shutil.copyfile(file, copy)


def read_tables(folder: Path, names: Iterable[str]) -> tuple[Table, ...]:
    """The run's copies of its latency tables, by device."""
    return tuple(Table.load(folder / DEVICES / f"{name}.csv") for name in names)


def copy_space(folder: Path, spec: str) -> None:
    """Copy a search space that is a file of the user's into the run's folder."""
    copy = folder / SPACE
    # The first copy stays: the user's file may have changed since, and the run has not.
    if spec.endswith(".py") and not copy.exists():
        shutil.copyfile(spec, copy)


def read_space(folder: Path, arguments: Mapping[str, object]) -> SearchSpace:
    """The space of a run, by the arguments in ``run.json``.

    A space that was a file is read from its copy, which is a program. It is run if the user's own
    file still says the same, or if `TRUST` names the run. Else, and for arguments that name no
    space, this raises `RunError`.
    """
    settings = dict(arguments)
    spec = settings.pop("spec", None)
    if not isinstance(spec, str):
        raise RunError(
            f"run '{folder}' does not say which search space it is of: its run.json was edited"
        )
    if not spec.endswith(".py"):
        return catalog.space(spec, **settings)
    copy = folder / SPACE
    if not copy.is_file():
        raise RunError(
            f"run '{folder}' is of a search space in a file, and has no copy of it ({SPACE})"
        )
    if not _is_own(Path(spec), copy) and not _trusted(folder):
        raise RunError(
            f"run '{folder}' brings a program, its search space {copy}: "
            f"read it, and where you trust it, set {TRUST}={folder.resolve()}"
        )
    return catalog.space(str(copy), **settings)


def _is_own(own: Path, copy: Path) -> bool:
    """Whether the file that the run names lies outside of the run, and says the same."""
    try:
        # A run.json could name a file that came with the run, and it would vouch for itself.
        outside = not own.resolve().is_relative_to(copy.resolve().parent)
        return outside and own.is_file() and own.read_bytes() == copy.read_bytes()
    except OSError:
        return False


def _trusted(folder: Path) -> bool:
    here = folder.resolve()
    # An empty name would be the working directory, and trust all that lies there.
    names = filter(None, os.environ.get(TRUST, "").split(os.pathsep))
    return any(here.is_relative_to(Path(name).resolve()) for name in names)
