"""Words beside the points of a picture, each where it covers least."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

__all__ = ["Label", "Line", "place_labels"]

FONT_POINTS = 7
MARK_POINTS = 5
"""From the middle of a mark to its rim."""
BAR_POINTS = 1
ON_A_MARK, ON_A_WORD, ON_A_BAR, OUTSIDE = 4.0, 6.0, 1.0, 20.0
"""How bad it is to cover one, and to stand beyond the ends of the axes."""
FURTHER = 0.25
"""How bad each next place is by itself: of equally free ones the first is taken."""

Place = tuple[float, float, str, str]
"""Across and upwards from the point, in points of type; how the words stand to that place."""
PLACES: Sequence[Place] = (
    (5, 4, "left", "bottom"),
    (5, -4, "left", "top"),
    (-5, 4, "right", "bottom"),
    (-5, -4, "right", "top"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
    (9, 13, "left", "bottom"),
    (9, -13, "left", "top"),
    (-9, 13, "right", "bottom"),
    (-9, -13, "right", "top"),
)
Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""
Line = tuple[float, float, float, float]
"""From x, y to x, y, in the units of the axes; upright, or level."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """Words that belong to a point."""

    text: str
    point: tuple[float, float]
    color: str


def place_labels(
    figure: "Figure",
    axes: "Axes",
    labels: Sequence[Label],
    points: Sequence[tuple[float, float]],
    lines: Sequence[Line] = (),
) -> None:
    """Write the labels, the first ones first, each where it covers least of what is drawn.

    ``points``: the middles of all marks. A label whose point is beyond the ends of the axes is left
    out.
    """
    # The room that an axis and its legend take is known only when all is laid out.
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    taken = [(box, ON_A_MARK) for box in _marks(axes, points, MARK_POINTS * scale)]
    taken += [(box, ON_A_BAR) for box in _bars(axes, lines, BAR_POINTS * scale)]
    room = _corners(axes.get_window_extent())
    for label in labels:
        if not _is_shown(axes, label.point):
            continue
        words = _write(axes, label)
        tried = []
        for rank, place in enumerate(PLACES):
            _move(words, place)
            box = _corners(words.get_window_extent())
            tried.append((FURTHER * rank + _badness(box, taken, room), rank, box))
        _, rank, box = min(tried)
        _move(words, PLACES[rank])
        taken.append((box, ON_A_WORD))


def _is_shown(axes: "Axes", point: tuple[float, float]) -> bool:
    (low_x, high_x), (low_y, high_y) = axes.get_xlim(), axes.get_ylim()
    return bool(low_x <= point[0] <= high_x and low_y <= point[1] <= high_y)


def _write(axes: "Axes", label: Label) -> "Annotation":
    return axes.annotate(
        label.text,
        label.point,
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=FONT_POINTS,
        color=label.color,
        parse_math=False,
        zorder=6,
    )


def _move(words: "Annotation", place: Place) -> None:
    across, up, sideways, upright = place
    words.xyann = (across, up)
    words.set(ha=sideways, va=upright)


# -- boxes ----------------------------------------------------------------------------------------


def _corners(box: Any) -> Box:
    left, bottom, right, top = map(float, box.extents)
    return left, bottom, right, top


def _marks(axes: "Axes", points: Sequence[tuple[float, float]], reach: float) -> Iterator[Box]:
    for point in points:
        x, y = axes.transData.transform(point)
        yield x - reach, y - reach, x + reach, y + reach


def _bars(axes: "Axes", lines: Sequence[Line], reach: float) -> Iterator[Box]:
    for from_x, from_y, to_x, to_y in lines:
        left, bottom = axes.transData.transform((from_x, from_y))
        right, top = axes.transData.transform((to_x, to_y))
        yield left - reach, bottom - reach, right + reach, top + reach


def _badness(box: Box, taken: Sequence[tuple[Box, float]], room: Box) -> float:
    badness = sum(weight for other, weight in taken if _meet(box, other))
    if box[0] < room[0] or box[1] < room[1] or box[2] > room[2] or box[3] > room[3]:
        badness += OUTSIDE
    return badness


def _meet(box: Box, other: Box) -> bool:
    across = box[0] < other[2] and other[0] < box[2]
    return across and box[1] < other[3] and other[1] < box[3]
