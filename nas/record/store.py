"""A run's record: an Optuna journal that `optuna.load_study` and `optuna-dashboard` open as it is.

A trial is **claimed** by one journal record, which carries all that its proposal was made from, and
**finished** by two: first its result in one user attribute, then Optuna's state and values. The
result decides. A process that is killed between the two leaves a trial whose state is set when the
run is opened again. Killed before, it leaves an open claim, which is evaluated again with the same
seed. A line that a kill or a full disk tore is cut when the run is opened. So nothing that was
finished is lost, and nothing repeated.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nas.errors import RunError
from nas.files import make_folder, through_json
from nas.metadata import UNKNOWN, Metadata
from nas.reading import to_json
from nas.record import runfile
from nas.record.claims import Claim, Result, attributes, new_result, trial_of
from nas.record.identity import Identity, check_same
from nas.record.journal import JOURNAL, RunLock, open_journal, readable_errors, repair
from nas.record.record import STUDY, Record, canonical, check_kept, check_space, read, record_of
from nas.record.runfile import RunFile
from nas.space import Choice, SearchSpace
from nas.strategies.base import Proposal
from nas.trial import Metrics, State, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import TrialState

__all__ = ["Claim", "Record", "Store", "canonical", "check_space", "quiet_optuna", "read"]

METRIC_NAMES = "study:metric_names"
"""Where Optuna keeps the names of a study's objectives."""


def _distribution(choice: Choice) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if choice.ordinal:
        # As numbers: Optuna's models then know that neighbours are alike.
        return IntDistribution(0, len(choice) - 1)
    return CategoricalDistribution(choice.labels)


class Store:
    """The record of one run, held by this process alone until it is closed.

    Use `create` or `resume`.
    """

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
            # Under the lock: of two that begin at once only one finds the folder empty.
            if any((folder / name).exists() for name in ("run.json", JOURNAL)):
                raise RunError(
                    f"'{folder}' holds a run already: go on with --resume {folder}, "
                    "or choose another --out"
                )
            with readable_errors(folder):
                runfile.write(
                    folder,
                    identity,
                    command=command,
                    settings=settings or {},
                    metadata=metadata,
                )
            # Read back, so that a new run works with just what a resumed one will read.
            return cls(folder, space, runfile.read(folder), lock)
        except BaseException:  # an interrupt too: the folder must not stay locked
            lock.release()
            raise

    @classmethod
    def resume(cls, folder: str | Path, space: SearchSpace, identity: Identity) -> "Store":
        """Go on with a run.

        One made under another identity raises `RunError` with the first difference.
        """
        folder = Path(folder).resolve()
        run_file = runfile.read(folder)
        # Before the lock and the repair: a run that is not this one's is left as it is.
        check_same(folder, to_json(run_file.identity), to_json(identity))
        lock = RunLock(folder)
        try:
            store = cls(folder, space, run_file, lock)
            check_kept(folder, store.opened.claimed)
            return store
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
        """Record a proposal before it is evaluated, by one record.

        Returns it as a resumed run would read it.
        """
        return self._create(claim, pending, told, None)

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
        # Also if it is None: the key says that nothing was evaluated.
        extra: dict[str, object] = {"answered": source}
        if heard is not None:
            extra["heard"] = heard
        claim = self._create(claim, pending, told, result, **extra)
        self._finished += 1
        return trial_of(claim, result, self.objectives)

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
        """Record what became of a claim. No kill undoes it, not even one half-way through."""
        result = self._result(state, metrics, reason, seconds)
        result["elapsed"] = round(elapsed, 3)
        if curve:
            result["curve"] = [dict(scores) for scores in curve]
        trial = trial_of(claim, result, self.objectives)
        with self._writing():
            # In this order: the result decides, and `_settle` makes up for a state that is missing.
            # A state without a result could not be made up for.
            self._storage.set_trial_user_attr(self._ids[claim.number], "result", result)
            self._set_state(self._ids[claim.number], result)
        self._finished += 1
        return trial

    def _result(self, state: State, metrics: Metrics, reason: str, seconds: float) -> Result:
        # With several workers trials end in another order than that of their numbers.
        return new_result(state, metrics, reason=reason, seconds=seconds, order=self._finished)

    def _create(
        self,
        claim: Claim,
        pending: Sequence[int],
        told: int,
        result: Result | None,
        **extra: object,
    ) -> Claim:
        """Record a claim, with its result if it has one already."""
        from optuna.trial import TrialState, create_trial

        # A note goes through JSON at once, so that an unbroken run hands back what a resumed one
        # reads: lists for tuples.
        proposal = Proposal(claim.proposal.genes, through_json(dict(claim.proposal.note)))
        claim = replace(claim, proposal=proposal, told=told, pending=tuple(pending))
        state, values = TrialState.RUNNING, None
        if result is not None:
            state, values = self._state(result)
            extra["result"] = result
        template = create_trial(
            state=state,
            values=values,
            params=self._parameters(proposal),
            distributions=self._distributions,
            user_attrs={**attributes(claim), **extra},
        )
        with self._writing():
            # From a template, as one line of the journal: it is there whole, or not at all.
            trial_id = self._storage.create_new_trial(self._study, template_trial=template)
            number = self._storage.get_trial(trial_id).number
        if number != claim.number:
            raise RunError(
                f"the record in '{self.folder}' was changed by another program: "
                f"trial {claim.number} exists"
            )
        self._ids[number] = trial_id
        return claim

    def _parameters(self, proposal: Proposal) -> dict[str, object]:
        """The genes as Optuna names them: numbers of ordered options, labels of others."""
        choices = zip(self.space.gene_names, self.space.choices, proposal.genes, strict=True)
        return {
            name: gene if choice.ordinal else choice.labels[gene] for name, choice, gene in choices
        }

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
        """What the run holds, once trials killed between result and state have their state."""
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        for frozen in trials:
            self._ids[frozen.number] = frozen._trial_id
            if "result" in frozen.user_attrs and not frozen.state.is_finished():
                self._set_state(frozen._trial_id, frozen.user_attrs["result"])
        return record_of(self.run_file, trials)

    def _set_state(self, trial_id: int, result: Result) -> None:
        state, values = self._state(result)
        self._storage.set_trial_state_values(trial_id, state, values)

    def _state(self, result: Result) -> tuple["TrialState", list[float] | None]:
        """Optuna's state and values of a result.

        It knows no infeasible and no stopped trials; pruned comes nearest.
        """
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
