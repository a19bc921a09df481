"""Make every proposal of a run again from its claim, and name the first that comes out otherwise, with its cause.

A claim records what a proposal was made from: how many trials had been told, in the record's order,
and which were pending. The strategy is built anew and told the same; what it proposes must be what
it proposed then.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas import strategies
from nas.errors import NasError, RunError
from nas.files import through_json
from nas.record import environment
from nas.record.identity import space_digest
from nas.record.store import Claim
from nas.report.probabilities import FILE
from nas.run.run import Run
from nas.strategies._learned import read_learned
from nas.strategies.base import Proposal
from nas.strategies.differentiable import Differentiable

__all__ = ["Difference", "Replay", "replay", "require"]

SETTINGS = ("seed", "strategy")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first trial that is not what its claim gives: what differs, and what may have caused it, likeliest first."""

    number: int
    what: str
    recorded: Any
    replayed: Any
    causes: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"trial {self.number}: {self.what} is {_short(self.recorded)} in the record and {_short(self.replayed)} "
            f"now. Likely cause: {'; or '.join(self.causes)}"
        )


@dataclass(frozen=True, kw_only=True)
class Replay:
    """``proposals`` were made again and equal; ``difference`` is None where all of them were."""

    proposals: int
    difference: Difference | None


def replay(run: Run, watch: Callable[[int, int], None] = lambda done, all_: None) -> Replay:
    """Replay a run, finished or not. ``watch`` gets proposals done and in all. Raises `NasError` where it cannot begin."""
    identity, record = run.identity, run.record
    spec, seed = identity.strategy.name, identity.seed
    told_apart = 1 if record.objectives.reward is not None else len(record.objectives.each)
    strategy = strategies.make(spec, run.domain, seed=seed, objectives=told_apart)
    if isinstance(strategy, Differentiable):
        strategy.learn(read_learned(run.folder / FILE))
    trials = {trial.number: trial for trial in record.trials}
    claims = sorted(record.claimed.values(), key=lambda claim: claim.number)
    told = 0
    for done, claim in enumerate(claims):
        watch(done, len(claims))
        difference = _recorded(run, claim)
        if difference is None and not told <= claim.told <= len(record.order):
            difference = _difference(run, claim, "the number of trials told", claim.told, told)
        if difference is None and any(number not in record.claimed for number in claim.pending):
            difference = _difference(
                run, claim, "what was pending", list(claim.pending), sorted(record.claimed)
            )
        if difference is None:
            while told < claim.told:
                strategy.tell(trials[record.order[told]])
                told += 1
            if (
                claim.number not in record.heard
            ):  # another driver's proposal is in another driver's run
                pending = [record.claimed[number].proposal for number in claim.pending]
                asked = strategy.ask(claim.number, [*pending, *claim.foreign])
                difference = _proposed(run, claim, asked)
        if difference is not None:
            return Replay(proposals=done, difference=difference)
    return Replay(proposals=len(claims), difference=None)


def _recorded(run: Run, claim: Claim) -> Difference | None:
    """Whether the genes still name the network, and the network still costs what it did."""
    try:
        digest: str | None = run.space.decode(claim.proposal.genes).digest
    except NasError:
        digest = None
    if digest != claim.digest:
        return _difference(run, claim, "the network", claim.digest, digest)
    found = [trial for trial in run.trials if trial.number == claim.number]
    if found and found[0].metrics:
        now = run.domain.costs(claim.proposal.genes)
        for name, value in found[0].metrics.items():
            if name in now and now[name] != value:
                return _difference(run, claim, name, value, now[name])
    return None


def _proposed(run: Run, claim: Claim, asked: Proposal) -> Difference | None:
    if tuple(asked.genes) != claim.proposal.genes:
        return _difference(
            run, claim, "the proposal", list(claim.proposal.genes), list(asked.genes)
        )
    note = through_json(dict(asked.note))
    if note != claim.proposal.note:
        return _difference(run, claim, "the note", dict(claim.proposal.note), note)
    return None


def _difference(run: Run, claim: Claim, what: str, recorded: Any, replayed: Any) -> Difference:
    return Difference(
        number=claim.number,
        what=what,
        recorded=recorded,
        replayed=replayed,
        causes=tuple(_causes(run, claim)),
    )


def _causes(run: Run, claim: Claim) -> list[str]:
    identity, run_file = run.identity, run.record.run_file
    found = [
        f"the run's table of {t.name} was edited"
        for t in run.tables
        if t.digest != identity.tables[t.name]
    ]
    changed_space = space_digest(run.space) != identity.space.digest
    if changed_space:
        found.append(
            "the search space is not the one the run was made with: its file was edited, or its ops changed"
        )
    settings = run_file.settings
    asked = {"seed": identity.seed, "strategy": identity.strategy.name}
    found += [
        f"run.json was edited: {name} is {asked[name]} in its identity and {settings[name]} in its settings"
        for name in SETTINGS
        if name in settings and settings[name] != asked[name]
    ]
    if not changed_space:
        found += _edited(run, claim)
    found += [
        f"another environment: {change}" for change in environment.changes(run_file.environment)
    ]
    return found or [
        "the strategy's code has changed, or its proposals depend on more than it is told, or metrics of an earlier "
        "trial were edited together with its Optuna values"
    ]


def _edited(run: Run, claim: Claim) -> list[str]:
    """Trials up to this one whose record contradicts itself."""
    for number, edited in run.record.contradictions.items():
        if number <= claim.number:
            return [f"the record was edited: trial {number}: {edited}"]
    for other in run.record.claimed.values():
        if other.number > claim.number:
            continue
        try:
            same = run.space.decode(other.proposal.genes).digest == other.digest
        except NasError:
            same = False
        if not same:
            return [
                f"the record was edited: the genes of trial {other.number} are not its network's"
            ]
    return []


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def require(found: Replay) -> None:
    """Raise `RunError` with the difference, if there is one."""
    if found.difference is not None:
        raise RunError(f"{found.proposals} proposals are reproduced, then: {found.difference}")
