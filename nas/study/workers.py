"""Who evaluates networks: this process, or processes beside it that may hang, run out of memory, or be killed.

A worker process is started anew (never forked), builds its own evaluator, and gets one task at a
time. One that dies takes nothing with it: its task goes to another, three times at most. It dies
with its driver.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection as pipes
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess
from typing import Protocol

from nas.arch import Architecture
from nas.errors import NasError, RunError, UsageError
from nas.files import one_line
from nas.objectives import check_shares
from nas.study.evaluator import Evaluator
from nas.trial import Metrics, check_metrics

__all__ = [
    "Judge",
    "Measured",
    "Processes",
    "Serial",
    "Task",
    "Workers",
    "measure",
]

LONGEST_REASON = 300
MOST_LOSSES = 3
GRACE_SECONDS = 5.0

Judge = Callable[[int, int, Metrics], bool]
"""Called with a trial's number, the part of its training that is done (from 1), its scores: whether it goes on."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One network to evaluate for a trial."""

    number: int
    network: Architecture
    seed: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of a task: metrics, or the reason why there are none. ``stopped`` was given up before its end.

    ``curve``: the scores after each part, where the evaluation was followed.
    """

    metrics: Metrics = field(default_factory=dict)
    reason: str = ""
    stopped: bool = False
    seconds: float = 0.0
    curve: tuple[Metrics, ...] = ()


class _GivenUpError(Exception):
    """Ends an evaluation from inside."""


def measure(
    evaluator: Evaluator,
    task: Task,
    judge: Judge | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Evaluate here. Whatever the network does wrong is a reason; `UsageError` and `RunError` are not its fault."""
    curve: list[Metrics] = []
    found: Metrics = {}
    reason, stopped, start = "", False, clock()

    def on_part(scores: Metrics) -> None:
        curve.append(dict(check_shares(scores)))
        if judge is not None and not judge(task.number, len(curve), scores):
            raise _GivenUpError

    try:
        if judge is None:
            found = check_shares(check_metrics(evaluator.evaluate(task.network, task.seed)))
        else:
            found = evaluator.evaluate_in_parts(task.network, task.seed, on_part)
            found = check_shares(check_metrics(found))
    except _GivenUpError:
        stopped, reason = True, f"stopped early after part {len(curve)}"
    except (UsageError, RunError):
        raise
    except MemoryError as error:
        reason = one_line(error, LONGEST_REASON) or "out of memory"
    except NasError as error:
        reason = one_line(error, LONGEST_REASON)
    except (
        Exception
    ) as error:  # a network that breaks the evaluator is a failed trial, not the end of a run
        reason = f"{type(error).__name__}: {one_line(error, LONGEST_REASON)}"
    return Measured(
        metrics=found, reason=reason, stopped=stopped, seconds=clock() - start, curve=tuple(curve)
    )


class Workers(Protocol):
    """Takes up to ``slots`` tasks at a time and gives back what came of them, in any order."""

    slots: int

    def submit(self, task: Task) -> None:
        """Take on a task; there is a free slot."""

    def wait(self, judge: Judge | None, seconds: float | None = None) -> list[tuple[int, Measured]]:
        """Trial number and result of what has ended; waits for the first, at most so long."""


