"""``status.json`` in a run's folder: where a session stands, for whoever watches it.

It holds what the record does not: how much is planned, what is being done, and how the session
ended. It is replaced at every step, and a search reads none of it: without it a run is as whole.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal

from nas.errors import NasError, RunError
from nas.files import UNREADABLE, one_line, read_json, replace_text
from nas.progress import Progress
from nas.reading import FormError, from_json, to_json

__all__ = ["FILE", "Keeper", "Stage", "Status", "read"]

FILE = "status.json"
LARGEST_FILE_BYTES = 1 << 20

Phase = Literal["preparing", "searching", "timing", "ended", "interrupted", "failed"]
"""The last three are ends: by the budget, by the user, by an error."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is counted of one rung."""

    name: str
    """``trials``, ``rung 2``, ..."""
    done: int
    planned: int | None
    """None if that is not known yet."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a session stands."""

    OPEN: ClassVar[bool] = True
    phase: Phase = "preparing"
    written: str = ""
    """When: UTC, in ISO format."""
    what: str = ""
    """What is counted, as in `Progress`; empty before the first step."""
    done: int = 0
    planned: int | None = None
    seconds: float = 0.0
    """Time that the run has taken."""
    eta_seconds: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of a preparation, such as its loss."""
    stages: tuple[Stage, ...] = ()
    running: tuple[int, ...] = ()
    """Numbers of the trials that are being trained."""
    doing: str = ""
    reason: str = ""
    """Why the session ended, in a line."""

    @property
    def over(self) -> bool:
        """Whether the session has ended, however."""
        return self.phase in ("ended", "interrupted", "failed")


class Keeper:
    """Keeps the file of a session. Use as a context around it; the caller holds the run's lock.

    What cannot be written is left out: no search ends for that.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._last = Status()

    def __enter__(self) -> "Keeper":
        self._write(Status())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._end("interrupted", "")
        elif error is not None:
            text = str(error)
            if not isinstance(error, NasError):
                text = f"{type(error).__name__}: {text}"
            self._end("failed", one_line(text))

    def stand(
        self,
        phase: Phase,
        progress: Progress[object],
        *,
        stages: tuple[Stage, ...] = (),
        running: tuple[int, ...] = (),
        doing: str = "",
    ) -> None:
        """Keep where the session stands."""
        self._write(
            Status(
                phase=phase,
                what=progress.what,
                done=progress.done,
                planned=progress.planned,
                seconds=round(progress.seconds, 3),
                eta_seconds=progress.eta_seconds,
                figures=dict(progress.figures),
                # What is timed after the trials has none of its own.
                stages=stages or self._last.stages,
                running=running,
                doing=doing,
            )
        )

    def ended(self, reason: str, seconds: float) -> None:
        """Keep why the session ended, as it was meant to, and the time that the run has taken."""
        self._last = replace(self._last, seconds=round(seconds, 3))
        self._end("ended", reason)

    def _end(self, phase: Phase, reason: str) -> None:
        self._write(replace(self._last, phase=phase, reason=reason, running=(), eta_seconds=None))

    def _write(self, status: Status) -> None:
        self._last = status
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps(to_json(replace(status, written=now)))
        with suppress(OSError):
            replace_text(self._path, text + "\n")


def read(folder: Path) -> Status | None:
    """The status of a run's last session; None if an older version made the run.

    Raises `RunError` for a damaged file.
    """
    path = folder / FILE
    try:
        return from_json(Status, read_json(path, LARGEST_FILE_BYTES, "not a run's status"))
    except FileNotFoundError:
        return None
    except (*UNREADABLE, FormError) as error:
        text = one_line(error)
        raise RunError(f"cannot read {path}: {text}. It may be removed") from None
