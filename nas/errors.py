"""Every error a user can cause.

NasError            one line: the rule, the value, the way out; exit code 1
+-- UsageError      a name or an option that does not exist; exit code 2
+-- ExistsError     an output that exists and would be overwritten
+-- SpaceError      genes, a choice or a space that break a rule
+-- ArchitectureError   an architecture file that does not describe a network
+-- BoundError      a bound that no network of the space can meet
+-- TableError      a latency table that cannot be trusted, or lacks a row
+-- DataError       a data set that cannot be read or split
+-- RunError        a run folder that is missing, foreign, locked or cannot be written
+-- TrainingError   a training that diverged or ran out of memory
+-- InterruptError  work that the user stopped; exit code 130
"""

from collections.abc import Iterable
from difflib import get_close_matches
from traceback import extract_tb

__all__ = [
    "ArchitectureError",
    "BoundError",
    "DataError",
    "ExistsError",
    "InterruptError",
    "NasError",
    "RunError",
    "SpaceError",
    "TableError",
    "TrainingError",
    "UsageError",
    "told_with_line",
    "unknown",
]


class NasError(Exception):
    """An expected failure, told in one line, whatever a file of a stranger put into it."""

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


class UsageError(NasError):
    """A name or an option that does not exist."""

    exit_code = 2


class ExistsError(NasError):
    """An output that exists and would be overwritten."""


class SpaceError(NasError):
    """Genes, a choice or a space that break a rule."""


class ArchitectureError(NasError):
    """An architecture file that does not describe a network."""


class BoundError(NasError):
    """A bound that no network of the space can meet."""


class TableError(NasError):
    """A latency table that cannot be trusted, or lacks a row."""


class DataError(NasError):
    """A data set that cannot be read or split."""


class RunError(NasError):
    """A run folder that is missing, foreign, locked or cannot be written."""


class TrainingError(NasError):
    """A training that diverged or ran out of memory."""


class InterruptError(NasError):
    """Work that the user stopped, with how to go on."""

    exit_code = 130  # 128 + SIGINT, as shells count


def unknown(kind: str, name: object, known: Iterable[str]) -> UsageError:
    """The error for a name nobody knows: the nearest known name, then all of them."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"no {kind} named '{name}'.{hint} Known: {', '.join(names) or 'none'}.")


def told_with_line(error: Exception, file: str) -> str:
    """An error out of a user's program: its type, its text, and the line of ``file`` that it is of.

    The innermost line of that file counts, since what it called is not the user's.
    """
    text = f"{type(error).__name__}: {error}"
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    if not lines:
        return text
    return f"{text} ({file}, line {lines[-1]})"
