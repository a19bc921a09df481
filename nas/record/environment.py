"""The machine and the versions that a run was made with."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

__all__ = ["Environment", "changes", "here"]

# Those that a proposal or a score may depend on.
PACKAGES = ("nas-toolkit", "numpy", "optuna", "torch")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What bits may depend on beside a run's identity; a resume may differ in it."""

    OPEN: ClassVar[bool] = True

    python: str | None = None
    platform: str | None = None
    packages: Mapping[str, str | None]
    """Their versions; None for one that is not installed."""
    cpu: str | None = None
    """The processor's name."""
    cores: int | None = None
    """Cores that the process may use."""
    omp_num_threads: str | None = None
    """The environment's ``OMP_NUM_THREADS``."""

    def named(self) -> dict[str, str | int | None]:
        """Every figure by its name, a package's version by the package's."""
        plain = [field.name for field in fields(self) if field.name != "packages"]
        return {**{name: getattr(self, name) for name in plain}, **self.packages}


def here() -> Environment:
    """The environment of this process. No package is imported for its version."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: _version(name) for name in PACKAGES},
        cpu=_cpu_name(),
        cores=_usable_cores(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def changes(recorded: Environment) -> list[str]:
    """A phrase for each thing that differs here from where a run was made.

    Equal results are promised only if there is none.
    """
    there, now = recorded.named(), here().named()
    return [
        f"{name} was {there.get(name)} and is {value}"
        for name, value in now.items()
        if there.get(name) != value
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _usable_cores() -> int | None:
    # A container or taskset may grant fewer than the machine has. macOS does not tell.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_name() -> str:
    try:
        # On Linux `platform.processor` knows the architecture at best.
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return ""
