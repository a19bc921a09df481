"""Curves and figures where teams look: what a search or a training tells a logger of their choice.

One file an adapter. The record in a run's folder stays the truth: a logger that fails is given up
and told, and loses nothing.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

from nas.errors import NasError, RunError, UsageError, unknown
from nas.files import UNREADABLE, one_line, read_json, write_json

__all__ = ["LOGGERS", "Job", "Log", "Logs", "check"]

LOGGERS: Mapping[str, str] = {"mlflow": "mlflow", "tensorboard": "train", "wandb": "wandb"}
"""Name of each adapter, which is that of its client's package too: the extra that installs it."""
KEPT = "logs.json"
"""In the folder: by logger, the id under which it knows the job."""
LARGEST_FILE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """A search or a training, as a logger shows it."""

    folder: Path
    """Where its files are."""
    axis: str
    """What is counted along the axis of its curves: ``trial`` or ``step``."""
    settings: Mapping[str, object]
    """What was asked for."""
    start: int = 0
    """The first step that will be told; a training that goes on tells some again."""
    known_as: str = ""
    """The id that the logger gave it in an earlier session; empty for a new one."""

    @property
    def name(self) -> str:
        """For people."""
        return self.folder.resolve().name

    @property
    def texts(self) -> dict[str, str]:
        """The settings that say something, as text."""
        said = {}
        for name, value in self.settings.items():
            if value not in (None, "", (), [], {}):
                said[name] = str(value)
        return said


class Log(Protocol):
    """What an adapter's ``opened(job)`` gives. Whatever it raises gives the logger up."""

    known_as: str
    """The id to go on by; empty if there is none."""

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name at a place of the axis. Steps may come in any order."""

    def files(self, paths: Sequence[Path]) -> None:
        """Files that belong to the result."""

    def close(self, *, finished: bool) -> None:
        """Send what is left. ``finished``: whether the job came to its end."""


def check(names: Sequence[str]) -> None:
    """Raise `UsageError` for a logger that nobody knows, or whose client is not installed."""
    for name in names:
        if name not in LOGGERS:
            raise unknown("logger", name, LOGGERS)
        try:
            importlib.import_module(name)
        except ImportError:
            raise UsageError(
                f"--log {name} needs the package {name}: "
                f"pip install 'nas-toolkit[{LOGGERS[name]}]', or leave it out"
            ) from None


@dataclass
class Logs:
    """Several logs of one job. Use as a context."""

    logs: dict[str, Log] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """What went wrong, a line each."""

    @classmethod
    def opened(cls, names: Sequence[str], job: Job) -> "Logs":
        """Of the loggers of these names. Raises `RunError` for one that cannot begin."""
        check(names)
        before = _kept(job.folder) if names else {}
        logs: dict[str, Log] = {}
        for name in dict.fromkeys(names):
            adapter = importlib.import_module(f"nas.logs.{name}")
            own = replace(job, known_as=before.get(name, ""))
            try:
                logs[name] = adapter.opened(own)
            except NasError:
                raise
            except Exception as error:
                raise RunError(f"--log {name} cannot begin: {_line(error)}") from None
        ids = {name: log.known_as for name, log in logs.items() if log.known_as}
        if ids and {**before, **ids} != before:
            write_json(job.folder / KEPT, {**before, **ids})
        return cls(logs)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """See `Log`."""
        for name, log in list(self.logs.items()):
            try:
                log.values(step, values)
            except Exception as error:
                self._give_up(name, error)

    def files(self, paths: Sequence[Path]) -> None:
        """See `Log`; files that are not there are left out."""
        there = [path for path in paths if path.is_file()]
        for name, log in list(self.logs.items()):
            try:
                log.files(there)
            except Exception as error:
                self._give_up(name, error)

    def close(self, *, finished: bool = True) -> None:
        """See `Log`. A second call does nothing."""
        for name, log in list(self.logs.items()):
            try:
                log.close(finished=finished)
            except Exception as error:
                self._give_up(name, error)
        self.logs.clear()

    def __enter__(self) -> "Logs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(finished=kind is None)

    def _give_up(self, name: str, error: Exception) -> None:
        log = self.logs.pop(name)
        self.remarks.append(
            f"--log {name} was given up: {_line(error)}; the folder's own record is whole"
        )
        with suppress(Exception):
            log.close(finished=False)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error, 160)}"


def _kept(folder: Path) -> dict[str, str]:
    """The ids of earlier sessions; none where they cannot be read, as new ones serve as well."""
    try:
        document = read_json(folder / KEPT, LARGEST_FILE_BYTES, "not the ids of loggers")
    except UNREADABLE:
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: value for name, value in document.items() if isinstance(value, str)}
