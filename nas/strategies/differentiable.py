"""Differentiable search: networks of a distribution that the training of a supernet has learned.

The training (`nas.supernet.theta`) comes first and gives a document; this strategy, which needs no
torch, proposes its candidates in the order of their rank, then draws more. So what a gradient found
is trained, recorded and compared as everything else is. It aims at the run's first bound: derived
networks lie in a window under it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.domain import Bound, Domain
from nas.errors import BoundError, RunError, SpaceError, UsageError, unknown
from nas.settings import check_kind
from nas.strategies._history import History
from nas.strategies._learned import AGAIN, Learned
from nas.strategies._window import Window
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Trial

__all__ = ["SHARING", "Differentiable", "Settings", "strategy"]

DRAWS = 256

MODES = ("path", "fbnet")
SHARING = ("auto", "none", "elastic")
"""How a supernet's layers share weights, see `nas.supernet.network.Supernet`."""

OWN = {
    "path": ("frozen", "ramp", "lr", "samples", "beside", "guard"),
    "fbnet": ("epochs", "loss"),
}
"""Settings that one variant alone has."""

LOSSES = ("product", "absolute")
WHAT = "strategy 'differentiable'"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the distribution is learned."""

    variant: str = "path"
    """``fbnet`` is the paper's own way, ``path`` is ours."""
    window: float = 0.05
    """Share of the bound that a derived network may stay below it."""
    frozen: float = 0.5
    """Share of the steps before theta moves."""
    ramp: bool = True
    """During these, networks depart from the largest one (`nas.supernet.training`)."""
    lr: float = 0.05
    """Adam's rate for theta."""
    samples: int = 4
    """Networks of a step of theta."""
    beside: bool = True
    """Every second step trains a uniformly random network instead of a drawn one."""
    guard: bool = True
    """Act on skips and on early collapse."""
    candidates: int = 48
    """Networks drawn at the end and ranked."""
    longer: float = 12.0
    """Times the images and epochs of one network's short training."""
    epochs: int = 90
    """Of variant fbnet, which follows the paper in all else."""
    loss: str = "product"
    """Of variant fbnet. ``product`` is the paper's: it weighs the latency and takes what falls
    under the bound. ``absolute`` seeks the window (TF-NAS)."""
    share: str = "auto"
    """How layers share weights, see `nas.supernet.network.Supernet`."""
    accumulate: int = 1
    """Parts that a batch is worked off in, to save memory."""
    depth: bool = False
    """How many slots of a stage are filled is a choice of its own (`nas.supernet.distribution`)."""
    prune: float = 0.0
    """Options fall away while theta is learned (`nas.supernet.shrinking`)."""
    two_path: bool = False
    """See ``prune``."""

    def __post_init__(self) -> None:
        self._check_kinds()
        self._check_values()
        self._check_variant()

    def _check_kinds(self) -> None:
        for field in dataclasses.fields(self):
            check_kind(f"{field.name} of {WHAT}", getattr(self, field.name), field.type)

    def _check_values(self) -> None:
        for name, known in (("variant", MODES), ("loss", LOSSES), ("share", SHARING)):
            if getattr(self, name) not in known:
                raise unknown(f"{name} of {WHAT}", getattr(self, name), known)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name} of {WHAT} must be {low:g} to {high:g}, not {value}")

    def _check_variant(self) -> None:
        """Raise `UsageError` if a setting was changed that the variant does not have."""
        (other,) = set(MODES) - {self.variant}
        for name in OWN[other]:
            if self._changed(name):
                raise UsageError(f"variant {self.variant} of {WHAT} has no {name}: leave it out")
        if not self.aims and self._changed("window"):
            raise UsageError(
                "variant fbnet takes whatever falls under the bound: "
                "give window together with loss=absolute"
            )

    def _changed(self, name: str) -> bool:
        """Whether a setting is not the default."""
        return bool(getattr(self, name) != getattr(type(self), name))

    @property
    def aims(self) -> bool:
        """Whether derived networks shall lie in the window, and not anywhere under the bound."""
        return self.variant == "path" or self.loss == "absolute"


_RANGES: Mapping[str, tuple[float, float]] = {
    "window": (0.001, 0.5),
    "frozen": (0, 0.95),
    "lr": (1e-5, 1),
    "samples": (2, 64),
    "candidates": (1, 10_000),
    "longer": (0.01, 1e4),
    "epochs": (2, 10_000),
    "accumulate": (1, 4096),
    "prune": (0, 1),
}


