"""Charts as HTML that needs no script to be seen: lines in SVG, text and marks in the page's size.

The drawing is stretched to whatever room there is. So lines keep their width by a rule of SVG's
(``non-scaling-stroke``), and what must not be stretched stands over it, placed in percent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from nas.report.axes import ticks
from nas.report.page.content import Axis

__all__ = ["Chart", "Mark", "number", "shape"]

SIZE = 1000
"""Of the drawing, in its own units, either way."""
SHAPES = {
    "dot": '<circle cx="8" cy="8" r="4"/>',
    "front": '<circle cx="8" cy="8" r="6"/>',
    "ring": '<circle class="hollow" cx="8" cy="8" r="6"/>',
    "diamond": '<path d="M8 1l7 7-7 7-7-7z"/>',
    "random": '<path class="hollow" d="M8 2l6 6-6 6-6-6z"/>',
    "triangle": '<path d="M8 1l7 13H1z"/>',
}
"""Marks in a square of 16, told apart by their form and not by their colour alone."""


def shape(name: str) -> str:
    """A mark as it stands in a chart and in its legend."""
    return (
        f'<svg class="shape {name}" viewBox="0 0 16 16" aria-hidden="true" focusable="false">'
        f"{SHAPES[name]}</svg>"
    )


def number(value: float) -> str:
    """A tick's label: no more digits than it needs."""
    return f"{value:,.6g}"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point that can be pointed at, and reached by the keyboard."""

    x: float
    y: float
    shape: str
    label: str
    """Read by a screen reader, and shown at the mark."""
    trial: int | None = None
    """Whose details it opens; None for a network that is of no trial."""
    beside: str = ""
    """Written beside it."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """An empty chart over two axes; what is drawn into it is handed to `html`."""

    across: Axis
    up: Axis
    label: str
    """What it shows, for those who do not see it."""

    def left(self, x: float) -> float:
        """Percent from the left; what lies outside stands at the edge."""
        return _percent(x, self.across)

    def top(self, y: float) -> float:
        """Percent from above; what lies outside stands at the edge."""
        return 100 - _percent(y, self.up)

    def dots(self, points: Iterable[tuple[float, float]], kind: str) -> str:
        """Many points as one path, since thousands of elements would make a page slow."""
        path = "".join(f"M{self._xy(x, y)}h0" for x, y in points)
        return f'<path class="dots {kind}" d="{path}"/>'

    def steps(self, points: Sequence[tuple[float, float]], kind: str, end: float) -> str:
        """A staircase: nothing is known between two points."""
        if not points:
            return ""
        path = f"M{self._xy(*points[0])}"
        for x, y in points[1:]:
            path += f"H{10 * self.left(x):.1f}V{10 * self.top(y):.1f}"
        return f'<path class="line {kind}" d="{path}H{10 * self.left(end):.1f}"/>'

    def bar(self, x: float, y: float, x_sd: float | None, y_sd: float | None) -> str:
        """One standard deviation to either side, each way that has one."""
        path = ""
        if x_sd:
            path += f"M{self._xy(x - x_sd, y)}H{10 * self.left(x + x_sd):.1f}"
        if y_sd:
            path += f"M{self._xy(x, y - y_sd)}V{10 * self.top(y + y_sd):.1f}"
        return f'<path class="bar" d="{path}"/>' if path else ""

    def html(
        self,
        drawing: str,
        marks: Iterable[Mark] = (),
        *,
        points: Iterable[tuple[float, float]] = (),
        name: str = "",
        kind: str = "",
    ) -> str:
        """The chart. ``points``: among them, those outside are counted at the edges.

        ``name``: by which the script finds it, if its points can be pointed at.
        """
        parts = [self._grid(), drawing]
        found = f' data-chart="{escape(name)}" tabindex="-1"' if name else ""
        over = [*self._tick_labels(), *map(self._mark, marks), *self._edges(points)]
        return (
            f'<figure class="chart {kind}" aria-label="{escape(self.label)}">'
            f'<div class="up">{escape(self.up.label)}</div>'
            f'<div class="plot"{found}><svg viewBox="0 0 {SIZE} {SIZE}" aria-hidden="true" '
            f'preserveAspectRatio="none" focusable="false">{"".join(parts)}</svg>'
            f'{"".join(over)}</div><div class="across">{escape(self.across.label)}</div></figure>'
        )

    def _xy(self, x: float, y: float) -> str:
        return f"{10 * self.left(x):.1f} {10 * self.top(y):.1f}"

    def _grid(self) -> str:
        path = ""
        for x in ticks(self.across.low, self.across.high):
            path += f"M{10 * self.left(x):.1f} 0V{SIZE}"
        for y in ticks(self.up.low, self.up.high):
            path += f"M0 {10 * self.top(y):.1f}H{SIZE}"
        return f'<path class="grid" d="{path}"/>'

    def _tick_labels(self) -> list[str]:
        labels = []
        for x in ticks(self.across.low, self.across.high):
            labels.append(
                f'<span class="xtick" style="left:{self.left(x):.2f}%">{number(x)}</span>'
            )
        for y in ticks(self.up.low, self.up.high):
            labels.append(f'<span class="ytick" style="top:{self.top(y):.2f}%">{number(y)}</span>')
        return labels

    def _mark(self, mark: Mark) -> str:
        place = f'style="left:{self.left(mark.x):.2f}%;top:{self.top(mark.y):.2f}%"'
        label, icon = escape(mark.label), shape(mark.shape)
        trial = "" if mark.trial is None else f' data-trial="{mark.trial}"'
        about = f'{place}{trial} aria-label="{label}"'
        beside = f'<b aria-hidden="true">{escape(mark.beside)}</b>' if mark.beside else ""
        return f'<button type="button" class="mark" {about}>{icon}{beside}</button>'

    def _edges(self, points: Iterable[tuple[float, float]]) -> list[str]:
        """How many points lie outside, at the edge that they are beyond."""
        counts = dict.fromkeys(("left", "right", "above", "below"), 0)
        for x, y in points:
            counts["left"] += x < self.across.low
            counts["right"] += x > self.across.high
            counts["below"] += y < self.up.low
            counts["above"] += y > self.up.high
        arrows = {"left": "◀", "right": "▶", "above": "▲", "below": "▼"}
        notes = []
        for edge, count in counts.items():
            if count:
                text = f"{arrows[edge]} {count} outside"
                notes.append(f'<span class="edge {edge}">{text}</span>')
        return notes


def _percent(value: float, axis: Axis) -> float:
    share = (value - axis.low) / (axis.high - axis.low)
    return 100 * min(max(share, 0.0), 1.0)
