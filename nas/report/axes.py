"""What an axis shows: its label, its unit, and a range that one outlier does not stretch."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from nas.cost.metric import Metric

__all__ = ["axis_label", "robust_range", "ticks"]

UNITS = {
    "params": ("params (M)", 1e6),
    "macs": ("multiply-adds (M)", 1e6),
    "size_bytes": ("size (MB)", 1e6),
    "peak_memory_bytes": ("peak memory (MB)", 1e6),
}
"""By metric, what to write at its axis and what to divide by."""
FENCE = 3.0
"""Quartile ranges beyond the quartiles, from where on values are outliers: Tukey's outer fence."""
MARGIN = 0.04
"""Of the range, left free at either end."""


def axis_label(name: str) -> tuple[str, float]:
    """What to write at an axis, and what to divide by."""
    metric = Metric.parse(name)
    if metric.is_latency:
        return f"latency on {metric.device} (ms)", 1.0
    return UNITS.get(metric.name, (metric.name.replace("_", " "), 1.0))


def robust_range(values: Iterable[float], always: Iterable[float] = ()) -> tuple[float, float]:
    """The ends of an axis: all values but outliers, and what is ``always`` shown.

    Outliers lie more than three quartile ranges beyond the quartiles. What is outside is to be
    marked at the edge. Without a value it is 0 to 1.
    """
    every, kept = np.array([*values], float), [*always]
    if len(every):
        low, high = np.percentile(every, (25, 75))
        # Values that are mostly equal have no quartile range: then nothing is an outlier.
        reach = FENCE * (high - low) if high > low else math.inf
        inside = every[(every >= low - reach) & (every <= high + reach)]
        kept += [float(inside.min()), float(inside.max())]
    if not kept:
        return 0.0, 1.0
    least, most = min(kept), max(kept)
    margin = MARGIN * (most - least) or MARGIN * abs(most) or 1.0
    return least - margin, most + margin


def ticks(low: float, high: float, most: int = 6) -> Sequence[float]:
    """Round numbers inside the range, at most ``most``, evenly apart."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10):
        first = math.ceil(low / (factor * step))
        last = math.floor(high / (factor * step))
        if last - first < most:
            return [number * factor * step for number in range(first, last + 1)]
    return []
