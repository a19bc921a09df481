"""What is odd about a search space, and what it can reach: for its author, and before a long search.

A warning is something the author should know: options that cannot be told apart, a choice without
effect, layers that need a dangerous amount of memory. An error is something that will break a run.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.cost.compiled import Compiled
from nas.cost.costs import space_costs
from nas.errors import NasError, TableError
from nas.latency.table import Table
from nas.ops import op_from_json, op_to_json
from nas.space import SearchSpace, Step
from nas.trial import Genes

__all__ = ["Coverage", "Finding", "Range", "Report", "lint"]

# For one image in one layer. A batch of 64 then takes 4 GiB, and training several times that.
DANGEROUS_BYTES = 64 << 20


@dataclass(frozen=True)
class Finding:
    """One remark: what kind, where in the space, and in words."""

    severity: Literal["error", "warning", "note"]
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.text}"


@dataclass(frozen=True)
class Range:
    """The exact least and greatest value of a cost over the space, and genes that reach them."""

    least: float
    greatest: float
    least_genes: Genes
    greatest_genes: Genes


@dataclass(frozen=True)
class Coverage:
    """How a table knows the distinct layers of the space: how many measured, summed from kernels, predicted."""

    measured: int
    summed: int
    predicted: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that `lint` found. ``ranges`` are by cost metric, ``coverage`` by device."""

    space: str
    paper: str
    gene_tuples: int
    distinct: int
    layers: int
    ranges: Mapping[str, Range]
    coverage: Mapping[str, Coverage]
    exportable: bool
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings are allowed."""
        return all(f.severity != "error" for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "space": self.space,
            "paper": self.paper,
            "gene_tuples": self.gene_tuples,
            "distinct_networks": self.distinct,
            "layers": self.layers,
            "ranges": {name: [found.least, found.greatest] for name, found in self.ranges.items()},
            "coverage": {name: vars(found) for name, found in self.coverage.items()},
            "exportable": self.exportable,
            "findings": [vars(found) for found in self.findings],
            "ok": self.ok,
        }


def lint(space: SearchSpace, tables: Sequence[Table] = ()) -> Report:
    """Look at the whole space, option by option; takes seconds. What cannot be priced is reported, not raised."""
    layers = space.layers
    priced, refused = [], []
    coverage = {}
    for table in tables:
        try:
            coverage[table.name] = _coverage(table, layers)
            priced.append(table)
        except TableError as error:
            refused.append(Finding("error", f"device {table.name}", str(error)))
    costs = space_costs(space, priced)
    unreadable = list(_unreadable(layers))
    findings = (*refused, *unreadable, *_end(space), *_choices(space), *_memory(space, costs))
    return Report(
        space=space.name,
        paper=space.paper,
        gene_tuples=space.cardinality,
        distinct=space.distinct,
        layers=len(layers),
        ranges={name: _range(costs, name) for name in costs.names},
        coverage=coverage,
        exportable=not unreadable,
        findings=findings,
    )


def _range(costs: Compiled, name: str) -> Range:
    least, least_genes = costs.extreme(name)
    greatest, greatest_genes = costs.extreme(name, largest=True)
    return Range(least, greatest, least_genes, greatest_genes)


def _coverage(table: Table, layers: Sequence[Layer]) -> Coverage:
    """A layer that mixes sources counts as the least certain of them."""
    counts = {"measured": 0, "summed": 0, "predicted": 0}
    for layer in layers:
        found = table.layer(layer)
        counts[
            "predicted" if found.predicted_ms else "summed" if found.summed_ms else "measured"
        ] += 1
    return Coverage(**counts)


def _unreadable(layers: Sequence[Layer]) -> Iterator[Finding]:
    """Ops whose networks could not be saved and read back."""
    for op in dict.fromkeys(layer.op for layer in layers):
        try:
            same = op_from_json(op_to_json(op)) == op
        except NasError as error:
            yield Finding("error", f"op {op.key}", f"cannot be read from its JSON form: {error}")
            continue
        except (KeyError, TypeError):
            same = False
        if not same:
            yield Finding("error", f"op {op.key}", f"{op} changes in its JSON form")


def _end(space: SearchSpace) -> Iterator[Finding]:
    """Every network must hand over one row of logits."""
    last = space.chain[-1]
    outs = {
        word[-1].out_shape if word else state
        for state, row in zip(last.states, last.words, strict=True)
        for word in row
    }
    if len(outs) > 1 or next(iter(outs)).size != 1:
        yield Finding(
            "error",
            last.slot.name,
            f"networks must end in one vector of logits, not {sorted(map(str, outs))}",
        )


# -- choices --------------------------------------------------------------------------------------


def _choices(space: SearchSpace) -> Iterator[Finding]:
    for step in space.chain:
        if not step.slot.choices:
            continue
        words = _ids(step, lambda layer: (layer,))
        kernels = _ids(step, lambda layer: layer.kernels)
        for position, choice in enumerate(step.slot.choices):
            where = f"{step.slot.name}.{choice.name}"
            if len(choice) == 1:
                yield Finding("warning", where, "has a single option, so it is no choice")
                continue
            groups = _same(words, position + 1)
            if len(groups) == 1:
                yield Finding("warning", where, "has no effect: all options give the same layers")
                continue
            for group in groups:
                if len(group) > 1:
                    yield Finding(
                        "warning",
                        where,
                        f"options {_named(choice.labels, group)} give the same layers",
                    )
            if len(_same(kernels, position + 1)) < len(groups):
                alike = [g for g in _same(kernels, position + 1) if len(g) > 1 and g not in groups]
                for group in alike:
                    text = f"options {_named(choice.labels, group)} run the same kernels, with other settings"
                    yield Finding("note", where, text)
        repeated = words[0].size - len(np.unique(words[0]))
        if repeated:
            yield Finding(
                "note",
                step.slot.name,
                f"{repeated} of {words[0].size} combinations repeat another one",
            )


def _ids(step: Step, parts: Callable[[Layer], tuple[Hashable, ...]]) -> NDArray[np.int64]:
    """(states, options of the first choice, of the second, ...): equal numbers where the layers' parts are equal."""
    numbers: dict[Hashable, int] = {}

    @cache  # a layer occurs in thousands of words, and its parts are slow to hash
    def numbered(layer: Layer) -> tuple[int, ...]:
        return tuple(numbers.setdefault(part, len(numbers)) for part in parts(layer))

    known: dict[tuple[int, ...], int] = {}
    words = [
        [tuple(n for layer in word for n in numbered(layer)) for word in row] for row in step.words
    ]
    ids = [[known.setdefault(word, len(known)) for word in row] for row in words]
    return np.array(ids).reshape(len(ids), *map(len, step.slot.choices))


