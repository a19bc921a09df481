"""The journal file of a run: held by one process, repaired when opened."""

import fcntl
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nas.errors import RunError
from nas.files import check_size, one_line, sync

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

__all__ = ["JOURNAL", "RunLock", "is_held", "open_journal", "readable_errors", "repair"]

JOURNAL = "journal.log"
LOCK = "run.lock"
# 100,000 trials with 1,000 pending at a time came to 1.14 GB (docs/scaling_out.md).
LARGEST_FILE_BYTES = 4 << 30
WRITER_GRACE_SECONDS = 0.25
"""A lock file of the journal that is younger may be a dashboard's, which is about to let go."""


def open_journal(path: Path) -> "JournalStorage":
    """The journal as an Optuna storage; one that cannot be read raises `RunError`."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if path.is_dir():
        raise RunError(f"{path} is a folder, not a run's record")
    if path.exists():
        check_size(path, LARGEST_FILE_BYTES, "not a run's record")
    try:
        return JournalStorage(
            JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        )
    except OSError:
        raise
    except Exception as error:
        # Optuna trusts what it reads: a line that is not its own makes it raise anything.
        text = one_line(f"{type(error).__name__}: {error}")
        raise RunError(f"{path} is damaged and cannot be read as a journal: {text}") from None


@contextmanager
def readable_errors(folder: Path) -> Iterator[None]:
    """Any failure of the disk as one line that says how to go on."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write the record in '{folder}': {error.strerror}. No finished trial is lost: "
            f"mend that, then go on with --resume {folder}"
        ) from error


def repair(path: Path) -> None:
    """Clear the journal lock of a dead writer, and cut a last line without its end.

    The caller holds the run's lock.
    A torn line, once something follows it, makes every later load fail.
    """
    for left in path.parent.glob(f"{path.name}.lock*"):
        with suppress(FileNotFoundError):
            # A dashboard may hold the lock for a moment; one of our own belongs to a dead process.
            # Absolute: one from the future, after a clock was set back, is not waited for.
            while abs(time.time() - left.lstat().st_mtime) < WRITER_GRACE_SECONDS:
                time.sleep(0.01)
            left.unlink()
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = _end_of_last_line(file)
        if end < path.stat().st_size:
            file.truncate(end)
            sync(file)


def _end_of_last_line(file: BinaryIO) -> int:
    """Position after the last newline, 0 for none."""
    block = 1 << 16  # from behind: the file may have a gigabyte, and the torn line is its last
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - block)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


class RunLock:
    """One process per run: an advisory lock that dies with its holder.

    The file names the holder's process id.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"cannot open '{path}': {error.strerror}") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._handle, 32, 0).decode(errors="replace").strip() or "unknown"
            self.release()
            raise RunError(
                f"run folder '{folder}' is in use by process {owner}: wait for it, or stop it"
            ) from None
        try:
            with readable_errors(folder):
                # Only now: what another holder wrote must still be there for the message above.
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except RunError:
            self.release()
            raise
        _close_in_children(self)

    @property
    def held(self) -> bool:
        """Whether this process still has the run."""
        return self._handle >= 0

    def release(self) -> None:
        """Let go; releasing twice does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def is_held(folder: Path) -> bool:
    """Whether a process works on the run: a search, or a confirmation."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False  # no process has ever held it
    try:
        # For a moment, and shared: only a search that began in that moment would be refused.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _close_in_children(lock: RunLock) -> None:
    """A forked worker would keep the lock alive after its killed parent."""
    # Weak: what is registered stays until the process ends, and must not keep every run alive.
    reference = weakref.ref(lock)

    def close() -> None:
        inherited = reference()
        if inherited is not None:
            inherited.release()

    os.register_at_fork(after_in_child=close)
