"""A search trains a slimmed copy of each network, for a short while.

Its costs stay those of the full network.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from nas.arch import Architecture, Layer, Stage
from nas.data import Dataset
from nas.reading import to_json
from nas.settings import changed, check_ranges
from nas.shape import Op, Shape
from nas.size import Rect, Size, area, longer, rescaled
from nas.space import make_divisible
from nas.train import Schedule

__all__ = ["PRESETS", "VERSION", "Proxy", "chosen", "preset", "slim"]

VERSION = 3
"""Of what a recipe means. A run that was begun under another one cannot go on.

Version 2 told strategies the accuracy on *search*, of a thousand images.
Version 1, which runs do not name, dropped early strides, rounded channels to multiples of 8, and
began squeeze-and-excitation as a linear layer.
"""
DIVISOR = 2
"""Slimmed channels are multiples of it."""
SMALLEST_WINDOW = 2
HEAD_CHANNELS = ("key_channels", "value_channels")
"""Settings that are channels of one head of an attention."""


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """The recipe of a search-time training. What is not told here: see `nas.train.Schedule`."""

    resolution: Size = 16
    """Pixels a side. A network of rectangles trains at as many pixels, in its own proportions.

    A rectangle is what all networks train at.
    """
    input: Size = 0
    """The size of a network's input that trains at ``resolution``, others in proportion.

    0: whatever its input, a network trains at ``resolution``.
    """
    width: float = 0.25
    """Factor on all channels."""
    final: int = 4
    """The least side of the last map; late strides are dropped until it is reached."""
    epochs: float = 12
    """Passes over the weights set, within ``images``."""
    images: int = 9600
    """The most images that are seen in all, counted once a pass."""
    score_images: int = 3000
    """At most so many images of each set are scored."""
    batch_size: int = 64
    lr: float = 0.1
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    average: float = 0.25
    shift: int = 0
    """The largest random shift, in pixels."""

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, "proxy")

    @classmethod
    def parse(cls, text: str, base: "Proxy | None" = None) -> "Proxy":
        """``base`` changed by ``name=value,...``, as in ``resolution=16,width=0.25,epochs=8``."""
        return changed(base or cls(), text, "proxy")

    def schedule(self, images: int) -> Schedule:
        """The schedule for a weights set of that many images."""
        seen = min(self.epochs * images, self.images)
        return Schedule(
            steps=max(1, math.ceil(seen / self.batch_size)),
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            average=self.average,
        )

    def times(self, factor: float) -> "Proxy":
        """The same recipe with ``factor`` times the epochs and images."""
        return dataclasses.replace(
            self, epochs=self.epochs * factor, images=round(self.images * factor)
        )

    def size(self, input: Size) -> Size:
        """The size at which a network of that input trains."""
        resolution, most = self.resolution, self.input
        if isinstance(resolution, int) and isinstance(input, int) and isinstance(most, int):
            return max(1, round(resolution * input / most)) if most else resolution
        if isinstance(resolution, Rect) and not most:
            return resolution
        # By areas, for the proportions stay those of the network.
        return rescaled(input, math.sqrt(area(resolution) / area(most or input)))

    @property
    def usual(self) -> Size:
        """The size at which a network of ``input`` trains, or any network where there is none."""
        return self.size(self.input) if self.input else self.resolution

    def described(self) -> dict[str, float | str]:
        """The settings by name.

        Without ``input`` where it is 0: it is unknown to older runs, which must stay what they are.
        """
        settings: dict[str, float | str] = to_json(self)
        if not self.input:
            del settings["input"]
        return settings

    def __str__(self) -> str:
        texts = []
        for name, value in self.described().items():
            texts.append(f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}")
        return ",".join(texts)


_RANGES: Mapping[str, tuple[float, float]] = {
    "resolution": (1, 1024),
    "input": (0, 65536),
    "width": (0.01, 4),
    "final": (1, 64),
    "epochs": (0.01, 10_000),
    "images": (1, 10**10),
    "score_images": (10, 10**9),
    "batch_size": (2, 65536),
    "lr": (1e-6, 100),
    "weight_decay": (0, 1),
    "label_smoothing": (0, 0.9),
    "average": (0, 1),
    "shift": (0, 64),
}

# Measured before version 2. experiments/proxy_fidelity.py, 20 FBNet networks,
# Kendall's tau against five times longer training, 95 % intervals. Neither preset has been shown to
# rank better than macs:
#           data           preset               macs                  params
#   small   digits         0.26 (0.01 to 0.49)  0.29 (-0.04 to 0.58)  0.24 (-0.02 to 0.45)
#   large   fashion-mnist  0.37 (0.11 to 0.61)  0.45 (0.13 to 0.70)   0.29 (0.06 to 0.50)
# Digits saturate: after the long training all networks lie within a deviation of 0.007 around 0.97,
# and its ranking on the search set agrees with that on the selection set by 0.19 only. Tried and
# rejected there: shift=1, 0.00.
PRESETS: Mapping[str, Proxy] = {
    # Digits need no more passes, and with twelve `make search` takes more than its five minutes.
    "small": Proxy(resolution=8, epochs=8),
    "large": Proxy(resolution=16),
}


def preset(dataset: Dataset) -> tuple[str, Proxy]:
    """The default recipe for a data set, with its name.

    It is ``small`` for images of at most 12 pixels a side.
    """
    name = "small" if max(dataset.images.shape[1:3]) <= 12 else "large"
    return name, PRESETS[name]


def chosen(dataset: Dataset, changes: str = "") -> tuple[str, Proxy]:
    """The data set's preset changed by ``name=value,...``, with where it comes from, for people."""
    name, base = preset(dataset)
    words = f", changed by {changes}" if changes else ""
    return f"preset '{name}'{words}", Proxy.parse(changes, base)


