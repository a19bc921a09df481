"""The loop: ask, claim, evaluate, finish, tell.

A study prints nothing. It is built from a run's record and can be killed at any moment: built again from
the record, a sequential study goes on as if it had never stopped (DESIGN law 4).
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from nas.arch import Architecture
from nas.domain import Domain
from nas.errors import NasError, RunError, UsageError
from nas.pareto import RunningFront
from nas.store import Claim, Store
from nas.strategies.base import Proposal, Strategy
from nas.trial import Metrics, State, Trial, check_metrics
from nas.units import counted

__all__ = ["Evaluator", "Outcome", "Progress", "Study", "evaluation_seed", "run_study"]

FAILURES_IN_A_ROW = 10
ANSWERS_IN_A_ROW = 200
LONGEST_REASON = 300


class Evaluator(Protocol):
    """Gives a network its measured metrics, such as ``accuracy``.

    Raises `NasError` (`TrainingError`) for a network that fails; the trial is then recorded as failed.
    """

    noisy: bool
    """Whether a second evaluation of the same network, with another seed, is worth paying for."""

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train or look up one network. Equal arguments give equal metrics on the same machine."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a study stands; ``trial`` is the one just told, None before the first.

    ``evaluated`` counts evaluations, ``planned`` is what they will come to (None: not known yet). ``hypervolume``
    is a share, 0..1: each loss relative to the run's reference. ``eta_seconds`` is None until measured.
    """

    trial: Trial | None
    evaluated: int
    planned: int | None
    seconds: float
    front_size: int
    hypervolume: float
    eta_seconds: float | None


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
    """A strategy, an evaluator and a run's record over one domain. `run` may be called again with more budget."""

    def __init__(
        self,
        domain: Domain,
        strategy: Strategy,
        evaluator: Evaluator,
        store: Store,
        *,
        watch: Callable[[Progress], None] = lambda progress: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.domain, self.strategy, self.evaluator, self.store = domain, strategy, evaluator, store
        self.seed: int = store.capsule["identity"]["seed"]
        self.trials: list[Trial] = []
        self._watch, self._clock = watch, clock
        self._reference: tuple[float, ...] = tuple(store.capsule["identity"]["reference"])
        self._front = RunningFront([1.0] * len(self._reference))
        self._evaluated: dict[str, list[Trial]] = {}
        self._seconds: list[float] = []
        self._failures = self._answers = 0
        record = store.opened
        by_number = {trial.number: trial for trial in record.trials}
        for number in record.order:
            self._learn(by_number[number], record.seconds[number], answered=number in record.answered)
        # A run that was stopped by either limit, and is resumed, gets the whole limit again.
        self._failures %= FAILURES_IN_A_ROW
        self._answers %= ANSWERS_IN_A_ROW
        self._open = list(record.claims)

    @property
    def evaluated(self) -> int:
        """Evaluations so far, failed ones included."""
        return len(self._seconds)

    def run(self, *, trials: int | None = None, seconds: float | None = None) -> Outcome:
        """Go on until the run holds ``trials`` evaluations, or has taken ``seconds``, earlier sessions included.

        Under ``seconds`` no evaluation is started that would not end in time, going by the median so far.
        Raises `RunError` after ten failures in a row.
        """
        if trials is None and seconds is None:
            raise UsageError("a study needs a number of trials or of seconds")
        budget = _Budget(trials, seconds, self._clock, spent=sum(self._seconds))
        self._report(None, budget)
        already = self.evaluated
        while not (reason := budget.used_up(self._seconds)) and not (reason := self._exhausted()):
            trial = self._evaluate(self._open.pop(0)) if self._open else self._next()
            self._report(trial, budget)
            if self._failures >= FAILURES_IN_A_ROW:
                raise RunError(
                    f"{FAILURES_IN_A_ROW} trials in a row failed, the last one: {trial.reason}. Mend that, "
                    f"then go on with --resume {self.store.folder}"
                )
        if trials is not None and already >= trials:
            reason = f"the run holds {counted(already, 'trial')} already and --trials is {trials}: nothing was trained"
        return Outcome(trials=tuple(self.trials), evaluated=self.evaluated, seconds=budget.elapsed(), reason=reason)

    def _exhausted(self) -> str:
        if self._answers < ANSWERS_IN_A_ROW:
            return ""
        self._answers = 0
        return f"the last {ANSWERS_IN_A_ROW} proposals were known already: the strategy has exhausted its space"

    def _next(self) -> Trial:
        number = len(self.trials) + len(self._open)
        asked = self.strategy.ask(number, [claim.proposal for claim in self._open])
        genes = self.domain.space.check(asked.genes)
        digest = self.domain.space.decode(genes).digest
        known = self._evaluated.get(digest, [])
        claim = Claim(number=number, proposal=Proposal(genes, asked.note), digest=digest, repeat=len(known))
        if not self.domain.contains(genes):
            return self._settle(claim, None)
        if known and not self.evaluator.noisy:
            return self._settle(claim, known[0])
        return self._evaluate(self.store.claim(claim, told=len(self.trials), pending=self._pending))

    @property
    def _pending(self) -> list[int]:
        return [claim.number for claim in self._open]

    def _settle(self, claim: Claim, known: Trial | None) -> Trial:
        """Without an evaluation: the earlier trial's answer, or infeasible for a network outside the bounds."""
        told, pending = len(self.trials), self._pending
        if known is None:
            costs, reason = self.domain.costs(claim.proposal.genes), f"not within {self.domain.bounds_text}"
            trial = self.store.answer(claim, "infeasible", costs, told=told, pending=pending, reason=reason)
        else:
            trial = self.store.answer(
                claim, known.state, known.metrics, told=told, pending=pending, reason=known.reason, source=known.number
            )
        return self._learn(trial, 0.0, answered=True)

    def _evaluate(self, claim: Claim) -> Trial:
        genes = claim.proposal.genes
        metrics: Metrics = self.domain.costs(genes)
        reason, start = "", self._clock()
        try:
            measured = self.evaluator.evaluate(
                self.domain.space.decode(genes), evaluation_seed(self.seed, claim.digest, claim.repeat)
            )
            metrics = check_metrics(_joined(metrics, measured))
        except (UsageError, RunError):
            raise
        except (NasError, MemoryError) as error:
            reason = " ".join(str(error).split())[:LONGEST_REASON] or "out of memory"
        seconds = self._clock() - start
        state: State = "failed" if reason else "complete"
        if state == "complete":
            self.store.objectives.losses(metrics)  # a missing objective raises before anything is recorded
        trial = self.store.finish(claim, state, metrics, reason=reason, seconds=seconds)
        return self._learn(trial, seconds, answered=False)

    def _learn(self, trial: Trial, seconds: float, *, answered: bool) -> Trial:
        """Take in one finished trial, new or from the record, and tell the strategy."""
        self.trials.append(trial)
        if answered:
            self._answers += 1
        else:
            self._answers = 0
            self._failures = self._failures + 1 if trial.state == "failed" else 0
            self._seconds.append(seconds)
            self._evaluated.setdefault(trial.digest, []).append(trial)
            if trial.state == "complete":
                losses = self.store.objectives.losses(trial.metrics)
                self._front.add([loss / top for loss, top in zip(losses, self._reference, strict=True)])
        self.strategy.tell(trial)
        return trial

    def _report(self, trial: Trial | None, budget: "_Budget") -> None:
        planned = budget.planned(self._seconds)
        typical = median(self._seconds) if self._seconds else None
        self._watch(
            Progress(
                trial=trial,
                evaluated=self.evaluated,
                planned=planned,
                seconds=budget.elapsed(),
                front_size=len(self._front),
                hypervolume=self._front.hypervolume,
                eta_seconds=None if planned is None or typical is None else (planned - self.evaluated) * typical,
            )
        )


def _joined(costs: Metrics, measured: Metrics) -> dict[str, float]:
    twice = sorted(set(costs) & set(measured))
    if twice:
        raise UsageError(f"metric '{twice[0]}' is given by the evaluator and by the costs: it must have one source")
    return {**costs, **measured}


class _Budget:
    """Trials, seconds or both, over all sessions of a run."""

    def __init__(self, trials: int | None, seconds: float | None, clock: Callable[[], float], spent: float) -> None:
        self._trials, self._seconds, self._clock = trials, seconds, clock
        self._start = clock() - spent

    def elapsed(self) -> float:
        return self._clock() - self._start

    def used_up(self, took: list[float]) -> str:
        """Why no further evaluation may start; empty if one may."""
        if self._trials is not None and len(took) >= self._trials:
            return f"{counted(len(took), 'trial')} {'is' if len(took) == 1 else 'are'} done"
        if self._seconds is not None and self.elapsed() + (median(took) if took else 0) > self._seconds:
            return f"another trial would not fit into {self._seconds:g} s"
        return ""

    def planned(self, took: list[float]) -> int | None:
        """How many evaluations the run will come to."""
        if self._seconds is None or not took:
            return None if self._trials is None else max(self._trials, len(took))
        fits = len(took) + max(0, int((self._seconds - self.elapsed()) / max(median(took), 1e-9)))
        return fits if self._trials is None else min(fits, self._trials)


def run_study(
    domain: Domain,
    strategy: Strategy,
    evaluator: Evaluator,
    store: Store,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Build a `Study` and run it."""
    return Study(domain, strategy, evaluator, store, watch=watch).run(trials=trials, seconds=seconds)
