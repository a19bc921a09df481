"""Make every proposal of a run again from its claim; name the first that differs, and its cause.

So it is for the rungs of a race: each follows from what was finished when it was chosen.

A claim records what a proposal was made from: how many trials had been told, in the record's order,
and which were pending. The strategy is built anew and told the same; what it proposes must be what
it proposed then.
"""

import json
from collections.abc import Callable, Container
from dataclasses import dataclass

from nas import strategies
from nas.errors import NasError, RunError
from nas.files import through_json
from nas.record import environment
from nas.record.identity import space_digest, version_changes, versions
from nas.record.race import FILE as FILE_OF_RACE
from nas.record.store import Claim
from nas.report.probabilities import FILE
from nas.run.earlier import read_earlier
from nas.run.run import Run
from nas.strategies._learned import read_learned
from nas.strategies._warm import WarmStart
from nas.strategies.base import Proposal
from nas.strategies.differentiable import Differentiable
from nas.study.race import chosen_again
from nas.trial import Trial

__all__ = ["Difference", "Replay", "replay", "require"]

LONGEST_SHOWN = 80


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first trial that is not what its claim gives."""

    number: int
    what: str
    recorded: object
    replayed: object
    causes: tuple[str, ...]
    """What may have caused it, the likeliest first."""

    def __str__(self) -> str:
        return (
            f"trial {self.number}: {self.what} is {_short(self.recorded)} in the record "
            f"and {_short(self.replayed)} now. Likely cause: {'; or '.join(self.causes)}"
        )


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How far a run was reproduced."""

    proposals: int
    """How many were made again and came out equal."""
    difference: Difference | None
    """None if all of them did."""


@dataclass(frozen=True)
class _Change:
    """What is one thing in the record and another now."""

    what: str
    recorded: object
    replayed: object


def replay(run: Run, watch: Callable[[int, int], None] = lambda done, count: None) -> Replay:
    """Replay a run, finished or not.

    ``watch`` gets the number of proposals done and of all. Raises `NasError` if the strategy cannot
    be built.
    """
    proposer = _Proposer(run)
    versions = version_changes(run.identity.versions, proposer.versions)
    claims = sorted(run.record.claimed.values(), key=lambda claim: claim.number)
    for done, claim in enumerate(claims):
        watch(done, len(claims))
        # The record first: edited genes would otherwise show as a proposal that differs.
        change = _recorded(run, claim, versions) or proposer.change(claim)
        if change is not None:
            causes = (*versions.values(), *_causes(run, claim))
            difference = Difference(number=claim.number, **vars(change), causes=causes)
            return Replay(proposals=done, difference=difference)
    return Replay(proposals=len(claims), difference=_rung_difference(run))


def _rung_difference(run: Run) -> Difference | None:
    """The first rung of a race whose networks are not those that its rule promotes."""
    for place, rung in enumerate(run.race.rungs):
        again = chosen_again(run.race, place, run.trials, run.objectives)
        if again != rung.trials:
            return Difference(
                number=rung.trials[0] if rung.trials else 0,
                what=f"who is promoted to rung {rung.number}",
                recorded=list(rung.trials),
                replayed=list(again),
                causes=(f"{FILE_OF_RACE} was edited", "the rule of promotions has changed since"),
            )
    return None


def _recorded(run: Run, claim: Claim, other: Container[str]) -> _Change | None:
    """Whether the genes still name the network, and the network still costs what it did.

    ``other``: costs that were counted by another rule then.
    """
    digest = _digest(run, claim)
    if digest != claim.digest:
        return _Change("the network", claim.digest, digest)
    for trial in run.trials:
        if trial.number == claim.number:
            return _repriced(run, trial, other)
    return None


def _repriced(run: Run, trial: Trial, other: Container[str]) -> _Change | None:
    """The first cost that the trial's network does not have any more."""
    if not trial.metrics:
        return None
    costs = run.domain.costs(trial.genes)
    for name, value in trial.metrics.items():
        # What was measured, such as accuracy, cannot be priced again, and counts as equal.
        # If the other rule decided anything, the proposals will tell.
        if name not in other and costs.get(name, value) != value:
            return _Change(name, value, costs[name])
    return None


