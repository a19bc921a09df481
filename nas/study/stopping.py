"""Which trainings can no longer reach the front: a bound on what is left, not a rank.

The costs of a network are known before it is trained; only one objective, its quality, is not.
After part k of a training its quality is hoped to rise, to the end, by no more than it ever rose
from part k on in this run's own complete trials, at least `FEWEST` of them. A training whose
quality with that rise would still be dominated by a complete trial is hopeless. The largest rise
seen is no law: a late bloomer is lost. So it is off by default.
"""

from collections.abc import Sequence

import numpy as np

from nas.errors import UsageError
from nas.objectives import QUALITY, Objectives, told_metric
from nas.trial import Metrics

__all__ = ["FEWEST", "Hopeless"]

FEWEST = 10
"""Complete trials that were followed, before any training is judged."""


class Hopeless:
    """Learns from complete trials, and judges trainings.

    Qualities are as strategies are told them, see `nas.objectives.told_metric`.
    """

    def __init__(self, objectives: Objectives) -> None:
        """Raises `UsageError` unless all objectives but one quality are costs."""
        measured = "train_ms" in objectives.names or objectives.reward is not None
        if len(objectives.qualities) != 1 or measured:
            reward = "" if objectives.reward is None else " and a reward"
            raise UsageError(
                "hopeless trainings are known by one quality, every other objective being a cost, "
                f"not with {', '.join(objectives.names)}{reward}"
            )
        self.objectives, self.quality = objectives, objectives.quality
        self._sign = 1 if objectives.first_quality.direction == "maximize" else -1
        self._losses: list[tuple[float, ...]] = []
        self._rises: dict[int, list[float]] = {}  # by part: what each trial still gained after it

    def learn(self, metrics: Metrics, curve: Sequence[Metrics]) -> None:
        """One complete trial: its metrics, and its scores after each part."""
        self._losses.append(self.objectives.told(metrics))
        end = self._quality(metrics)
        for part, scores in enumerate(curve, 1):
            rise = self._sign * (end - self._quality(scores))
            self._rises.setdefault(part, []).append(rise)

    def judge(self, part: int, metrics: Metrics) -> bool:
        """Whether a training with these costs and these scores after that part is hopeless."""
        rises = self._rises.get(part, [])
        if len(rises) < FEWEST:
            return False
        # Never below what it has: trials that fell after the part count as no rise.
        hoped = self._quality(metrics) + self._sign * max(0.0, *rises)
        if self.quality in QUALITY:
            # They are shares.
            hoped = min(1.0, hoped)
        at_best = {**metrics, told_metric(metrics, self.quality): hoped}
        return self._is_dominated(np.array(self.objectives.told(at_best)))

    def _is_dominated(self, losses: np.ndarray) -> bool:
        known = np.array(self._losses)
        no_worse = (known <= losses).all(axis=1)
        better = (known < losses).any(axis=1)
        return bool((no_worse & better).any())

    def _quality(self, metrics: Metrics) -> float:
        return metrics.get(told_metric(metrics, self.quality), 0.0)
