"""The loop: ask, claim, evaluate, finish, tell.

A study prints nothing. It is built from a run's record and can be killed at any moment: built again
from the record, a sequential study goes on as if it had never stopped (DESIGN law 4). With several
workers it is asynchronous: whenever one is free it asks for another network, and names those that
are pending.
"""

import hashlib
import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from nas.domain import Domain
from nas.errors import RunError, UsageError
from nas.pareto import RunningFront
from nas.progress import Progress, ignore
from nas.record.store import Claim, Store
from nas.strategies.base import Proposal, Strategy
from nas.study.board import Board, Foreign
from nas.study.snapshots import Cache
from nas.study.stopping import Hopeless
from nas.study.workers import Evaluator, Measured, Serial, Task, Workers
from nas.trial import Metrics, State, Trial
from nas.units import counted

__all__ = ["Evaluator", "Outcome", "Study", "Watch", "evaluation_seed", "run_study"]

FAILURES_IN_A_ROW = 10
ANSWERS_IN_A_ROW = 200
SYNC_SECONDS = 2.0

Watch = Callable[[Progress[Trial]], None]
"""Is called with the trial just told; its figures are ``front``, ``hypervolume`` and ``best``."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a study ended: all trials in the order they were told, and the reason in one line."""

    trials: tuple[Trial, ...]
    evaluated: int
    seconds: float
    reason: str


