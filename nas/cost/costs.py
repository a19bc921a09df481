"""The cost metrics of a network and of a whole space, by the names objectives and bounds use."""

from collections.abc import Sequence

from nas.arch import Architecture, Layer
from nas.cost.compiled import Compiled, compile_costs
from nas.cost.table import Table
from nas.shape import FLOAT_BYTES
from nas.space import SearchSpace

__all__ = ["SIZE_METRICS", "architecture_costs", "latency_metric", "space_costs"]

SIZE_METRICS = ("params", "macs", "size_bytes", "peak_memory_bytes")


def latency_metric(device: str) -> str:
    """The name of a device's latency: ``latency_ms@pixel1``."""
    return f"latency_ms@{device}"


def space_costs(space: SearchSpace, tables: Sequence[Table]) -> Compiled:
    """Latency on every device, params, macs, size and peak memory of all networks of a space."""

    def of(layer: Layer) -> list[float]:
        latencies = [table.layer(layer).latency_ms for table in tables]
        return [*latencies, layer.params, layer.macs, FLOAT_BYTES * layer.params, layer.peak_bytes]

    names = [*(latency_metric(table.name) for table in tables), *SIZE_METRICS]
    once = {latency_metric(table.name): table.constant_ms for table in tables}
    return compile_costs(space, names, of, maxima=("peak_memory_bytes",), once=once)


def architecture_costs(architecture: Architecture, tables: Sequence[Table]) -> dict[str, float]:
    """The same figures for one network, with the standard deviation of each latency."""
    costs = {
        "params": float(architecture.params),
        "macs": float(architecture.macs),
        "size_bytes": float(architecture.size_bytes),
        "peak_memory_bytes": float(architecture.peak_memory_bytes),
    }
    for table in tables:
        estimate = table.estimate(architecture)
        costs[latency_metric(table.name)] = estimate.latency_ms
        costs[f"latency_sd_ms@{table.name}"] = estimate.latency_sd_ms
    return costs
