"""Published networks scaled to a pick's latency: by a table, or as they are timed.

Two networks that a table puts at one latency may be a tenth apart. So where the table is of this
machine, the pick and its opponents are timed as whole networks, side by side, and an opponent is
scaled anew until it takes what the pick takes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from nas import networks
from nas.arch import Architecture
from nas.errors import NasError
from nas.family.at_latency import AtLatency, at_latency
from nas.files import one_line
from nas.latency.table import Table
from nas.run.contest import Opponent
from nas.shape import Shape
from nas.size import Size

__all__ = ["Met", "TimeWhole", "opponent_network", "scaled_to"]

WITHIN = 0.02
"""How far a timed opponent may be from the pick, relative, before it is scaled anew."""
ROUNDS = 4
"""Of timing, at most."""

TimeWhole = Callable[[Sequence[Architecture]], Sequence[float]]
"""Milliseconds of whole networks, timed beside each other."""


@dataclass(frozen=True, kw_only=True)
class Met:
    """Who meets a pick."""

    opponents: tuple[Opponent, ...]
    left_out: Mapping[str, str]
    """By name, why a network cannot be scaled to the latency."""
    latency_ms: float
    """The pick's."""


def scaled_to(
    names: Sequence[str],
    pick: Architecture,
    latency_ms: float,
    table: Table,
    time_whole: TimeWhole | None = None,
) -> Met:
    """The networks of these names as wide as the pick's latency allows.

    ``latency_ms``: the pick's, by the table. ``time_whole``: by what is timed, instead. Strides are
    relaxed for small images, as the spaces relax them. Raises `UsageError` for an unknown name.
    """
    for name in names:
        networks.published(name)
    scale = partial(_scaled, pick, table)
    found: dict[str, AtLatency] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            found[name] = scale(name, latency_ms)
        except NasError as error:
            left_out[name] = one_line(error, 200)
    if time_whole is None or not found:
        met = [_opponent(name, of, of.estimate.latency_ms) for name, of in found.items()]
        return Met(opponents=tuple(met), left_out=left_out, latency_ms=latency_ms)
    return _as_timed(found, left_out, pick, latency_ms, scale, time_whole)


def opponent_network(
    name: str, input: Shape, classes: int, *, width: float = 1.0, resolution: Size | None = None
) -> Architecture:
    """A published network for the pick's images and classes."""
    return networks.get(
        name,
        width=width,
        resolution=resolution or input.size,
        classes=classes,
        in_channels=input.channels,
        small_images=True,
    )


def _scaled(pick: Architecture, table: Table, name: str, latency_ms: float) -> AtLatency:
    """The network at that latency by the table."""
    make = partial(opponent_network, name, pick.input, pick.out_shape.channels)
    return at_latency(make, latency_ms, table, resolution=pick.input.size)


def _opponent(name: str, found: AtLatency, latency_ms: float) -> Opponent:
    return Opponent(
        name=name, width=found.width, digest=found.network.digest, latency_ms=latency_ms
    )


# -- as they are timed ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tried:
    """A width that was timed."""

    scaled: AtLatency
    off: float
    """Its time relative to the pick's of the same round, less 1."""


def _as_timed(
    found: Mapping[str, AtLatency],
    left_out: Mapping[str, str],
    pick: Architecture,
    latency_ms: float,
    scale: Callable[[str, float], AtLatency],
    time_whole: TimeWhole,
) -> Met:
    """The width of each network whose time was nearest the pick's."""
    best: dict[str, _Tried] = {}
    asked_ms = dict.fromkeys(found, latency_ms)
    picks_ms: list[float] = []
    waiting = dict(found)
    for _ in range(ROUNDS):
        pick_ms, *times_ms = time_whole([pick, *(of.network for of in waiting.values())])
        picks_ms.append(pick_ms)
        again: dict[str, AtLatency] = {}
        for (name, of), ms in zip(waiting.items(), times_ms, strict=True):
            tried = _Tried(of, ms / pick_ms - 1)
            if name not in best or abs(tried.off) < abs(best[name].off):
                best[name] = tried
            if abs(tried.off) <= WITHIN:
                continue
            asked_ms[name] /= 1 + tried.off
            try:
                other = scale(name, asked_ms[name])
            except NasError:
                # No width is nearer.
                continue
            if other.width != of.width:
                again[name] = other
        if not again:
            break
        waiting = again
    own_ms = fmean(picks_ms)
    met = [_opponent(name, of.scaled, own_ms * (1 + of.off)) for name, of in best.items()]
    return Met(opponents=tuple(met), left_out=left_out, latency_ms=own_ms)
