"""Whole networks timed, twice each: what a table is held against."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from nas.arch import Architecture
from nas.measure.graphs import network_graph
from nas.measure.journal import Journal
from nas.measure.runners import Runner
from nas.measure.timing import Quality, Subject, Timing, measure_twice
from nas.measure.training import network_document
from nas.progress import Progress, Watch, ignore

__all__ = ["Timed", "network_subject", "time_networks", "training_subject"]

TOLD_EVERY_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A network of a space, measured twice."""

    space: str
    network: Architecture
    first_ms: float
    second_ms: float

    @property
    def latency_ms(self) -> float:
        """The mean of both."""
        return (self.first_ms + self.second_ms) / 2


def network_subject(key: str, network: Architecture) -> Subject:
    """A whole network, timed as a loop runs it: straight after itself."""
    return Subject(key, partial(network_graph, network), looped=True)


def training_subject(key: str, network: Architecture) -> Subject:
    """A whole training step, for `TrainingStep`."""
    return Subject(key, partial(network_document, network), looped=True)


def time_networks(
    networks: Sequence[tuple[str, Architecture]],
    runner: Runner,
    *,
    threads: int,
    seconds: float,
    seed: int,
    subject: Callable[[str, Architecture], Subject] | None = None,
    journal: Path | None = None,
    reference_ms: float | None = None,
    to_come: int = 0,
    gone_seconds: float = 0.0,
    watch: Watch = ignore,
) -> tuple[list[Timed], list[Quality]]:
    """Time whole networks, twice, each time interleaved; each in the state a loop leaves it in.

    ``seconds``: what a network may take in all. ``journal``: a file from which timing goes on.
    ``reference_ms``: the pace of the machine at which times are stated, such as a table's; the best
    one seen by default. ``to_come``, ``gone_seconds``: how many networks other calls will time, and
    what they have taken, for ``watch``.
    """
    make = subject or network_subject
    by_digest = {network.digest: make(network.digest, network) for _, network in networks}
    with TemporaryDirectory() as scratch:
        path = journal or Path(scratch) / "networks.journal"
        with Journal(path, runner.conditions()) as kept:
            missing = [by_digest[key] for key in by_digest if f"{key} 2" not in kept.rows]
            told = _Told(
                planned=len(by_digest) + to_come,
                missing=len(missing) + to_come,
                seconds=seconds,
                gone_seconds=gone_seconds,
                watch=watch,
            )
            _time(kept, missing, runner, threads, seconds, seed, told)
            first, second = _passes(kept.at_pace(reference_ms or kept.best_reference_ms()))
            qualities = list(kept.blocks)
    timed = [
        Timed(
            space=space,
            network=network,
            first_ms=first[network.digest],
            second_ms=second[network.digest],
        )
        for space, network in networks
    ]
    return timed, qualities


def _time(
    kept: Journal,
    missing: Sequence[Subject],
    runner: Runner,
    threads: int,
    seconds: float,
    seed: int,
    told: "_Told",
) -> None:
    """Time the networks whose second measurement the journal has not."""
    for pair in measure_twice(
        missing, runner, threads=threads, seconds=seconds, seed=seed, tick=told.within
    ):
        for number, block in enumerate(pair, 1):
            named = {f"{digest} {number}": timing for digest, timing in block.timings.items()}
            kept.add(replace(block, timings=named))
        told.done(len(pair[0].timings))


def _passes(rows: Mapping[str, Timing]) -> tuple[dict[str, float], dict[str, float]]:
    """The first and second measurements, by digest."""
    passes: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for key, timing in rows.items():
        digest, _, number = key.partition(" ")
        passes[int(number) - 1][digest] = timing.latency_ms
    return passes


class _Told:
    """Tells where the timing of networks stands, every few seconds.

    Before any block is done, what is left is what the networks may take; then what they took.
    ``seconds``: what a network may take. ``gone_seconds``: what went before.
    """

    def __init__(
        self, *, planned: int, missing: int, seconds: float, gone_seconds: float, watch: Watch
    ) -> None:
        self._planned, self._missing, self._watch = planned, missing, watch
        self._seconds, self._gone_seconds, self._done = seconds, gone_seconds, 0
        self._start = self._last = time.monotonic()
        self.at(0.0)

    def done(self, count: int) -> None:
        """A block of so many networks is done."""
        self._done += count
        self.at(0.0)

    def within(self, share: float, networks: int) -> None:
        """A share of the next block, of so many networks, is done."""
        if time.monotonic() - self._last >= TOLD_EVERY_SECONDS:
            self.at(share * networks)

    def at(self, more: float) -> None:
        """Tell it now; ``more``: about how many networks of the next block are done."""
        self._last = time.monotonic()
        gone = self._last - self._start
        left = self._missing - self._done
        if self._done:
            eta = (left - more) * gone / (self._done + more)
        else:
            eta = max(left * self._seconds - gone, 0.0)
        self._watch(
            Progress(
                what="network",
                done=self._planned - left,
                planned=self._planned,
                seconds=self._gone_seconds + gone,
                eta_seconds=eta,
            )
        )
