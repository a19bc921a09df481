"""One evaluated network: metrics, and the trial that carries them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nas.errors import NasError

__all__ = ["WARM", "Genes", "Metrics", "State", "Trial", "check_metrics"]

WARM = "warm"
"""Key of a note: the published network that the trial is, or is the nearest point of."""

Genes = tuple[int, ...]
Metrics = Mapping[str, float]
State = Literal["complete", "infeasible", "failed", "stopped"]
"""``stopped``: its training was given up early; whoever needs its metrics treats it as failed."""


def check_metrics(metrics: Metrics) -> Metrics:
    """The metrics as a plain dict of finite floats; NaN or infinity raises `NasError`.

    NaN would sit on every front.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NasError(f"metric '{name}' must be finite, not {value}")
    return {name: float(value) for name, value in metrics.items()}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One network that was asked for, and what became of it."""

    number: int
    genes: Genes
    digest: str
    """The network's, `nas.arch.Architecture.digest`."""
    state: State
    losses: tuple[float, ...] = ()
    """The objectives as the strategy is told them, lower is better; empty unless complete."""
    metrics: Metrics = field(default_factory=dict)
    """All numbers known of the network, by name."""
    note: Mapping[str, Any] = field(default_factory=dict)
    """The proposal's: what the strategy cannot rebuild from genes alone, as plain JSON."""
    reason: str = ""
    """In one line, why it is not complete."""

    def __post_init__(self) -> None:
        check_metrics(self.metrics)
        if not all(map(math.isfinite, self.losses)):
            raise NasError(f"losses of trial {self.number} must be finite, not {self.losses}")

    @property
    def warm(self) -> str:
        """The published network that the search began with by this trial; empty for any other."""
        return str(self.note.get(WARM, ""))

    def canonical(self) -> str:
        """One line of JSON that two equal runs share byte for byte: no times, hosts or ids."""
        row = {
            "number": self.number,
            "genes": list(self.genes),
            "digest": self.digest,
            "state": self.state,
            "metrics": dict(sorted(self.metrics.items())),
            "note": dict(self.note),
        }
        return json.dumps(row, sort_keys=True, separators=(",", ":"))
