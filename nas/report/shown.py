"""A matplotlib figure that notebooks show, also where pyplot was never imported."""

from io import BytesIO

from matplotlib.figure import Figure

__all__ = ["Shown"]


class Shown(Figure):
    """A figure whose last line in a cell is the picture, not its name."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        # At the screen's resolution: files have a higher one.
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()
