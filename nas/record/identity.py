"""What a run's result depends on; a resume must ask for the same."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypedDict

import numpy as np

from nas.cost.confidence import Margin
from nas.cost.costs import PEAK_MEMORY_VERSION
from nas.domain import Bound, Domain
from nas.errors import RunError
from nas.files import through_json
from nas.objectives import Objectives, reference
from nas.reading import LEFT_OUT, from_json, short, to_json
from nas.size import Size
from nas.space import SearchSpace
from nas.strategies._warm import Start
from nas.strategies.base import Strategy, rng

__all__ = [
    "Identity",
    "SpaceArguments",
    "SpaceIdentity",
    "StrategyIdentity",
    "check_same",
    "device_change",
    "identity",
    "limits_text",
    "space_digest",
    "version_changes",
    "versions",
]

SAMPLED_NETWORKS = 8
PEAK_MEMORY = "peak_memory_bytes"
TOLD = ("proxy.device", "recipe.device")
"""What may differ where a run or a training goes on: it is told, and equal bits are not promised.
"""

FileName = Annotated[str, re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")]
"""A device's name, which is that of its files in the run's folder."""


class SpaceArguments(TypedDict, total=False):
    """What the search space was built from; a space made in Python has none."""

    spec: str
    """Its name or its file."""
    resolution: Size | tuple[Size, ...] | None
    """Several, ascending, are a choice of the space's."""
    classes: int | None
    in_channels: int | None


@dataclass(frozen=True, kw_only=True)
class SpaceIdentity:
    """The search space."""

    name: str
    arguments: SpaceArguments
    digest: str
    """`space_digest` of it."""


@dataclass(frozen=True, kw_only=True)
class StrategyIdentity:
    """The strategy."""

    name: str
    """With its settings, as on the command line."""
    settings: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All that a run's result depends on. Its JSON has the fields in this order."""

    space: SpaceIdentity
    tables: Mapping[FileName, str]
    """Digests of the latency tables, by device."""
    data: Mapping[str, object]
    """The evaluator's `nas.study.evaluator.Evaluator.describe_data`."""
    proxy: Mapping[str, object]
    """The evaluator's `nas.study.evaluator.Evaluator.describe_training`."""
    objectives: Objectives
    bounds: Mapping[str, tuple[float | None, float | None]]
    """Lower and upper end by metric; None for an open end."""
    reference: tuple[float, ...]
    """The hypervolume's reference, a loss per objective; empty if there is none."""
    strategy: StrategyIdentity
    seed: int
    # Left out if empty, as in runs from before there was a confidence.
    margins: Mapping[str, Margin] = field(default_factory=dict, metadata=LEFT_OUT)
    """What a confidence adds to a latency, by device; empty without one."""
    # Left out if empty, as in runs from before there was a warm start.
    warm: tuple[Start, ...] = field(default=(), metadata=LEFT_OUT)
    """The networks proposed before any of the strategy's."""
    # Left out if empty, as in runs from before there were any.
    limits: Mapping[str, tuple[float | None, float | None]] = field(
        default_factory=dict, metadata=LEFT_OUT
    )
    """The least and the largest value allowed of metrics that are measured; None for an open end.
    """
    # Left out if empty, as in runs from before any of them had a second version.
    versions: Mapping[str, int] = field(default_factory=dict, metadata=LEFT_OUT)
    """`versions` of the code that decides proposals and costs."""
    # Left out if empty, as in runs from before a search could learn from any.
    earlier: str = field(default="", metadata=LEFT_OUT)
    """Digest of the earlier trainings that the strategy learns from; empty without any."""

    def __post_init__(self) -> None:
        _ = self.threads  # raises for what is no number

    @property
    def threads(self) -> int:
        """Threads of an evaluation."""
        threads = self.proxy.get("threads", 1)
        if type(threads) is not int:
            raise RunError(f"proxy.threads must be int, not {short(threads)}")
        return threads

    @property
    def title(self) -> str:
        """One line: space, devices, data, strategy."""
        named = str(self.data.get("name", ""))
        return "  ·  ".join(
            filter(None, (self.space.name, *self.tables, named, self.strategy.name))
        )

    @property
    def domain_bounds(self) -> list[Bound]:
        """The bounds as a `Domain` takes them."""
        return [
            Bound(
                metric,
                upper=np.inf if upper is None else upper,
                lower=-np.inf if lower is None else lower,
            )
            for metric, (lower, upper) in self.bounds.items()
        ]


def versions(domain: Domain, strategy: Strategy) -> dict[str, int]:
    """Of the code that decides proposals and costs, what is not the first version, by its name."""
    every = {"draws": domain.draws_version, "strategy": strategy.draws_version}
    if PEAK_MEMORY in domain.compiled.names:
        every[PEAK_MEMORY] = PEAK_MEMORY_VERSION
    return {name: number for name, number in every.items() if number > 1}


