"""Two networks beside each other: which layers differ, and what the difference costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from nas.arch import Architecture, Layer, Stage
from nas.latency.table import Table
from nas.report.explain import latency_difference
from nas.units import text_table, uncertain

__all__ = ["Difference", "LayerPair", "difference"]


@dataclass(frozen=True, kw_only=True)
class LayerPair:
    """The layers that stand in one place of two networks; None where one has no layer."""

    stage: str
    first: Layer | None
    second: Layer | None

    @property
    def same(self) -> bool:
        """Whether both networks have that layer there."""
        return self.first == self.second


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What tells a second network from a first. Negative figures: the second has less."""

    names: tuple[str, str]
    networks: tuple[Architecture, Architecture]
    tables: tuple[Table, ...]
    pairs: tuple[LayerPair, ...]
    genes: Mapping[str, tuple[str, str]]
    """By gene, both labels where they differ; empty unless both are of one space."""

    @property
    def same(self) -> bool:
        """Whether both compute the same."""
        first, second = self.networks
        return first.digest == second.digest

    def to_json(self) -> dict[str, object]:
        """Plain JSON; ``layers`` holds those that differ."""
        first, second = self.networks
        return {
            "networks": [
                {"network": name, "digest": network.digest}
                for name, network in zip(self.names, self.networks, strict=True)
            ],
            "same": self.same,
            "params": second.params - first.params,
            "macs": second.macs - first.macs,
            "peak_memory_bytes": second.peak_memory_bytes - first.peak_memory_bytes,
            "devices": {table.name: self._latency_json(table) for table in self.tables},
            "genes": {gene: list(labels) for gene, labels in self.genes.items()},
            "layers": [self._pair_json(pair) for pair in self.pairs if not pair.same],
        }

    def _latency_json(self, table: Table) -> dict[str, object]:
        first, second = self.networks
        latency_ms, latency_sd_ms = latency_difference(first.layers, second.layers, table)
        return {
            "latencies_ms": [table.estimate(network).latency_ms for network in self.networks],
            "difference_ms": latency_ms,
            "difference_sd_ms": latency_sd_ms,
        }

    def _pair_json(self, pair: LayerPair) -> dict[str, object]:
        return {
            "stage": pair.stage,
            "layers": [
                None if layer is None else str(layer) for layer in (pair.first, pair.second)
            ],
            "difference_ms": {table.name: _more_ms(pair, table) for table in self.tables},
        }

    def text(self, *, every: bool = False) -> str:
        """For the terminal; ``every``: also the layers that both have."""
        parts = [self._totals_text()]
        if self.same:
            parts.append("both compute the same: equal digests")
        if self.genes:
            rows = [[gene, *labels] for gene, labels in self.genes.items()]
            parts.append(text_table(["gene", *self.names], rows))
        shown = [pair for pair in self.pairs if every or not pair.same]
        if shown:
            parts.append(self._layers_text(shown))
        equal = sum(pair.same for pair in self.pairs)
        if equal and not every and not self.same:
            parts.append(f"{equal} of {len(self.pairs)} layers are the same in both (--all)")
        return "\n\n".join(parts)

    def _totals_text(self) -> str:
        first, second = self.networks
        rows = [
            ["digest", first.digest, second.digest, ""],
            ["input", str(first.input), str(second.input), ""],
            ["layers", *_counts(len(first.layers), len(second.layers))],
            ["params (M)", *_millions(first.params, second.params)],
            ["macs (M)", *_millions(first.macs, second.macs)],
            ["peak memory (MB)", *_millions(first.peak_memory_bytes, second.peak_memory_bytes)],
        ]
        for table in self.tables:
            latencies = [table.estimate(network) for network in self.networks]
            more_ms, sd_ms = latency_difference(first.layers, second.layers, table)
            cells = [uncertain(each.latency_ms, each.latency_sd_ms) for each in latencies]
            rows.append([f"{table.name} ms", *cells, uncertain(more_ms, sd_ms, signed=True)])
        return text_table(["", *self.names, "difference"], rows)

    def _layers_text(self, pairs: Sequence[LayerPair]) -> str:
        header = ["stage", *self.names, *(f"{table.name} ms" for table in self.tables)]
        rows = []
        for pair in pairs:
            cells = [pair.stage, _layer_text(pair.first), _layer_text(pair.second)]
            cells += [f"{_more_ms(pair, table):+.3f}" for table in self.tables]
            rows.append(cells)
        return text_table(header, rows)


def difference(
    names: tuple[str, str],
    first: Architecture,
    second: Architecture,
    tables: Sequence[Table],
    genes: Mapping[str, tuple[str, str]],
) -> Difference:
    """Both networks, stage by stage and layer by layer."""
    return Difference(
        names=names,
        networks=(first, second),
        tables=tuple(tables),
        pairs=tuple(_pairs(first, second)),
        genes=genes,
    )


def _pairs(first: Architecture, second: Architecture) -> Iterator[LayerPair]:
    for stage, ours, theirs in _stages(first, second):
        for layer, other in zip_longest(ours, theirs):
            yield LayerPair(stage=stage, first=layer, second=other)


Part = tuple[str, tuple[Layer, ...], tuple[Layer, ...]]


def _stages(first: Architecture, second: Architecture) -> list[Part]:
    """Stages with the layers of both: by name, or by place.

    By name where all names of one are the other's. A network may lack a stage of its space; its
    other stages then keep their names.
    """
    ours, theirs = first.layers_by_stage, second.layers_by_stage
    names = [stage.name for stage, _ in ours]
    others = [stage.name for stage, _ in theirs]
    if set(names) <= set(others):
        mine = dict(zip(names, (layers for _, layers in ours), strict=True))
        return [(stage.name, mine.get(stage.name, ()), layers) for stage, layers in theirs]
    if set(others) <= set(names):
        yours = dict(zip(others, (layers for _, layers in theirs), strict=True))
        return [(stage.name, layers, yours.get(stage.name, ())) for stage, layers in ours]
    none: tuple[Stage, tuple[Layer, ...]] = (Stage("", ()), ())
    parts = []
    for mine_at, yours_at in zip_longest(ours, theirs, fillvalue=none):
        both = (mine_at[0].name, yours_at[0].name)
        label = " / ".join(dict.fromkeys(filter(None, both)))
        parts.append((label, mine_at[1], yours_at[1]))
    return parts


def _more_ms(pair: LayerPair, table: Table) -> float:
    first, second = (
        0.0 if layer is None else table.layer(layer).latency_ms
        for layer in (pair.first, pair.second)
    )
    return second - first


def _layer_text(layer: Layer | None) -> str:
    return "-" if layer is None else str(layer)


def _counts(first: int, second: int) -> list[str]:
    return [f"{first}", f"{second}", f"{second - first:+}"]


def _millions(first: int, second: int) -> list[str]:
    return [f"{first / 1e6:,.4g}", f"{second / 1e6:,.4g}", f"{(second - first) / 1e6:+,.3g}"]
