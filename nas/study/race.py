"""Successive halving: many networks are trained shortly, the better ones longer, the best longest.

The trials of a study are the first rung. When they are done, about one in ``eta`` is promoted to
the second, which trains ``eta`` times as long, and so on. A longer training begins anew, from a
seed of its own: so a network that was lucky at one rung is not believed at the next, and a training
is a function of network, seed and schedule, which any worker can do. Which networks are promoted
depends on the finished rung below alone, not on the order in which workers finished it.

Who searches one latency gets the best networks of a rung promoted. Over a range of latencies they
would be the fast ones, which learn sooner; there the range is cut into strata, and the best of each
are promoted, then the second best, until there are enough. Ranks are by scores on *search*, so the
scores on *selection* by which fronts are drawn are not chosen by.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nas.domain import Domain
from nas.errors import RunError, UsageError
from nas.objectives import SEARCH, Objectives
from nas.record import race as record
from nas.record.claims import printable
from nas.record.race import Promotion, Race, Rung, first_of_each, promoted_trial
from nas.record.status import Stage
from nas.record.store import Store
from nas.settings import changed, check_ranges
from nas.study.budget import SHORTEST_SECONDS
from nas.study.progress import RECENT, StudyProgress
from nas.study.tally import Tally
from nas.study.workers import Measured, Task
from nas.trial import State, Trial
from nas.units import counted

__all__ = [
    "FEWEST",
    "STRATA",
    "Left",
    "Racing",
    "Runner",
    "check_raceable",
    "chosen_again",
    "promoted",
    "promotion_seed",
]

FEWEST = 2
"""Networks of a rung."""
SEARCH_LOSS = f"{SEARCH}loss"
STRATA = 6
"""Parts of a range of latencies, each with its own best networks."""


@dataclass(frozen=True, kw_only=True)
class Racing:
    """How a race goes."""

    eta: int = 3
    """One network in so many is promoted, to a training so many times as long."""
    rungs: int = 3
    """The trials' own included."""

    def __post_init__(self) -> None:
        check_ranges(self, {"eta": (2, 16), "rungs": (2, 6)}, "race")

    @classmethod
    def parse(cls, text: str) -> "Racing | None":
        """``3`` for eta, or ``eta=3,rungs=2``; an empty text for no race. Raises `UsageError`."""
        if not text:
            return None
        return changed(cls(), text if "=" in text else f"eta={text}", "race")

    def factor(self, rung: int) -> int:
        """How many times the first rung's schedule a rung trains, counted from 1."""
        return int(self.eta ** (rung - 1))

    def counts(self, trials: int) -> list[int]:
        """Networks of each rung after so many trials, none of which fails or comes twice."""
        counts = [trials]
        while len(counts) < self.rungs and self.kept(counts[-1]):
            counts.append(self.kept(counts[-1]))
        return counts

    def kept(self, count: int) -> int:
        """How many of so many networks are promoted: one in ``eta``, or none.

        A rung of fewer than `FEWEST` networks would compare nothing, so it is left out.
        """
        kept = math.ceil(count / self.eta)
        return kept if kept >= FEWEST else 0


def promotion_seed(seed: int, digest: str, factor: int) -> int:
    """The seed of a longer training, 0 to 2^32 - 1, of another stream than the trials'."""
    text = f"race:{seed}:{digest}:{factor}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def promoted(trials: Sequence[Trial], count: int, objectives: Objectives) -> list[Trial]:
    """The ``count`` of these networks that are trained for longer, the first ones first.

    ``trials``: complete ones, each of another network.
    """
    rank_of = _ranking(trials, objectives)
    strata = _strata(trials, max(1, min(STRATA, count)), objectives)
    ranked: list[tuple[int, float, int, Trial]] = []
    for members in strata:
        ordered = sorted(members, key=lambda trial: (rank_of(trial), trial.number))
        # All strata's best before any second best.
        for rank, trial in enumerate(ordered):
            ranked.append((rank, rank_of(trial), trial.number, trial))
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1])[:count]]


