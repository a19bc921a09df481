"""Several drivers on one study: a database of what each has claimed, and what came of it.

Every driver keeps its own run folder, whole and able to resume and replay alone. The board, an
Optuna study under any RDB URL, is only how they hear of each other: a network claimed by one is
pending for all, its result is told to all. Of two claims for one network the earlier counts. A
driver that never comes back leaves its last claims pending, which costs the others those networks
and nothing else.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import RunError, UsageError
from nas.files import one_line
from nas.reading import to_json
from nas.record.identity import Identity, check_same
from nas.record.store import Claim, quiet_optuna
from nas.strategies.base import Proposal
from nas.trial import Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Board", "Foreign"]

SHARED = ("space", "tables", "data", "proxy", "objectives", "bounds", "reference")
"""What drivers must have in common; their strategies and seeds may differ."""


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A network of another driver."""

    place: int
    """Its number on the board."""
    driver: str
    proposal: Proposal
    digest: str
    result: Mapping[str, Any] | None
    """Its state, metrics and reason; None while it runs."""


class Board:
    """One driver's view of the database. Raises `RunError` in one line.

    ``driver`` names this one for good: the resolved run folder and host will do.
    """

    def __init__(self, url: str, identity: Identity, driver: str, *, study: str = "nas") -> None:
        # Only the scheme is kept, for messages: the rest of a URL may hold a password.
        self.driver, self._url = driver, url.partition("://")[0]
        self._objectives = identity.objectives
        with self._readable():
            # Inside `_readable`: a database driver that is not installed raises ImportError.
            import optuna
            from optuna.storages import RDBStorage

            with quiet_optuna():
                self._storage = RDBStorage(url)
            self._study = self._open(study, _shared(identity))
            self._reader = optuna.load_study(study_name=study, storage=self._storage)
        # A driver that is resumed under its name finds its earlier claims again.
        self._own: dict[tuple[str, int], int] = {}
        for frozen in self._trials():
            if frozen.user_attrs.get("driver") == driver and not _void(frozen):
                self._own[frozen.user_attrs["digest"], frozen.user_attrs["repeat"]] = (
                    frozen._trial_id
                )
        self._heard: set[int] = set()

    def _open(self, name: str, common: Mapping[str, object]) -> int:
        import optuna
        from optuna.exceptions import DuplicatedStudyError
        from optuna.study import StudyDirection

        with quiet_optuna():
            try:
                # Created first and looked up second: two that start at once cannot both find
                # none.
                directions = [StudyDirection[o.direction.upper()] for o in self._objectives.each]
                study = int(self._storage.create_new_study(directions, name))
                self._storage.set_study_user_attr(study, "identity", common)
                self._storage.set_study_system_attr(
                    study, "study:metric_names", list(self._objectives.names)
                )
            except DuplicatedStudyError:
                study = int(self._storage.get_study_id_from_name(name))
            recorded = optuna.load_study(study_name=name, storage=self._storage).user_attrs.get(
                "identity"
            )
        if recorded is None:
            raise RunError(
                f"study '{name}' of the {self._url} storage is not one of ours: "
                "name another with --study"
            )
        check_same(Path(name), recorded, common)
        return study

    @contextmanager
    def _readable(self) -> Iterator[None]:
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

        try:
            yield
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise UsageError(
                f"--storage takes a database URL such as sqlite:///shared.db: {one_line(error)}"
            ) from None
        except Exception as error:
            if isinstance(error, SQLAlchemyError) or type(error).__name__ == "StorageInternalError":
                raise RunError(
                    f"the {self._url} storage cannot be used: {one_line(error)}. "
                    "Nothing finished is lost"
                ) from None
            raise

    def _trials(self) -> "list[FrozenTrial]":
        """All of them.

        Optuna's study reads again only those that had not finished, its storage every one.
        """
        with self._readable():
            return self._reader.get_trials(deepcopy=False)

    def claim(self, claim: Claim) -> bool:
        """Say that this driver evaluates a network; False where another one was first."""
        from optuna.trial import TrialState, create_trial

        key = (claim.digest, claim.repeat)
        if key in self._own:
            return True
        attributes = {
            "driver": self.driver,
            "digest": claim.digest,
            "repeat": claim.repeat,
            "genes": list(claim.proposal.genes),
            "note": dict(claim.proposal.note),
        }
        with self._readable():
            ours = self._storage.create_new_trial(
                self._study,
                template_trial=create_trial(state=TrialState.RUNNING, user_attrs=attributes),
            )
            number = self._storage.get_trial(ours).number
        # The database numbers claims in one order for all, so two drivers that claim at once agree
        # on who was first, without a lock that a killed one would keep.
        for other in self._trials():
            taken = (
                other.user_attrs.get("digest") == claim.digest
                and other.user_attrs.get("repeat") == claim.repeat
            )
            if other.number < number and taken and not _void(other):
                self._give_up(ours)
                return False
        self._own[key] = ours
        return True

    def _give_up(self, trial_id: int) -> None:
        from optuna.trial import TrialState

        with self._readable():
            # Before the state: a failed claim without this mark would be pending for all others.
            self._storage.set_trial_user_attr(trial_id, "void", True)
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def finish(self, claim: Claim, trial: Trial) -> None:
        """Publish what came of a claim; doing it twice does nothing."""
        from optuna.trial import TrialState

        trial_id = self._own.get((claim.digest, claim.repeat))
        with self._readable():
            if trial_id is None or self._storage.get_trial(trial_id).state.is_finished():
                return
            result = {"state": trial.state, "metrics": dict(trial.metrics), "reason": trial.reason}
            # Before the state: others read a result once its trial is finished.
            self._storage.set_trial_user_attr(trial_id, "result", result)
            complete = trial.state == "complete"
            state = TrialState.COMPLETE if complete else TrialState.FAIL
            values = [trial.metrics[name] for name in self._objectives.names] if complete else None
            self._storage.set_trial_state_values(trial_id, state, values)

    def settle(self, claims: Mapping[int, Claim], trials: Mapping[int, Trial]) -> None:
        """After a kill: publish what this driver had finished.

        Claims that its record never saw are let go of.
        """
        known = {(claim.digest, claim.repeat): number for number, claim in claims.items()}
        for key in list(self._own):
            number = known.get(key)
            if number is None:
                # Killed between the claim here and the one in its record: nobody would finish it.
                self._give_up(self._own.pop(key))
            elif number in trials:
                self.finish(claims[number], trials[number])

    def hear(self) -> tuple[list[Foreign], list[Foreign]]:
        """What other drivers have finished since last heard of, and what they have running."""
        news, running = [], []
        for frozen in self._trials():
            if (
                # Without a driver: another program put it there, and it names no network.
                frozen.user_attrs.get("driver") in (None, self.driver)
                or _void(frozen)
                or frozen.number in self._heard
            ):
                continue
            foreign = _foreign(frozen)
            if foreign.result is None:
                running.append(foreign)
            else:
                news.append(foreign)
        return news, running

    def heard(self, place: int) -> None:
        """A foreign result is in this driver's record."""
        self._heard.add(place)


def _shared(identity: Identity) -> dict[str, object]:
    """The parts of an identity that drivers must have in common, as plain JSON."""
    document = to_json(identity)
    return {name: document[name] for name in SHARED}


def _void(frozen: "FrozenTrial") -> bool:
    return bool(frozen.user_attrs.get("void"))


def _foreign(frozen: "FrozenTrial") -> Foreign:
    given = frozen.user_attrs
    return Foreign(
        place=frozen.number,
        driver=str(given["driver"]),
        proposal=Proposal(tuple(given["genes"]), given["note"]),
        digest=given["digest"],
        result=given.get("result") if frozen.state.is_finished() else None,
    )
