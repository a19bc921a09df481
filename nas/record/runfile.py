"""A run's ``run.json``: its identity, what was asked for, and where and how it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nas.errors import RunError
from nas.files import UNREADABLE, one_line, read_json, write_json
from nas.metadata import UNKNOWN, Metadata
from nas.reading import FormError, from_json, key, to_json
from nas.record import environment
from nas.record.environment import Environment
from nas.record.identity import Identity

__all__ = ["FILE", "RunFile", "read", "write"]

FORMAT = 1
FILE = "run.json"
LARGEST_FILE_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """The file's content. It is written once, when the run begins."""

    format: int
    command: tuple[str, ...]
    """The command line that began the run."""
    started: str
    """When it began: UTC, in ISO format."""
    settings: Mapping[str, Any]
    """What was asked for, as `nas.run.search.Search` has it."""
    # The file's key is older than the name of the class.
    metadata: Metadata = field(default=UNKNOWN, metadata=key("notes"))
    """Of the run's networks; older runs have none."""
    identity: Identity
    environment: Environment


def write(
    folder: Path,
    identity: Identity,
    *,
    command: Sequence[str],
    settings: Mapping[str, object],
    metadata: Metadata,
) -> None:
    """Write the ``run.json`` of a run that begins now, here. Raises `OSError`."""
    run_file = RunFile(
        format=FORMAT,
        command=tuple(command),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings,
        metadata=metadata,
        identity=identity,
        environment=environment.here(),
    )
    write_json(folder / FILE, to_json(run_file))


def read(folder: Path) -> RunFile:
    """The run's ``run.json``. Raises `RunError` if the folder has none, or one that is not ours."""
    path = folder / FILE
    try:
        document = read_json(path, LARGEST_FILE_BYTES, "not a run")
    except FileNotFoundError:
        raise RunError(f"no run in folder '{folder}': it has no {FILE}") from None
    except UNREADABLE as error:
        raise RunError(f"cannot read {path}: {one_line(error)}") from None
    # First: another program's run.json must not be called an edited one of ours.
    if not _is_run(document):
        raise RunError(f"{path} is not a run of format {FORMAT}")
    try:
        return from_json(RunFile, document)
    except FormError as error:
        raise RunError(f"{path} was edited, or is of another version: {error}") from None


def _is_run(document: object) -> bool:
    if not isinstance(document, dict):
        return False
    return document.get("format") == FORMAT and "identity" in document
