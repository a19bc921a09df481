"""Published families as presets for any network: EfficientNet, EfficientNetV2, UniNet.

Tan and Le 2019, https://arxiv.org/abs/1905.11946; Tan and Le 2021,
https://arxiv.org/abs/2104.00298; Liu et al. 2022, https://arxiv.org/abs/2207.05420. The figures are
those of `nas.networks`, so a published base gives the published family to the last parameter. What
a paper leaves open is filled in by a rule of ours, and marked so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
LARGEST_PIXELS = (
    480  # EfficientNetV2, section 3.3: "we restrict the maximum inference image size to 480"
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What makes one member: factors on depth, width and resolution; ``late`` layers more in the last two stages."""

    depth: float
    width: float
    resolution: float
    late: int = 0
    note: str = ""


def _efficientnet_rows() -> tuple[Row, ...]:
    pixels = efficientnet.V1["b0"][2]
    table = [efficientnet.V1[f"b{n}"] for n in range(1, 9)]
    return tuple(Row(depth=d, width=w, resolution=r / pixels) for w, d, r in table)


def _formula_rows() -> tuple[Row, ...]:
    return tuple(
        Row(
            depth=FORMULA[0] ** phi,
            width=FORMULA[1] ** phi,
            resolution=FORMULA[2] ** phi,
            note=f"phi {phi}",
        )
        for phi in range(1, 9)
    )


def _v2_rows() -> tuple[Row, ...]:
    """B1 to B3, then EfficientNet's B4 to B7 under both rules of V2; how many layers "late" are, the paper does not say."""
    pixels = efficientnet.V2_BASE["b0"][2]
    table = [efficientnet.V2_BASE[f"b{n}"] for n in range(1, 4)]
    known = tuple(Row(depth=d, width=w, resolution=r / pixels) for w, d, r in table)
    beyond = _efficientnet_rows()[3:7]
    note = "beyond B3: EfficientNet's factors, at most 480 px, {} layers more in each of the last two stages (ours)"
    return known + tuple(
        Row(
            depth=row.depth,
            width=row.width,
            resolution=row.resolution,
            late=late,
            note=note.format(late),
        )
        for late, row in enumerate(beyond, 1)
    )


def _uninet_rows() -> tuple[Row, ...]:
    """Depth of the last stage, mean width of the stages, relative to B0."""
    repeats, channels, pixels = uninet.VARIANTS["b0"]
    note = (
        "UniNet's factors, the mean over its stages (ours): its own members are not pure scalings"
    )
    return tuple(
        Row(
            depth=r[-1] / repeats[-1],
            width=fmean(a / b for a, b in zip(c, channels, strict=True)),
            resolution=p / pixels,
            note=note,
        )
        for r, c, p in (uninet.VARIANTS[f"b{n}"] for n in range(1, 7))
    )


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How one paper scales. ``published``: for a base of these names, the members are published networks, as they are."""

    rows: Callable[[], tuple[Row, ...]]
    rounding: Callable[..., int]
    default: int
    stem: bool = True
    scale_head: bool = True
    largest: int | None = None
    published: tuple[tuple[str, tuple[str, ...]], ...] = ()


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
    found = PRESETS[name]
    if formula and name != "efficientnet":
        raise UsageError(f"only preset 'efficientnet' has a formula, not '{name}'")
    first = Member(name=base_name, network=base, depth=1.0, width=1.0, resolution=1.0)
    known = dict(found.published).get(_published_name(base, [n for n, _ in found.published]))
    if known is not None:
        members = (
            first,
            *(_published(n, base) for n in known[: _count(name, count, len(known), len(known))]),
        )
    else:
        check_base(base, divisor)
        rows = _formula_rows() if formula else found.rows()
        rounding: Rounding = partial(found.rounding, divisor=divisor)
        taken = rows[: _count(name, count, found.default, len(rows))]
        members = (
            first,
            *(
                scaled_member(
                    f"{base_name}_x{number}",
                    base,
                    depth=row.depth,
                    width=row.width,
                    resolution=row.resolution,
                    rounding=rounding,
                    pixels=pixels,
                    largest=found.largest,
                    stem=found.stem,
                    scale_head=found.scale_head,
                    late=row.late,
                    note=row.note,
                )
                for number, row in enumerate(taken, 1)
            ),
        )
    check_distinct(
        members,
        "the base is too small for these steps. Try fewer --members, or a finer --divisor or --pixels",
    )
    return members


def _count(name: str, asked: int | None, default: int, most: int) -> int:
    if asked is not None and asked > most:
        raise UsageError(
            f"preset '{name}' has {most} members beyond this base, not {asked}: ask for fewer --members"
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
    found = []
    for number in range(1, 8):
        width, depth, side = efficientnet.V1[f"b{number}"]
        phi = math.log(depth * width**2 * (side / base_pixels) ** 2) / math.log(
            alpha * beta**2 * gamma**2
        )
        found.append(
            Deviation(
                name=f"b{number}",
                phi=phi,
                published=(depth, width, side),
                formula=(alpha**phi, beta**phi, base_pixels * gamma**phi),
            )
        )
    return tuple(found)