def evaluation_seed(seed: int, digest: str, repeat: int) -> int:
    """The seed a network is evaluated with, 0 to 2^32 - 1: of the run's seed, its digest and the repeat."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}:{repeat}".encode()).digest()[:4], "big")


class Study:
    """A strategy, an evaluator and a run's record over one domain. `run` may be called again with more budget.

    `take` and `give` are its two halves for those who drive it themselves. ``hopeless``: stop
    trainings that can no longer reach the front by `nas.study.stopping.Hopeless`; off by default,
    as that can be wrong. ``board``: where other drivers of the study are heard of.
    """

    def __init__(
        self,
        domain: Domain,
        strategy: Strategy,
        evaluator: Evaluator,
        store: Store,
        *,
        watch: Watch = ignore,
        clock: Callable[[], float] = time.monotonic,
        hopeless: bool = False,
        board: Board | None = None,
    ) -> None:
        self.board = board
        self.domain, self.strategy, self.evaluator, self.store = domain, strategy, evaluator, store
        self.seed: int = store.capsule["identity"]["seed"]
        self.trials: list[Trial] = []
        self._watch, self._clock = watch, clock
        self._reference: tuple[float, ...] = tuple(store.capsule["identity"]["reference"])
        self._front = RunningFront([1.0] * len(self._reference))
        self._leader: tuple[float, float] | None = None  # loss and value in the first objective
        self._evaluated: dict[str, list[Trial]] = {}
        self._seconds: list[float] = []
        self._failures = self._answers = 0
        self._running: dict[int, Claim] = {}
        self._reason = ""
        if hopeless and not hasattr(evaluator, "evaluate_in_parts"):
            raise UsageError(
                "--stop-hopeless needs an evaluator that can be followed: this one gives no scores on the way"
            )
        self._hopeless = Hopeless(store.objectives) if hopeless else None
        record = store.opened
        by_number = {trial.number: trial for trial in record.trials}
        self._cache = Cache(store.folder, store.capsule["identity"])
        self._cached = self._cache.restore(strategy, [by_number[number] for number in record.order])
        for number in record.order:
            self._learn(
                by_number[number],
                record.seconds[number],
                answered=number in record.answered,
                heard=number in record.heard,
                curve=record.curves.get(number),
            )
        if board is not None:
            board.settle(record.claimed, by_number)
            for place in record.heard.values():
                board.heard(place)
        # A run that was stopped by either limit, and is resumed, gets the whole limit again.
        self._failures %= FAILURES_IN_A_ROW
        self._answers %= ANSWERS_IN_A_ROW
        self._open = list(record.claims)
        self._budget = _Budget(None, None, clock, spent=record.elapsed)

    @property
    def evaluated(self) -> int:
        """Evaluations so far, failed ones included."""
        return len(self._seconds)

    @property
    def judge(self) -> Callable[[int, int, Metrics], bool] | None:
        """Whether a training goes on after a part of it, or None: nobody asks."""
        return None if self._hopeless is None else self._goes_on

    def run(
        self,
        *,
        trials: int | None = None,
        seconds: float | None = None,
        workers: Workers | None = None,
    ) -> Outcome:
        """Go on until the run holds ``trials`` evaluations, or has taken ``seconds``, earlier sessions included.

        Under ``seconds`` no evaluation is started that would not end in time, going by the median
        so far. ``workers``: who evaluates; this process by default. Raises `RunError` after ten
        failures in a row.
        """
        self.begin(trials=trials, seconds=seconds)
        crew = Serial(self.evaluator, clock=self._clock) if workers is None else workers
        while True:
            while len(self._running) < crew.slots and (task := self.take()) is not None:
                crew.submit(task)
            if self.ended:
                return self.outcome()
            if not self._running:
                time.sleep(SYNC_SECONDS)  # all that could be done is being done elsewhere
                continue
            for number, measured in crew.wait(
                self.judge, None if self.board is None else SYNC_SECONDS
            ):
                self.give(number, measured)

    def begin(self, *, trials: int | None = None, seconds: float | None = None) -> None:
        """Set the budget, that of earlier sessions included."""
        if trials is None and seconds is None:
            raise UsageError("a study needs a number of trials or of seconds")
        self._budget = _Budget(
            trials, seconds, self._clock, spent=self._budget.spent, held=self.evaluated
        )
        self._reason = ""
        self._report(None)

    def take(self) -> Task | None:
        """The next network to evaluate; None where none may be started now, or ever: see `closed`."""
        while not (
            reason := self._budget.used_up(self._seconds, len(self._running)) or self._exhausted()
        ):
            found: Claim | Trial | None = self._open.pop(0) if self._open else self._propose()
            if isinstance(found, Claim):
                self._running[found.number] = found
                seed = evaluation_seed(self.seed, found.digest, found.repeat)
                network = self.domain.space.decode(found.proposal.genes)
                return Task(number=found.number, network=network, seed=seed)
            if found is None:
                return None
            self._report(found)
        self._reason = reason
        return None

    def claim_of(self, number: int) -> Claim:
        """The claim of a task that was taken and not given back."""
        return self._running[number]

    @property
    def closed(self) -> bool:
        """Nothing more will be started."""
        return bool(self._reason)

    @property
    def ended(self) -> bool:
        """Nothing runs, and nothing more will be started."""
        return self.closed and not self._running

    def outcome(self) -> Outcome:
        """How it ended."""
        self._budget.stop()
        return Outcome(
            trials=tuple(self.trials),
            evaluated=self.evaluated,
            seconds=self._budget.elapsed(),
            reason=self._budget.used_up(self._seconds, 0) or self._reason,
        )

    def give(self, number: int, measured: Measured) -> Trial:
        """Record and tell what came of a task. Raises `RunError` after ten failures in a row."""
        claim = self._running.pop(number)
        metrics: Metrics = self.domain.costs(claim.proposal.genes)
        state: State = (
            "stopped" if measured.stopped else "failed" if measured.reason else "complete"
        )
        if state == "complete":
            metrics = _joined(metrics, measured.metrics)
            self.store.objectives.losses(
                metrics
            )  # a missing objective raises before anything is recorded
        trial = self.store.finish(
            claim, state, metrics, reason=measured.reason, seconds=measured.seconds,
            elapsed=self._budget.elapsed(), curve=measured.curve,
        )  # fmt: skip
        if self.board is not None:
            self.board.finish(claim, trial)
        self._learn(trial, measured.seconds, answered=False, curve=measured.curve)
        self._report(trial)
        if self._failures >= FAILURES_IN_A_ROW:
            raise RunError(
                f"{FAILURES_IN_A_ROW} trials in a row failed, the last one: {trial.reason}. Mend that, "
                f"then go on with --resume {self.store.folder}"
            )
        return trial

    def _goes_on(self, number: int, part: int, scores: Metrics) -> bool:
        assert self._hopeless is not None
        claim = self._running[number]
        return not self._hopeless.judge(part, {**self.domain.costs(claim.proposal.genes), **scores})

    def _exhausted(self) -> str:
        if self._answers < ANSWERS_IN_A_ROW:
            return ""
        self._answers = 0
        return f"the last {ANSWERS_IN_A_ROW} proposals were known already: the strategy has exhausted its space"

    def _hear(self) -> list[Foreign]:
        """Take in what other drivers have finished; what they have running."""
        if self.board is None:
            return []
        news, running = self.board.hear()
        for foreign in news:
            waiting = [*self._running.values(), *self._open]
            claim = Claim(
                number=len(self.trials) + len(waiting), proposal=foreign.proposal, digest=foreign.digest,
                repeat=len(self._evaluated.get(foreign.digest, ())),
            )  # fmt: skip
            found = foreign.result or {}
            trial = self.store.answer(
                claim, found["state"], found["metrics"], told=len(self.trials), reason=found["reason"],
                pending=[claim.number for claim in waiting], heard=foreign.place,
            )  # fmt: skip
            self.board.heard(foreign.place)
            self._learn(trial, 0.0, answered=True, heard=True)
        return running

    def _propose(self) -> Claim | Trial | None:
        """A new claim, a trial answered at once, or None: the network proposed is being evaluated, so wait."""
        elsewhere = self._hear()
        foreign = tuple(other.proposal for other in elsewhere)
        waiting = [*self._running.values(), *self._open]
        number = len(self.trials) + len(waiting)
        asked = self.strategy.ask(number, [*(claim.proposal for claim in waiting), *foreign])
        genes = self.domain.space.check(asked.genes)
        digest = self.domain.space.decode(genes).digest
        known = self._evaluated.get(digest, [])
        pending = [claim.number for claim in waiting]
        repeat = len(known) + sum(claim.digest == digest for claim in waiting)
        repeat += sum(other.digest == digest for other in elsewhere)
        claim = Claim(
            number=number,
            proposal=Proposal(genes, asked.note),
            digest=digest,
            repeat=repeat,
            foreign=foreign,
        )
        if not self.domain.contains(genes):
            return self._settle(claim, None, pending)
        if known and not self.evaluator.noisy:
            return self._settle(claim, known[0], pending)
        if repeat and not self.evaluator.noisy:
            return None
        if self.board is not None and not self.board.claim(claim):
            return self._propose()
        return self.store.claim(claim, told=len(self.trials), pending=pending)

    def _settle(self, claim: Claim, known: Trial | None, pending: list[int]) -> Trial:
        """Without an evaluation: the earlier trial's answer, or infeasible for a network outside the bounds."""
        told = len(self.trials)
        if known is None:
            costs, reason = (
                self.domain.costs(claim.proposal.genes),
                f"not within {self.domain.bounds_text}",
            )
            trial = self.store.answer(
                claim, "infeasible", costs, told=told, pending=pending, reason=reason
            )
        else:
            trial = self.store.answer(
                claim,
                known.state,
                known.metrics,
                told=told,
                pending=pending,
                reason=known.reason,
                source=known.number,
            )
        return self._learn(trial, 0.0, answered=True)

    def _learn(
        self,
        trial: Trial,
        seconds: float,
        *,
        answered: bool,
        heard: bool = False,
        curve: Sequence[Metrics] | None = None,
    ) -> Trial:
        """Take in one finished trial, new or from the record, and tell the strategy."""
        self.trials.append(trial)
        if answered and not heard:
            self._answers += 1
        else:
            self._answers = 0
            if not heard:
                self._failures = self._failures + 1 if trial.state == "failed" else 0
                insort(self._seconds, seconds)  # in order: a median of many is soon found
            self._evaluated.setdefault(trial.digest, []).append(trial)
            if trial.state == "complete":
                losses = self.store.objectives.losses(trial.metrics)
                self._front.add(
                    [loss / top for loss, top in zip(losses, self._reference, strict=True)]
                )
                if self._leader is None or losses[0] < self._leader[0]:
                    self._leader = losses[0], trial.metrics[self.store.objectives.each[0].name]
                if self._hopeless is not None:
                    self._hopeless.learn(trial.metrics, curve or ())
        if len(self.trials) > self._cached:
            self.strategy.tell(trial)
            self._cache.told(self.strategy, trial)
        return trial

    def _report(self, trial: Trial | None) -> None:
        """Tell the watcher where the study stands; ``trial`` is the one just told.

        Figures: ``front``, the number of trials on it; ``hypervolume``, a share, 0 to 1, as each
        loss is relative to the run's reference; ``best``, the best value of the first objective,
        left out until a trial is complete.
        """
        planned = self._budget.planned(self._seconds)
        typical = median(self._seconds) if self._seconds else None
        left = None if planned is None or typical is None else (planned - self.evaluated) * typical
        figures: dict[str, float] = {
            "front": len(self._front),
            "hypervolume": self._front.hypervolume,
        }
        if self._leader is not None:
            figures["best"] = self._leader[1]
        self._watch(
            Progress(
                what="trials",
                done=self.evaluated,
                planned=planned,
                seconds=self._budget.elapsed(),
                eta_seconds=None if left is None else left / max(1, self._budget.parallel),
                last=trial,
                figures=figures,
            )
        )