class Serial:
    """The driver itself, one network at a time."""

    slots = 1

    def __init__(
        self, evaluator: Evaluator, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._evaluator, self._clock = evaluator, clock
        self._task: Task | None = None

    def submit(self, task: Task) -> None:
        """See `Workers`."""
        self._task = task

    def wait(self, judge: Judge | None, seconds: float | None = None) -> list[tuple[int, Measured]]:
        """See `Workers`."""
        task, self._task = self._task, None
        return (
            []
            if task is None
            else [(task.number, measure(self._evaluator, task, judge, clock=self._clock))]
        )


# -- processes ------------------------------------------------------------------------------------


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: pipes.Connection
    ready: bool = False
    task: Task | None = None
    deadline: float | None = None


class Processes:
    """``slots`` worker processes. ``make`` builds an evaluator in each: a module's function, or a partial of one.

    A task that takes longer than ``timeout_seconds`` fails, and its process is killed. Use as a
    context.
    """

    def __init__(
        self, make: Callable[[], Evaluator], slots: int, *, timeout_seconds: float | None = None
    ) -> None:
        if slots < 1 or (timeout_seconds is not None and timeout_seconds <= 0):
            raise UsageError(
                f"workers need a number of at least 1 and a time-out above 0, not {slots}, {timeout_seconds}"
            )
        self.slots, self._make, self._timeout = slots, make, timeout_seconds
        self._tasks: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._losses: dict[int, int] = {}
        self._false_starts = 0

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, whatever they do."""
        for worker in self._workers:
            worker.process.kill()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(GRACE_SECONDS)
        self._workers = []

    def submit(self, task: Task) -> None:
        """See `Workers`."""
        self._tasks.append(task)
        self._hand_out()

    def wait(self, judge: Judge | None, seconds: float | None = None) -> list[tuple[int, Measured]]:
        """See `Workers`. Raises what the evaluator says of its settings, and `RunError` where no worker starts."""
        until = None if seconds is None else time.monotonic() + seconds
        found: list[tuple[int, Measured]] = []
        while not found:
            self._hand_out(followed=judge is not None)
            left = [] if until is None else [until]
            left += [worker.deadline for worker in self._workers if worker.deadline is not None]
            pause = max(0.0, min(left) - time.monotonic()) if left else None
            ready = pipes.wait([worker.pipe for worker in self._workers], pause)
            for worker in [worker for worker in self._workers if worker.pipe in ready]:
                found += self._heard(worker, judge)
            found += self._overdue()
            if until is not None and time.monotonic() >= until:
                break
        return found

    def _hand_out(self, *, followed: bool = False) -> None:
        """Start what is missing, and give waiting tasks to idle workers."""
        wanted = len(self._tasks) + sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self.slots, wanted):
            self._workers.append(self._start())
        for worker in self._workers:
            if worker.ready and worker.task is None and self._tasks:
                worker.task = self._tasks.popleft()
                worker.deadline = (
                    None if self._timeout is None else time.monotonic() + self._timeout
                )
                with suppress(
                    OSError
                ):  # one that died while idle is found out when it is read from
                    worker.pipe.send((worker.task, followed))

    def _start(self) -> _Worker:
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_work, args=(theirs, self._make), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _heard(self, worker: _Worker, judge: Judge | None) -> list[tuple[int, Measured]]:
        try:
            kind, *content = worker.pipe.recv()
        except (EOFError, OSError):
            return self._lost(worker)
        if kind == "refused":
            raise content[0]
        if kind == "ready":
            worker.ready, self._false_starts = True, 0
        elif kind == "part" and worker.task is not None:
            on = judge is None or judge(worker.task.number, *content)
            try:
                worker.pipe.send(on)
            except OSError:
                return self._lost(worker)
        elif worker.task is not None:
            number, worker.task, worker.deadline = worker.task.number, None, None
            self._losses.pop(number, None)
            return [(number, content[0])]
        return []

    def _lost(self, worker: _Worker) -> list[tuple[int, Measured]]:
        """Its task goes to the front of the queue, unless it has cost too many workers."""
        self._workers.remove(worker)
        worker.process.join(GRACE_SECONDS)
        how = _ending(worker.process.exitcode)
        if worker.task is None:
            self._false_starts += not worker.ready
            if self._false_starts >= MOST_LOSSES:
                raise RunError(
                    f"{MOST_LOSSES} worker processes in a row died while starting, the last one {how}"
                )
            return []
        task = worker.task
        self._losses[task.number] = self._losses.get(task.number, 0) + 1
        if self._losses[task.number] < MOST_LOSSES:
            self._tasks.appendleft(task)
            return []
        del self._losses[task.number]
        return [
            (
                task.number,
                Measured(reason=f"{MOST_LOSSES} worker processes died of it, the last one {how}"),
            )
        ]

    def _overdue(self) -> list[tuple[int, Measured]]:
        now, found = time.monotonic(), []
        for worker in [w for w in self._workers if w.deadline is not None and w.deadline <= now]:
            assert worker.task is not None
            assert self._timeout is not None
            self._workers.remove(worker)
            worker.process.kill()
            worker.process.join(GRACE_SECONDS)
            worker.pipe.close()
            reason = f"took longer than --trial-timeout, {self._timeout:g} s"
            found.append((worker.task.number, Measured(reason=reason, seconds=self._timeout)))
        return found


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"by {name}{': out of memory?' if name == 'SIGKILL' else ''}"
    return f"with exit code {code}"


def _work(pipe: pipes.Connection, make: Callable[[], Evaluator]) -> None:
    """A worker's life: build the evaluator, then a task at a time until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    threading.Thread(target=_die_with_driver, daemon=True).start()
    try:
        evaluator = make()
        pipe.send(("ready",))
        while True:
            task, followed = pipe.recv()
            pipe.send(("done", measure(evaluator, task, _asking(pipe) if followed else None)))
    except NasError as error:
        pipe.send(("refused", error))
    except (EOFError, OSError):
        return


def _asking(pipe: pipes.Connection) -> Judge:
    def judge(number: int, part: int, scores: Metrics) -> bool:
        pipe.send(("part", part, dict(scores)))
        return bool(pipe.recv())

    return judge


def _die_with_driver() -> None:
    driver = parent_process()
    if driver is not None:
        driver.join()
    os._exit(1)
