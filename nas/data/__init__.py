"""Real images: sources by name, four disjoint sets, tensors."""

from nas.data.dataset import Dataset, Sealed
from nas.data.sources import load
from nas.data.splits import Splits, split
from nas.data.tensors import LazyTensors, Statistics, statistics, tensors

__all__ = [
    "Dataset",
    "LazyTensors",
    "Sealed",
    "Splits",
    "Statistics",
    "load",
    "split",
    "statistics",
    "tensors",
]
