"""How one run of a graph is timed: in onnxruntime in this process, or by any command that prints milliseconds."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas.errors import TableError, UsageError
from nas.export.onnx import require_onnx

__all__ = ["Command", "OnnxRuntime", "Runner", "cpu_model", "pinned"]

COMMAND_SECONDS = 600.0
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\Z")


class Runner(Protocol):
    """``open`` readies a graph and gives a function that runs it once and returns milliseconds."""

    in_process: bool
    """Whether runs use this process's CPU time, so that a load beside them can be noticed."""
    fewest_rounds: int
    """How often a graph is run at least; a command averages by itself, and takes seconds to start."""

    def open(self, model: bytes) -> Callable[[], float]:
        """A graph made ready."""
        ...

    def conditions(self) -> dict[str, Any]:
        """What a timing depends on, as the table's JSON states it."""
        ...


class OnnxRuntime:
    """onnxruntime on this CPU, float32, batch 1, with a fixed number of threads; inputs are random numbers.

    One thread is timed by its own CPU time: the same as wall time on a quiet machine, and without the time that
    another process took on one that is not. Several threads are timed by the wall.
    """

    in_process = True
    fewest_rounds = 7

    def __init__(self, threads: int = 1) -> None:
        require_onnx()
        self.threads = threads

    def open(self, model: bytes) -> Callable[[], float]:
        """A session, its inputs made."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        feed = {
            given.name: rng.normal(size=[n if isinstance(n, int) else 1 for n in given.shape]).astype(np.float32)
            for given in session.get_inputs()
        }
        names = [given.name for given in session.get_outputs()]

        clock = time.thread_time_ns if self.threads == 1 else time.perf_counter_ns

        def once() -> float:
            start = clock()
            session.run(names, feed)
            return (clock() - start) / 1e6

        return once

    def conditions(self) -> dict[str, Any]:
        """Runtime and version, dtype, threads, batch, CPU."""
        import onnxruntime

        return {
            "runtime": f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider",
            "dtype": "float32",
            "threads": self.threads,
            "batch": 1,
            "clock": "CPU time of the thread" if self.threads == 1 else "wall",
            "hardware": cpu_model(),
        }


class Command:
    """A command with ``{model}`` where the ONNX file's path goes; its last output line must end in milliseconds.

    One run of the command is one timing, so it should warm up and average by itself.
    """

    in_process = False
    fewest_rounds = 3

    def __init__(self, command: str, *, hardware: str = "not stated") -> None:
        if "{model}" not in command:
            raise UsageError(f"a runner is a command with {{model}} where the ONNX file goes, not '{command}'")
        self.command, self.hardware = command, hardware
        self._folder = Path(tempfile.mkdtemp(prefix="nas-latency-"))
        self._files = 0
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def open(self, model: bytes) -> Callable[[], float]:
        """The graph as a file, and the command on it."""
        path = self._folder / f"{self._files}.onnx"
        self._files += 1
        path.write_bytes(model)
        words = [word.replace("{model}", str(path)) for word in shlex.split(self.command)]

        def once(owner: "Command" = self) -> float:  # the folder lives as long as its owner
            return _printed_ms(words)

        return once

    def conditions(self) -> dict[str, Any]:
        """The command; what it runs on is the user's to say."""
        return {"runtime": self.command, "dtype": "float32", "threads": "not stated", "batch": 1,
                "hardware": self.hardware}  # fmt: skip


def _printed_ms(words: list[str]) -> float:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except OSError as error:
        raise UsageError(f"the runner does not start: {words[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise TableError(f"the runner took over {COMMAND_SECONDS:.0f} s on one model: {shlex.join(words)}") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise TableError(f"the runner failed with exit code {done.returncode} and said: {said[:200]}")
    word = lines[-1].removesuffix("ms").split()[-1:] if lines else []
    found = float(word[0]) if word and _NUMBER.match(word[0]) else 0.0
    if not found > 0:
        raise TableError(
            f"the runner's last line must end in milliseconds above 0, not '{lines[-1][:80] if lines else ''}'"
        )
    return found


def cpu_model() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Hardware", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep this process, and threads it starts inside, on ``threads`` cores; the last ones, as interrupts like the first."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
