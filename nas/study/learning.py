"""Who learns from a study's trials: the strategy, the tally, the judge of hopeless trainings."""

from collections.abc import Sequence

from nas.record.store import Store
from nas.strategies.base import Strategy
from nas.study.snapshots import Cache
from nas.study.stopping import Hopeless
from nas.study.tally import Tally
from nas.trial import Metrics, Trial

__all__ = ["Learning"]


class Learning:
    """Hands each finished trial, new or from the record, to all who learn from it."""

    def __init__(self, strategy: Strategy, store: Store, *, hopeless: bool) -> None:
        """Learn what the record holds. ``hopeless``: also judge trainings on their way."""
        identity = store.run_file.identity
        self.trials: list[Trial] = []
        self.tally = Tally(store.objectives, identity.reference)
        self._strategy = strategy
        self._hopeless = Hopeless(store.objectives) if hopeless else None
        self._cache = Cache(store.folder, identity)
        self._told_by_cache = 0
        self._add_record(store)

    def _add_record(self, store: Store) -> None:
        record = store.opened
        by_number = {trial.number: trial for trial in record.trials}
        # As they were finished, not by number: that is how the strategy was told them.
        trials = [by_number[number] for number in record.order]
        self._told_by_cache = self._cache.restore(self._strategy, trials)
        for trial in trials:
            number = trial.number
            if number in record.heard:
                self.add_foreign(trial)
            elif number in record.answered:
                self.add_answer(trial)
            else:
                curve = record.curves.get(number, ())
                self.add_evaluation(trial, record.seconds[number], curve)

    @property
    def judges(self) -> bool:
        """Whether `is_hopeless` may be asked."""
        return self._hopeless is not None

    def is_hopeless(self, part: int, metrics: Metrics) -> bool:
        """Whether a training can no longer reach the front, see `Hopeless.judge`."""
        return self._hopeless is not None and self._hopeless.judge(part, metrics)

    def add_answer(self, trial: Trial) -> None:
        """A trial that needed no evaluation."""
        self.tally.add_answer()
        self._tell(trial)

    def add_foreign(self, trial: Trial) -> None:
        """A trial that another driver evaluated."""
        self.tally.add_foreign(trial)
        # Its curve stays with the driver that followed it; its losses count here all the same.
        self._learn_rise(trial, ())
        self._tell(trial)

    def add_evaluation(self, trial: Trial, seconds: float, curve: Sequence[Metrics]) -> None:
        """A trial of this driver, the time it took, and its scores after each part."""
        self.tally.add_evaluation(trial, seconds)
        self._learn_rise(trial, curve)
        self._tell(trial)

    def _learn_rise(self, trial: Trial, curve: Sequence[Metrics]) -> None:
        if self._hopeless is not None and trial.state == "complete":
            self._hopeless.learn(trial.metrics, curve)

    def _tell(self, trial: Trial) -> None:
        """Tell the strategy, unless its cached state has learnt from the trial."""
        self.trials.append(trial)
        if len(self.trials) > self._told_by_cache:
            self._strategy.tell(trial)
            self._cache.told(self._strategy, trial)
