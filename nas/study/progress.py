"""Where a study stands: what is counted, the best network so far, and what is being done."""

from dataclasses import dataclass

from nas.progress import Progress
from nas.record.status import Stage
from nas.trial import Trial

__all__ = ["RECENT", "StudyProgress"]

RECENT = 3
"""So many of the trials that finished last are told."""


@dataclass(frozen=True, kw_only=True)
class StudyProgress(Progress[Trial]):
    """The progress of a study's trials, or of a rung of its race.

    It is told when a network is begun, with no ``last``, and when it is done. The figures are those
    of `nas.study.tally.Tally`.
    """

    objectives: tuple[str, ...] = ()
    """The metrics that are optimised, the first one first."""
    stages: tuple[Stage, ...] = ()
    """The trials, and the rungs of a race."""
    best: Trial | None = None
    """The best in the first objective, by trainings of the length that is counted; None before."""
    recent: tuple[Trial, ...] = ()
    """Those that finished last, at most `RECENT`, the last one last."""
    running: tuple[int, ...] = ()
    """Numbers of the trials that are being trained."""
    doing: str = ""
    """What the strategy is about, or the race, in a few words."""
