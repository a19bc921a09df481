"""Small spaces, and the slimming that the tests of this folder use."""

from dataclasses import replace

from nas.evaluate import Proxy, slim
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from search_spaces import mobilenet_v4

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


def cut_mobilenet_v4() -> SearchSpace:
    """Two bottlenecks of its third stage, attention between them, and the head."""
    kept = ("stem", "stage3_6", "stage3_7_attention", "stage3_7", "head")
    space = mobilenet_v4.space(32, classes=4, in_channels=1)
    return replace(space, slots=tuple(slot for slot in space.slots if slot.name in kept))
