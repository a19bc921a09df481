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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas.errors import TableError, UsageError, unknown
from nas.export.onnx import require_onnx
from nas.measure.graphs import empty_graph, kernel_graph
from nas.measure.quantized import quantized
from nas.shape import Kernel

__all__ = [
    "REFERENCE",
    "Command",
    "OnnxRuntime",
    "Reading",
    "Runner",
    "as_built",
    "cpu_model",
    "pinned",
]

COMMAND_SECONDS = 600.0
CPU = "CPUExecutionProvider"
DTYPES = ("float32", "int8")

# About a millisecond of dense work that stays in a second-level cache.
REFERENCE = Kernel(kind="conv", in_channels=64, out_channels=64, in_size=28, out_size=28, kernel=3)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\Z")


class Reading(float):
    """Milliseconds of a run, and the millijoules it took where the runner tells them."""

    energy_mj: float | None = None


class Runner(Protocol):
    """``open`` readies a graph and gives a function that runs it once and returns milliseconds, or a `Reading`."""

    in_process: bool
    """Whether runs use this process's CPU time, so that a load beside them can be noticed."""
    fewest_rounds: int
    """How often a graph is run at least; a command averages by itself, and takes seconds to start."""

    def open(self, model: bytes) -> Callable[[], float]:
        """A graph made ready."""
        ...

    def aside(self) -> tuple[bytes | None, bytes]:
        """What is timed beside every block in this process: an empty call, taken off, if there is one, and a reference."""
        ...

    def conditions(self) -> dict[str, Any]:
        """What a timing depends on, as the table's JSON states it."""
        ...


class OnnxRuntime:
    """onnxruntime here, with a fixed number of threads; inputs are random numbers.

    ``provider``: cpu, or another execution provider by its short name. ``dtype``: float32, or int8:
    static quantisation as ``nas export --int8`` does it, calibrated on random numbers, so its speed
    is true and its outputs mean nothing.

    One thread of the CPU is timed by its own CPU time: the same as wall time on a quiet machine,
    and without the time that another process took on one that is not. All else is timed by the
    wall.
    """

    in_process = True
    fewest_rounds = 7

    def __init__(
        self, threads: int = 1, *, provider: str = "cpu", dtype: str = "float32", batch: int = 1
    ) -> None:
        require_onnx()
        self.threads, self.provider, self.dtype, self.batch = (
            threads,
            _provider(provider),
            dtype,
            batch,
        )
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        self._cpu_clock = threads == 1 and self.provider == CPU

    def aside(self) -> tuple[bytes, bytes]:
        """Graphs of an empty call and of the reference that shows how quiet the machine is."""
        return empty_graph(), kernel_graph(REFERENCE, batch=self.batch)

    def open(self, model: bytes) -> Callable[[], float]:
        """A session, its inputs made."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if self.dtype == "int8" and model != empty_graph():
            model = quantized(model)
        session = onnxruntime.InferenceSession(model, options, providers=[self.provider])
        rng = np.random.default_rng(0)
        feed = {
            given.name: rng.normal(
                size=[n if isinstance(n, int) else self.batch for n in given.shape]
            ).astype(np.float32)
            for given in session.get_inputs()
        }
        names = [given.name for given in session.get_outputs()]

        clock = time.thread_time_ns if self._cpu_clock else time.perf_counter_ns

        def once() -> float:
            start = clock()
            session.run(names, feed)
            return (clock() - start) / 1e6

        return once

    def conditions(self) -> dict[str, Any]:
        """Runtime and version, dtype, threads, batch, CPU."""
        import onnxruntime

        return {
            "runtime": f"onnxruntime {onnxruntime.__version__}, {self.provider}",
            "dtype": "float32"
            if self.dtype == "float32"
            else "int8, static QDQ as nas export --int8, calibrated on random numbers",
            "threads": self.threads,
            "batch": self.batch,
            "clock": "CPU time of the thread" if self._cpu_clock else "wall",
            "hardware": cpu_model(),
        }


def _provider(name: str) -> str:
    """The full name of an execution provider; one that is not here raises with those that are."""
    import onnxruntime

    here: dict[str, str] = {
        full.removesuffix("ExecutionProvider").lower(): full
        for full in onnxruntime.get_available_providers()
    }
    if name.lower() not in here:
        raise UsageError(
            f"this onnxruntime has no execution provider '{name}', only {', '.join(sorted(here))}. "
            "Another comes with another build of it, such as onnxruntime-gpu"
        )
    return here[name.lower()]


def as_built(conditions: Mapping[str, Any], *, threads: int | None = None) -> OnnxRuntime:
    """A runner as a table's conditions state it."""
    stated = conditions.get("threads", 1)
    provider = str(conditions.get("runtime", "")).rpartition(", ")[2]
    batch = conditions.get("batch", 1)
    return OnnxRuntime(
        threads or (stated if isinstance(stated, int) else 1),
        provider=provider.removesuffix("ExecutionProvider")
        if provider.endswith("ExecutionProvider")
        else "cpu",
        dtype="int8" if str(conditions.get("dtype")).startswith("int8") else "float32",
        batch=batch if isinstance(batch, int) else 1,
    )


class Command:
    """A command with ``{model}`` where the ONNX file's path goes; its last output line must end in milliseconds.

    Where it can tell energy, the last line is ``MILLISECONDS ms MILLIJOULES mJ``. One run of the
    command is one timing, so it should warm up and average by itself.
    """

    in_process = False
    fewest_rounds = 3

    def __init__(self, command: str, *, hardware: str = "not stated") -> None:
        if "{model}" not in command:
            raise UsageError(
                f"a runner is a command with {{model}} where the ONNX file goes, not '{command}'"
            )
        self.command, self.hardware = command, hardware
        self._folder = Path(tempfile.mkdtemp(prefix="nas-latency-"))
        self._files = 0
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def aside(self) -> tuple[None, bytes]:
        """Not asked for: a command's overhead, and how quiet its machine is, are its own affair."""
        return None, kernel_graph(REFERENCE)

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


def _printed_ms(words: list[str]) -> Reading:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except OSError as error:
        raise UsageError(f"the runner does not start: {words[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise TableError(
            f"the runner took over {COMMAND_SECONDS:.0f} s on one model: {shlex.join(words)}"
        ) from None
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise TableError(
            f"the runner failed with exit code {done.returncode} and said: {said[:200]}"
        )
    found = _reading(lines[-1]) if lines else None
    if found is None:
        raise TableError(
            f"the runner's last line must end in milliseconds above 0, not '{lines[-1][:80] if lines else ''}'"
        )
    return found


def _reading(line: str) -> Reading | None:
    """``12.3``, ``mean 12.3 ms`` or ``12.3 ms 45.6 mJ``."""
    words = line.replace("ms", " ms ").replace("mJ", " mJ ").split()
    energy = None
    if words[-1:] == ["mJ"]:
        energy = float(words[-2]) if len(words) > 1 and _NUMBER.match(words[-2]) else 0.0
        words = words[:-2]
    words = words[:-1] if words[-1:] == ["ms"] else words
    ms = float(words[-1]) if words and _NUMBER.match(words[-1]) else 0.0
    if not ms > 0 or (energy is not None and not energy > 0):
        return None
    found = Reading(ms)
    found.energy_mj = energy
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
