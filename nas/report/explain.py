"""Where the time of a network goes, and what each change of one gene would cost or save."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from nas.arch import Architecture, Layer
from nas.domain.several import one_gene_apart
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.report.costs import costs_text
from nas.space import SearchSpace
from nas.trial import Genes
from nas.units import counted, text_table, uncertain

__all__ = [
    "Change",
    "Explanation",
    "LayerTime",
    "dearest",
    "explain",
    "gene_changes",
    "latency_difference",
    "layer_times",
    "signed_ms",
]

DEAREST = 5
BAR = 24
"""Characters of the longest bar."""


# -- layers ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """A layer of a network, and what it takes of the network's time."""

    stage: str
    op: str
    """With its settings."""
    input: str
    output: str
    params: int
    macs: int
    latency_ms: float
    latency_sd_ms: float
    share: float
    """Of the network's latency, 0 to 1."""
    known: str
    """How the latency is known: measured, summed (from kernels) or predicted."""


def layer_times(network: Architecture, table: Table) -> tuple[LayerTime, ...]:
    """Every layer in order. What the table adds to a whole network is in no layer."""
    total_ms = table.estimate(network).latency_ms or 1.0
    times = []
    for stage, layers in network.layers_by_stage:
        for layer in layers:
            estimate = table.layer(layer)
            times.append(
                LayerTime(
                    stage=stage.name,
                    op=layer.op.signature,
                    input=str(layer.shape),
                    output=str(layer.out_shape),
                    params=layer.params,
                    macs=layer.macs,
                    latency_ms=estimate.latency_ms,
                    latency_sd_ms=estimate.latency_sd_ms,
                    share=estimate.latency_ms / total_ms,
                    known=_known(estimate),
                )
            )
    return tuple(times)


def dearest(layers: Sequence[LayerTime], count: int = DEAREST) -> list[LayerTime]:
    """The layers that take longest, longest first."""
    return sorted(layers, key=lambda layer: -layer.latency_ms)[:count]


def _known(estimate: Estimate) -> str:
    """What most of a layer's time is."""
    parts = {
        "measured": estimate.measured_ms,
        "summed": estimate.summed_ms,
        "predicted": estimate.predicted_ms,
    }
    return max(parts, key=lambda name: parts[name]) if estimate.latency_ms else ""


# -- changes of one gene --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Change:
    """A network that differs in one gene, less the network as it is. Negative figures save."""

    gene: str
    now: str
    """Label of the option that the network has."""
    instead: str
    """Label of the other option."""
    latency_ms: float
    latency_sd_ms: float
    """Of the difference: the errors of layers that stay cancel."""
    params: int
    macs: int
    same: bool
    """Whether it spells the same network, as the kernel of a skipped layer does."""

    @property
    def text(self) -> str:
        """``stage2_1.block: k5_e6 to skip``."""
        return f"{self.gene}: {self.now} to {self.instead}"


def gene_changes(space: SearchSpace, genes: Genes, table: Table) -> tuple[Change, ...]:
    """Every change of one gene, in gene order; exact, for each network is priced by the table.

    A change that alters a shape changes the layers behind it, and they are priced too.
    """
    network = space.decode(genes)
    changes = []
    for row in one_gene_apart(genes, space.gene_sizes).tolist():
        other = space.decode(row)
        gene = next(place for place, value in enumerate(row) if value != genes[place])
        labels = space.choices[gene].labels
        latency_ms, latency_sd_ms = latency_difference(network.layers, other.layers, table)
        changes.append(
            Change(
                gene=space.gene_names[gene],
                now=labels[genes[gene]],
                instead=labels[row[gene]],
                latency_ms=latency_ms,
                latency_sd_ms=latency_sd_ms,
                params=other.params - network.params,
                macs=other.macs - network.macs,
                same=other.digest == network.digest,
            )
        )
    return tuple(changes)


def latency_difference(
    before: Iterable[Layer], after: Iterable[Layer], table: Table
) -> tuple[float, float]:
    """Milliseconds that ``after`` takes longer, and their standard deviation.

    Layers that both have cancel, with their errors. What all layers err by together counts by the
    difference.
    """
    old, new = Counter(before), Counter(after)
    gone = table.sum((old - new).elements())
    come = table.sum((new - old).elements())
    common_ms = come.common_sd_ms - gone.common_sd_ms
    variance_ms2 = come.variance_ms2 + gone.variance_ms2 + common_ms**2
    return come.latency_ms - gone.latency_ms, math.sqrt(variance_ms2)


