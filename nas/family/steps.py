"""Coefficients of compound scaling, and networks planned by what they cost: macs or latency.

Tan and Le 2019, https://arxiv.org/abs/1905.11946, section 3.3, fix the cost of a step and search
the three coefficients on a small grid. On a small network rounding moves the cost by tens of
percent, and latency does not follow alpha * beta² * gamma² at all; so here a plan is a direction,
and phi is searched until the network itself costs what it should.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from nas.arch import Architecture
from nas.errors import ArchitectureError, UsageError
from nas.family.member import PIXELS, Member, check_base, check_distinct, scaled_member
from nas.shape import make_divisible
from nas.units import amount

__all__ = ["TOLERANCE", "Coefficients", "Cost", "Plan", "candidates", "family"]

Cost = Callable[[Architecture], float]

TOLERANCE = 0.10
LARGEST_PHI = 64.0
LARGEST_FACTOR = 16.0  # that `nas.scale` takes, on depth and width
BISECTIONS = 16
NEIGHBOURS = 32
REACH = 0.25
"""The share by which phi is searched around where the cost crosses its target: rounding jumps."""


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Equation 3's alpha, beta and gamma, each at least 1: factors at phi = 1."""

    depth: float
    width: float
    resolution: float

    def __post_init__(self) -> None:
        values = (self.depth, self.width, self.resolution)
        if not all(1 <= value <= 16 for value in values) or max(values) == 1:
            raise UsageError(f"coefficients are 1 to 16, one of them above 1, not {self}")

    @property
    def nominal(self) -> float:
        """What a step multiplies the macs by, were nothing rounded."""
        return self.depth * self.width**2 * self.resolution**2

    @property
    def pure(self) -> str:
        """``depth``, ``width`` or ``resolution`` where only that one grows, else empty."""
        grown = [name for name in ("depth", "width", "resolution") if getattr(self, name) > 1]
        return grown[0] if len(grown) == 1 else ""

    def __str__(self) -> str:
        return f"depth {self.depth:.3f}, width {self.width:.3f}, resolution {self.resolution:.3f}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How members are made and priced."""

    base: Architecture
    cost: Cost
    unit: str
    """Of the cost, in words."""
    step: float
    """What one step multiplies the cost by, above 1 and up to 64."""
    divisor: int = 8
    pixels: int = PIXELS
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not 1 < self.step <= 64:
            raise UsageError(f"--step must be above 1 and at most 64, not {self.step:g}")
        if not 0 < self.tolerance < 1:
            raise UsageError(f"--tolerance is a fraction between 0 and 1, not {self.tolerance:g}")
        check_base(self.base, self.divisor)

    def at(self, name: str, coefficients: Coefficients, phi: float) -> Member:
        """The network at that phi."""
        return scaled_member(
            name,
            self.base,
            depth=coefficients.depth**phi,
            width=coefficients.width**phi,
            resolution=coefficients.resolution**phi,
            rounding=partial(make_divisible, divisor=self.divisor),
            pixels=self.pixels,
        )

    def target(self, steps: float) -> float:
        """The planned cost after so many steps."""
        return self.cost(self.base) * float(self.step**steps)

    def deviation(self, member: Member) -> float:
        """Cost over target, minus one."""
        assert member.target is not None
        return self.cost(member.network) / member.target - 1

    def nearest(self, name: str, coefficients: Coefficients, steps: float) -> Member:
        """The network along the direction whose own cost is nearest to the target."""
        # By the logarithm: half the cost is as far off as twice the cost.
        return min(
            self.near(name, coefficients, steps),
            key=lambda member: abs(math.log1p(self.deviation(member))),
        )

    def near(self, name: str, coefficients: Coefficients, steps: float) -> list[Member]:
        """The distinct networks along the direction around the target, nearest phi first."""
        target, seen = self.target(steps), dict[str, Member]()
        for phi in _around(self._crossing(coefficients, target)):
            try:
                member = self.at(name, coefficients, phi)
            except ArchitectureError:  # a neighbour beyond the largest factor
                continue
            seen.setdefault(member.network.digest, replace(member, target=target))
        return list(seen.values())

    def _crossing(self, coefficients: Coefficients, target: float) -> float:
        """A phi where the cost passes the target; the largest one if it never does."""
        most = LARGEST_PHI
        for factor in (coefficients.depth, coefficients.width, coefficients.resolution):
            if factor > 1:
                most = min(most, math.log(LARGEST_FACTOR) / math.log(factor))
        # Rounding makes the cost a staircase, mostly rising: this finds a step of it, and the
        # neighbours are searched for a better one.
        low, high = 0.0, most
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if self.cost(self.at("", coefficients, middle).network) < target:
                low = middle
            else:
                high = middle
        return high


