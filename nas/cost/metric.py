"""The name of a figure: what it is, and the device it is of.

Records and options spell it ``NAME`` or ``NAME@DEVICE``: ``params``, ``latency_ms@pixel1``.
"""

from dataclasses import dataclass

__all__ = ["Metric"]

LATENCY = "latency_ms"
SURE_LATENCY = "latency_p"


@dataclass(frozen=True)
class Metric:
    """A figure of a network, on a device or, without one, of the network itself."""

    name: str
    device: str = ""

    @classmethod
    def parse(cls, text: str) -> "Metric":
        """The metric that ``NAME`` or ``NAME@DEVICE`` spells."""
        name, _, device = text.partition("@")
        return cls(name, device)

    @classmethod
    def latency(cls, device: str) -> "Metric":
        """A device's latency: ``latency_ms@pixel1``."""
        return cls(LATENCY, device)

    @classmethod
    def sure_latency(cls, device: str, confidence: float) -> "Metric":
        """The latency kept with that probability, 0 to 1: ``latency_p95_ms@pixel1``."""
        return cls(f"{SURE_LATENCY}{100 * confidence:g}_ms", device)

    @property
    def is_latency(self) -> bool:
        """Whether it is a latency in the mean."""
        return self.name == LATENCY

    @property
    def plain(self) -> "Metric":
        """The metric that a bound on this one bounds too: the mean of a latency kept surely."""
        if self.name.startswith(SURE_LATENCY):
            return Metric.latency(self.device)
        return self

    def __str__(self) -> str:
        return f"{self.name}@{self.device}" if self.device else self.name
