"""What a run folder holds copies of, so that it can be read wherever it goes: tables and programs.

A search space that is a file is a program, and so is a function that evaluates or reads data.
Somebody else's run is opened without running theirs.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from nas import catalog
from nas.errors import RunError
from nas.files import make_folder, write_json
from nas.latency.table import Table
from nas.programs import GIVEN, Place, source_digest, spec_place
from nas.record import ledger
from nas.space import SearchSpace

__all__ = [
    "Role",
    "copy_space",
    "copy_tables",
    "program_spec",
    "read_space",
    "read_tables",
    "record_program",
]

Role = Literal["evaluator", "data"]

DEVICES = "devices"
SPACE = "space.py"
PROGRAMS = "programs"
PROGRAMS_FILE = "programs.jsonl"
"""Which functions a run was made with: a line when it began, and another whenever one changed."""
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
        rows, info = (target / f"{table.name}{suffix}" for suffix in (".csv", ".json"))
        # A run whose table is given as the path of its own copy would copy the file onto itself.
        if rows.exists() and rows.samefile(table.path):
            continue
        shutil.copyfile(table.path, rows)
        if table.info.calibration is None:
            shutil.copyfile(table.path.with_suffix(".json"), info)
        else:
            # It may have been made for this run, and the file beside the rows knows nothing of it.
            write_json(info, table.to_json())


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


# -- functions of the user's own ------------------------------------------------------------------


def record_program(folder: Path, role: Role, spec: str, function: object, trials: int) -> str:
    """Record and copy a function that a run goes on with, unless it is the last one already.

    ``spec``: as the settings have it; others than functions leave nothing. ``function``: what was
    given from Python, if anything. ``trials``: how many the run has. Returns a line where the
    function is another than before, or an empty one. The caller holds the run's lock.
    """
    place = spec_place(spec, role)
    if place is None and not spec.startswith(GIVEN):
        return ""
    if place is not None:
        digest = hashlib.sha256(place.file.read_bytes()).hexdigest()[:20]
        copy = _program_copy(folder, digest, place)
        if not copy.exists():
            make_folder(copy.parent)
            shutil.copyfile(place.file, copy)
    else:
        digest = source_digest(function)
    before = _last_program(folder, role)
    if before is not None and before["digest"] == digest:
        return ""
    row = {"kind": "program", "role": role, "spec": spec, "digest": digest, "trials": trials}
    ledger.append(folder / PROGRAMS_FILE, row)
    if before is None:
        return ""
    name = spec.removeprefix(GIVEN) if place is None else place.short
    return (
        f"{name} has changed since the run's first {trials} trials: their scores are of the {role} "
        "as it was, and one front holds both"
    )


def program_spec(folder: Path, role: Role, spec: str) -> str:
    """What a run's settings name, as far as it may be run without being named anew.

    A function in a file may, if the file says what the run's copy says, or the copy may, if
    `TRUST` names the run. Raises `RunError` for a file that has changed or is not there.
    """
    place = spec_place(spec, role)
    if place is None:
        return spec
    before = _last_program(folder, role)
    digest = "" if before is None else str(before["digest"])
    copy = _program_copy(folder, digest, place)
    if before is not None and _is_own(place.file, copy):
        return spec
    if _trusted(folder) and copy.is_file():
        return str(Place(file=copy, name=place.name))
    is_outside = not place.file.resolve().is_relative_to(folder.resolve())
    if place.file.is_file() and is_outside and copy.is_file():
        raise RunError(
            f"{place.file} is not what it was when '{folder}' was made with it: put back {copy}, "
            f"or go on with the file as it is: nas search --resume {folder} --{role} {spec}"
        )
    raise RunError(
        f"run '{folder}' brings a program, its {role} {copy}: "
        f"read it, and where you trust it, set {TRUST}={folder.resolve()}"
    )


def _program_copy(folder: Path, digest: str, place: Place) -> Path:
    # Under its own name, which is part of what a run is known by.
    return folder / PROGRAMS / digest / place.file.name


def _last_program(folder: Path, role: Role) -> Mapping[str, object] | None:
    rows = [row for row in ledger.read(folder / PROGRAMS_FILE) if row.get("role") == role]
    if not rows:
        return None
    if not isinstance(rows[-1].get("digest"), str) or not rows[-1]["digest"].isalnum():
        # It names a folder, which must be the run's own.
        raise RunError(f"{folder / PROGRAMS_FILE} is damaged: a digest is letters and digits")
    return rows[-1]