def slim(architecture: Architecture, proxy: Proxy, in_channels: int, classes: int) -> Architecture:
    """The network to train instead: the same ops on fewer channels and pixels.

    It has the data's input and classes. An op's settings ``channels``, ``key_channels``,
    ``value_channels``, ``stride``, ``window``, ``classes`` and ``skip`` are known by these names.
    `hidden_changes` counts which changes of a network its slimmed copy does not show.

    - Channels are scaled to even numbers. Those of our spaces are multiples of 8: a quarter of the
      width keeps all of them apart.
    - Late strides go first, so that most layers work on maps on which every kernel is another
      function, and early layers, which cost most, stay cheap.
    - A window of local attention keeps its share of the map.
    - A block without a residual gets none, even where its shapes have become equal.
    """
    strides = iter(
        _relaxed([getattr(layer.op, "stride", 1) for layer in architecture.layers], proxy)
    )
    image = Shape(in_channels, proxy.size(architecture.input.size))
    shape = image
    stages = []
    for stage, layers in architecture.layers_by_stage:
        ops = []
        for layer in layers:
            op = _slim_op(layer, shape, next(strides), proxy.width, classes)
            ops.append(op)
            shape = op.out_shape(shape)
        stages.append(Stage(stage.name, tuple(ops)))
    return Architecture(image, tuple(stages))


def _slim_op(layer: Layer, shape: Shape, stride: int, width: float, classes: int) -> Op:
    """The layer's op for a slimmed map of ``shape``."""
    op = layer.op
    settings: dict[str, object] = {}
    # 0 channels mean as many as the input has, which is slimmed already.
    if getattr(op, "channels", 0):
        settings["channels"] = make_divisible(op.channels * width, DIVISOR)  # type: ignore[attr-defined]
    for name in HEAD_CHANNELS:
        if getattr(op, name, 0):
            settings[name] = make_divisible(getattr(op, name) * width, DIVISOR)
    if hasattr(op, "stride"):
        settings["stride"] = stride
    if hasattr(op, "classes"):
        settings["classes"] = classes
    if getattr(op, "skip", "") == "identity" and layer.shape != layer.out_shape:
        settings["skip"] = "none"
    # A window of 0 is the whole map, here and there.
    if getattr(op, "window", 0):
        # Of the longer side, as one that is as long covers the whole map.
        share = op.window / longer(layer.shape.size)  # type: ignore[attr-defined]
        settings["window"] = max(SMALLEST_WINDOW, round(share * longer(shape.size)))
    return op.replace(**settings)


def _relaxed(strides: list[int], proxy: Proxy) -> list[int]:
    """Strides dropped from the end until the last map has ``proxy.final`` pixels a side.

    A rectangle's map has as many pixels as that. The map is that of an image of
    ``proxy.resolution``: smaller ones keep the same strides.
    """
    relaxed = list(strides)
    for index in reversed(range(len(strides))):
        if area(proxy.resolution) >= (proxy.final * math.prod(relaxed)) ** 2:
            break
        relaxed[index] = 1
    return relaxed
