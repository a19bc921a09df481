"""Whole networks of a run's front, timed on a device that is at hand: a ledger beside the record.

Among many networks, the one that a search picks is likelier than others to be one that the table
has too low. So a front that can be timed is timed before it is shown. Networks that turn out slower
may let others onto the front; those are timed, too. What was timed is not told to the strategy: a
trial keeps the metrics that it was told with, and the record stays as it was.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.arch import Architecture
from nas.errors import RunError
from nas.latency.measured import Measured, TimedHere
from nas.latency.table import Table
from nas.progress import Watch, ignore
from nas.reading import FormError, from_json
from nas.record import ledger

__all__ = ["LEDGER", "TimeHere", "read", "record"]

LEDGER = "latency.jsonl"
KIND = "timed"

TimeHere = Callable[[Table, Sequence[Architecture], Watch], TimedHere]
"""Times networks under the conditions of a table that is of this machine."""


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of the ledger."""

    kind: str
    device: str
    digest: str
    """The network's."""
    first_ms: float
    second_ms: float


def read(folder: Path) -> dict[str, dict[str, Measured]]:
    """By device and digest, what was timed for a run; the last timing of a network counts.

    Raises `RunError` for a file that is damaged.
    """
    timed: dict[str, dict[str, Measured]] = {}
    for row in ledger.read(folder / LEDGER):
        try:
            line = from_json(_Line, row)
        except FormError as error:
            raise RunError(
                f"{folder / LEDGER} is damaged: {error}. Remove it to time anew"
            ) from None
        if not all(0 < ms < math.inf for ms in (line.first_ms, line.second_ms)):
            raise RunError(
                f"{folder / LEDGER} is damaged: a latency must be above 0 and finite. "
                "Remove it to time anew"
            )
        one = Measured(first_ms=line.first_ms, second_ms=line.second_ms)
        timed.setdefault(line.device, {})[line.digest] = one
    return timed


def record(
    folder: Path,
    table: Table,
    networks: Sequence[Architecture],
    time_here: TimeHere,
    watch: Watch = ignore,
) -> TimedHere:
    """Time networks, and keep what was timed in the run's folder, whose lock the caller holds."""
    timed = time_here(table, networks, watch)
    for network, one in zip(networks, timed.measured, strict=True):
        row: Mapping[str, object] = {
            "kind": KIND,
            "device": table.name,
            "digest": network.digest,
            "first_ms": one.first_ms,
            "second_ms": one.second_ms,
        }
        ledger.append(folder / LEDGER, row)
    return timed
