"""A network made wider or narrower until it takes a given time on a device."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from nas.arch import Architecture
from nas.errors import ArchitectureError, UsageError
from nas.family.member import pixels_at
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.scale import LARGEST_FACTOR
from nas.size import Size, sides, size_of
from nas.units import amount

__all__ = ["AtLatency", "at_latency"]

Make = Callable[..., Architecture]
"""``make(width=0.75, resolution=192)``; called without both, it gives the network as it is."""

STEPS = 1000
"""Widths are tried in thousandths."""
NARROWEST = 0.05
SMALLEST_PIXELS = 8

# Tan and Le 2019, https://arxiv.org/abs/1905.11946, equation 3: how width and resolution grow
# together.
WIDTH_STEP, RESOLUTION_STEP = 1.1, 1.15


@dataclass(frozen=True, kw_only=True)
class AtLatency:
    """A network scaled to a latency."""

    width: float
    """The factor on channels, the shortest one that gives this network."""
    network: Architecture
    estimate: Estimate
    """Of the network on the device."""


def at_latency(
    make: Make,
    latency_ms: float,
    table: Table,
    *,
    resolution: Size | None = None,
    with_resolution: bool = False,
) -> AtLatency:
    """The network at the widest width, in thousandths, that keeps the latency.

    The next wider one does not. ``resolution``: the input's size, its own by default.
    ``with_resolution``: these grow or shrink with the width, by EfficientNet's coefficients 1.1 and
    1.15, to multiples of 4. Raises `UsageError` if even
    the narrowest network takes longer, or if the widest takes less; `TableError` if the table
    cannot price it.

    ``at_latency(partial(networks.get, "mobilenet_v2"), 20.0, table).network``
    """
    pixels = resolution or make().input.size

    def scaled(steps: int) -> AtLatency:
        width = steps / STEPS
        side = _pixels(pixels, width) if with_resolution else pixels
        network = make(width=width, resolution=side)
        return AtLatency(width=width, network=network, estimate=table.estimate(network))

    low, high = _around(scaled, latency_ms, table.name)
    while high - low > 1:
        middle = (low + high) // 2
        if scaled(middle).estimate.latency_ms > latency_ms:
            high = middle
        else:
            low = middle
    return _shortest(scaled, low)


def _pixels(pixels: Size, width: float) -> Size:
    """The input that goes with a width."""
    phi = math.log(width) / math.log(WIDTH_STEP)
    size = pixels_at(pixels, RESOLUTION_STEP**phi, 4)
    if isinstance(size, int):
        return max(SMALLEST_PIXELS, size)
    # No side of a rectangle is made smaller than a square's, but one that was so from the start.
    least_height, least_width = (min(SMALLEST_PIXELS, side) for side in sides(pixels))
    return size_of(max(least_height, size.height), max(least_width, size.width))


def _around(scaled: Callable[[int], AtLatency], latency_ms: float, device: str) -> tuple[int, int]:
    """Two widths in thousandths: the first keeps the latency, the second does not."""
    low = round(NARROWEST * STEPS)
    found = scaled(low)
    least_ms = found.estimate.latency_ms
    if least_ms > latency_ms:
        # A thousandth more or less, so that the figure is within reach as it is printed.
        raise _unreachable(found, latency_ms, device, f"{amount(1.001 * least_ms)} ms or more")
    while low < LARGEST_FACTOR * STEPS:
        high = min(2 * low, round(LARGEST_FACTOR * STEPS))
        try:
            found = scaled(high)
        except ArchitectureError:
            # More channels than an op may have. So wide a network is no answer.
            break
        if found.estimate.latency_ms > latency_ms:
            return low, high
        low = high
    most_ms = found.estimate.latency_ms
    raise _unreachable(found, latency_ms, device, f"{amount(0.999 * most_ms)} ms or less")


def _unreachable(found: AtLatency, latency_ms: float, device: str, reach: str) -> UsageError:
    return UsageError(
        f"no width gives {amount(latency_ms)} ms on '{device}': width {found.width:g} at input "
        f"{found.network.input} takes {amount(found.estimate.latency_ms)} ms. Ask for {reach}, or "
        "give another --resolution"
    )


def _shortest(scaled: Callable[[int], AtLatency], steps: int) -> AtLatency:
    """The network of a width, at the width of fewest digits that gives it."""
    found = scaled(steps)
    for digits in (0, 1, 2):
        width = round(found.width, digits)
        if width < NARROWEST:
            continue
        shorter = scaled(round(width * STEPS))
        if shorter.network.digest == found.network.digest:
            return shorter
    return found
