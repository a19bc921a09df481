"""Workers in processes beside the driver, which may hang, run out of memory, or be killed.

A worker process is started anew (never forked), builds its own evaluator, and gets one task at a
time. One that dies takes nothing with it: its task goes to another, three times at most. It dies
with its driver.
"""

import math
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection as pipes
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.context import SpawnProcess

from nas.errors import NasError, RunError, UsageError
from nas.study.evaluator import Evaluator
from nas.study.workers import Finished, Judge, Measured, Task, measure
from nas.trial import Metrics

__all__ = ["Processes", "refuse_unguarded"]

MOST_LOSSES = 3
"""Workers that one task may cost, or that may die in a row while they start."""
GRACE_SECONDS = 5.0
"""How long a killed process is waited for."""
UNGUARDED = 87
"""Exit code of a worker that only read the script which started it, see `refuse_unguarded`."""


# -- what goes through a pipe ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """To a worker: a task, and whether it waits for an answer after each part."""

    task: Task
    followed: bool


@dataclass(frozen=True)
class _Ready:
    """From a worker: its evaluator is built."""


@dataclass(frozen=True)
class _Refused:
    """From a worker, its last word: what is no network's fault."""

    error: NasError


@dataclass(frozen=True)
class _Part:
    """From a worker: a part of the training is done. It waits for a bool: whether to go on."""

    part: int
    scores: Metrics


@dataclass(frozen=True)
class _Done:
    """From a worker: the task is done."""

    measured: Measured


# -- in the driver --------------------------------------------------------------------------------


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: pipes.Connection
    seat: int
    """Which of the pool's ways to make an evaluator it has."""
    ready: bool = False
    task: Task | None = None
    deadline: float = math.inf
    """By the monotonic clock."""

    def take(self, task: Task, followed: bool, timeout_seconds: float) -> None:
        """Begin a task."""
        self.task = task
        # A longer training has as many times the time.
        self.deadline = time.monotonic() + timeout_seconds * task.factor
        with suppress(OSError):  # one that died while idle is found out when it is read from
            self.pipe.send(_Job(task, followed))

    def end(self) -> None:
        """Be rid of it, whatever it does."""
        self.process.kill()
        self.process.join(GRACE_SECONDS)
        self.pipe.close()


