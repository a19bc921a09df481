"""What is odd about a search space, and what it can reach.

A warning is something the space's author should know: options that cannot be told apart, a choice
without effect, layers that need a dangerous amount of memory. An error will break a run.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.cost.compiled import Compiled
from nas.cost.costs import space_costs
from nas.errors import NasError, TableError
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.ops import op_from_json, op_to_json
from nas.space import Choice, SearchSpace, Step
from nas.trial import Genes

__all__ = ["Coverage", "Finding", "Range", "Report", "lint"]

# For one image in one layer. A batch of 64 then takes 4 GiB, and training several times that.
DANGEROUS_BYTES = 64 << 20


Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One remark: what kind, where in the space, and in words."""

    severity: Severity
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
    """How many of the space's distinct layers a table knows in which way."""

    measured: int
    """By a row of the layer itself."""
    summed: int
    """By rows of all its kernels."""
    predicted: int
    """Interpolated between rows, or by the device model, in full or in part."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that `lint` has to say of a space."""

    space: str
    paper: str
    gene_tuples: int
    distinct: int
    """Number of different networks."""
    layers: int
    """Number of different layers."""
    ranges: Mapping[str, Range]
    """By cost metric."""
    coverage: Mapping[str, Coverage]
    """By device."""
    exportable: bool
    """Whether every op can be read back from its JSON form."""
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings are allowed."""
        return not self.of("error")

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.severity == severity]

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        return {
            "space": self.space,
            "paper": self.paper,
            "gene_tuples": self.gene_tuples,
            "distinct_networks": self.distinct,
            "layers": self.layers,
            "ranges": {
                name: [extent.least, extent.greatest] for name, extent in self.ranges.items()
            },
            "coverage": {name: vars(layers) for name, layers in self.coverage.items()},
            "exportable": self.exportable,
            "findings": [vars(finding) for finding in self.findings],
            "ok": self.ok,
        }


def lint(space: SearchSpace, tables: Sequence[Table] = (), *, must_price: bool = True) -> Report:
    """Look at the whole space, option by option; takes seconds.

    A table that cannot price the space is reported, not raised: an error each, or one note for all
    where ``must_price`` is False, since a space need not fit every device there is.
    """
    priced = []
    refused: dict[str, TableError] = {}
    coverage = {}
    for table in tables:
        try:
            coverage[table.name] = _coverage(table, space.layers)
            priced.append(table)
        except TableError as error:
            refused[table.name] = error
    costs = space_costs(space, priced)
    unreadable = list(_unreadable(space.layers))
    unpriced = _unpriced(refused) if must_price else _elsewhere(refused)
    findings = (*unpriced, *unreadable, *_end(space), *_choices(space), *_memory(space, costs))
    return Report(
        space=space.name,
        paper=space.paper,
        gene_tuples=space.cardinality,
        distinct=space.distinct,
        layers=len(space.layers),
        ranges={name: _range(costs, name) for name in costs.names},
        coverage=coverage,
        exportable=not unreadable,
        findings=findings,
    )


def _unpriced(refused: Mapping[str, TableError]) -> Iterator[Finding]:
    """By device, why it cannot price the space."""
    for name, error in refused.items():
        yield Finding("error", f"device {name}", str(error))


def _elsewhere(refused: Mapping[str, TableError]) -> Iterator[Finding]:
    """The devices that cannot price the space, in one remark."""
    if refused:
        text = "cannot price this space; --device NAME says why"
        yield Finding("note", f"devices {', '.join(refused)}", text)


def _range(costs: Compiled, name: str) -> Range:
    least, least_genes = costs.extreme(name)
    greatest, greatest_genes = costs.extreme(name, largest=True)
    return Range(least, greatest, least_genes, greatest_genes)


def _coverage(table: Table, layers: Sequence[Layer]) -> Coverage:
    """A layer that mixes sources counts as the least certain of them."""
    counts = {"measured": 0, "summed": 0, "predicted": 0}
    for layer in layers:
        counts[_source(table.layer(layer))] += 1
    return Coverage(**counts)


def _source(estimate: Estimate) -> str:
    if estimate.predicted_ms:
        return "predicted"
    return "summed" if estimate.summed_ms else "measured"


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
    outs = set()
    for state, row in zip(last.states, last.words, strict=True):
        # A slot may make no layer: then it hands on what it was handed.
        outs |= {word[-1].out_shape if word else state for word in row}
    if len(outs) > 1 or next(iter(outs)).size != 1:
        shapes = sorted(map(str, outs))
        text = f"networks must end in one vector of logits, not {shapes}"
        yield Finding("error", last.slot.name, text)


# -- choices --------------------------------------------------------------------------------------

Ids = NDArray[np.int64]
"""(states, options of the first choice, of the second, ...): equal numbers for equal words."""
Group = tuple[int, ...]
"""Options of one choice that nothing tells apart."""


def _choices(space: SearchSpace) -> Iterator[Finding]:
    for step in space.chain:
        if not step.slot.choices:
            continue
        words = _ids(step, lambda layer: (layer,))
        kernels = _ids(step, lambda layer: layer.kernels)
        for position, choice in enumerate(step.slot.choices, 1):
            where = f"{step.slot.name}.{choice.name}"
            yield from _choice(where, choice, _alike(words, position), _alike(kernels, position))
        combinations = words[0].size
        repeated = combinations - len(np.unique(words[0]))
        if repeated:
            text = f"{repeated} of {combinations} combinations repeat another one"
            yield Finding("note", step.slot.name, text)


def _choice(
    where: str, choice: Choice, by_layers: list[Group], by_kernels: list[Group]
) -> Iterator[Finding]:
    """What is odd about one choice, whose options are grouped by layers and by kernels."""
    if len(choice) == 1:
        yield Finding("warning", where, "has a single option, so it is no choice")
        return
    if len(by_layers) == 1:
        yield Finding("warning", where, "has no effect: all options give the same layers")
        return
    for group in by_layers:
        if len(group) > 1:
            text = f"options {_named(choice.labels, group)} give the same layers"
            yield Finding("warning", where, text)
    if len(by_kernels) == len(by_layers):
        return
    for group in by_kernels:
        if len(group) > 1 and group not in by_layers:
            same = "run the same kernels, with other settings"
            yield Finding("note", where, f"options {_named(choice.labels, group)} {same}")


def _ids(step: Step, parts: Callable[[Layer], tuple[Hashable, ...]]) -> Ids:
    """Numbers for the words of a slot, equal for words whose layers have equal parts."""
    numbers: dict[Hashable, int] = {}

    # A layer occurs in thousands of words, and its parts are slow to hash.
    @cache
    def numbered(layer: Layer) -> tuple[int, ...]:
        return tuple(numbers.setdefault(part, len(numbers)) for part in parts(layer))

    known: dict[tuple[int, ...], int] = {}
    ids = []
    for row in step.words:
        words = [tuple(chain.from_iterable(map(numbered, word))) for word in row]
        ids.append([known.setdefault(word, len(known)) for word in words])
    return np.array(ids).reshape(len(ids), *map(len, step.slot.choices))


def _alike(ids: Ids, axis: int) -> list[Group]:
    """Options along an axis that nothing tells apart, whatever the other options and the state."""
    groups: dict[bytes, list[int]] = {}
    for option in range(ids.shape[axis]):
        # As bytes, whole arrays are keys of a dictionary: no two options are compared pairwise.
        outcome = np.ascontiguousarray(ids.take(option, axis)).tobytes()
        groups.setdefault(outcome, []).append(option)
    return [tuple(group) for group in groups.values()]


def _named(labels: Sequence[str], group: Group) -> str:
    return " and ".join(labels[option] for option in group)


# -- memory ---------------------------------------------------------------------------------------


def _memory(space: SearchSpace, costs: Compiled) -> Iterator[Finding]:
    column = costs.column("peak_memory_bytes")
    for values, step in zip(costs.values, space.chain, strict=True):
        peaks = values[:, :, column]
        # In whatever state: an author thinks of options, not of the shapes that reach them.
        heavy = (peaks > DANGEROUS_BYTES).any(axis=0)
        if not heavy.any():
            continue
        state, option = map(int, np.unravel_index(peaks.argmax(), peaks.shape))
        worst = max(step.words[state][option], key=lambda layer: layer.peak_bytes)
        text = (
            f"{heavy.sum()} of {heavy.size} combinations need over {DANGEROUS_BYTES >> 20} MiB "
            "in one layer for one image; "
            f"the most, {peaks.max() / (1 << 20):.0f} MiB, takes {worst}"
        )
        yield Finding("warning", step.slot.name, text)
