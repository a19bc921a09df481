"""Timed rows on disk, one JSON line each, made durable block by block."""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from nas.errors import TableError
from nas.measure.timing import Block, Quality, Timing
from nas.record.journal import repair

__all__ = ["Conditions", "Journal"]

Conditions = Mapping[str, object]
"""What timings depend on, by name: plain JSON."""


class Journal:
    """Timed rows on disk, held by one process. ``conditions`` stand first and must not change."""

    # No ledger of `nas.record`: rows of a block become durable by one write, and have no kind.

    def __init__(self, path: Path, conditions: Conditions) -> None:
        self.path = path
        self.rows: dict[str, Timing] = {}
        self.blocks: list[Quality] = []
        self._reference_ms: dict[str, float] = {}
        self._of_block: list[str] = []
        self._file = path.open("a", encoding="utf-8")
        try:
            # The lock first: what looks torn may be a line that another build is writing.
            self._hold()
            repair(path)
            lines = path.read_text(encoding="utf-8").splitlines()
            if not lines:
                self._append([{"conditions": dict(conditions)}])
            for number, line in enumerate(lines, 1):
                self._read(number, line, conditions)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *problem: object) -> None:
        self._file.close()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TableError(
                f"{self.path} is in use by another build: wait for it, or choose another name"
            ) from None

    def _read(self, number: int, line: str, conditions: Conditions) -> None:
        try:
            entry = json.loads(line)
            if number == 1:
                self._check(entry["conditions"], conditions)
            elif "block" in entry:
                self._end_block(Quality(**entry["block"]))
            else:
                key = str(entry["key"])
                self.rows[key] = Timing(**entry["timing"])
                self._of_block.append(key)
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(
                f"{self.path} line {number} is damaged ({error!r}): remove the file to start anew"
            ) from None

    def _check(self, recorded: Conditions, now: Conditions) -> None:
        for name in dict.fromkeys((*recorded, *now)):
            if recorded.get(name) != now.get(name):
                raise TableError(
                    f"{self.path} was begun with {name} {recorded.get(name)}, "
                    f"now it is {now.get(name)}: rows of both do not belong in one table. "
                    "Go on under the old conditions, or remove the file to start anew"
                )

    def add(self, block: Block) -> None:
        """Keep a block's rows; they survive a kill from here on."""
        rows = [{"key": key, "timing": asdict(timing)} for key, timing in block.timings.items()]
        self._append([*rows, {"block": asdict(block.quality)}])
        self.rows.update(block.timings)
        self._of_block = list(block.timings)
        self._end_block(block.quality)

    def _end_block(self, quality: Quality) -> None:
        self.blocks.append(quality)
        for key in self._of_block:
            self._reference_ms[key] = quality.reference_ms
        self._of_block = []

    def best_reference_ms(self) -> float:
        """The reference kernel at the best pace of all blocks; 0 without one."""
        return min((block.reference_ms for block in self.blocks if block.reference_ms), default=0.0)

    def at_pace(self, reference_ms: float) -> dict[str, Timing]:
        """The rows as if the reference kernel took so long beside each; as they are for 0."""
        rows = {}
        for key, timing in self.rows.items():
            then = self._reference_ms.get(key, 0.0)
            rows[key] = timing.scaled(reference_ms / then) if reference_ms and then else timing
        return rows

    def _append(self, entries: Sequence[Mapping[str, object]]) -> None:
        self._file.write("".join(json.dumps(entry) + "\n" for entry in entries))
        self._file.flush()
        os.fsync(self._file.fileno())