class Processes:
    """A worker process for each of ``makes``. Use as a context."""

    def __init__(
        self, makes: Sequence[Callable[[], Evaluator]], *, timeout_seconds: float | None = None
    ) -> None:
        """Start no process yet.

        Each of ``makes`` builds the evaluator of one: a module's function, or a partial of one. A
        worker that replaces a dead one builds as that did. A task that takes longer than
        ``timeout_seconds`` fails, and its process is killed.
        """
        refuse_unguarded()
        if not makes or (timeout_seconds is not None and timeout_seconds <= 0):
            raise UsageError(
                "workers need a number of at least 1 and a time-out above 0, "
                f"not {len(makes)}, {timeout_seconds}"
            )
        self.slots, self._makes = len(makes), tuple(makes)
        self._timeout_seconds = math.inf if timeout_seconds is None else timeout_seconds
        self._tasks: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._losses: Counter[int] = Counter()
        self._false_starts = 0

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, whatever they do."""
        for worker in self._workers:
            # All are killed before one is waited for: several that hang end in the time of one.
            worker.process.kill()
        for worker in self._workers:
            worker.end()
        self._workers = []

    @property
    def process_ids(self) -> list[int]:
        """Of the workers alive."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def submit(self, task: Task) -> None:
        """See `Workers`."""
        self._tasks.append(task)

    def wait(self, judge: Judge | None, seconds: float | None = None) -> list[Finished]:
        """See `Workers`.

        Raises what the evaluator says of its settings, and `RunError` if no worker starts.
        """
        until = math.inf if seconds is None else time.monotonic() + seconds
        results: list[Finished] = []
        while not results:
            self._start_missing()
            # Said with every task, not once to a worker: its later tasks would not be followed.
            self._hand_out(followed=judge is not None)
            for worker in self._wait_for_word(until):
                results += self._listen(worker, judge)
            # After listening: a result that came in time counts, however late it is read.
            results += self._end_overdue()
            if time.monotonic() >= until:
                break
        return results

    def _start_missing(self) -> None:
        busy = sum(worker.task is not None for worker in self._workers)
        # No more than there is work for: each costs a start of torch and a copy of the images.
        wanted = min(self.slots, busy + len(self._tasks))
        while len(self._workers) < wanted:
            taken = [worker.seat for worker in self._workers]
            seat = min(seat for seat in range(self.slots) if seat not in taken)
            self._workers.append(_start(self._makes[seat], seat))

    def _hand_out(self, *, followed: bool) -> None:
        for worker in self._workers:
            # A worker that is still starting gets none: the task's time limit would run
            # meanwhile.
            if self._tasks and worker.ready and worker.task is None:
                worker.take(self._tasks.popleft(), followed, self._timeout_seconds)

    def _wait_for_word(self, until: float) -> list[_Worker]:
        """The workers that have something to say; none if a time is over before."""
        first = min([until, *(worker.deadline for worker in self._workers)])
        pause = None if math.isinf(first) else max(0.0, first - time.monotonic())
        speaking = pipes.wait([worker.pipe for worker in self._workers], pause)
        return [worker for worker in self._workers if worker.pipe in speaking]

    def _listen(self, worker: _Worker, judge: Judge | None) -> list[Finished]:
        """One message of a worker; the result if its task has ended."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replace(worker)
        match message:
            case _Refused(error):
                raise error
            case _Ready():
                worker.ready = True
                self._false_starts = 0
            case _Part(part, scores) if worker.task is not None:
                goes_on = judge is None or judge(worker.task.number, part, scores)
                try:
                    worker.pipe.send(goes_on)
                except OSError:
                    return self._replace(worker)
            case _Done(measured) if worker.task is not None:
                number = worker.task.number
                worker.task, worker.deadline = None, math.inf
                self._losses.pop(number, None)
                return [(number, measured)]
        return []

    def _replace(self, worker: _Worker) -> list[Finished]:
        """Put the task of a dead worker first in the queue.

        A task that has cost too many workers has failed, and that is its result.
        """
        self._workers.remove(worker)
        worker.process.join(GRACE_SECONDS)  # its pipe may close before it has an exit code
        how = _ending(worker.process.exitcode)
        if worker.task is None:
            self._count_false_start(worker, how)
            return []
        task = worker.task
        self._losses[task.number] += 1
        if self._losses[task.number] < MOST_LOSSES:
            self._tasks.appendleft(task)
            return []
        del self._losses[task.number]
        reason = f"{MOST_LOSSES} worker processes died of it, the last one {how}"
        return [(task.number, Measured(reason=reason))]

    def _count_false_start(self, worker: _Worker, how: str) -> None:
        if worker.process.exitcode == UNGUARDED:
            # Not in the train of the pipe that closed: a script shows this error with its trace.
            raise _unguarded() from None
        # One that died idle had started well; that says nothing against the next.
        self._false_starts += not worker.ready
        if self._false_starts >= MOST_LOSSES:
            raise RunError(
                f"{MOST_LOSSES} worker processes in a row died while starting, the last one {how}"
            )

    def _end_overdue(self) -> list[Finished]:
        """Kill the workers whose time is over; their tasks have failed."""
        now = time.monotonic()
        results = []
        for worker in list(self._workers):
            if worker.task is None or now < worker.deadline:
                continue
            self._workers.remove(worker)
            worker.end()
            limit = self._timeout_seconds * worker.task.factor
            longer = "" if worker.task.factor == 1 else f"{worker.task.factor} times "
            reason = f"took longer than {longer}--trial-timeout, {limit:g} s"
            results.append((worker.task.number, Measured(reason=reason, seconds=limit)))
        return results


def _start(make: Callable[[], Evaluator], seat: int) -> _Worker:
    # Spawned: threads of torch, and CUDA, do not survive a fork.
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_work, args=(theirs, make), daemon=True)
    process.start()
    theirs.close()  # held open here, their end would never read as closed when the worker dies
    return _Worker(process, ours, seat)


def refuse_unguarded() -> None:
    """End a new worker process that is only reading the script which started it.

    Python reads the script anew in each. One that starts a search as it is read would start
    processes without end; the driver hears of it by the exit code, and says so.
    """
    if getattr(current_process(), "_inheriting", False):
        raise SystemExit(UNGUARDED)


def _unguarded() -> RunError:
    script = getattr(sys.modules.get("__main__"), "__file__", None) or "the script"
    return RunError(
        f"{script} begins a search as it is read, and every worker process reads it: "
        "put its calls under if __name__ == '__main__':"
    )


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name
    return "by SIGKILL: out of memory?" if name == "SIGKILL" else f"by {name}"


# -- in a worker ----------------------------------------------------------------------------------


def _work(pipe: pipes.Connection, make: Callable[[], Evaluator]) -> None:
    """A worker's life: build the evaluator, then a task at a time until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    # A function of the user's may read its data by processes of its own, which a daemon may not.
    current_process().daemon = False
    threading.Thread(target=_die_with_driver, daemon=True).start()
    try:
        evaluator = make()
        pipe.send(_Ready())
        while True:
            job: _Job = pipe.recv()
            judge = _asking(pipe) if job.followed else None
            pipe.send(_Done(measure(evaluator, job.task, judge)))
    except NasError as error:
        pipe.send(_Refused(error))
    except (EOFError, OSError):
        return


def _asking(pipe: pipes.Connection) -> Judge:
    """A judge that asks the driver."""

    def judge(number: int, part: int, scores: Metrics) -> bool:
        pipe.send(_Part(part, dict(scores)))
        return bool(pipe.recv())

    return judge


def _die_with_driver() -> None:
    """End this process as soon as the driver has gone.

    A driver that is killed ends nobody, and a worker in the midst of a training reads no pipe.
    """
    driver = parent_process()
    if driver is not None:
        driver.join()
    # Not sys.exit, which would end this thread alone and let the training go on.
    os._exit(1)
