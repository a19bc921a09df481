"""A run followed from outside: what its folder shows, whenever that has changed.

Nothing in the folder is changed, and the search is not asked: what it keeps there is enough.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from nas.errors import RunError
from nas.progress import Progress
from nas.record import journal, race, record, runfile, status
from nas.record.race import Race, Rung, promoted_trial
from nas.record.record import Record
from nas.record.status import Stage, Status
from nas.study.progress import RECENT, StudyProgress
from nas.study.tally import Tally
from nas.trial import Trial
from nas.units import duration

__all__ = ["Seen", "follow", "look", "stamp"]

POLL_SECONDS = 0.5
READING_SHARE = 0.1
"""Of the time at most that is spent on reading: a long record is read less often."""

State = Literal[
    "waiting",
    "preparing",
    "searching",
    "timing",
    "ended",
    "interrupted",
    "failed",
    "killed",
    "not running",
]
STATES = {
    "ended": "The search has ended",
    "interrupted": "The search was interrupted",
    "failed": "The search failed",
    "killed": "The search was killed",
    "not running": "No search goes on here",
}
"""States in which no search works on the run. The last: an older version kept no status."""

WATCHED = (runfile.FILE, journal.JOURNAL, race.FILE, status.FILE)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a run's folder shows."""

    folder: Path
    state: State
    title: str = ""
    """Space, devices, data and strategy; empty while there is no run."""
    reason: str = ""
    """Why it has ended, in a line."""
    progress: StudyProgress | None = None
    """Where its trials stand, or a rung of its race; None before there is a run."""
    step: Progress[object] | None = None
    """Where the work before the trials stands, or the timing after them."""

    @property
    def over(self) -> bool:
        """Whether no process works on the run."""
        return self.state in STATES

    @property
    def line(self) -> str:
        """Where the run stands, in a sentence."""
        if self.state == "waiting":
            return "No run has begun here yet."
        if self.state in STATES:
            reason = f": {self.reason.rstrip('.')}" if self.reason else ""
            return f"{STATES[self.state]}{reason}."
        at = self.step or self.progress
        if at is None or not at.what:
            return "The search begins."
        planned = "" if at.planned is None else f" of {at.planned}"
        counts = f"{at.what} {at.done}{planned}"
        if at.what == "trials":
            counts = f"{at.done}{planned} trials"
        parts = [f"{self.state.capitalize()}: {counts}"]
        running = () if self.step is not None or self.progress is None else self.progress.running
        if running:
            noun = "trials" if len(running) > 1 else "trial"
            parts.append(f"{noun} {', '.join(map(str, running))} in training")
        if at.eta_seconds is not None:
            parts.append(f"about {duration(at.eta_seconds)} left")
        return f"{', '.join(parts)}."

    def to_json(self) -> dict[str, object]:
        """As ``nas watch --json`` prints it; figures of a preparation stand under ``step``."""
        row: dict[str, object] = {"run": str(self.folder), "state": self.state}
        if self.reason:
            row["reason"] = self.reason
        if self.step is not None:
            row["step"] = _counts(self.step)
        if self.progress is not None:
            stand = self.progress
            row |= {
                **_counts(stand),
                "stages": [vars(stage) for stage in stand.stages],
                "best": None if stand.best is None else _trial(stand.best, stand.objectives),
                "last": None if stand.last is None else _trial(stand.last, stand.objectives),
                "running": list(stand.running),
                "doing": stand.doing,
            }
        return row


def _counts(progress: Progress[object]) -> dict[str, object]:
    return {
        "what": progress.what,
        "done": progress.done,
        "planned": progress.planned,
        "seconds": round(progress.seconds, 1),
        "eta_seconds": None if progress.eta_seconds is None else round(progress.eta_seconds, 1),
        **progress.figures,
    }


def _trial(trial: Trial, objectives: Sequence[str]) -> dict[str, object]:
    shown = {name: trial.metrics[name] for name in objectives if name in trial.metrics}
    return {"trial": trial.number, "state": trial.state, **shown}


# -- following ------------------------------------------------------------------------------------


def follow(
    folder: Path, *, sleep: Callable[[float], object] = time.sleep, poll: float = POLL_SECONDS
) -> Iterator[Seen]:
    """What the folder shows at once, and whenever that changes, until the run is over.

    A folder in which no run has begun is waited for. Raises `RunError` for one that holds something
    else, and for a damaged run.
    """
    before = None
    while True:
        now = stamp(folder)
        begun = time.monotonic()
        if now != before:
            before = now
            seen = look(folder)
            yield seen
            if seen.over:
                return
        reading = time.monotonic() - begun
        sleep(max(poll, reading / READING_SHARE))


def stamp(folder: Path) -> tuple[object, ...]:
    """Differs from an earlier one if what the folder shows may have changed."""
    parts: list[object] = []
    for name in WATCHED:
        try:
            found = (folder / name).stat()
        except OSError:
            parts.append(None)
            continue
        parts.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return (*parts, journal.is_held(folder))