class Differentiable(Strategy):
    """Candidates by rank, then draws from the distribution inside the window, no network twice.

    ``band``: the window together with the domain's other bounds. If the distribution has nothing
    there, draws are even. Raises `BoundError` if nothing is in it.
    """

    trials = 6
    """As many of its samples FBNet trains from scratch, to keep the best."""

    def __init__(
        self, domain: Domain, *, seed: int, objectives: int = 1, settings: Settings | None = None
    ) -> None:
        self.domain, self.seed = domain, seed
        self.settings = settings or Settings()
        self.history = History(domain)
        self.target = _target(domain, self.settings.window if self.settings.aims else 1.0)
        self._candidates: list[tuple[Genes, dict[str, int]]] = []
        self._window: Window | None = None
        # Raises now if the window is empty, and not after hours of training.
        self.window([np.ones(slot.options) for slot in domain.space.slots])
        # The window draws under one cost alone; the other bounds need a domain of their own.
        others = [bound for bound in domain.bounds if bound.metric != self.target.metric]
        self.band = domain
        if others:
            self.band = Domain(domain.space, domain.compiled, [self.target, *others])

    def learn(self, learned: Learned) -> None:
        """Take over the weights and the ranked candidates of a training.

        Raises `RunError` if they are not over this space.
        """
        space = self.domain.space
        try:
            candidates = [space.check(candidate.genes) for candidate in learned.candidates]
        except SpaceError:
            raise _damaged() from None
        if not all(weight >= 0 for weight in chain.from_iterable(learned.weights)):
            raise _damaged()
        if [len(row) for row in learned.weights] != [slot.options for slot in space.slots]:
            raise RunError(
                f"the distribution is not one over space '{space.name}': its slots differ. {AGAIN}"
            )
        self._window = self.window(learned.weights)
        self._candidates = [(genes, {"rank": rank}) for rank, genes in enumerate(candidates)]

    def window(self, weights: Sequence[Sequence[float] | NDArray[np.float64]]) -> Window:
        """Draws from the distribution, inside the window that the run aims at."""
        # No option is impossible: after the candidates, draws must reach the whole window.
        raised = [np.maximum(np.asarray(row, np.float64), 1e-9) for row in weights]
        target = self.target
        return Window(self.domain.compiled, target.metric, target.lower, target.upper, raised)

    def draw(self, window: Window, draw: np.random.Generator) -> np.ndarray:
        """Networks inside all bounds of the domain, (n, number of choices), n may be 0."""
        drawn = window.draw(DRAWS, draw)
        return np.asarray(drawn[self.domain.inside(drawn)])

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        if self._window is None:
            raise UsageError(
                f"{WHAT} proposes what a supernet has learned: it works in nas search only"
            )
        taken = self.history.taken(pending) | set(self.history.genes)
        for genes, note in self._candidates:
            if self.history.canonical(genes) not in taken:
                return Proposal(genes, note)
        draw = rng(self.seed, "ask", number)
        unseen = self.history.unseen(self.draw(self._window, draw), pending)
        if unseen is None and self.band is not self.domain:
            unseen = self.history.unseen(self.band.sample_many(DRAWS, draw), pending)
        return Proposal(unseen or self.history.draw(rng(self.seed, "ask", number), pending))

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        self.history.tell(trial)

    def doing(self) -> str:
        """See `Strategy`."""
        return "trains candidates of the supernet, then draws from its distribution"

    def recommend(self) -> Genes:
        """The best network on average over its evaluations.

        The first candidate before any is complete.
        """
        best = self.history.best()
        if best is not None:
            return best
        if self._candidates:
            return self._candidates[0][0]
        return self.history.draw(rng(self.seed, "recommend", 0))


def _damaged() -> RunError:
    return RunError(f"the distribution is damaged: it must hold weights and candidates. {AGAIN}")


def _target(domain: Domain, window: float) -> Bound:
    """The first bound that a sum has from above, with the window's lower end."""
    bound = _first_upper_bound(domain)
    low = domain.compiled.extreme(bound.metric)[0]
    high = domain.compiled.extreme(bound.metric, largest=True)[0]
    # Where the bound has a lower end of its own, the window may not reach below it.
    lower = max(bound.lower, (1 - window) * bound.upper)
    if lower > high:
        raise BoundError(
            f"{WHAT} aims at {bound.metric} of {lower:.4g} to {bound.upper:.4g}, "
            f"and space '{domain.space.name}' reaches {low:.4g} to {high:.4g}: "
            f"ask for at most {high:.4g}"
        )
    return Bound(bound.metric, bound.upper, lower)


def _first_upper_bound(domain: Domain) -> Bound:
    for bound in domain.bounds:
        # A window is drawn from by adding up slots; peak memory is a maximum over them.
        is_sum = not domain.compiled.maxima[domain.compiled.column(bound.metric)]
        if is_sum and bound.upper < math.inf:
            return bound
    raise UsageError(
        f"{WHAT} aims at a cost: give it one, such as --latency 60ms or --max macs=300M"
    )


def strategy(domain: Domain, *, seed: int, objectives: int = 1, **settings: Any) -> Differentiable:
    """The strategy of settings by name; see `Settings`."""
    known = {field.name for field in dataclasses.fields(Settings)}
    for name in settings:
        if name not in known:
            raise unknown(f"setting of {WHAT}", name, known)
    return Differentiable(domain, seed=seed, objectives=objectives, settings=Settings(**settings))