def _same(ids: NDArray[np.int64], axis: int) -> list[tuple[int, ...]]:
    """Options along an axis, grouped where nothing tells them apart, whatever the other options and the state."""
    groups: dict[bytes, list[int]] = {}
    for option in range(ids.shape[axis]):
        groups.setdefault(np.ascontiguousarray(ids.take(option, axis)).tobytes(), []).append(option)
    return [tuple(group) for group in groups.values()]


def _named(labels: Sequence[str], group: Sequence[int]) -> str:
    return " and ".join(labels[option] for option in group)


# -- memory ---------------------------------------------------------------------------------------


def _memory(space: SearchSpace, costs: Compiled) -> Iterator[Finding]:
    column = costs.column("peak_memory_bytes")
    for slot, step in enumerate(space.chain):
        peaks = costs.values[slot][:, :, column]
        heavy = peaks > DANGEROUS_BYTES
        if not heavy.any():
            continue
        state, option = map(int, np.unravel_index(peaks.argmax(), peaks.shape))
        worst = max(step.words[state][option], key=lambda layer: layer.peak_bytes)
        text = (
            f"{heavy.any(axis=0).sum()} of {peaks.shape[1]} combinations need over {DANGEROUS_BYTES >> 20} MiB in one "
            f"layer for one image; the most, {peaks.max() / (1 << 20):.0f} MiB, takes {worst}"
        )
        yield Finding("warning", step.slot.name, text)
