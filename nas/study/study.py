"""The loop: ask, claim, evaluate, finish, tell.

A study prints nothing. It is built from a run's record and can be killed at any moment: built again
from the record, a sequential study goes on as if it had never stopped. With several workers it is
asynchronous: whenever one is free it asks for another network, and names those that are pending.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nas.domain import Domain
from nas.errors import RunError, UsageError
from nas.progress import ignore
from nas.record.identity import limits_text
from nas.record.status import Stage
from nas.record.store import Claim, Store
from nas.strategies.base import Proposal, Strategy
from nas.study.board import Board, Foreign
from nas.study.budget import Budget, Session
from nas.study.evaluator import Evaluator
from nas.study.learning import Learning
from nas.study.progress import RECENT, StudyProgress
from nas.study.race import Left, Racing, Runner
from nas.study.tally import ANSWERS_IN_A_ROW, FAILURES_IN_A_ROW
from nas.study.workers import Judge, Measured, Serial, Task, Workers
from nas.trial import Metrics, State, Trial

__all__ = ["Outcome", "Study", "Watch", "evaluation_seed"]

SYNC_SECONDS = 2.0
"""How often other drivers are heard of."""

Watch = Callable[[StudyProgress], None]
"""Is called when a network is begun, and with the trial just told when it is done."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a study ended."""

    trials: tuple[Trial, ...]
    """All of them, in the order they were told."""
    evaluated: int
    """How many of them were evaluated here, failed ones included."""
    seconds: float
    """Time that the run has taken, earlier sessions included."""
    reason: str
    """Why it ended, in one line."""


def evaluation_seed(seed: int, digest: str, repeat: int) -> int:
    """The seed that a network is evaluated with, 0 to 2^32 - 1.

    ``seed``: the run's. ``repeat``: how often the network of that digest was evaluated before.
    """
    # Of the network, not of the trial's number: workers may finish in any order.
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}:{repeat}".encode()).digest()[:4], "big")