def _joined(costs: Metrics, measured: Metrics) -> dict[str, float]:
    twice = sorted(set(costs) & set(measured))
    if twice:
        raise UsageError(
            f"metric '{twice[0]}' is given by the evaluator and by the costs: it must have one source"
        )
    return {**costs, **measured}


class _Budget:
    """Trials, seconds or both, over all sessions of a run."""

    def __init__(
        self,
        trials: int | None,
        seconds: float | None,
        clock: Callable[[], float],
        spent: float,
        held: int = 0,
    ) -> None:
        self._trials, self._seconds, self._clock, self._held = trials, seconds, clock, held
        self._start = clock() - spent
        self._stopped: float | None = None
        self.spent = spent
        self.parallel = 1

    def elapsed(self) -> float:
        return (self._clock() if self._stopped is None else self._stopped) - self._start

    def stop(self) -> None:
        """What comes after this is another session."""
        self._stopped = self._clock()
        self.spent = self.elapsed()

    def used_up(self, took: list[float], running: int) -> str:
        """Why no further evaluation may start beside those that run; empty if one may."""
        self.parallel = max(1, running)
        if self._trials is not None and self._held >= self._trials:
            held = counted(self._held, "trial")
            return f"the run holds {held} already and --trials is {self._trials}: nothing more was trained"
        if self._trials is not None and len(took) + running >= self._trials:
            return f"{counted(len(took), 'trial')} {'is' if len(took) == 1 else 'are'} done"
        if (
            self._seconds is not None
            and self.elapsed() + (median(took) if took else 0) > self._seconds
        ):
            return f"another trial would not fit into {self._seconds:g} s"
        return ""

    def planned(self, took: list[float]) -> int | None:
        """How many evaluations the run will come to."""
        if self._seconds is None or not took:
            return None if self._trials is None else max(self._trials, len(took))
        left = max(0.0, self._seconds - self.elapsed()) / max(median(took), 1e-9)
        fits = len(took) + int(left * self.parallel)
        return fits if self._trials is None else min(fits, self._trials)


def run_study(
    domain: Domain,
    strategy: Strategy,
    evaluator: Evaluator,
    store: Store,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    watch: Watch = ignore,
    workers: Workers | None = None,
) -> Outcome:
    """Build a `Study` and run it."""
    study = Study(domain, strategy, evaluator, store, watch=watch)
    return study.run(trials=trials, seconds=seconds, workers=workers)