def chosen_again(
    race: Race, place: int, trials: Sequence[Trial], objectives: Objectives
) -> tuple[int, ...]:
    """Whom the rung at a place of ``race.rungs`` has to hold, by what was known when it was chosen.

    ``trials``: the run's. Equal to the rung's own, unless the record or this code has changed.
    """
    rung = race.rungs[place]
    # Trials that came later have higher numbers.
    candidates = first_of_each(trials)[: rung.among]
    if rung.number > 2:
        finished = [*race.promotions.values()][: race.finished_before[place]]
        below = rung.factor // rung.eta
        known = {promotion.trial: promotion for promotion in finished if promotion.factor == below}
        candidates = first_of_each(
            promoted_trial(trial, known[trial.number], objectives)
            for trial in trials
            if trial.number in known
        )
    chosen = promoted(candidates, len(rung.trials), objectives)
    return tuple(trial.number for trial in chosen)


def _ranking(trials: Sequence[Trial], objectives: Objectives) -> Callable[[Trial], float]:
    """What ranks the networks of a stratum, lower is better.

    For an accuracy it is the loss on *search*, if all have that: of short trainings it tells
    networks apart that the accuracy does not (experiments/racing.py). Else it is what strategies
    are told of the quality.
    """
    by_accuracy = objectives.reward is None and objectives.quality == "accuracy"
    if by_accuracy and all(SEARCH_LOSS in trial.metrics for trial in trials):
        return lambda trial: trial.metrics[SEARCH_LOSS]
    place = 0 if objectives.told_count == 1 else objectives.names.index(objectives.quality)
    return lambda trial: trial.losses[place]


def _strata(
    trials: Sequence[Trial], count: int, objectives: Objectives
) -> Sequence[Sequence[Trial]]:
    """The trials by the part of the first cost's range in which they lie, on a logarithmic scale.

    One stratum where strategies are told one number: then costs are alike, or weighed already.
    """
    if objectives.told_count == 1 or not objectives.costs or not trials:
        return [trials]
    costs = [trial.metrics[objectives.costs[0]] for trial in trials]
    least, most = min(costs), max(costs)
    if least <= 0 or most <= least:
        return [trials]
    strata: list[list[Trial]] = [[] for _ in range(count)]
    for trial, cost in zip(trials, costs, strict=True):
        share = math.log(cost / least) / math.log(most / least)
        strata[min(count - 1, int(share * count))].append(trial)
    return strata


