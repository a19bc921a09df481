"""A run's record: an Optuna journal that `optuna.load_study` and `optuna-dashboard` open as it is.

A trial is **claimed** by one journal record, which carries all that its proposal was made from, and
**finished** by two: first its result in one user attribute, then Optuna's state and values. The result
decides: a process killed between the two leaves a trial whose state is set when the run is opened again.
Killed before, it leaves an open claim, which is evaluated again with the same seed. A line torn by a kill
or a full disk is cut when the run is opened, so nothing that was finished is lost, and nothing repeated.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args

from nas.errors import NasError, RunError, SpaceError
from nas.files import make_folder, through_json
from nas.metadata import UNKNOWN, Metadata
from nas.objectives import Objectives, check_shares
from nas.reading import to_json
from nas.record import runfile
from nas.record.identity import Identity, check_same
from nas.record.journal import JOURNAL, RunLock, open_journal, readable_errors, repair
from nas.record.runfile import RunFile
from nas.space import Choice, SearchSpace
from nas.strategies.base import Proposal
from nas.trial import Metrics, State, Trial, check_metrics

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

__all__ = ["Claim", "Record", "Store", "canonical", "check_space", "quiet_optuna", "read"]

STUDY = "nas"
REPORTS = ("confirm.jsonl", "front.csv")
METRIC_NAMES = "study:metric_names"  # where Optuna keeps the names of a study's objectives


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A network taken on for evaluation: trial number, proposal, digest, and which repeat of that digest.

    ``told`` trials, the first of the record's order, were known to the strategy, and those of
    ``pending`` were running.
    """

    number: int
    proposal: Proposal
    digest: str
    repeat: int = 0
    told: int = 0
    pending: tuple[int, ...] = ()
    foreign: tuple[Proposal, ...] = ()
    """What other drivers of the study had running."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run folder holds.

    ``trials`` are the finished ones in number order, ``answered`` the numbers of those that needed
    no evaluation (known already, or outside the bounds), ``order`` all numbers as they were
    finished, ``seconds`` the time each evaluation took, ``elapsed`` the seconds that the run had
    taken when the last one ended, ``curves`` the scores after each part of trainings that were
    followed, ``claims`` what is claimed and not finished, ``claimed`` every claim by number.
    """

    run_file: RunFile
    trials: tuple[Trial, ...]
    answered: frozenset[int] = frozenset()
    heard: Mapping[int, int] = field(default_factory=dict)
    """Of the answered ones, those that another driver evaluated, with their place on the board."""
    order: tuple[int, ...] = ()
    seconds: Mapping[int, float] = field(default_factory=dict)
    elapsed: float = 0.0
    curves: Mapping[int, Sequence[Metrics]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    claimed: Mapping[int, Claim] = field(default_factory=dict)
    contradictions: Mapping[int, str] = field(default_factory=dict)
    """By number: where Optuna's own values, genes or state of a trial are not those of its result."""

    @property
    def objectives(self) -> Objectives:
        """What the run optimises."""
        return self.run_file.identity.objectives


def read(folder: str | Path) -> Record:
    """The record of a run, finished or still going; takes no lock and changes nothing."""
    folder = Path(folder).resolve()
    run_file = runfile.read(folder)
    path = folder / JOURNAL
    if not path.exists():
        _check_kept(folder, ())
        return Record(run_file=run_file, trials=())
    storage = open_journal(path)
    try:
        found = storage.get_all_trials(storage.get_study_id_from_name(STUDY), deepcopy=False)
    except KeyError:  # killed before the study's first record
        found = []
    _check_kept(folder, found)
    return _record(run_file, found)


def _check_kept(folder: Path, found: Collection[object]) -> None:
    """Raise where a report says that there were trials and the record knows none."""
    left = [name for name in REPORTS if (folder / name).exists()]
    if left and not found:
        raise RunError(
            f"the record of '{folder}' is gone: {left[0]} is there, {JOURNAL} holds no trial. Put it back, or begin a new run"
        )


def check_space(folder: str | Path, space: SearchSpace, trials: Sequence[Trial]) -> None:
    """Raise `RunError` unless the first and the last recorded network are the space's: one file may be another run's, or edited."""
    for trial in (*trials[:1], *trials[-1:]):
        try:
            same = space.decode(space.check(trial.genes)).digest == trial.digest
        except SpaceError:
            same = False
        if not same:
            raise RunError(
                f"trial {trial.number} of '{folder}' is no network of its space '{space.name}': run.json is another "
                f"run's than {JOURNAL}, or the space's file was edited. Put back what belongs to the run"
            )


def canonical(run: str | Path) -> str:
    """What two equal runs share byte for byte: a line of JSON per finished trial, in number order."""
    return "".join(trial.canonical() + "\n" for trial in read(run).trials)


def _record(run_file: RunFile, found: Sequence["FrozenTrial"]) -> Record:
    objectives = run_file.identity.objectives
    trials, claimed, results = [], {}, {}
    for frozen in found:
        claim = claimed[frozen.number] = _claim(frozen)
        if "result" in frozen.user_attrs:
            result = results[claim.number] = _result(frozen.number, frozen.user_attrs["result"])
            trials.append(_trial(claim, result, objectives))
    return Record(
        run_file=run_file,
        trials=tuple(trials),
        answered=frozenset(frozen.number for frozen in found if "answered" in frozen.user_attrs),
        heard={f.number: f.user_attrs["heard"] for f in found if "heard" in f.user_attrs},
        order=tuple(sorted(results, key=lambda number: (results[number]["order"], number))),
        seconds={number: result["seconds"] for number, result in results.items()},
        elapsed=max((result.get("elapsed", 0.0) for result in results.values()), default=0.0),
        curves={number: result["curve"] for number, result in results.items() if "curve" in result},
        claims=tuple(claim for number, claim in claimed.items() if number not in results),
        claimed=claimed,
        contradictions={
            n: text
            for n, text in ((f.number, _contradiction(f, objectives)) for f in found)
            if text
        },
    )


def _contradiction(frozen: "FrozenTrial", objectives: Objectives) -> str:
    """What an edit of one of the two places of a value leaves."""
    result = frozen.user_attrs.get("result")
    if result is None or not frozen.state.is_finished() or frozen.values is None:
        return ""
    if result["state"] != "complete":
        return f"its state is {result['state']}, yet it has values"
    for name, value in zip(objectives.names, frozen.values, strict=False):
        if result["metrics"].get(name) != value:
            return f"{name} is {result['metrics'].get(name)} in its result and {value} among its values"
    return ""


def _claim(frozen: "FrozenTrial") -> Claim:
    given, number = frozen.user_attrs, frozen.number
    try:
        genes, pending = tuple(given["genes"]), tuple(given["pending"])
        foreign = tuple(
            Proposal(tuple(genes), dict(note)) for genes, note in given.get("foreign", ())
        )
        sound = (
            all(
                type(n) is int and n >= 0
                for n in (*genes, *pending, given["repeat"], given["told"])
            )
            and type(given["note"]) is dict
            and type(given["digest"]) is str
            and given["digest"].isascii()
        )
    except KeyError as error:
        raise RunError(
            f"trial {number} of the record has no {error}: another program wrote it"
        ) from None
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise RunError(
            f"trial {number} of the record was edited: its claim holds something else than a claim"
        )
    return Claim(
        number=number, proposal=Proposal(genes, given["note"]), digest=given["digest"], repeat=given["repeat"],
        told=given["told"], pending=pending, foreign=foreign,
    )  # fmt: skip


def _result(number: int, result: Any) -> Mapping[str, Any]:
    """A result as `Store.finish` wrote it; anything else raises."""
    try:
        numbers = (result["seconds"], result["order"], result.get("elapsed", 0.0))
        curve = result.get("curve", ())
        sound = (
            result["state"] in get_args(State)
            and type(result["reason"]) is str
            and all(_finite(value) and value >= 0 for value in numbers)
            and all(
                _finite(value)
                for scores in (result["metrics"], *curve)
                for value in scores.values()
            )
        )
        for scores in (result["metrics"], *curve):
            check_shares(scores)
        "".join(result["metrics"]).encode()
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError, NasError):
        sound = False
    if not sound:
        raise RunError(
            f"trial {number} of the record was edited: its result holds something else than a result"
        )
    return {**result, "reason": _whole(result["reason"])}


