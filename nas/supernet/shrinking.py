"""A distribution that loses options while it is learned.

Our reconstruction of the tiered pruning of PruNet (Kierat et al. 2022,
https://arxiv.org/abs/2209.11785), whose code is not public: an option is dropped when its
probability falls below a threshold that rises with time, a layer with its last option but the empty
one; and of an ordered choice only two options, a pair of widths say, are in play at any time. What
a step costs then does not grow with their number.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch

from nas.errors import UsageError
from nas.supernet.distribution import Distribution

__all__ = ["Pair", "Shrinking"]

DECIDED = 0.8
"""The probability at which one of a pair has won.

Its entropy is then still above what the guard of theta asks for.
"""


@dataclass(frozen=True)
class Pair:
    """Options ``low`` and ``low + stride`` of an ordered choice.

    ``came``: 1 or -1 for a pair that a move up or down led to.

    The pair walks towards the winner. Where it turns, the best option lies between the last two
    moves, and the stride is halved: so whatever single-peaked order the options have, their best is
    found.
    """

    low: int
    stride: int
    came: int = 0

    @classmethod
    def first(cls, options: int) -> "Pair":
        """In the middle of that many options, a quarter of them apart."""
        stride = max(1, options // 4)
        return cls((options - stride) // 2, stride)

    @property
    def both(self) -> tuple[int, int]:
        """The two options."""
        return self.low, self.low + self.stride

    def after(self, up: bool, options: int) -> "Pair | int":
        """The next pair once the upper one (or not) has won, or the option that is left."""
        winner = self.both[up]
        way = 1 if up else -1
        beyond = winner + way * self.stride
        if self.came != -way and 0 <= beyond < options:
            return Pair(min(winner, beyond), self.stride, way)
        half = self.stride // 2
        if not half:
            return winner
        fits = winner + half < options
        return Pair(winner if fits else winner - half, half)


def _first_pairs(distribution: Distribution) -> dict[int, Pair]:
    """By place, the first pair of each ordered choice of more than two options."""
    pairs = {}
    for place, choice in enumerate(distribution.space.choices):
        if choice.ordinal and len(choice) > 2:
            pairs[place] = Pair.first(len(choice))
    return pairs


class Shrinking:
    """What becomes of a distribution's options.

    ``prune``: an option is dropped below this share of the even probability, times the share of the
    training that has passed; 0 drops none. No option is pruned that the distribution's ``reach``
    needs. ``two_path``: ordered choices of more than two options play in pairs, which walk freely:
    the target may lie beyond what they leave. Raises `UsageError` where no choice is ordered.
    """

    def __init__(
        self, distribution: Distribution, *, prune: float = 0.0, two_path: bool = False
    ) -> None:
        self.distribution, self.prune = distribution, prune
        self.pairs: dict[int, Pair] = {}
        if two_path:
            self.pairs = _first_pairs(distribution)
        if two_path and not self.pairs:
            raise UsageError(
                "two_path compares two of at least three ordered options, and no choice of space "
                f"'{distribution.space.name}' "
                "has them: leave it out"
            )
        for place, pair in self.pairs.items():
            self._allow(place, pair.both)

    @torch.no_grad()
    def after(self, progress: float, adam: torch.optim.Optimizer) -> None:
        """Once theta has moved; ``progress`` is the share of the training that has passed."""
        if not self.pairs and not self.prune:
            return
        # Of what is drawn: late in an annealing a lead of next to nothing would look decisive.
        log_probs = self.distribution.drawn_log_probs()
        shares = list(self.distribution.by_choice(log_probs).values())
        for place, pair in list(self.pairs.items()):
            self._play(place, pair, shares[place], adam)
        for place, share in enumerate(shares):
            # A pair is decided by a winner alone, not by the threshold.
            if place not in self.pairs:
                threshold = self.prune * progress / len(share)
                self._prune(place, torch.tensor(share) >= threshold)

    def _play(
        self, place: int, pair: Pair, shares: Sequence[float], adam: torch.optim.Optimizer
    ) -> None:
        """Move the pair on once one of the two has won."""
        low, high = (shares[option] for option in pair.both)
        decided = max(low, high) >= DECIDED * (low + high)
        if not decided:
            return
        self._move(place, pair.after(high > low, len(shares)))
        theta = self.distribution.theta[place]
        theta.zero_()
        # Adam's moments are those of the options that played before.
        adam.state.pop(theta, None)

    def _move(self, place: int, then: Pair | int) -> None:
        if isinstance(then, Pair):
            self.pairs[place] = then
            self._allow(place, then.both)
        else:
            del self.pairs[place]
            self._allow(place, (then,))

    def _allow(self, place: int, options: Sequence[int]) -> None:
        mask = torch.zeros_like(self.distribution.allowed[place])
        mask[list(options)] = True
        self.distribution.allowed[place] = mask

    def _prune(self, place: int, kept: torch.Tensor) -> None:
        before = self.distribution.allowed[place]
        after = before & kept
        if torch.equal(before, after) or not after.any():
            return
        self.distribution.allowed[place] = after
        # Without the option the target may be out of reach: then it stays, however improbable.
        if not self.distribution.reaches():
            self.distribution.allowed[place] = before

    def state(self) -> list[tuple[int, ...]]:
        """For ``weights_only`` files; what is allowed lies in the distribution's."""
        return [(place, *astuple(pair)) for place, pair in self.pairs.items()]

    def load(self, state: Sequence[Sequence[int]]) -> None:
        """Take over another `state`."""
        self.pairs = {place: Pair(*pair) for place, *pair in state}
