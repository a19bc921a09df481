"""What a family states of each of its networks, and the table row most of them are written in."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypedDict

from nas.arch import Architecture, Stage
from nas.networks import rules
from nas.scale import Rounding, WidthRule
from nas.shape import Op, Shape
from nas.space import make_divisible

__all__ = ["Published", "chain_stages", "repeat"]


class Counts(TypedDict):
    """A network's params and MACs, by which rules."""

    params: int
    params_rule: str
    macs: int
    macs_rule: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """A network by name."""

    name: str
    build: Callable[[], Architecture]
    """It at width 1 for 1000 classes."""
    source: str
    """Where the configuration was read."""
    space: str = ""
    """The search space it came from; empty if this toolkit has none."""
    head: WidthRule = "grow"
    """How its family scales the head."""
    stem: WidthRule = "scale"
    """How its family scales the stem."""
    rounding: Rounding = make_divisible
    """How its family rounds channels."""
    params_rule: str = "all trainable"
    """How its authors count, see `nas.networks.rules`."""
    macs_rule: str = "conv+linear"
    """How its authors count, see `nas.networks.rules`."""

    trained: bool = False
    """Whether its authors count branches of convolutions before they are folded."""

    def counts(self, architecture: Architecture) -> Counts:
        """Params and MACs as the network's authors count them, with the names of the two rules."""
        form = architecture.trained_kernels if self.trained else architecture.kernels
        when = ", before branches are folded" if self.trained else ""
        return {
            "params": rules.PARAMS[self.params_rule](form()),
            "params_rule": self.params_rule + when,
            "macs": rules.MACS[self.macs_rule](form()),
            "macs_rule": self.macs_rule + when,
        }


def repeat(op: Op, count: int, stride: int) -> tuple[Op, ...]:
    """The op ``count`` times; only the first has the stride."""
    return tuple(op.replace(stride=stride if index == 0 else 1) for index in range(count))


def chain_stages(
    resolution: int,
    stem: Op | tuple[Op, ...],
    stages: Iterable[tuple[Op, ...]],
    head: Iterable[Op],
) -> Architecture:
    """Stem, of one op or several, numbered stages, head. A stage without ops is left out."""

    def named() -> Iterator[Stage]:
        yield Stage("stem", stem if isinstance(stem, tuple) else (stem,))
        for number, ops in enumerate(stages, 1):
            if ops:
                yield Stage(f"stage{number}", ops)
        yield Stage("head", tuple(head))

    return Architecture(Shape(3, resolution), tuple(named()))
