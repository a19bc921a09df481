"""A member of a family, and what no family may have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from nas.arch import Architecture
from nas.errors import ArchitectureError
from nas.scale import Rounded, Rounding, scale
from nas.size import Rect, Size, each_side, longer, rescaled, sides

__all__ = ["PIXELS", "Member", "check_base", "check_distinct", "pixels_at", "scaled_member"]

PIXELS = 4
"""All published resolutions of EfficientNet are multiples of it."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of a family.

    Its factors are None for a published configuration that none give; then ``note`` says so.
    """

    name: str
    network: Architecture
    depth: float | None = None
    """The factor on the base's layers."""
    width: float | None = None
    """The factor on the base's channels."""
    resolution: float | None = None
    """The factor on the base's pixels a side."""
    roundings: tuple[Rounded, ...] = ()
    """Every figure that was rounded."""
    target: float | None = None
    """The planned cost, in the plan's unit; None without a plan."""
    note: str = ""
    """What else is worth saying."""


def scaled_member(
    name: str,
    base: Architecture,
    *,
    depth: float,
    width: float,
    resolution: float,
    rounding: Rounding,
    pixels: int = PIXELS,
    largest: int | None = None,
    stem: bool = True,
    scale_head: bool = True,
    late: int = 0,
    note: str = "",
) -> Member:
    """The base by three factors; its input is a multiple of ``pixels`` and at most ``largest``."""
    size, roundings = _input(base.input.size, resolution, pixels, largest)
    scaled = scale(
        base,
        width=width,
        depth=depth,
        resolution=size,
        head="scale" if scale_head else "fixed",
        stem="scale" if stem else "fixed",
        late=late,
        rounding=rounding,
    )
    return Member(
        name=name,
        network=scaled.network,
        depth=depth,
        width=width,
        resolution=resolution,
        roundings=(*roundings, *scaled.roundings),
        note=note,
    )


def pixels_at(size: Size, factor: float, pixels: int) -> Size:
    """The multiple of ``pixels`` nearest to ``size * factor``, at least one; each side by itself.

    At factor 1 it is ``size`` itself, multiple or not. So is a rectangle's side that is shorter
    than ``pixels``, such as the one row of a signal.
    """
    if factor == 1:
        return size
    thin = isinstance(size, Rect)

    def side_at(side: int) -> int:
        if thin and side < pixels:
            return side
        # Not `round`, which takes halves to even numbers: neighbours would go different ways.
        nearest = math.floor(side * factor / pixels + 0.5) * pixels
        return max(pixels, nearest)

    return each_side(size, side_at)


def _input(
    base: Size, factor: float, pixels: int, largest: int | None
) -> tuple[Size, list[Rounded]]:
    """A member's input size, and what was rounded; ``largest``: most pixels a side."""
    size = pixels_at(base, factor, pixels)
    # One figure of a square, two of a rectangle.
    names = ("height", "width") if isinstance(base, Rect) else ("pixels",)
    roundings: list[Rounded] = []
    for name, own, used in zip(names, sides(base), sides(size), strict=False):
        exact = round(own * factor, 9)  # 224 * 1.15 is not to differ in its last bit
        if used != exact:
            roundings.append(Rounded(stage="input", what=name, exact=exact, used=used))
    if largest is None or longer(size) <= largest:
        return size, roundings
    capped = rescaled(size, largest / longer(size))
    for name, exact, used in zip(names, sides(size), sides(capped), strict=False):
        what = f"{name} (capped)"
        roundings.append(Rounded(stage="input", what=what, exact=exact, used=used))
    return capped, roundings


def check_base(base: Architecture, divisor: int) -> None:
    """Raise unless all channels of the base are multiples of ``divisor``.

    Scaling rounds to these: its members would not be the base made wider.
    """
    counts = _channel_counts(base)
    odd = [value for value in counts if value % divisor]
    if odd:
        common = math.gcd(*counts)
        raise ArchitectureError(
            f"scaling rounds channels to multiples of {divisor}, "
            f"and {counts[odd[0]]} has {odd[0]}: "
            f"its members would not be the same network made wider. Try --divisor {common}"
        )


def _channel_counts(base: Architecture) -> dict[int, str]:
    """Every number of channels that scaling may change, with the first op that has it."""
    counts: dict[int, str] = {}
    for stage in base.stages:
        for op in stage.ops:
            settings = {field.name for field in fields(op)}
            for name in sorted(settings & {"channels", "hidden"}):
                value = getattr(op, name)
                if value:
                    counts.setdefault(value, f"{op.key} of {stage.name}")
    return counts


def check_distinct(members: Sequence[Member], way_out: str) -> None:
    """Raise if two neighbours are one network; ``way_out`` ends the message."""
    for one, other in pairwise(members):
        network = one.network
        if network.digest == other.network.digest:
            raise ArchitectureError(
                f"members {one.name} and {other.name} round to one network "
                f"({network.params:,} params, {network.macs / 1e6:,.4g} M macs, "
                f"input {network.input}): {way_out}"
            )
