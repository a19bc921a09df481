"""Published families as presets for any network: EfficientNet, EfficientNetV2, UniNet.

Tan and Le 2019, https://arxiv.org/abs/1905.11946; Tan and Le 2021,
https://arxiv.org/abs/2104.00298; Liu et al. 2022, https://arxiv.org/abs/2207.05420. The figures are
those of `nas.networks`, so a published base gives the published family to the last parameter. What
a paper leaves open is filled in by a rule of ours, and marked so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from nas import networks
from nas.arch import Architecture
from nas.errors import UsageError, unknown
from nas.family.member import PIXELS, Member, check_base, check_distinct, scaled_member
from nas.networks import efficientnet, uninet
from nas.scale import Rounding, round_plain
from nas.shape import make_divisible

__all__ = ["FORMULA", "PRESETS", "Deviation", "deviations", "preset"]

# EfficientNet, section 3.3: depth, width and resolution are these to the power phi (equation 3).
FORMULA = (1.2, 1.1, 1.15)
# EfficientNetV2, section 3.3: "we restrict the maximum inference image size to 480".
LARGEST_PIXELS = 480


@dataclass(frozen=True, kw_only=True)
class Row:
    """What makes one member of a base."""

    depth: float
    """The factor on the layers."""
    width: float
    """The factor on the channels."""
    resolution: float
    """The factor on the pixels a side."""
    late: int = 0
    """Layers more in each of the last two stages."""
    note: str = ""


def _efficientnet_rows() -> tuple[Row, ...]:
    pixels = efficientnet.V1["b0"][2]
    table = [efficientnet.V1[f"b{n}"] for n in range(1, 9)]
    return tuple(Row(depth=d, width=w, resolution=r / pixels) for w, d, r in table)


def _formula_rows() -> tuple[Row, ...]:
    """Equation 3 at phi 1 to 8."""
    depth, width, resolution = FORMULA
    rows = []
    for phi in range(1, 9):
        row = Row(depth=depth**phi, width=width**phi, resolution=resolution**phi, note=f"phi {phi}")
        rows.append(row)
    return tuple(rows)


def _v2_rows() -> tuple[Row, ...]:
    """B1 to B3, then EfficientNet's B4 to B7 under both rules of V2."""
    pixels = efficientnet.V2_BASE["b0"][2]
    table = [efficientnet.V2_BASE[f"b{n}"] for n in range(1, 4)]
    rows = [Row(depth=d, width=w, resolution=r / pixels) for w, d, r in table]
    # Section 3.3: "gradually add more layers to later stages". How many, the paper does not say.
    for late, row in enumerate(_efficientnet_rows()[3:7], 1):
        note = (
            f"beyond B3: EfficientNet's factors, at most 480 px, {late} layers more "
            "in each of the last two stages (ours)"
        )
        rows.append(replace(row, late=late, note=note))
    return tuple(rows)


def _uninet_rows() -> tuple[Row, ...]:
    """Depth of the last stage, mean width of the stages, relative to B0."""
    repeats, channels, pixels = uninet.VARIANTS["b0"]
    note = (
        "UniNet's factors, the mean over its stages (ours): its own members are not pure scalings"
    )
    rows = []
    for n in range(1, 7):
        own_repeats, own_channels, own_pixels = uninet.VARIANTS[f"b{n}"]
        factors = [own / base for own, base in zip(own_channels, channels, strict=True)]
        row = Row(
            depth=own_repeats[-1] / repeats[-1],
            width=fmean(factors),
            resolution=own_pixels / pixels,
            note=note,
        )
        rows.append(row)
    return tuple(rows)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How one paper scales."""

    rows: Callable[[], tuple[Row, ...]]
    """Its members, in order."""
    rounding: Callable[..., int]
    """Of channels."""
    default: int
    """How many members, unless told."""
    stem: bool = True
    """Whether the stem grows in width."""
    scale_head: bool = True
    """Whether the head grows in width."""
    largest: int | None = None
    """Most pixels a side."""
    published: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Bases by name, each with the published networks that are its members, as they are."""