def _around(phi: float) -> Iterator[float]:
    """The phi itself, then others beside it, nearest first."""
    yield phi
    for place in range(1, NEIGHBOURS + 1):
        for sign in (-1, 1):
            other = phi * (1 + sign * REACH * place / NEIGHBOURS)
            if other > 0:
                yield other


def directions(step: float, divisions: int) -> Iterator[Coefficients]:
    """All ways to share out a step's cost in ``divisions`` parts.

    alpha * beta² * gamma² is the step for each.
    """
    for depth in range(divisions + 1):
        for width in range(divisions + 1 - depth):
            resolution = divisions - depth - width
            # Half of their share, as the cost grows by their squares.
            yield Coefficients(
                depth=step ** (depth / divisions),
                width=step ** (width / divisions / 2),
                resolution=step ** (resolution / divisions / 2),
            )


def candidates(plan: Plan, divisions: int) -> tuple[list[tuple[Coefficients, Member]], list[str]]:
    """One network per direction at one step of cost, and a line for each direction that has none.

    The coefficients are those of the direction at the phi of the network, so that they cost one
    step themselves. Raises `ArchitectureError` if fewer than two are left.
    """
    kept: dict[str, tuple[Coefficients, Member]] = {}
    dropped = []
    for number, direction in enumerate(directions(plan.step, divisions)):
        member = plan.nearest(f"candidate{number}", direction, 1)
        off = plan.deviation(member)
        assert member.depth is not None
        assert member.width is not None
        assert member.resolution is not None
        own = Coefficients(depth=member.depth, width=member.width, resolution=member.resolution)
        digest = member.network.digest
        if abs(off) > plan.tolerance:
            dropped.append(f"{direction}: the nearest network costs {off:+.0%} of a step")
        elif digest in kept:
            dropped.append(f"{direction}: rounds to the network of {kept[digest][0]}")
        else:
            kept[digest] = own, member
    if len(kept) < 2:
        raise ArchitectureError(
            f"{len(kept)} of {len(kept) + len(dropped)} directions have a network of their own "
            f"within {plan.tolerance:.0%} of {plan.step:g} times the base's {plan.unit}, "
            f"and there must be two to compare: {dropped[0]}. "
            "Try a larger --step, --tolerance or --grid, or a finer --divisor or --pixels"
        )
    return list(kept.values()), dropped


def family(
    plan: Plan, coefficients: Coefficients, count: int, *, name: str = "network"
) -> tuple[Member, ...]:
    """The base and ``count`` members, each a step of cost above the one before.

    Raises `ArchitectureError` if one is beyond the tolerance, or two are one network.
    """
    base = Member(
        name=name, network=plan.base, depth=1.0, width=1.0, resolution=1.0, target=plan.target(0)
    )
    steps = range(1, count + 1)
    members = (base, *(plan.nearest(f"{name}_x{k}", coefficients, k) for k in steps))
    check_distinct(
        members, "try a larger --step, fewer --members, or a finer --divisor or --pixels"
    )
    for member in members[1:]:
        off = plan.deviation(member)
        if abs(off) > plan.tolerance:
            raise ArchitectureError(
                f"member {member.name} should cost {amount(member.target or 0)} {plan.unit}, "
                f"the nearest network costs {off:+.1%}, beyond ±{plan.tolerance:.0%}. "
                "Try another --step, a larger --tolerance, or a finer --divisor or --pixels"
            )
    return members
