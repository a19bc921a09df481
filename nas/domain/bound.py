"""A bound on one cost."""

import math
from dataclasses import dataclass

from nas.errors import BoundError

__all__ = ["Bound"]


@dataclass(frozen=True)
class Bound:
    """``lower <= metric <= upper``.

    Raises `BoundError` if a limit is not a number, or if the lower one exceeds the upper one.
    """

    metric: str
    upper: float = math.inf
    """In the metric's own unit."""
    lower: float = -math.inf
    """In the metric's own unit."""

    def __post_init__(self) -> None:
        # NaN compares false with everything: such a bound would leave no network without a word.
        if math.isnan(self.upper) or math.isnan(self.lower) or self.lower > self.upper:
            raise BoundError(
                f"bound on {self.metric}: lower {self.lower:g} must not exceed upper {self.upper:g}"
            )

    def __str__(self) -> str:
        low = f"{self.lower:g} <= " if self.lower > -math.inf else ""
        high = f" <= {self.upper:g}" if self.upper < math.inf else ""
        return f"{low}{self.metric}{high}"