def _whole(text: str) -> str:
    """The text with '?' for half a character, which a file's name may bring into an error and no table can print."""
    return text.encode(errors="replace").decode()


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _trial(claim: Claim, result: Mapping[str, Any], objectives: Objectives) -> Trial:
    state, metrics = result["state"], result["metrics"]
    return Trial(
        number=claim.number,
        genes=claim.proposal.genes,
        digest=claim.digest,
        state=state,
        losses=objectives.told(metrics) if state == "complete" else (),
        metrics=metrics,
        note=claim.proposal.note,
        reason=result["reason"],
    )


def _distribution(choice: Choice) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, IntDistribution

    return (
        IntDistribution(0, len(choice) - 1)
        if choice.ordinal
        else CategoricalDistribution(choice.labels)
    )


class Store:
    """The record of one run, held by this process alone until it is closed. Use `create` or `resume`."""

    def __init__(self, folder: Path, space: SearchSpace, run_file: RunFile, lock: RunLock) -> None:
        self.folder, self.space, self.run_file = folder, space, run_file
        self.objectives = run_file.identity.objectives
        self._lock = lock
        self._ids: dict[int, int] = {}
        self._distributions = {
            name: _distribution(choice)
            for name, choice in zip(space.gene_names, space.choices, strict=True)
        }
        path = folder / JOURNAL
        with self._writing():
            repair(path)
            self._storage = open_journal(path)
            self._study = self._open_study()
            self.opened = self._settle()
        self._finished = len(self.opened.trials)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        space: SearchSpace,
        identity: Identity,
        *,
        command: Sequence[str] = (),
        settings: Mapping[str, object] | None = None,
        metadata: Metadata = UNKNOWN,
    ) -> "Store":
        """Start a run in a folder that holds none; makes the folder."""
        folder = Path(folder).resolve()
        make_folder(folder, "run folder")
        lock = RunLock(folder)
        try:
            if any((folder / name).exists() for name in ("run.json", JOURNAL)):
                raise RunError(
                    f"'{folder}' holds a run already: go on with --resume {folder}, or choose another --out"
                )
            with readable_errors(folder):
                runfile.write(
                    folder,
                    identity,
                    command=command,
                    settings=settings or {},
                    metadata=metadata,
                )
            return cls(folder, space, runfile.read(folder), lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def resume(cls, folder: str | Path, space: SearchSpace, identity: Identity) -> "Store":
        """Go on with a run; one made under another identity raises `RunError` with the first difference."""
        folder = Path(folder).resolve()
        run_file = runfile.read(folder)
        check_same(folder, to_json(run_file.identity), to_json(identity))
        lock = RunLock(folder)
        try:
            found = cls(folder, space, run_file, lock)
            _check_kept(folder, found.opened.claimed)
            return found
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the run."""
        self._lock.release()

    # -- writing ----------------------------------------------------------------------------------

    def claim(self, claim: Claim, *, told: int, pending: Sequence[int] = ()) -> Claim:
        """Record a proposal before it is evaluated: one record. Returns it as a resumed run would read it."""
        return self._create(claim, pending, told, {})

    def answer(
        self,
        claim: Claim,
        state: State,
        metrics: Metrics,
        *,
        told: int,
        pending: Sequence[int] = (),
        source: int | None = None,
        reason: str = "",
        heard: int | None = None,
    ) -> Trial:
        """Record a trial that needs no evaluation, claimed and finished in one record.

        ``source`` is the earlier trial with the same digest, or None for a network outside the
        bounds. ``heard`` is the place of another driver's trial on the board.
        """
        result = self._result(state, metrics, reason, 0.0)
        extra = {"answered": source, "result": result} | ({} if heard is None else {"heard": heard})
        claim = self._create(claim, pending, told, extra)
        self._finished += 1
        return _trial(claim, result, self.objectives)

    def finish(
        self,
        claim: Claim,
        state: State,
        metrics: Metrics,
        *,
        reason: str = "",
        seconds: float = 0.0,
        elapsed: float = 0.0,
        curve: Sequence[Metrics] = (),
    ) -> Trial:
        """Record what became of a claim; once this returns, or even half-way through, no kill undoes it."""
        result = {**self._result(state, metrics, reason, seconds), "elapsed": round(elapsed, 3)}
        if curve:
            result["curve"] = [dict(scores) for scores in curve]
        trial = _trial(claim, result, self.objectives)
        with self._writing():
            self._storage.set_trial_user_attr(self._ids[claim.number], "result", result)
            self._set_state(self._ids[claim.number], result)
        self._finished += 1
        return trial

    def _result(
        self, state: State, metrics: Metrics, reason: str, seconds: float
    ) -> dict[str, Any]:
        return {
            "state": state,
            "metrics": check_metrics(metrics),
            "reason": _whole(reason),
            "seconds": round(seconds, 6),
            "order": self._finished,
        }

    def _create(
        self, claim: Claim, pending: Sequence[int], told: int, extra: Mapping[str, Any]
    ) -> Claim:
        from optuna.trial import TrialState, create_trial

        # A note goes through JSON at once, so that an unbroken run hands back what a resumed one
        # reads: lists for tuples.
        note = through_json(dict(claim.proposal.note))
        genes = claim.proposal.genes
        state, values = TrialState.RUNNING, None
        if "result" in extra:
            state, values = self._state(extra["result"])
        params = {
            name: gene if choice.ordinal else choice.labels[gene]
            for name, choice, gene in zip(
                self.space.gene_names, self.space.choices, genes, strict=True
            )
        }
        attributes = {
            "genes": list(genes),
            "digest": claim.digest,
            "note": note,
            "repeat": claim.repeat,
        }
        attributes |= {"pending": list(pending), "told": told, **extra}
        if claim.foreign:
            attributes["foreign"] = [[list(p.genes), dict(p.note)] for p in claim.foreign]
        template = create_trial(
            state=state,
            values=values,
            params=params,
            distributions=self._distributions,
            user_attrs=attributes,
        )
        with self._writing():
            trial_id = self._storage.create_new_trial(self._study, template_trial=template)
            number = self._storage.get_trial(trial_id).number
        if number != claim.number:
            raise RunError(
                f"the record in '{self.folder}' was changed by another program: trial {claim.number} exists"
            )
        self._ids[number] = trial_id
        return replace(claim, proposal=Proposal(genes, note), told=told, pending=tuple(pending))

    # -- opening ----------------------------------------------------------------------------------

    def _open_study(self) -> int:
        """The study's id; what a kill left out of its creation is added."""
        from optuna.study import StudyDirection

        try:
            study = self._storage.get_study_id_from_name(STUDY)
        except KeyError:
            directions = [StudyDirection[o.direction.upper()] for o in self.objectives.each]
            with quiet_optuna():
                study = self._storage.create_new_study(directions, STUDY)
        if METRIC_NAMES not in self._storage.get_study_system_attrs(study):
            self._storage.set_study_system_attr(study, METRIC_NAMES, list(self.objectives.names))
        return study

    def _settle(self) -> Record:
        """Set the state of trials that were killed between result and state; give what the run holds."""
        found = self._storage.get_all_trials(self._study, deepcopy=False)
        for frozen in found:
            self._ids[frozen.number] = frozen._trial_id
            if "result" in frozen.user_attrs and not frozen.state.is_finished():
                self._set_state(frozen._trial_id, frozen.user_attrs["result"])
        return _record(self.run_file, found)

    def _set_state(self, trial_id: int, result: Mapping[str, Any]) -> None:
        state, values = self._state(result)
        self._storage.set_trial_state_values(trial_id, state, values)

    def _state(self, result: Mapping[str, Any]) -> tuple["TrialState", list[float] | None]:
        """Optuna's state and values: it knows no infeasible and no stopped trials, pruned comes nearest."""
        from optuna.trial import TrialState

        if result["state"] == "complete":
            return TrialState.COMPLETE, [result["metrics"][name] for name in self.objectives.names]
        return (TrialState.FAIL if result["state"] == "failed" else TrialState.PRUNED), None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A write that fails closes the run: a record appended to a torn line would damage it."""
        if not self._lock.held:
            raise RunError(
                f"the run in '{self.folder}' is closed: go on with --resume {self.folder}"
            )
        try:
            with readable_errors(self.folder):
                yield
        except BaseException:
            self.close()
            raise


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna logs a line for much of what it does."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
