"""A run's ``run.json``: all that its result depends on, and where and how it was made."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from nas.cost.confidence import Margin
from nas.domain import Domain
from nas.errors import RunError
from nas.files import UNREADABLE, one_line, read_json, through_json, write_json
from nas.objectives import Objectives, reference
from nas.space import SearchSpace
from nas.statistics import rng

__all__ = [
    "check_same",
    "environment",
    "environment_changes",
    "identity",
    "read_capsule",
    "space_digest",
    "write_capsule",
]

FORMAT = 1
FILE = "run.json"
LARGEST_FILE_BYTES = 16 << 20
PACKAGES = ("nas-toolkit", "numpy", "optuna", "torch")
SAMPLED_NETWORKS = 8


def identity(
    domain: Domain,
    objectives: Objectives,
    *,
    strategy: str,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    tables: Mapping[str, str] | None = None,
    data: Mapping[str, Any] | None = None,
    proxy: Mapping[str, Any] | None = None,
    margins: Mapping[str, Margin] | None = None,
) -> dict[str, Any]:
    """All that a run's result depends on, as plain JSON; a resume must ask for the same.

    ``settings`` are the strategy's, ``arguments`` the space's, ``tables`` digests by device,
    ``data`` name, digest and splits, ``proxy`` the settings of the short training, ``margins`` by
    device what a confidence adds.
    """
    space = domain.space
    found = {
        "space": {
            "name": space.name,
            "arguments": dict(arguments or {}),
            "digest": space_digest(space),
        },
        "tables": dict(tables or {}),
        "data": dict(data or {}),
        "proxy": dict(proxy or {}),
        "objectives": objectives.to_json(),
        "bounds": {
            bound.metric: [_number(bound.lower), _number(bound.upper)] for bound in domain.bounds
        },
        "reference": reference(objectives, domain),
        "strategy": {"name": strategy, "settings": dict(settings or {})},
        "seed": seed,
    }
    if margins:
        found["margins"] = {device: margin.to_json() for device, margin in margins.items()}
    plain: dict[str, Any] = through_json(found)
    return plain


def _number(bound: float) -> float | None:
    return bound if np.isfinite(bound) else None


def space_digest(space: SearchSpace) -> str:
    """Names the space by its genes and by networks at its corners and inside: 20 hex digits."""
    first, last = [0] * len(space.gene_sizes), [size - 1 for size in space.gene_sizes]
    draw = rng(0, "space_digest", 0)
    inner = [
        [int(draw.integers(size)) for size in space.gene_sizes] for _ in range(SAMPLED_NETWORKS)
    ]
    networks = [space.decode(genes).digest for genes in (first, last, *inner)]
    text = json.dumps([space.gene_names, space.gene_sizes, networks])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def environment() -> dict[str, Any]:
    """Versions and machine, with no package imported for it."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def environment_changes(capsule: Mapping[str, Any]) -> list[str]:
    """What differs here from where the run was made, a phrase each: equal results are promised only where nothing does."""
    there, here = _flat(capsule["environment"]), _flat(environment())
    return [
        f"{name} was {there.get(name)} and is {here[name]}"
        for name in here
        if there.get(name) != here[name]
    ]


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: value for name, value in found.items() if name != "packages"},
        **found["packages"],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), ""
    )