class Study:
    """A strategy, an evaluator and a run's record over one domain.

    `run` may be called again with more budget. `take` and `give` are its two halves, for those who
    drive it themselves.
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
        racing: Racing | None = None,
    ) -> None:
        """Tell the strategy what the record holds.

        ``hopeless``: stop trainings that can no longer reach the front by
        `nas.study.stopping.Hopeless`, which can be wrong. ``board``: where other drivers of the
        study are heard of. ``racing``: train the better networks for longer, once the trials are
        done. Raises `UsageError` if the evaluator cannot be stopped.
        """
        if hopeless and not evaluator.followable:
            raise UsageError(
                "--stop-hopeless needs an evaluator that can be followed: "
                "this one gives no scores on the way"
            )
        self.domain, self.strategy, self.evaluator, self.store = domain, strategy, evaluator, store
        self.board = board
        self.seed = store.run_file.identity.seed
        self._watch, self._clock = watch, clock
        self._running: dict[int, Claim] = {}
        self._open = list(store.opened.claims)
        self._race = None if racing is None else Runner(racing, store, domain)
        raced_until = 0.0 if self._race is None else self._race.race.elapsed
        spent_seconds = max(store.opened.elapsed, raced_until)
        self._session = Session(Budget(), clock=clock, spent_seconds=spent_seconds)
        self._trials_session = self._session
        self._at_a_time = self._most_at_a_time = 1
        self._reason = ""
        self._promotions = 0
        self._learning = Learning(strategy, store, hopeless=hopeless)
        self._tally = self._learning.tally
        if board is not None:
            board.settle(store.opened.claimed, {trial.number: trial for trial in self.trials})
            for place in store.opened.heard.values():
                board.heard(place)

    # -- the loop ---------------------------------------------------------------------------------

    def run(
        self,
        *,
        trials: int | None = None,
        seconds: float | None = None,
        workers: Workers | None = None,
    ) -> Outcome:
        """Go on until the run holds ``trials`` evaluations, or has taken ``seconds``.

        Both count earlier sessions. Under ``seconds`` no evaluation is started that would not end
        in time, going by the median so far. A race shares ``seconds`` evenly among its rungs, and
        goes on from the trials to its longer trainings. ``workers``: who evaluates; this process by
        default. Raises `RunError` after ten failures in a row.
        """
        self.begin(trials=trials, seconds=seconds)
        crew = Serial(self.evaluator, clock=self._clock) if workers is None else workers
        # A driver alone has nothing to wake up for but the word of a worker.
        patience = None if self.board is None else SYNC_SECONDS
        while True:
            self._fill(crew)
            if self.ended:
                self.stop_clock()
                return self.outcome()
            if not self._busy:
                time.sleep(SYNC_SECONDS)  # all that could be done is being done elsewhere
                continue
            for number, measured in crew.wait(self.judge, patience):
                self.give(number, measured)

    def _fill(self, crew: Workers) -> None:
        while self._busy < crew.slots:
            task = self.take()
            if task is None:
                return
            crew.submit(task)

    def begin(self, *, trials: int | None = None, seconds: float | None = None) -> None:
        """Set the budget, that of earlier sessions included."""
        if trials is None and seconds is None:
            raise UsageError("a study needs a number of trials or of seconds")
        spent_seconds = self._session.spent_seconds
        self._session = self._trials_session = Session(
            Budget(trials=trials, seconds=seconds),
            clock=self._clock,
            spent_seconds=spent_seconds,
            evaluated_before=self.evaluated,
        )
        if self._race is not None:
            self._race.begin()
            rungs = self._race.racing.rungs
            self._trials_session = Session(
                Budget(trials=trials, seconds=None if seconds is None else seconds / rungs),
                clock=self._clock,
                spent_seconds=spent_seconds - self._race.race.seconds,
                evaluated_before=self.evaluated,
            )
        self._tally.renew_limits()
        self._at_a_time = self._most_at_a_time = 1
        self._reason = ""
        # Once before the first trial: a live view shows what is planned.
        self._report(None)

    def take(self) -> Task | None:
        """Claim the next network to evaluate.

        None if every slot must wait, or if the study is closed.
        """
        while True:
            # As many as run, not all slots: some may be idle for want of networks.
            self._at_a_time = max(1, len(self._running))
            self._most_at_a_time = max(self._most_at_a_time, self._at_a_time)
            self._reason = self._why_no_more()
            if self._reason:
                return None if self._race is None else self._promote(self._race)
            # Claims that a kill left open come first: the strategy has them as pending.
            proposed = self._open.pop(0) if self._open else self._propose()
            if proposed is None:
                return None
            if isinstance(proposed, Claim):
                return self._start(proposed)
            self._report(proposed)

    def give(self, number: int, measured: Measured) -> Trial:
        """Record and tell what came of a task. Raises `RunError` after ten failures in a row.

        Of a longer training the strategy is told nothing: it learns from one schedule.
        """
        if self._race is not None and self._race.holds(number):
            return self._give_promotion(self._race, number, measured)
        claim = self._running.pop(number)
        metrics = self.domain.costs(claim.proposal.genes)
        state, measured = self._within_limits(measured)
        if state in ("complete", "infeasible"):
            metrics = _joined(metrics, measured.metrics)
            # A missing objective raises before anything is recorded.
            self.store.objectives.losses(metrics)
        trial = self.store.finish(
            claim,
            state,
            metrics,
            reason=measured.reason,
            seconds=measured.seconds,
            elapsed=self._session.elapsed(),
            curve=measured.curve,
        )
        if self.board is not None:
            # The own record came first: what a kill leaves unpublished, `Board.settle` publishes.
            self.board.finish(claim, trial)
        self._learning.add_evaluation(trial, measured.seconds, measured.curve)
        self._report(trial)
        # Only now that it is recorded and told: a resume goes on behind it.
        if self._tally.failing:
            raise RunError(
                f"{FAILURES_IN_A_ROW} trials in a row failed, the last one: {trial.reason}. "
                f"Mend that, then go on with --resume {self.store.folder}"
            )
        return trial

    def _promote(self, race: Runner) -> Task | None:
        """The next longer training, once all trials are finished; None as of `take`."""
        closing, self._reason = self._reason, ""
        if self._running:
            return None
        # A number that no trial has: none is claimed while a rung is trained.
        number = len(self.trials) + len(self._open) + self._promotions
        task = race.take(number, self.trials, self._left())
        if task is not None:
            self._promotions += 1
            self._report_race(race, None)
        elif race.over:
            # Nothing was raced: then it is the trials' end that is worth telling.
            self._reason = race.over if race.race.rungs else f"{closing}; {race.over}"
        return task

    def _give_promotion(self, race: Runner, number: int, measured: Measured) -> Trial:
        state, measured = self._within_limits(measured)
        trial = race.give(number, measured, state, self._session.elapsed())
        self._report_race(race, trial)
        return trial

    def _report_race(self, race: Runner, last: Trial | None) -> None:
        stage = Stage(name="trials", done=self.evaluated, planned=self.evaluated)
        progress = race.progress(last, self._left(), stage)
        if progress is not None:
            self._watch(progress)

    def _within_limits(self, measured: Measured) -> tuple[State, Measured]:
        """What became of a network, and why: bounds on what was measured are known only now."""
        state = _state(measured)
        if state != "complete":
            return state, measured
        for name, (least, most) in self.store.run_file.identity.limits.items():
            value = measured.metrics.get(name, math.nan)
            above = least is None or value >= least
            below = most is None or value <= most
            if not (above and below):
                text = limits_text({name: (least, most)})
                return "infeasible", replace(measured, reason=f"{name} is {value:g}, not {text}")
        return state, measured

    def _left(self) -> Left:
        return Left(
            elapsed=self._session.elapsed(),
            seconds=self._session.seconds_left(),
            trial_seconds=self._tally.typical_seconds or 0.0,
            at_a_time=self._most_at_a_time,
        )

    def stop_clock(self) -> None:
        """End the session: what comes after belongs to another one."""
        self._session.stop()

    # -- where it stands --------------------------------------------------------------------------

    @property
    def trials(self) -> Sequence[Trial]:
        """All that were told, in that order."""
        return self._learning.trials

    @property
    def evaluated(self) -> int:
        """Evaluations so far, failed ones included."""
        return self._tally.evaluated

    @property
    def closed(self) -> bool:
        """Nothing more will be started."""
        return bool(self._reason)

    @property
    def ended(self) -> bool:
        """Nothing runs, and nothing more will be started."""
        return self.closed and not self._busy

    @property
    def _busy(self) -> int:
        """Evaluations that run."""
        return len(self._running) + (0 if self._race is None else self._race.running)

    @property
    def judge(self) -> Judge | None:
        """Whether a training goes on after a part of it, or None: nobody asks."""
        return self._goes_on if self._learning.judges else None

    def claim_of(self, number: int) -> Claim:
        """The claim of a task that was taken and not given back."""
        return self._running[number]

    def outcome(self) -> Outcome:
        """What the study has come to."""
        return Outcome(
            trials=tuple(self.trials),
            evaluated=self.evaluated,
            seconds=self._session.elapsed(),
            # Asked again: others were still running when the study closed, and are counted now.
            reason=self._reason if self._race is not None else self._spent() or self._reason,
        )

    def _why_no_more(self) -> str:
        """Why nothing more may be started beside what runs; empty if something may."""
        spent = self._spent(len(self._running))
        if spent or not self._tally.exhausted:
            return spent
        return (
            f"the last {ANSWERS_IN_A_ROW} proposals were known already: "
            "the strategy has exhausted its space"
        )

    def _spent(self, running: int = 0) -> str:
        typical = self._tally.typical_seconds
        return self._trials_session.why_no_more(self.evaluated, running, typical)

    def _goes_on(self, number: int, part: int, scores: Metrics) -> bool:
        # A longer training is of a network that was chosen already.
        if number not in self._running:
            return True
        costs = self.domain.costs(self._running[number].proposal.genes)
        return not self._learning.is_hopeless(part, {**costs, **scores})

    def _report(self, last: Trial | None) -> None:
        typical = self._tally.typical_seconds
        planned = self._trials_session.planned(self.evaluated, typical, self._at_a_time)
        eta = None
        if planned is not None and typical is not None:
            eta = (planned - self.evaluated) * typical / self._at_a_time
            if self._race is not None:
                eta += self._race.later_seconds(1, planned, self._left())
        stage = Stage(name="trials", done=self.evaluated, planned=planned)
        rungs = () if self._race is None else self._race.stages(planned)
        self._watch(
            StudyProgress(
                what="trials",
                done=self.evaluated,
                planned=planned,
                seconds=self._session.elapsed(),
                eta_seconds=eta,
                last=last,
                figures=self._tally.figures(),
                objectives=self.store.objectives.names,
                stages=(stage, *rungs),
                best=self._tally.best,
                recent=tuple(self.trials[-RECENT:]),
                running=tuple(self._running),
                doing=self.strategy.doing(),
            )
        )

    # -- proposals --------------------------------------------------------------------------------

    def _waiting(self) -> list[Claim]:
        """What is claimed and not finished: it runs, or an earlier session left it."""
        return [*self._running.values(), *self._open]

    def _start(self, claim: Claim) -> Task:
        self._running[claim.number] = claim
        self._report(None)
        return Task(
            number=claim.number,
            network=self.domain.space.decode(claim.proposal.genes),
            seed=evaluation_seed(self.seed, claim.digest, claim.repeat),
        )

    def _propose(self) -> Claim | Trial | None:
        """Ask the strategy: a new claim, or a trial that is answered at once.

        None if the network proposed is being evaluated, so that its result must be waited for.
        """
        elsewhere = self._hear()
        waiting = self._waiting()
        claim = self._ask(waiting, elsewhere)
        pending = [other.number for other in waiting]
        # Before the board: no other driver need hear of what is outside.
        if not self.domain.contains(claim.proposal.genes):
            return self._answer_outside(claim, pending)
        # To evaluate it again would give the same, and cost a part of the budget.
        if claim.repeat and not self.evaluator.noisy:
            known = self._tally.of_network(claim.digest)
            return self._answer_known(claim, known[0], pending) if known else None
        # The board first: a kill after it leaves a claim that `settle` lets go of, while one in
        # the record alone could be another driver's too.
        if self.board is not None and not self.board.claim(claim):
            return self._propose()  # another driver was first
        return self.store.claim(claim, told=len(self.trials), pending=pending)

    def _ask(self, waiting: Sequence[Claim], elsewhere: Sequence[Foreign]) -> Claim:
        # Optuna numbers trials as they are created; the store holds this number against its own.
        number = len(self.trials) + len(waiting)
        foreign = tuple(other.proposal for other in elsewhere)
        proposal = self.strategy.ask(number, [*(claim.proposal for claim in waiting), *foreign])
        genes = self.domain.space.check(proposal.genes)
        digest = self.domain.space.decode(genes).digest
        # Those that run count as well: the next evaluation of a network has another seed.
        digests = [claim.digest for claim in waiting]
        digests += [other.digest for other in elsewhere]
        return Claim(
            number=number,
            proposal=Proposal(genes, proposal.note),
            digest=digest,
            repeat=len(self._tally.of_network(digest)) + digests.count(digest),
            foreign=foreign,
        )

    def _answer_outside(self, claim: Claim, pending: Sequence[int]) -> Trial:
        """Record a network outside the bounds as infeasible."""
        trial = self.store.answer(
            claim,
            "infeasible",
            self.domain.costs(claim.proposal.genes),
            told=len(self.trials),
            pending=pending,
            reason=f"not within {self.domain.bounds_text}",
        )
        self._learning.add_answer(trial)
        return trial

    def _answer_known(self, claim: Claim, known: Trial, pending: Sequence[int]) -> Trial:
        """Record what an earlier trial of the network came to."""
        trial = self.store.answer(
            claim,
            known.state,
            known.metrics,
            told=len(self.trials),
            pending=pending,
            reason=known.reason,
            source=known.number,
        )
        self._learning.add_answer(trial)
        return trial

    def _hear(self) -> Sequence[Foreign]:
        """Record what other drivers have finished. Returns what they have running."""
        if self.board is None:
            return ()
        finished, running = self.board.hear()
        for foreign in finished:
            self._record_foreign(foreign)
            self.board.heard(foreign.place)
        return running

    def _record_foreign(self, foreign: Foreign) -> None:
        waiting = self._waiting()
        claim = Claim(
            number=len(self.trials) + len(waiting),
            proposal=foreign.proposal,
            digest=foreign.digest,
            repeat=len(self._tally.of_network(foreign.digest)),
        )
        result = foreign.result or {}
        trial = self.store.answer(
            claim,
            result["state"],
            result["metrics"],
            told=len(self.trials),
            reason=result["reason"],
            pending=[other.number for other in waiting],
            heard=foreign.place,
        )
        self._learning.add_foreign(trial)


def _state(measured: Measured) -> State:
    if measured.stopped:
        return "stopped"
    return "failed" if measured.reason else "complete"


def _joined(costs: Metrics, measured: Metrics) -> dict[str, float]:
    twice = sorted(set(costs) & set(measured))
    if twice:
        raise UsageError(
            f"metric '{twice[0]}' is given by the evaluator and by the costs: "
            "it must have one source"
        )
    return {**costs, **measured}
