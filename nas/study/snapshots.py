"""What a strategy has learnt, kept beside the record, so that a resume need not tell it all again.

It is only a cache: telling everything again gives the same. It is used if it was made from the very
trials that the record begins with, by the same strategy, seed and versions.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nas.errors import RunError
from nas.files import UNREADABLE, check_size, write_bytes
from nas.reading import to_json
from nas.record import environment
from nas.record.identity import Identity
from nas.strategies.base import Strategy
from nas.trial import Trial

__all__ = ["EVERY", "FILE", "Cache"]

FILE = "strategy.cache"
# 10,000 trials took `rl` 27 s to be told again, and 3 s with a snapshot (docs/scaling_out.md).
EVERY = 200
"""Trials told between two snapshots."""
LARGEST_FILE_BYTES = 256 << 20


class Cache:
    """The file of one run."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._path = folder / FILE
        # Versions as well: what another one has learnt may restore, and then propose otherwise.
        made_by = [
            to_json(identity.strategy),
            identity.seed,
            to_json(identity.space),
            environment.here().packages,
        ]
        self._digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode())
        self._count = 0

    def restore(self, strategy: Strategy, trials: Sequence[Trial]) -> int:
        """How many of the trials, the first, the strategy need not be told."""
        kept = self._read()
        if kept is None or kept[0] > len(trials):
            return 0
        count, digest, snapshot = kept
        before = self._digest.copy()
        for trial in trials[:count]:
            self._take(trial)
        if self._digest.hexdigest() == digest:
            try:
                strategy.restore(snapshot, trials[:count])
            except Exception:  # the restricted reader of a damaged file raises anything
                # Not gone on with: half restored, the strategy cannot be told from the start.
                raise RunError(f"{self._path} is damaged: remove it, it is only a cache") from None
            return count
        # The trials are told one by one now, and counted again.
        self._digest, self._count = before, 0
        return 0

    def told(self, strategy: Strategy, trial: Trial) -> None:
        """One more; now and then a new snapshot."""
        self._take(trial)
        if self._count % EVERY:
            return
        snapshot = strategy.snapshot()
        if snapshot is not None:
            head = json.dumps({"told": self._count, "digest": self._digest.hexdigest()})
            with suppress(OSError):  # a full disk costs no more than time
                write_bytes(self._path, head.encode() + b"\n" + snapshot)

    def _take(self, trial: Trial) -> None:
        self._count += 1
        self._digest.update(trial.canonical().encode())

    def _read(self) -> tuple[int, str, bytes] | None:
        try:
            check_size(self._path, LARGEST_FILE_BYTES, "not a snapshot")
            head, _, snapshot = self._path.read_bytes().partition(b"\n")
            document = json.loads(head)
            count, digest = document["told"], document["digest"]
        except (*UNREADABLE, RunError, KeyError, TypeError):
            return None
        # By type: to isinstance, true is an int.
        sound = type(count) is int and count > 0 and isinstance(digest, str)
        return (count, digest, snapshot) if sound else None
