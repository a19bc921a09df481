"""What a run folder holds, read without a lock."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import RunError, SpaceError
from nas.objectives import Objectives
from nas.record import race, runfile
from nas.record.claims import Claim, contradiction, read_claim, read_result, trial_of
from nas.record.journal import JOURNAL, open_journal
from nas.record.runfile import RunFile
from nas.space import SearchSpace
from nas.trial import Metrics, Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["STUDY", "Record", "canonical", "check_kept", "check_space", "read", "record_of"]

STUDY = "nas"
REPORTS = ("confirm.jsonl", "race.jsonl", "front.csv")
"""Files that are written only when there were trials."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run folder holds."""

    run_file: RunFile
    """Its ``run.json``."""
    trials: tuple[Trial, ...]
    """The finished ones, in number order."""
    answered: frozenset[int] = frozenset()
    """Numbers of those that needed no evaluation: known already, or outside the bounds."""
    heard: Mapping[int, int] = field(default_factory=dict)
    """Of the answered ones, those that another driver evaluated, with their place on the board."""
    order: tuple[int, ...] = ()
    """All numbers, as they were finished."""
    seconds: Mapping[int, float] = field(default_factory=dict)
    """What each evaluation took, by number."""
    elapsed: float = 0.0
    """Seconds that the run had taken when the last one ended."""
    curves: Mapping[int, Sequence[Metrics]] = field(default_factory=dict)
    """By number: the scores after each part of a training that was followed."""
    claims: tuple[Claim, ...] = ()
    """What is claimed and not finished."""
    claimed: Mapping[int, Claim] = field(default_factory=dict)
    """Every claim, by number."""
    contradictions: Mapping[int, str] = field(default_factory=dict)
    """By number: where Optuna's own values or state of a trial are not those of its result."""

    @property
    def objectives(self) -> Objectives:
        """What the run optimises."""
        return self.run_file.identity.objectives


def read(folder: str | Path) -> Record:
    """The record of a run, finished or still going; takes no lock and changes nothing."""
    folder = Path(folder).resolve()
    run_file = runfile.read(folder)
    trials: list[FrozenTrial] = []
    if (folder / JOURNAL).exists():
        storage = open_journal(folder / JOURNAL)
        try:
            study = storage.get_study_id_from_name(STUDY)
            # No copies: of 10,000 trials they take seconds, and nothing here changes one.
            trials = storage.get_all_trials(study, deepcopy=False)
        except KeyError:
            trials = []  # killed before the study's first record
    check_kept(folder, trials)
    return record_of(run_file, trials)


def check_kept(folder: Path, trials: Collection[object]) -> None:
    """Raise `RunError` if a report says that there were trials and the record knows none."""
    reports = [name for name in REPORTS if (folder / name).exists()]
    if reports and not trials:
        raise RunError(
            f"the record of '{folder}' is gone: {reports[0]} is there, {JOURNAL} holds no trial. "
            "Put it back, or begin a new run"
        )


def check_space(folder: str | Path, space: SearchSpace, trials: Sequence[Trial]) -> None:
    """Raise `RunError` unless the first and the last recorded network are the space's.

    Not all: decoding 10,000 would delay every opening. One of the files may be another run's, or
    edited.
    """
    for trial in (*trials[:1], *trials[-1:]):
        try:
            same = space.decode(space.check(trial.genes)).digest == trial.digest
        except SpaceError:
            same = False
        if not same:
            raise RunError(
                f"trial {trial.number} of '{folder}' is no network of its space '{space.name}': "
                f"run.json is another run's than {JOURNAL}, or the space's file was edited. "
                "Put back what belongs to the run"
            )


def canonical(run: str | Path) -> str:
    """What two equal runs share byte for byte: a line of JSON per finished trial, by number.

    The longer trainings of a race follow, by rung and trial.
    """
    trials = "".join(trial.canonical() + "\n" for trial in read(run).trials)
    return trials + race.read(run).canonical()


def record_of(run_file: RunFile, frozen_trials: Sequence["FrozenTrial"]) -> Record:
    """The record that Optuna's trials make."""
    objectives = run_file.identity.objectives
    trials, claimed, results = [], {}, {}
    answered, heard, contradictions = set(), {}, {}
    for frozen in frozen_trials:
        number, entry = frozen.number, frozen.user_attrs
        claim = claimed[number] = read_claim(frozen)
        if "answered" in entry:
            answered.add(number)
        if "heard" in entry:
            heard[number] = entry["heard"]
        if "result" in entry:
            results[number] = read_result(number, entry["result"])
            trials.append(trial_of(claim, results[number], objectives))
        # Kept for `nas replay` to tell, and no error here: the result decides.
        edited = contradiction(frozen, objectives)
        if edited:
            contradictions[number] = edited
    return Record(
        run_file=run_file,
        trials=tuple(trials),
        answered=frozenset(answered),
        heard=heard,
        order=tuple(sorted(results, key=lambda number: (results[number]["order"], number))),
        seconds={number: result["seconds"] for number, result in results.items()},
        # Not simply that of the last trial: an answered one has none.
        elapsed=max((result.get("elapsed", 0.0) for result in results.values()), default=0.0),
        curves={number: result["curve"] for number, result in results.items() if "curve" in result},
        claims=tuple(claim for number, claim in claimed.items() if number not in results),
        claimed=claimed,
        contradictions=contradictions,
    )