def identity(
    domain: Domain,
    objectives: Objectives,
    *,
    strategy: str,
    seed: int,
    settings: Mapping[str, object] | None = None,
    arguments: SpaceArguments | None = None,
    tables: Mapping[str, str] | None = None,
    data: Mapping[str, object] | None = None,
    proxy: Mapping[str, object] | None = None,
    margins: Mapping[str, Margin] | None = None,
    warm: Sequence[Start] = (),
    limits: Mapping[str, tuple[float | None, float | None]] | None = None,
    versions: Mapping[str, int] | None = None,
    earlier: str = "",
) -> Identity:
    """The identity of a run over a domain, as a reader of its ``run.json`` gets it.

    ``settings`` are the strategy's, ``arguments`` the space's; the others: see `Identity`.
    """
    space = domain.space
    document = {
        "space": {
            "name": space.name,
            "arguments": arguments or {},
            "digest": space_digest(space),
        },
        "tables": tables or {},
        "data": data or {},
        "proxy": proxy or {},
        "objectives": objectives,
        "bounds": {bound.metric: (_end(bound.lower), _end(bound.upper)) for bound in domain.bounds},
        "reference": reference(objectives, domain),
        "strategy": {"name": strategy, "settings": settings or {}},
        "seed": seed,
        "margins": margins or {},
        "warm": tuple(warm),
        "limits": limits or {},
        "versions": versions or {},
        "earlier": earlier,
    }
    return from_json(Identity, through_json(to_json(document)))


def limits_text(limits: Mapping[str, tuple[float | None, float | None]]) -> str:
    """``recall >= 0.9, rmse <= 2``."""
    parts = []
    for name, (least, most) in limits.items():
        if least is not None:
            parts.append(f"{name} >= {least:g}")
        if most is not None:
            parts.append(f"{name} <= {most:g}")
    return ", ".join(parts)


def _end(bound: float) -> float | None:
    # JSON has no infinity.
    return bound if np.isfinite(bound) else None


def space_digest(space: SearchSpace) -> str:
    """Names the space by its genes and by networks at its corners and inside: 20 hex digits."""
    sizes = space.gene_sizes
    # A sample, always the same one: most spaces are too large to be listed.
    samples = [[0] * len(sizes), [size - 1 for size in sizes]]
    draw = rng(0, "space_digest", 0)
    for _ in range(SAMPLED_NETWORKS):
        samples.append([int(draw.integers(size)) for size in sizes])
    networks = [space.decode(genes).digest for genes in samples]
    text = json.dumps([space.gene_names, sizes, networks])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def check_same(folder: Path, recorded: Mapping[str, object], asked: Mapping[str, object]) -> None:
    """Refuse, naming the first difference, to go on with a run under other conditions.

    ``recorded`` and ``asked`` are plain JSON. Raises `RunError`.
    """
    for change in version_changes(_versions(recorded), _versions(asked)).values():
        raise RunError(
            f"'{folder}' cannot go on: {change}. Begin anew with another --out; "
            "its front can still be read"
        )
    difference = _difference(recorded, asked)
    if difference is None:
        return
    name, there, here = difference
    part = name.split(".")[0]
    raise RunError(
        f"'{folder}' was begun with another {part}: {name} is {short(there)} there and "
        f"{short(here)} here. Go on with the same {part}, or begin anew with another --out"
    )


def device_change(recorded: Mapping[str, object], asked: Mapping[str, object]) -> str:
    """What is told where a training goes on elsewhere; empty on the same kind of device.

    Both are the descriptions of a training, with the kind as ``device``.
    """
    there, here = recorded.get("device"), asked.get("device")
    if there == here or there is None or here is None:
        return ""
    return f"it was begun on {there} and goes on on {here}: bits may differ"


def version_changes(recorded: Mapping[str, int], now: Mapping[str, int]) -> dict[str, str]:
    """By name, a phrase for each version in which a run differs from the code that is here."""
    changes = {}
    for name in sorted({*recorded, *now}):
        there, here = recorded.get(name, 1), now.get(name, 1)
        if there != here:
            changes[name] = f"it was made with version {there} of its {name}, and this is {here}"
    return changes


def _versions(document: Mapping[str, object]) -> Mapping[str, int]:
    found = document.get("versions", {})
    return found if isinstance(found, Mapping) else {}


def _difference(there: object, here: object, name: str = "") -> tuple[str, object, object] | None:
    """The name of the first part that differs, with both values; None if there is none."""
    if name in TOLD:
        return None
    if not isinstance(there, Mapping) or not isinstance(here, Mapping):
        return None if there == here else (name, there, here)
    if name == "data" and there.get("digest") is not None:
        there, here = _without_place(there, here)
    # A dictionary, not a set: the first difference is the same in every process.
    for key in {**there, **here}:
        inner = f"{name}.{key}" if name else str(key)
        difference = _difference(there.get(key), here.get(key), inner)
        if difference is not None:
            return difference
    return None


def _without_place(
    there: Mapping[str, object], here: Mapping[str, object]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Data without its name if it holds the same images: they may lie in another folder."""
    if there["digest"] != here.get("digest"):
        return there, here
    return {**there, "name": ""}, {**here, "name": ""}
