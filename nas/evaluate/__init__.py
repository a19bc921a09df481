"""Evaluators: what gives a network its accuracy."""

from nas.evaluate.proxy import PRESETS, Proxy, preset, slim
from nas.evaluate.training import TrainingEvaluator

__all__ = ["PRESETS", "Proxy", "TrainingEvaluator", "preset", "slim"]