def look(folder: Path) -> Seen:
    """What the folder shows now. Raises `RunError` as `follow` does."""
    if not (folder / runfile.FILE).exists():
        return _without_run(folder)
    # In this order: a session writes how it ended before it lets go of the run.
    held = journal.is_held(folder)
    kept = status.read(folder)
    found = record.read(folder)
    stand = _standing(found, race.read(folder), kept)
    title = found.run_file.identity.title
    state: State = "preparing" if held else "not running"
    step = None
    if kept is not None:
        state = kept.phase
        if not held and not kept.over:
            state, stand = "killed", replace(stand, eta_seconds=None, running=())
        elif not kept.over:
            stand = _aged(stand, kept)
        if state in ("preparing", "timing") and kept.what:
            step = _step(kept)
    return Seen(
        folder=folder,
        state=state,
        title=title,
        reason="" if kept is None else kept.reason,
        progress=stand,
        step=step,
    )


def _without_run(folder: Path) -> Seen:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"'{folder}' is a file, and no run's folder")
    others = []
    if folder.is_dir():
        ours = (journal.LOCK, f".{runfile.FILE}.")  # what a run has in its first moment
        others = [path for path in folder.iterdir() if not path.name.startswith(ours)]
    if others:
        raise RunError(
            f"no run in folder '{folder}': it holds other files, and no {runfile.FILE}. Name the "
            f"folder that --out named{_inside(folder)}"
        )
    return Seen(folder=folder, state="waiting")


def _inside(folder: Path) -> str:
    runs = sorted(path.parent.name for path in folder.glob(f"*/{runfile.FILE}"))
    return f", such as '{folder / runs[-1]}'" if runs else ""


def _standing(found: Record, raced: Race, kept: Status | None) -> StudyProgress:
    """What the search itself would tell, from its record and from what it keeps beside that."""
    objectives, reference = found.objectives, found.run_file.identity.reference
    by_number = {trial.number: trial for trial in found.trials}
    finished = [by_number[number] for number in found.order]
    tally = Tally(objectives, reference)
    for trial in finished:
        if trial.number in found.heard:
            tally.add_foreign(trial)
        elif trial.number not in found.answered:
            tally.add_evaluation(trial, found.seconds[trial.number])
    stages = _stages(raced, kept, tally.evaluated)
    shown = stages[0]
    what = shown.name
    rung = _rung(raced, kept)
    if rung is not None:
        # The scores of its schedule alone.
        rows = [row for row in raced.promotions.values() if row.factor == rung.factor]
        finished = [promoted_trial(by_number[row.trial], row, objectives) for row in rows]
        tally = Tally(objectives, reference)
        for trial, row in zip(finished, rows, strict=True):
            tally.add_evaluation(trial, row.seconds)
        shown = Stage(name=f"rung {rung.number}", done=len(finished), planned=len(rung.trials))
        what = f"{shown.name}, network"
    return StudyProgress(
        what=what,
        done=shown.done,
        planned=shown.planned,
        seconds=max(found.elapsed, raced.elapsed, 0.0 if kept is None else kept.seconds),
        eta_seconds=None if kept is None else kept.eta_seconds,
        last=finished[-1] if finished else None,
        figures=tally.figures(),
        objectives=objectives.names,
        stages=stages,
        best=tally.best,
        recent=tuple(finished[-RECENT:]),
        running=() if kept is None else kept.running,
        doing="" if kept is None else kept.doing,
    )


def _rung(raced: Race, kept: Status | None) -> Rung | None:
    """The rung that was trained last, if its networks are what is counted."""
    if not raced.rungs:
        return None
    # A run that goes on counts its trials again.
    if kept is not None and (kept.phase == "preparing" or kept.what == "trials"):
        return None
    return raced.rungs[-1]


def _stages(raced: Race, kept: Status | None, evaluated: int) -> tuple[Stage, ...]:
    """The trials, by the record, and the rungs."""
    if kept is not None and kept.stages:
        first, *others = kept.stages
        return (replace(first, done=evaluated), *others)
    stages = [Stage(name="trials", done=evaluated, planned=evaluated if kept is None else None)]
    for rung in {rung.number: rung for rung in raced.rungs}.values():
        done = sum(row.factor == rung.factor for row in raced.promotions.values())
        stages.append(Stage(name=f"rung {rung.number}", done=done, planned=len(rung.trials)))
    return tuple(stages)


def _aged(stand: StudyProgress, kept: Status) -> StudyProgress:
    """With the time that has passed since the session kept its status."""
    age = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(kept.written)).total_seconds())
    left = None if stand.eta_seconds is None else max(0.0, stand.eta_seconds - age)
    return replace(stand, seconds=stand.seconds + age, eta_seconds=left)


def _step(kept: Status) -> Progress[object]:
    return Progress(
        what=kept.what,
        done=kept.done,
        planned=kept.planned,
        seconds=kept.seconds,
        eta_seconds=kept.eta_seconds,
        figures=kept.figures,
    )
