"""An arena's folder: finished searches, one file each, so that a killed arena goes on."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from nas.benchmarks._cell import Cell
from nas.errors import RunError
from nas.files import make_folder, one_line, read_json, write_json, write_text
from nas.reading import from_json, to_json

__all__ = ["Folder", "Settings"]

FORMAT = 1
LARGEST_FILE_BYTES = 256 << 20

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an arena compares; a folder holds one of them."""

    # Neither strategies nor seeds: a folder may be given more of both later.
    format: int = FORMAT
    benchmark: str
    budget: int
    losses: tuple[str, ...]


class Folder:
    """Raises `RunError` if the folder holds another arena."""

    def __init__(self, out: Path, settings: Settings) -> None:
        self.cells = out / "cells"
        make_folder(self.cells)
        path = out / "settings.json"
        if path.is_file():
            here = _read(path, Settings, "the settings of an arena")
            if here != settings:
                raise RunError(
                    f"{out} holds an arena of {here.benchmark} with budget {here.budget}, "
                    f"not of {settings.benchmark} with {settings.budget}: choose another folder"
                )
        write_json(path, to_json(settings))

    def _path(self, spec: str, seed: int) -> Path:
        readable = re.sub("[^A-Za-z0-9]+", "-", spec)
        # The checksum: two specs may read alike without their punctuation.
        return self.cells / f"{readable}-{crc32(spec.encode()):08x}-{seed}.json"

    def load(self, spec: str, seed: int) -> Cell | None:
        """A finished search; None if it is not finished. Raises `RunError` for a damaged file."""
        path = self._path(spec, seed)
        if not path.is_file():
            return None
        return _read(path, Cell, "a finished cell of an arena")

    def save(self, cell: Cell) -> None:
        """Keep a finished search."""
        text = json.dumps(asdict(cell))
        write_text(self._path(cell.strategy, cell.seed), text + "\n")


def _read(path: Path, kind: type[Record], what: str) -> Record:
    try:
        document = read_json(path, LARGEST_FILE_BYTES, f"not {what}")
        return from_json(kind, document)
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not {what} ({one_line(error)}). Delete it to run that part again"
        ) from None
