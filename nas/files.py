"""Files written whole or not at all, read with a limit, and failures told in one line.

    write_json(folder / "report.json", report)

    try:
        document = read_json(path, LARGEST_BYTES, "not a distribution")
    except UNREADABLE as error:
        raise RunError(f"cannot read {path}: {one_line(error, 120)}") from None

Writing raises `OSError`, and then leaves the file as it was. Reading raises one of `UNREADABLE`,
which the caller turns into a sentence with the way out. A file that is too large to be read at all
raises a `NasError`.
"""

import json
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from nas.errors import NasError, RunError

__all__ = [
    "UNREADABLE",
    "between_commas",
    "check_size",
    "decoded",
    "make_folder",
    "one_line",
    "parse_json",
    "read_json",
    "read_text",
    "replace_text",
    "sync",
    "through_json",
    "write_bytes",
    "write_json",
    "write_text",
    "write_with",
]

UNREADABLE = (OSError, ValueError, RecursionError)
"""What reading and parsing a foreign file raises. JSON that nests too deeply: `RecursionError`."""
LONGEST_LINE = 200
MIB, GIB = 1 << 20, 1 << 30


# -- writing --------------------------------------------------------------------------------------


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by ``write``, whole or not at all; it is on the disk before it has its name."""
    # Beside the file, for only within one file system does a rename replace it at once.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            sync(file)  # else a power cut may leave the new name with no content
        temporary.replace(path)
    # Not only errors: an interrupt must not leave the temporary file behind either.
    except BaseException as error:
        # On a disk that is read-only this fails too, even where there is no such file.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # The file that is meant; an error of writing names none.
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all, without waiting for the disk.

    For what is worth nothing after a power cut: it takes a twentieth of the time.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    write_with(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write JSON and a newline, whole or not at all. NaN and infinities raise `ValueError`."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def sync(file: BinaryIO) -> None:
    """Wait until what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the names in the folder are on the disk: a rename changes the folder's data."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, what: str = "folder") -> None:
    """Make a folder and those above it, where missing. Raises `RunError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {what} '{folder}': {error.strerror}") from None


# -- reading --------------------------------------------------------------------------------------


def between_commas(text: str) -> list[str]:
    """The parts of a list; a comma inside the path of a file that exists parts nothing."""
    parts = text.split(",")
    found = []
    while parts:
        taken = len(parts)
        while taken > 1 and not _is_there(",".join(parts[:taken])):
            taken -= 1
        found.append(",".join(parts[:taken]))
        parts = parts[taken:]
    return found


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        # Too long for a name.
        return False


def check_size(
    path: Path, largest_bytes: int, objection: str, error: type[NasError] = RunError
) -> None:
    """Raise ``error`` for a larger file.

    ``objection`` ends the sentence, such as "not a latency table".
    """
    if path.stat().st_size <= largest_bytes:
        return
    in_gib = largest_bytes >= GIB
    limit = f"{largest_bytes // GIB} GiB" if in_gib else f"{largest_bytes // MIB} MiB"
    raise error(f"{path} has over {limit}: {objection}")


def read_text(
    path: Path, largest_bytes: int, objection: str, error: type[NasError] = RunError
) -> str:
    """The text of a file of limited size, as `decoded`."""
    check_size(path, largest_bytes, objection, error)
    return decoded(path.read_bytes())


def decoded(content: bytes) -> str:
    """Bytes as text: UTF-8, or UTF-16 if a byte order mark says so, lines ending in a newline.

    Spreadsheets and Windows put such a mark in front; it is no part of the text. Raises
    `ValueError` for another encoding.
    """
    encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"its byte {error.start} is not {error.encoding}: save it as UTF-8, in a spreadsheet "
            "as 'CSV UTF-8'"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(
    path: Path, largest_bytes: int, objection: str, error: type[NasError] = RunError
) -> Any:
    """The content of a JSON file of limited size; NaN and infinities are refused."""
    return parse_json(read_text(path, largest_bytes, objection, error))


def parse_json(text: str | bytes) -> Any:
    """Plain JSON. Raises `ValueError` for NaN and infinities too, which Python would accept."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def through_json(value: object) -> Any:
    """The value as a reader of its JSON would get it: lists for tuples, text for keys."""
    return json.loads(json.dumps(value, allow_nan=False))


# -- failures -------------------------------------------------------------------------------------


def one_line(error: object, longest: int = LONGEST_LINE) -> str:
    """The text of an exception, or of another value, as one line of at most so many characters."""
    return " ".join(str(error).split())[:longest]
