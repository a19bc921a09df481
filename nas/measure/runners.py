"""How one run of a graph is timed: in onnxruntime here, or by a command that prints it."""

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
    "batch_of",
    "cpu_model",
    "pinned",
    "runner_for",
]

COMMAND_SECONDS = 600.0  # of one run, after which the command is taken to hang
CPU = "CPUExecutionProvider"
DTYPES = {
    "float32": "float32",
    "int8": "int8, static QDQ as nas export --int8, calibrated on random numbers",
}
"""What a table states, by the name that a user gives."""

# About a millisecond of dense work that stays in a second-level cache.
REFERENCE = Kernel(kind="conv", in_channels=64, out_channels=64, in_size=28, out_size=28, kernel=3)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\Z")


class Reading(float):
    """Milliseconds of a run, and the millijoules it took where the runner tells them."""

    energy_mj: float | None = None


class Runner(Protocol):
    """Times graphs."""

    in_process: bool
    """Whether runs use this process's CPU time, so that a load beside them can be noticed."""
    fewest_rounds: int
    """How often a graph is run at least; few for a command, which averages by itself."""

    def open(self, model: bytes) -> Callable[[], float]:
        """Make a graph ready.

        Returns a function that runs it once and returns milliseconds, or a `Reading`.
        """
        ...

    def aside(self) -> tuple[bytes | None, bytes | None]:
        """The graphs timed beside every block in this process.

        First an empty call, whose time is taken off, then the reference kernel, see `reference`;
        None for what this runner has not.
        """
        ...

    def conditions(self) -> dict[str, object]:
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
        self.threads = threads
        self.provider = _provider(provider)
        self.dtype = dtype
        self.batch = batch
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        self._cpu_clock = threads == 1 and self.provider == CPU

    def aside(self) -> tuple[bytes, bytes]:
        """Graphs of an empty call and of the reference, which shows the machine's pace."""
        return empty_graph(), kernel_graph(REFERENCE, batch=self.batch)

    def open(self, model: bytes) -> Callable[[], float]:
        """A session, its inputs made."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Errors only: warnings of each graph would bury the progress of a build.
        options.log_severity_level = 3
        # An empty call has nothing to quantise.
        if self.dtype == "int8" and model != empty_graph():
            model = quantized(model)
        session = onnxruntime.InferenceSession(model, options, providers=[self.provider])
        feed = self._random_inputs(session)
        names = [output.name for output in session.get_outputs()]
        clock = time.thread_time_ns if self._cpu_clock else time.perf_counter_ns

        def once() -> float:
            start = clock()
            session.run(names, feed)
            return (clock() - start) / 1e6

        return once

    def _random_inputs(self, session: Any) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        inputs = {}
        for value in session.get_inputs():
            sizes = [size if isinstance(size, int) else self.batch for size in value.shape]
            inputs[value.name] = rng.normal(size=sizes).astype(np.float32)
        return inputs

    def conditions(self) -> dict[str, object]:
        """Runtime and version, dtype, threads, batch, CPU."""
        import onnxruntime

        return {
            "runtime": f"onnxruntime {onnxruntime.__version__}, {self.provider}",
            "dtype": DTYPES[self.dtype],
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


def runner_for(
    conditions: Mapping[str, object], *, command: str | None = None, threads: int | None = None
) -> "Runner":
    """The runner that times what a table's rows may be held against.

    ``command`` reaches the table's device; without one, it is onnxruntime here, `as_built`.
    """
    if command:
        return Command(command)
    return as_built(conditions, threads=threads)


def as_built(conditions: Mapping[str, object], *, threads: int | None = None) -> OnnxRuntime:
    """Time in onnxruntime here, under a table's conditions; ``threads`` overrides theirs."""
    # A table says "onnxruntime 1.20, CPUExecutionProvider"; one of another runtime names none.
    provider = str(conditions.get("runtime", "")).rpartition(", ")[2]
    if provider.endswith("ExecutionProvider"):
        provider = provider.removesuffix("ExecutionProvider")
    else:
        provider = "cpu"
    int8 = str(conditions.get("dtype")).startswith("int8")
    return OnnxRuntime(
        threads or _count(conditions, "threads"),
        provider=provider,
        dtype="int8" if int8 else "float32",
        batch=_count(conditions, "batch"),
    )


def batch_of(runner: "Runner") -> int:
    """Images at a time; 1 if the runner does not say."""
    return _count(runner.conditions(), "batch")


def _count(conditions: Mapping[str, object], name: str) -> int:
    stated = conditions.get(name, 1)
    return stated if isinstance(stated, int) else 1


class Command:
    """A command with ``{model}`` where the ONNX file's path goes.

    Its last output line must end in milliseconds. If it can tell energy, that line is
    ``MILLISECONDS ms MILLIJOULES mJ``. One run of the
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

    def aside(self) -> tuple[None, None]:
        """Nothing: a command's overhead, and how quiet its machine is, are its own affair."""
        return None, None

    def open(self, model: bytes) -> Callable[[], float]:
        """The graph as a file, and the command on it."""
        path = self._folder / f"{self._files}.onnx"
        self._files += 1
        path.write_bytes(model)
        # Split before the path goes in: it may hold blanks.
        words = [word.replace("{model}", str(path)) for word in shlex.split(self.command)]

        def once(owner: "Command" = self) -> float:
            # The folder is removed with its owner, which must outlive this function.
            return _printed_ms(words)

        return once

    def conditions(self) -> dict[str, object]:
        """The command; what it runs on is the user's to say."""
        return {
            "runtime": self.command,
            "dtype": "float32",
            "threads": "not stated",
            "batch": 1,
            "hardware": self.hardware,
        }


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
    last = lines[-1] if lines else ""
    reading = _reading(last)
    if reading is None:
        raise TableError(
            f"the runner's last line must end in milliseconds above 0, not '{last[:80]}'"
        )
    return reading


def _reading(line: str) -> Reading | None:
    """``12.3``, ``mean 12.3 ms`` or ``12.3 ms 45.6 mJ``.

    None if a number is missing or not above 0.
    """
    words = line.replace("ms", " ms ").replace("mJ", " mJ ").split()
    energy_mj = None
    if words[-1:] == ["mJ"]:
        energy_mj = _last_number(words[:-1])
        words = words[:-2]
        if not energy_mj > 0:
            return None
    if words[-1:] == ["ms"]:
        words.pop()
    milliseconds = _last_number(words)
    if not milliseconds > 0:
        return None
    reading = Reading(milliseconds)
    reading.energy_mj = energy_mj
    return reading


def _last_number(words: list[str]) -> float:
    """0 if the last word is no number."""
    if words and _NUMBER.match(words[-1]):
        return float(words[-1])
    return 0.0


def cpu_model() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            # x86 writes "model name", ARM the others.
            if line.startswith(("model name", "Hardware", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep this process, and threads it starts inside, on ``threads`` cores.

    They are the last ones, as interrupts like the first.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