def check_raceable(objectives: Objectives, evaluator: str, *, lengthens: bool) -> None:
    """Raise `UsageError` where there is nothing that a longer training would tell."""
    if not lengthens:
        raise UsageError(
            f"evaluator '{evaluator}' has no longer training to race to: leave out --race, "
            "or use --evaluator training"
        )
    if not objectives.qualities:
        raise UsageError(
            f"a race ranks networks by a quality, and the objectives are "
            f"{', '.join(objectives.names)}: leave out --race, or add accuracy"
        )


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a race may still take."""

    elapsed: float
    """Seconds that the run has taken."""
    seconds: float
    """Seconds that it may still take; infinite without a limit."""
    trial_seconds: float
    """What a training of the first rung takes."""
    at_a_time: int
    """Trainings that run beside each other."""


class Runner:
    """The later rungs of one study: what is to be trained next, and what came of it.

    It is built from the record, and after a kill goes on where that ends.
    """

    def __init__(self, racing: Racing, store: Store, domain: Domain) -> None:
        self.racing = racing
        self.race: Race = record.read(store.folder)
        """What is recorded."""
        self.over = ""
        """Why nothing more is to be trained; empty while something is, or may be."""
        self._store, self._domain = store, domain
        self._running: dict[int, tuple[Rung, Trial]] = {}
        self._rung: Rung | None = None
        self._tallies: dict[int, Tally] = {}

    def holds(self, number: int) -> bool:
        """Whether a task of that number was taken here, and not given back."""
        return number in self._running

    @property
    def running(self) -> int:
        """How many were."""
        return len(self._running)

    def begin(self) -> None:
        """Look again for something to do: there is more budget, or there are more trials."""
        self.over = ""
        self._rung = None

    def take(self, number: int, trials: Sequence[Trial], left: Left) -> Task | None:
        """The next longer training, as task ``number``.

        None if the rung waits for what runs, or if the race is over. ``trials``: all finished ones;
        none of them runs any more.
        """
        candidates = first_of_each(trials)
        by_number = {trial.number: trial for trial in trials}
        for place in range(2, self.racing.rungs + 1):
            if not self.racing.kept(len(candidates)):
                break
            rung = self._recorded(place, candidates) or self._choose(place, candidates, left)
            if rung is None:
                return None
            self._rung = rung
            missing = self._missing(rung, by_number)
            if missing:
                return self._start(number, rung, missing[0], left)
            if self._running:
                return None
            standing = self.race.standing(rung, trials, self._store.objectives)
            candidates = first_of_each(standing.trials)
        self.over = self._summary(trials)
        return None

    def _recorded(self, place: int, candidates: Sequence[Trial]) -> Rung | None:
        """The rung's last choice, if it was made among the same networks, by the same rules."""
        chosen = [rung for rung in self.race.rungs if rung.number == place]
        rules = (self.racing.factor(place), self.racing.eta, self.racing.rungs, len(candidates))
        if not chosen:
            return None
        last = chosen[-1]
        return last if (last.factor, last.eta, last.rungs, last.among) == rules else None

    def _choose(self, place: int, candidates: Sequence[Trial], left: Left) -> Rung | None:
        """Promote to a rung, and record whom; None if there is nobody, or no time."""
        count = self.racing.kept(len(candidates))
        if math.isfinite(left.seconds):
            count = min(count, self._fitting(place, left))
        if count < FEWEST:
            self.over = self._too_long(place, left)
            return None
        chosen = promoted(candidates, count, self._store.objectives)
        rung = Rung(
            number=place,
            factor=self.racing.factor(place),
            eta=self.racing.eta,
            rungs=self.racing.rungs,
            among=len(candidates),
            trials=tuple(trial.number for trial in chosen),
            elapsed=round(left.elapsed, 3),
        )
        self._add(rung)
        return rung

    def _fitting(self, place: int, left: Left) -> int:
        """How many trainings fit into a rung's share of the time: it is even among the rungs."""
        rungs_left = self.racing.rungs - place + 1
        share = left.seconds / rungs_left * left.at_a_time
        each = max(self._typical(self.racing.factor(place), left), SHORTEST_SECONDS)
        # As few as will do may take the share of the rungs above, too.
        fewest = FEWEST if FEWEST * each <= left.seconds * left.at_a_time else 0
        return max(int(share / each), fewest)

    def _typical(self, factor: int, left: Left) -> float:
        """Seconds of a training: the rung's own median, or the one below for eta times as long."""
        if factor == 1:
            return left.trial_seconds
        own = self._tally(factor).typical_seconds
        if own is not None:
            return own
        return self._typical(factor // self.racing.eta, left) * self.racing.eta

    def _missing(self, rung: Rung, trials: Mapping[int, Trial]) -> list[Trial]:
        """Trials of the rung that are neither finished nor running, the first ones first."""
        busy = {trial.number for _, trial in self._running.values()}
        missing = []
        for number in rung.trials:
            if number not in trials:
                raise RunError(
                    f"{self._store.folder / record.FILE} is another run's, or was edited: "
                    f"there is no finished trial {number}. Remove it to race anew"
                )
            trial = trials[number]
            if (rung.factor, trial.digest) not in self.race.promotions and number not in busy:
                missing.append(trial)
        return missing

    def _start(self, number: int, rung: Rung, trial: Trial, left: Left) -> Task | None:
        # As for trials: half a training is paid for and tells nothing.
        if self._typical(rung.factor, left) > left.seconds:
            self.over = self._too_long(rung.number, left)
            return None
        self._running[number] = rung, trial
        seed = self._store.run_file.identity.seed
        return Task(
            number=number,
            network=self._domain.space.decode(trial.genes),
            seed=promotion_seed(seed, trial.digest, rung.factor),
            factor=rung.factor,
        )

    def give(self, number: int, measured: Measured, state: State, elapsed: float) -> Trial:
        """Record what came of a task. Returns the trial as its longer training has it."""
        rung, trial = self._running.pop(number)
        metrics = self._domain.costs(trial.genes)
        if state == "complete":
            metrics = {**metrics, **measured.metrics}
            # A missing objective raises before anything is recorded.
            self._store.objectives.losses(metrics)
        promotion = Promotion(
            factor=rung.factor,
            trial=trial.number,
            digest=trial.digest,
            state=state,
            metrics=metrics,
            reason=printable(measured.reason),
            seconds=round(measured.seconds, 6),
            elapsed=round(elapsed, 3),
        )
        tally = self._tally(rung.factor)
        self._add(promotion)
        longer = promoted_trial(trial, promotion, self._store.objectives)
        tally.add_evaluation(longer, measured.seconds)
        return longer

    def _add(self, row: Rung | Promotion) -> None:
        record.append(self._store.folder, row)
        self.race = self.race.after(row)

    # -- where it stands --------------------------------------------------------------------------

    def stages(self, trials: int | None) -> tuple[Stage, ...]:
        """What is counted of each rung, if so many trials come before; those to come included."""
        stages = []
        count = trials
        for place in range(2, self.racing.rungs + 1):
            done = 0
            chosen = self._chosen(place)
            if chosen is not None:
                done, count = len(self._finished(chosen)), len(chosen.trials)
            elif count is not None:
                count = self.racing.kept(count)
            if count == 0:
                break
            stages.append(Stage(name=f"rung {place}", done=done, planned=count))
        return tuple(stages)

    def _chosen(self, place: int) -> Rung | None:
        """The rung's networks, if they are chosen in this session."""
        if self._rung is None or place > self._rung.number:
            return None
        return next((rung for rung in self.race.rungs[::-1] if rung.number == place), None)

    def progress(self, last: Trial | None, left: Left, trials: Stage) -> StudyProgress | None:
        """Where the rung stands that is being trained; None before the first is chosen.

        ``trials``: what is counted of the trials.
        """
        rung = self._rung
        if rung is None:
            return None
        done = len(self._finished(rung))
        tally = self._tally(rung.factor)
        rounds = (len(rung.trials) - done) / left.at_a_time
        own_seconds = rounds * self._typical(rung.factor, left)
        finished = [row for row in self.race.promotions.values() if row.factor == rung.factor]
        return StudyProgress(
            what=f"rung {rung.number}, network",
            done=done,
            planned=len(rung.trials),
            seconds=left.elapsed,
            eta_seconds=own_seconds + self.later_seconds(rung.number, len(rung.trials), left),
            last=last,
            figures=tally.figures(),
            objectives=self._store.objectives.names,
            stages=(trials, *self.stages(trials.planned)),
            best=tally.best,
            recent=tuple(map(_bare_trial, finished[-RECENT:])),
            running=tuple(trial.number for _, trial in self._running.values()),
            doing=f"the race trains the better networks {rung.factor} times as long",
        )

    def later_seconds(self, place: int, count: int, left: Left) -> float:
        """What the rungs above one will take, if that has so many networks."""
        seconds = 0.0
        for above in range(place + 1, self.racing.rungs + 1):
            count = self.racing.kept(count)
            seconds += count * self._typical(self.racing.factor(above), left)
        seconds /= left.at_a_time
        return min(seconds, left.seconds)

    def _finished(self, rung: Rung) -> set[int]:
        """The rung's trials that are finished."""
        finished = {
            promotion.trial
            for promotion in self.race.promotions.values()
            if promotion.factor == rung.factor
        }
        return finished & set(rung.trials)

    def _tally(self, factor: int) -> Tally:
        """What the trainings of one schedule add up to: no other's are among them."""
        if factor not in self._tallies:
            objectives = self._store.objectives
            tally = Tally(objectives, self._store.run_file.identity.reference)
            for promotion in self.race.promotions.values():
                if promotion.factor == factor:
                    tally.add_evaluation(_bare_trial(promotion), promotion.seconds)
            self._tallies[factor] = tally
        return self._tallies[factor]

    def _too_long(self, place: int, left: Left) -> str:
        seconds = self._typical(self.racing.factor(place), left)
        return (
            f"what rung {place} takes, about {seconds:.3g} s a network, would not fit into the time"
        )

    def _summary(self, trials: Sequence[Trial]) -> str:
        standings = self.race.standings(trials, self._store.objectives)
        factors = {self.racing.factor(place) for place in range(1, self.racing.rungs + 1)}
        counts = []
        for standing in standings:
            if standing.factor in factors:
                counts.append(str(len(first_of_each(standing.trials))))
        *others, last = counts
        if not others:
            return f"{counted(int(last), 'network')} are too few to race"
        networks = f"{', '.join(others)} and {counted(int(last), 'network')}"
        return f"raced in {len(counts)} rungs of {networks}"


def _bare_trial(promotion: Promotion) -> Trial:
    """What a tally counts of a promotion."""
    return Trial(
        number=promotion.trial,
        genes=(),
        digest=promotion.digest,
        state=promotion.state,
        metrics=promotion.metrics,
        reason=promotion.reason,
    )
