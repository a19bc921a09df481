"""How much a study may still do: trials, seconds or both, over all sessions of a run."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from nas.units import counted

__all__ = ["SHORTEST_SECONDS", "Budget", "Session"]

SHORTEST_SECONDS = 1e-9
"""A looked-up trial takes no time that a clock shows."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may take, all its sessions counted."""

    trials: int | None = None
    """Evaluations; None for no limit."""
    seconds: float | None = None
    """Time; None for no limit."""


class Session:
    """The clock of one session, and what the budget still allows."""

    def __init__(
        self,
        budget: Budget,
        *,
        clock: Callable[[], float],
        spent_seconds: float = 0.0,
        evaluated_before: int = 0,
    ) -> None:
        """Start the clock. ``spent_seconds``, ``evaluated_before``: those of earlier sessions."""
        self._trials = math.inf if budget.trials is None else budget.trials
        self._seconds = math.inf if budget.seconds is None else budget.seconds
        self._clock = clock
        self._evaluated_before = evaluated_before
        # As if the run had begun so long ago: the time between two sessions does not count.
        self._start = clock() - spent_seconds
        self._stopped: float | None = None
        self.spent_seconds = spent_seconds

    def elapsed(self) -> float:
        """Seconds that the run has taken, until now or until the session was stopped."""
        now = self._clock() if self._stopped is None else self._stopped
        return now - self._start

    def seconds_left(self) -> float:
        """Seconds that the run may still take; infinite without a limit."""
        return max(0.0, self._seconds - self.elapsed())

    def stop(self) -> None:
        """End the session: what comes after belongs to another one."""
        self._stopped = self._clock()
        self.spent_seconds = self.elapsed()

    def why_no_more(self, evaluated: int, running: int, typical_seconds: float | None) -> str:
        """Why no further evaluation may start beside those that run; empty if one may.

        ``typical_seconds``: what an evaluation takes, None before the first.
        """
        # First: a resume without a larger budget must not read as if it had trained something.
        if self._evaluated_before >= self._trials:
            return (
                f"the run holds {counted(self._evaluated_before, 'trial')} already "
                f"and --trials is {self._trials}: nothing more was trained"
            )
        # Those that run count: a slot that is free must not begin one too many.
        if evaluated + running >= self._trials:
            verb = "is" if evaluated == 1 else "are"
            return f"{counted(evaluated, 'trial')} {verb} done"
        # The next one must end in time as well: half a training is paid for and tells nothing.
        if self.elapsed() + (typical_seconds or 0.0) > self._seconds:
            return f"another trial would not fit into {self._seconds:g} s"
        return ""

    def planned(self, evaluated: int, typical_seconds: float | None, at_a_time: int) -> int | None:
        """Evaluations that the run will come to; None if that is not known yet."""
        # A resumed run may hold more evaluations than its new budget asks for.
        most = max(self._trials, evaluated)
        if math.isfinite(self._seconds) and typical_seconds is not None:
            seconds_left = max(0.0, self._seconds - self.elapsed())
            rounds_left = seconds_left / max(typical_seconds, SHORTEST_SECONDS)
            most = min(self._trials, evaluated + int(rounds_left * at_a_time))
        return int(most) if math.isfinite(most) else None
