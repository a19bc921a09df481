"""A space of one searched layer, and the slimming that the tests of this folder use."""

from nas.evaluate import Proxy, slim
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed

PROXY = Proxy(resolution=8, width=0.25)


def small(architecture):
    return slim(architecture, PROXY, 1, 4)


def tiny() -> SearchSpace:
    """Widths, kernels and expansions of a block that may be left out; then a fixed one."""
    ops = Choice(
        "block", {"a": MBConv(kernel=3, expand=2), "b": MBConv(kernel=5, expand=4), "skip": None}
    )

    def make(picked, shape):
        if picked["block"] is not None:
            yield picked["block"].replace(channels=picked["width"])

    slot = Slot(name="one", stage="one", choices=(ops, Choice("width", (16, 24))), make=make)
    return SearchSpace(
        name="tiny",
        input=Shape(1, 8),
        slots=(
            fixed("stem", Conv(kernel=3, channels=16)),
            slot,
            fixed("head", Conv(channels=16), Classifier(classes=4)),
        ),
    )
