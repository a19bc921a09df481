"""Standard streams as shells leave them: closed, full, or with a reader that has gone."""

import io
import os
import sys

__all__ = ["hide_output", "secure"]


def secure() -> None:
    """Make the standard streams usable, whatever the shell closed.

    A closed one is opened on nothing: else the next file that is opened would take its place, and
    what a library prints would go into it. What cannot be written to stderr is lost, and no reason
    to stop: progress is told there, and results are not.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _Forgiving()


def hide_output() -> None:
    """Give what is still to be written to stdout to nobody: its reader has gone."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


class _Forgiving(io.TextIOWrapper):
    """Standard error, but a write that fails is nothing."""

    def __init__(self) -> None:
        # Without a buffer, which Python would try to write once more when it ends.
        raw = io.FileIO(2, "w", closefd=False)
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        super().__init__(
            raw,
            encoding=encoding,
            errors="backslashreplace",
            write_through=True,
        )

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            return