# -- both -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where a network's time goes on a device, and what would change it."""

    name: str
    network: Architecture
    table: Table
    layers: tuple[LayerTime, ...]
    space: str = ""
    """Name of the space whose genes are changed; empty if none is known."""
    changes: tuple[Change, ...] = ()
    """Of one gene, of the network or its nearest point; none without a space."""
    nearest: str = ""
    """If the changes are those of the nearest point: what the network has otherwise."""
    unplaced: str = ""
    """Why there are no changes, with the way out."""

    def to_json(self) -> dict[str, object]:
        """Plain JSON, every layer and every change."""
        return {
            "network": self.name,
            "digest": self.network.digest,
            "device": self.table.name,
            **self.table.estimate(self.network).to_json(),
            "beyond_layers_ms": self.table.constant_ms,
            "params": self.network.params,
            "macs": self.network.macs,
            "layers": [vars(layer).copy() for layer in self.layers],
            "space": self.space,
            "nearest": self.nearest,
            "changes": [vars(change).copy() for change in self.changes],
            "unplaced": self.unplaced,
        }

    def text(self, *, every: bool = False) -> str:
        """For the terminal; ``every``: a line for each change, not one for each gene."""
        parts = [
            costs_text(self.name, self.network, [self.table]),
            self._layers_text(),
            self._dearest_text(),
            self._changes_text(every),
        ]
        return "\n\n".join(parts)

    def _layers_text(self) -> str:
        longest = max((layer.latency_ms for layer in self.layers), default=0.0) or 1.0
        rows = []
        for layer in self.layers:
            rows.append(
                [
                    layer.stage,
                    layer.op,
                    layer.input,
                    f"{layer.latency_ms:.3f}",
                    f"{100 * layer.share:.1f}",
                    layer.known,
                    "#" * round(BAR * layer.latency_ms / longest),
                ]
            )
        if self.table.constant_ms:
            share = 100 * self.table.constant_ms / self.table.estimate(self.network).latency_ms
            constant = f"{self.table.constant_ms:.3f}"
            rows.append(["", "beyond layers", "", constant, f"{share:.1f}", "predicted", ""])
        return text_table(["stage", "op", "input", f"{self.table.name} ms", "%", "known", ""], rows)

    def _dearest_text(self) -> str:
        lines = ["the dearest layers"]
        for layer in dearest(self.layers):
            lines.append(
                f"  {layer.stage} {layer.op} at {layer.input}: "
                f"{uncertain(layer.latency_ms, layer.latency_sd_ms)} ms, {100 * layer.share:.0f} %"
            )
        return "\n".join(lines)

    def _changes_text(self, every: bool) -> str:
        if self.unplaced:
            return f"no changes are priced: {self.unplaced}"
        title = (
            f"one gene changed in space {self.space}: "
            f"{counted(len(self.changes), 'change')}, ms on {self.table.name}, by the table"
        )
        if self.nearest:
            title = f"{title}\nof its nearest point there; the network has {self.nearest}"
        return f"{title}\n{self._every_text() if every else self._genes_text()}"

    def _genes_text(self) -> str:
        """A line per gene: the option that saves most, and the one that costs most."""
        rows = []
        for gene, group in groupby(self.changes, key=lambda change: change.gene):
            changes = [change for change in group if not change.same]
            if not changes:
                rows.append([gene, "", "no effect here", "", "", ""])
                continue
            least = min(changes, key=lambda change: change.latency_ms)
            most = max(changes, key=lambda change: change.latency_ms)
            rows.append(
                [
                    gene,
                    least.now,
                    *(_cell(least) if least.latency_ms < 0 else ("", "")),
                    *(_cell(most) if most.latency_ms > 0 else ("", "")),
                ]
            )
        header = ["gene", "now", "saves most", "ms", "costs most", "ms"]
        return text_table(header, rows)

    def _every_text(self) -> str:
        ranked = sorted(self.changes, key=lambda change: change.latency_ms)
        rows = []
        for change in ranked:
            if change.same:
                continue
            rows.append(
                [
                    change.gene,
                    change.now,
                    change.instead,
                    signed_ms(change),
                    f"{change.params / 1e6:+.3f}",
                    f"{change.macs / 1e6:+.2f}",
                ]
            )
        return text_table(["gene", "now", "instead", "ms", "params (M)", "macs (M)"], rows)


def _cell(change: Change) -> tuple[str, str]:
    return change.instead, signed_ms(change)


def signed_ms(change: Change) -> str:
    """``-2.31 ± 0.20``."""
    return uncertain(change.latency_ms, change.latency_sd_ms, signed=True)


def explain(
    name: str,
    network: Architecture,
    table: Table,
    *,
    space: SearchSpace | None = None,
    genes: Genes | None = None,
    nearest: str = "",
    unplaced: str = "",
) -> Explanation:
    """The explanation of a network; with its space and genes, its changes too.

    ``nearest``: if the genes are those of its nearest point, what it has otherwise.
    ``unplaced``: why there are no genes.
    """
    layers = layer_times(network, table)
    if space is None or genes is None:
        return Explanation(
            name=name, network=network, table=table, layers=layers, unplaced=unplaced
        )
    return Explanation(
        name=name,
        network=network,
        table=table,
        layers=layers,
        space=space.name,
        nearest=nearest,
        changes=gene_changes(space, genes, table),
    )
