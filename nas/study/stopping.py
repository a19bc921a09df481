"""Which trainings can no longer reach the front: a bound on what is left, not a rank among strangers.

The costs of a network are known before it is trained; only one objective, its quality, is not.
After part k of a training its quality is hoped to rise, to the end, by no more than it ever rose
from part k on in this run's own complete trials, at least `FEWEST` of them. A training whose
quality with that rise would still be dominated by a complete trial is hopeless. The largest rise
seen is no law: a late bloomer is lost. So it is off by default.
"""

from collections.abc import Sequence

import numpy as np

from nas.errors import UsageError
from nas.objectives import QUALITY, SEARCH, Objectives
from nas.trial import Metrics

__all__ = ["FEWEST", "Hopeless"]

FEWEST = 10


class Hopeless:
    """Learns from complete trials, judges trainings. Qualities are those of the *search* set, as strategies are told."""

    def __init__(self, objectives: Objectives) -> None:
        quality = [name for name in objectives.names if name in QUALITY]
        measured = [name for name in objectives.names if name == "train_ms"]
        if len(quality) != 1 or measured or objectives.reward is not None:
            raise UsageError(
                "hopeless trainings are known by one quality, every other objective being a cost, not with "
                f"{', '.join(objectives.names)}{' and a reward' if objectives.reward is not None else ''}"
            )
        self.objectives, self.quality = objectives, quality[0]
        self._told: list[tuple[float, ...]] = []
        self._rises: dict[int, list[float]] = {}

    def learn(self, metrics: Metrics, curve: Sequence[Metrics]) -> None:
        """One complete trial: its metrics, and its scores after each part."""
        self._told.append(self.objectives.told(metrics))
        end = self._quality(metrics)
        for part, scores in enumerate(curve, 1):
            self._rises.setdefault(part, []).append(end - self._quality(scores))

    def judge(self, part: int, metrics: Metrics) -> bool:
        """Whether a training with these costs and these scores after that part is hopeless."""
        rises = self._rises.get(part, [])
        if len(rises) < FEWEST:
            return False
        hoped = min(1.0, self._quality(metrics) + max(0.0, *rises))
        ours = np.array(
            self.objectives.told({**metrics, self.quality: hoped, SEARCH + self.quality: hoped})
        )
        told = np.array(self._told)
        return bool(((told <= ours).all(axis=1) & (told < ours).any(axis=1)).any())

    def _quality(self, metrics: Metrics) -> float:
        return metrics.get(SEARCH + self.quality, metrics.get(self.quality, 0.0))
