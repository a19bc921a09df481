"""Plain layers: convolution and classifier."""

from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.shape import Kernel, Op, Shape

__all__ = ["Classifier", "Conv", "Norm"]


# Of a classifier; the empty one stands for none.
NORMS = ("batch", "layer", "")


@dataclass(frozen=True, kw_only=True)
class Conv(Op):
    """Convolution, batch norm, activation. ``channels`` 0 keeps the input's.

    A ``bias`` is trained before the norm, which takes its mean away: at inference it is folded in.
    """

    key = "conv"
    elastic = ("channels", "kernel")

    kernel: int = 1
    channels: int = 0
    stride: int = 1
    groups: int = 1
    act: str = "relu"
    bias: bool = False

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=self.kernel, channels=self.channels, stride=self.stride, act=self.act
        )
        if self.groups < 1:
            raise ArchitectureError(f"op 'conv': groups must be at least 1, not {self.groups}")

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(self.stride, self.channels)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        channels = self.channels or shape.channels
        made, _ = blocks.conv(
            shape,
            channels,
            kernel=self.kernel,
            stride=self.stride,
            groups=self.groups,
            act=self.act,
            bias=self.bias,
        )
        return (made,)


@dataclass(frozen=True, kw_only=True)
class Norm(Op):
    """Batch norm by itself, as before a head."""

    key = "norm"

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        return (blocks.batch_norm(shape),)


@dataclass(frozen=True, kw_only=True)
class Classifier(Op):
    """Global average pool, dropout (in training), linear layer with bias: a logit per class.

    ``hidden`` puts a linear layer with activation ``act`` before it (MobileNetV3), with a bias
    unless ``hidden_bias`` is false (Once-for-All). With ``hidden_norm`` it is a 1x1 convolution of
    the pooled map and a batch norm, without bias (MobileNetV4). Without a hidden layer, a ``norm``
    may stand behind the pool: batch (LeViT) or layer (ConvNeXt).
    """

    key = "classifier"
    once = True

    classes: int = 1000
    hidden: int = 0
    hidden_bias: bool = True
    hidden_norm: bool = False
    act: str = "relu"
    norm: str = ""

    def __post_init__(self) -> None:
        blocks.check_settings(self.key, kernel=1, channels=self.hidden, stride=1, act=self.act)
        if not 1 <= self.classes <= blocks.LARGEST_CHANNELS:
            raise ArchitectureError(
                f"op 'classifier': classes must be 1 to {blocks.LARGEST_CHANNELS}, "
                f"not {self.classes}"
            )

        if self.norm not in NORMS:
            raise ArchitectureError(
                f"op 'classifier': norm must be one of {', '.join(map(repr, NORMS))}, "
                f"not {self.norm[:40]!r}"
            )
        if self.norm and self.hidden:
            raise ArchitectureError(
                f"op 'classifier': norm '{self.norm}' stands ahead of the classes alone: "
                "leave norm or hidden out"
            )

    def at(self, shape: Shape) -> Op:
        """See `Op`: settings of a hidden layer that is not there, or has a norm for a bias."""
        if not self.hidden:
            return self.replace(hidden_bias=True, hidden_norm=False, act="relu")
        return self.replace(hidden_bias=True) if self.hidden_norm else self

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return Shape(self.classes, 1)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        pooled = Shape(shape.channels, 1)
        found = [blocks.global_pool(shape)]
        if self.hidden:
            found.append(self._hidden(pooled))
            # After the pool, where a wide layer costs one position and not the whole map.
            pooled = Shape(self.hidden, 1)
        if self.norm:
            make = blocks.batch_norm if self.norm == "batch" else blocks.layer_norm
            found.append(make(pooled))
        return (*found, blocks.linear(pooled, self.classes))

    def _hidden(self, pooled: Shape) -> Kernel:
        if self.hidden_norm:
            return blocks.conv(pooled, self.hidden, act=self.act)[0]
        return blocks.linear(pooled, self.hidden, self.act, bias=self.hidden_bias)