def _after(family: str, names: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each network of a row with all that come after it."""
    full = [f"{family}_{name}" for name in names]
    return tuple((name, tuple(full[place + 1 :])) for place, name in enumerate(full[:-1]))


PRESETS: dict[str, Preset] = {
    "efficientnet": Preset(rows=_efficientnet_rows, rounding=make_divisible, default=7),
    "efficientnetv2": Preset(
        rows=_v2_rows,
        rounding=round_plain,
        default=3,
        largest=LARGEST_PIXELS,
        published=_after("efficientnet_v2", ("s", "m", "l", "xl")),
    ),
    "uninet": Preset(
        rows=_uninet_rows,
        rounding=make_divisible,
        default=6,
        stem=False,
        scale_head=False,
        published=_after("uninet", tuple(uninet.VARIANTS)),
    ),
}


def preset(
    name: str,
    base: Architecture,
    *,
    base_name: str = "network",
    count: int | None = None,
    formula: bool = False,
    divisor: int = 8,
    pixels: int = PIXELS,
) -> tuple[Member, ...]:
    """The base and ``count`` members made from it, by the rules of a paper; see `PRESETS`.

    ``formula``: EfficientNet's formula at phi 1, 2, ... instead of its table. Raises `UsageError`
    for an unknown preset or too many members, `ArchitectureError` for a base that does not scale by
    these rules.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    chosen = PRESETS[name]
    if formula and name != "efficientnet":
        raise UsageError(f"only preset 'efficientnet' has a formula, not '{name}'")
    first = Member(name=base_name, network=base, depth=1.0, width=1.0, resolution=1.0)
    names = _published_members(chosen, base)
    if names:
        names = names[: _count(name, count, len(names), len(names))]
        members = (first, *(_published(n, base) for n in names))
    else:
        check_base(base, divisor)
        rows = _formula_rows() if formula else chosen.rows()
        rows = rows[: _count(name, count, chosen.default, len(rows))]
        members = (first, *_scaled_members(chosen, rows, first, divisor, pixels))
    check_distinct(
        members,
        "the base is too small for these steps. "
        "Try fewer --members, or a finer --divisor or --pixels",
    )
    return members


def _published_members(chosen: Preset, base: Architecture) -> tuple[str, ...]:
    """The names of the published networks that come after this base; none if it is another one."""
    published = dict(chosen.published)
    return published.get(_published_name(base, list(published)), ())


def _scaled_members(
    chosen: Preset, rows: Sequence[Row], base: Member, divisor: int, pixels: int
) -> list[Member]:
    rounding: Rounding = partial(chosen.rounding, divisor=divisor)
    members = []
    for number, row in enumerate(rows, 1):
        member = scaled_member(
            f"{base.name}_x{number}",
            base.network,
            depth=row.depth,
            width=row.width,
            resolution=row.resolution,
            rounding=rounding,
            pixels=pixels,
            largest=chosen.largest,
            stem=chosen.stem,
            scale_head=chosen.scale_head,
            late=row.late,
            note=row.note,
        )
        members.append(member)
    return members


def _count(name: str, asked: int | None, default: int, most: int) -> int:
    if asked is not None and asked > most:
        raise UsageError(
            f"preset '{name}' has {most} members beyond this base, not {asked}: "
            "ask for fewer --members"
        )
    return default if asked is None else asked


def _published_name(base: Architecture, names: Sequence[str]) -> str:
    """Which of these networks the base is, whatever its classes; empty for none."""
    for name in names:
        same = networks.get(
            name,
            classes=base.out_shape.channels,
            in_channels=base.input.channels,
            resolution=base.input.size,
        )
        if same.digest == base.digest and base.input.size == networks.get(name).input.size:
            return name
    return ""


def _published(name: str, base: Architecture) -> Member:
    network = networks.get(name, classes=base.out_shape.channels, in_channels=base.input.channels)
    return Member(
        name=name, network=network, note="as published: the paper's own figures, not a pure scaling"
    )


# -- what the formula would have given ------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """A member of EfficientNet's table beside its formula: (depth, width, pixels) of both.

    ``phi``, which the paper does not state per member, is where the formula has the member's
    nominal cost, depth x width² x resolution².
    """

    name: str
    phi: float
    published: tuple[float, float, float]
    formula: tuple[float, float, float]


def deviations(base_pixels: int = 224) -> tuple[Deviation, ...]:
    """B1 to B7."""
    alpha, beta, gamma = FORMULA
    step = math.log(alpha * beta**2 * gamma**2)
    rows = []
    for number in range(1, 8):
        width, depth, side = efficientnet.V1[f"b{number}"]
        phi = math.log(depth * width**2 * (side / base_pixels) ** 2) / step
        row = Deviation(
            name=f"b{number}",
            phi=phi,
            published=(depth, width, side),
            formula=(alpha**phi, beta**phi, base_pixels * gamma**phi),
        )
        rows.append(row)
    return tuple(rows)