def _digest(run: Run, claim: Claim) -> str | None:
    """Digest of the network that a claim's genes describe; None if they describe none."""
    try:
        return run.space.decode(claim.proposal.genes).digest
    except NasError:
        return None


class _Proposer:
    """A run's strategy, built anew and told what it was told then."""

    def __init__(self, run: Run) -> None:
        self._record = run.record
        self._trials = {trial.number: trial for trial in run.trials}
        self._told = 0
        objectives = run.objectives
        strategy = strategies.make(
            run.identity.strategy.name,
            run.domain,
            seed=run.identity.seed,
            objectives=objectives.told_count,
            earlier=read_earlier(run.folder, run.identity.earlier, run.space),
        )
        if isinstance(strategy, Differentiable):
            # It proposes from what its training left in the folder; nothing is trained again.
            strategy.learn(read_learned(run.folder / FILE))
        self._strategy = WarmStart(strategy, run.identity.warm, run.domain)
        self.versions = versions(run.domain, strategy)
        """Of the code that is here."""

    def change(self, claim: Claim) -> _Change | None:
        """What of a claim comes out otherwise; claims come in the order of their numbers."""
        record = self._record
        # An edited journal may say anything; a strategy cannot forget what it was told.
        if not self._told <= claim.told <= len(record.order):
            return _Change("the number of trials told", claim.told, self._told)
        if not set(claim.pending) <= set(record.claimed):
            return _Change("what was pending", list(claim.pending), sorted(record.claimed))
        for number in record.order[self._told : claim.told]:
            self._strategy.tell(self._trials[number])
        self._told = claim.told
        if claim.number in record.heard:
            return None  # another driver's proposal is replayed in that driver's run
        pending = [record.claimed[number].proposal for number in claim.pending]
        asked = self._strategy.ask(claim.number, [*pending, *claim.foreign])
        return _proposed(claim.proposal, asked)


def _proposed(claimed: Proposal, asked: Proposal) -> _Change | None:
    if tuple(asked.genes) != claimed.genes:
        return _Change("the proposal", list(claimed.genes), list(asked.genes))
    note = through_json(dict(asked.note))
    if note != claimed.note:
        return _Change("the note", dict(claimed.note), note)
    return None


# -- causes ---------------------------------------------------------------------------------------


def _causes(run: Run, claim: Claim) -> list[str]:
    changed_space = space_digest(run.space) != run.identity.space.digest
    causes = _edited_tables(run)
    if changed_space:
        causes.append(
            "the search space is not the one the run was made with: "
            "its file was edited, or its ops changed"
        )
    causes += _edited_settings(run)
    if not changed_space:  # else every network's genes would look edited
        causes += _edited(run, claim)
    for change in environment.changes(run.record.run_file.environment):
        causes.append(f"another environment: {change}")
    return causes or [
        "the strategy's code has changed, or its proposals depend on more than it is told, "
        "or metrics of an earlier trial were edited together with its Optuna values"
    ]


def _edited_tables(run: Run) -> list[str]:
    recorded = run.identity.tables
    causes = []
    for table in run.tables:
        if table.digest != recorded[table.name]:
            causes.append(f"the run's table of {table.name} was edited")
    return causes


def _edited_settings(run: Run) -> list[str]:
    """Settings that ``run.json`` holds twice, and that differ."""
    settings = run.record.run_file.settings
    identity = {"seed": run.identity.seed, "strategy": run.identity.strategy.name}
    causes = []
    for name, value in identity.items():
        if settings.get(name, value) != value:
            causes.append(
                f"run.json was edited: {name} is {value} in its identity and {settings[name]} "
                "in its settings"
            )
    return causes


def _edited(run: Run, claim: Claim) -> list[str]:
    """The first trial up to this one whose record contradicts itself."""
    for number, edited in run.record.contradictions.items():
        if number <= claim.number:
            return [f"the record was edited: trial {number}: {edited}"]
    for other in run.record.claimed.values():
        if other.number <= claim.number and _digest(run, other) != other.digest:
            return [
                f"the record was edited: the genes of trial {other.number} are not its network's"
            ]
    return []


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def require(result: Replay) -> None:
    """Raise `RunError` with the difference, if there is one."""
    if result.difference is not None:
        raise RunError(f"{result.proposals} proposals are reproduced, then: {result.difference}")
