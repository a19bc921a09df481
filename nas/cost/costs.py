"""The cost metrics of a network and of a whole space, by the names objectives and bounds use."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nas.arch import Layer
from nas.cost.compiled import Compiled, compile_costs
from nas.cost.confidence import Margin
from nas.cost.metric import Metric
from nas.latency.table import Table
from nas.shape import FLOAT_BYTES
from nas.space import SearchSpace

__all__ = [
    "SIZE_METRICS",
    "latency_metric",
    "plain_metric",
    "space_costs",
    "sure_metric",
]

PEAK_MEMORY_VERSION = 2
"""1 counted a residual's input twice where a kernel reads it itself."""
SIZE_METRICS = ("params", "macs", "size_bytes", "peak_memory_bytes")


def latency_metric(device: str) -> str:
    """The name of a device's latency: ``latency_ms@pixel1``."""
    return str(Metric.latency(device))


def sure_metric(device: str, confidence: float) -> str:
    """The name of the latency that is kept with that probability: ``latency_p95_ms@pixel1``."""
    return str(Metric.sure_latency(device, confidence))


def plain_metric(metric: str) -> str:
    """The metric that a bound on ``metric`` bounds too.

    ``latency_ms@D`` for ``latency_p95_ms@D``, else itself.
    """
    return str(Metric.parse(metric).plain)


def space_costs(
    space: SearchSpace,
    tables: Sequence[Table],
    margins: Mapping[str, Margin] = MappingProxyType({}),
) -> Compiled:
    """Costs of all networks of a space: latencies, what else tables price, params, macs, memory.

    ``margins``: by device; each adds the latency that is kept with its confidence.
    """
    more = [
        (str(Metric(name, table.name)), table.column(name))
        for table in tables
        for name in table.columns
    ]
    sure = [(table, margins[table.name]) for table in tables if table.name in margins]
    for table in (*tables, *(column for _, column in more)):
        table.foresee(space.layers)

    def of(layer: Layer) -> list[float]:
        latencies = [table.layer(layer).latency_ms for table in tables]
        kept = [margin.layer_ms(table.layer(layer)) for table, margin in sure]
        others = [column.layer(layer).latency_ms for _, column in more]
        return [
            *latencies,
            *others,
            *kept,
            layer.params,
            layer.macs,
            # Size and memory are of float32, as networks are before they are quantised.
            FLOAT_BYTES * layer.params,
            layer.peak_bytes,
        ]

    # What a correction or a margin adds to a whole network, whatever its layers.
    once = {latency_metric(table.name): table.constant_ms for table in tables}
    once |= {name: column.constant_ms for name, column in more}
    for table, margin in sure:
        once[sure_metric(table.name, margin.confidence)] = table.constant_ms + margin.constant_ms
    return compile_costs(
        space, (*once, *SIZE_METRICS), of, maxima=("peak_memory_bytes",), once=once
    )
