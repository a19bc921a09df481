"""Where a long job stands: one value for searches, confirmations, trainings and measurements."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Pace", "Progress", "Watch", "ignore"]

Last = TypeVar("Last", covariant=True)
Other = TypeVar("Other")


@dataclass(frozen=True, kw_only=True)
class Progress(Generic[Last]):
    """Where a job stands after a step. ``Last`` is the type of what a step yields."""

    what: str
    """What is counted, such as ``trials``, ``supernet`` or ``row``."""
    done: int
    """Steps that are done, those of earlier sessions included."""
    planned: int | None
    """Steps that the job will come to; None if that is not known yet."""
    seconds: float
    """Time that the job has taken so far."""
    eta_seconds: float | None
    """Time that it will still take; None until one step has been timed."""
    last: Last | None = None
    """What the last step yielded, such as a trial or a row's name; None before the first."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Further numbers by name, such as ``loss`` or ``best``."""

    def about(self, last: Other | None, figures: Mapping[str, float]) -> "Progress[Other]":
        """The same place in the job, told with another ``last`` and other figures."""
        return Progress(
            what=self.what,
            done=self.done,
            planned=self.planned,
            seconds=self.seconds,
            eta_seconds=self.eta_seconds,
            last=last,
            figures=figures,
        )


Watch = Callable[[Progress[object]], None]
"""Is called after every step."""


def ignore(progress: Progress[object]) -> None:
    """A `Watch` that shows nothing."""


class Pace:
    """Times the steps of one session, and from them the steps that are left.

    ``planned``: steps of the whole job, of which earlier sessions did ``done`` in ``seconds``.
    ``until``: a time of ``clock`` at which the job stops, finished or not.
    """

    def __init__(
        self,
        what: str,
        planned: int,
        *,
        done: int = 0,
        seconds: float = 0.0,
        until: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._planned, self._clock = what, planned, clock
        self._first, self._seconds_before = done, seconds
        self._start, self._until = clock(), until

    def at(
        self, done: int, last: Last | None = None, figures: Mapping[str, float] | None = None
    ) -> Progress[Last]:
        """Where the job stands with ``done`` steps done, all sessions counted."""
        now = self._clock()
        session_seconds = now - self._start
        session_steps = done - self._first
        eta = None
        if session_steps > 0:
            eta = session_seconds / session_steps * (self._planned - done)
            if self._until is not None:
                eta = min(eta, max(0.0, self._until - now))
        return Progress(
            what=self._what,
            done=done,
            planned=self._planned,
            seconds=self._seconds_before + session_seconds,
            eta_seconds=eta,
            last=last,
            figures=figures or {},
        )