def write_capsule(
    folder: Path,
    asked: Mapping[str, Any],
    command: Sequence[str],
    settings: Mapping[str, Any],
    extra: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Write ``run.json``. ``settings`` are what was asked for, ``extra`` joins the environment: threads, accelerator.

    ``metadata``: `nas.metadata.Metadata` of the run's networks, as JSON.
    """
    capsule = {
        "format": FORMAT,
        "command": list(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "notes": dict(metadata),
        "identity": asked,
        "environment": {**environment(), **extra},
    }
    write_json(folder / FILE, capsule)


def read_capsule(folder: Path) -> dict[str, Any]:
    """The run's ``run.json``. A folder without one, or with one that is not ours, raises `RunError`."""
    path = folder / FILE
    try:
        capsule = read_json(path, LARGEST_FILE_BYTES, "not a run")
    except FileNotFoundError:
        raise RunError(f"no run in folder '{folder}': it has no {FILE}") from None
    except UNREADABLE as error:
        raise RunError(f"cannot read {path}: {one_line(error)}") from None
    if (
        not isinstance(capsule, dict)
        or capsule.get("format") != FORMAT
        or "identity" not in capsule
    ):
        raise RunError(f"{path} is not a run of format {FORMAT}")
    wrong = _first_wrong(capsule, SHAPE, "")
    if wrong:
        raise RunError(f"{path} was edited, or is of another version: {wrong}")
    return capsule


# What run.json must look like: a type or several, a mapping of names, a list of one form, or any
# keys with one form.
NUMBER = (int, float)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
SHAPE: Mapping[str, Any] = {
    "format": int,
    "command": [str],
    "started": str,
    "settings": dict,
    "identity": {
        "space": {"name": str, "arguments": {"?spec": str, "?resolution": (int, type(None)), "?classes": int, "?in_channels": int},
                  "digest": str},
        "tables": {NAME: str},
        "data": {"?name": str, "?digest": str},
        "proxy": {str: (str, *NUMBER), "?threads": int},
        "objectives": {"each": [[str]], "reward": (dict, type(None))},
        "bounds": {str: [(*NUMBER, type(None))]},
        "reference": [NUMBER],
        "strategy": {"name": str, "settings": dict},
        "seed": int,
    },
    "environment": {"packages": {str: (str, type(None))}},
}  # fmt: skip


def _first_wrong(value: Any, form: Any, name: str) -> str:
    """Where a value has not the form it must have, in words; empty if it has."""
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{name} must be a list, not {_short(value)}"
        return next(
            (
                wrong
                for i, v in enumerate(value)
                if (wrong := _first_wrong(v, form[0], f"{name}[{i}]"))
            ),
            "",
        )
    if isinstance(form, Mapping):
        return _first_wrong_key(value, form, name)
    kinds = form if isinstance(form, tuple) else (form,)
    fits = isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)
    named = " or ".join(kind.__name__ for kind in kinds)
    return "" if fits else f"{name} must be {named}, not {_short(value)}"


def _first_wrong_key(value: Any, form: Mapping[Any, Any], name: str) -> str:
    if not isinstance(value, dict):
        return f"{name} must be an object, not {_short(value)}"
    for key, part in form.items():
        inner = f"{name}.{key}".lstrip(".")
        if isinstance(key, str) and key.startswith("?"):
            wrong = (
                _first_wrong(value[key[1:]], part, inner.replace("?", ""))
                if key[1:] in value
                else ""
            )
        elif isinstance(key, str):
            wrong = _first_wrong(value[key], part, inner) if key in value else f"{inner} is missing"
        else:
            wrong = next((w for k, v in value.items() if (w := _entry(k, v, key, part, name))), "")
        if wrong:
            return wrong
    return ""


def _entry(key: str, value: Any, wanted: Any, form: Any, name: str) -> str:
    if isinstance(wanted, re.Pattern) and not wanted.fullmatch(key):
        return f"{name} has the name {_short(key)}, which is none of ours"
    return _first_wrong(value, form, f"{name}.{key[:40]}")


def check_same(folder: Path, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse, naming the first difference, to go on with a run under other conditions."""
    found = _difference(recorded, asked)
    if found is not None:
        name, there, here = found
        part = name.split(".")[0]
        raise RunError(
            f"'{folder}' was begun with another {part}: {name} is {there} there and {here} here. "
            f"Go on with the same {part}, or begin anew with another --out"
        )


def _difference(there: Any, here: Any, name: str = "") -> tuple[str, str, str] | None:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        if name == "data" and "digest" in there and there["digest"] == here.get("digest"):
            there, here = (
                dict(there) | {"name": ""},
                dict(here) | {"name": ""},
            )  # the same images in another folder
        for key in [*there, *(key for key in here if key not in there)]:
            found = _difference(
                there.get(key), here.get(key), f"{name}.{key}" if name else str(key)
            )
            if found is not None:
                return found
        return None
    return None if there == here else (name, _short(there), _short(here))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
