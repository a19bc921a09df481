"""Kernels that several op families share, and the checks of their settings."""

from dataclasses import replace

from nas.errors import ArchitectureError
from nas.shape import Kernel, Shape
from nas.size import Size

__all__ = [
    "act",
    "add",
    "batch_norm",
    "check_settings",
    "check_squeeze",
    "concat",
    "conv",
    "depthwise",
    "global_pool",
    "held",
    "layer_norm",
    "layer_scale",
    "linear",
    "mul",
    "pool",
    "resize",
    "shortcut",
    "shuffle",
    "softmax",
    "squeeze_excite",
]

# The empty one stands for none, as after a projection.
ACTIVATIONS = ("relu", "relu6", "hswish", "swish", "gelu", "")
# MobileNetV3 and UniNet gate by a hard sigmoid, the others by a sigmoid.
GATES = ("sigmoid", "hsigmoid")
# MnasNet and EfficientNet squeeze from the block's input, MobileNetV3 from what was expanded.
SQUEEZE_BASES = ("input", "expanded")
# The skip operations that MnasNet searches over.
SHORTCUTS = ("identity", "pool", "none")
LARGEST_CHANNELS = 1 << 16
LARGEST_KERNEL = 31


def check_settings(
    key: str,
    *,
    kernel: int,
    channels: int,
    stride: int,
    act: str,
    expand: float = 1,
    se: float = 0,
    skip: str = "none",
) -> None:
    """Raise unless the settings describe something that can be built."""
    # An even kernel cannot be padded alike on both sides.
    if kernel % 2 == 0 or not 1 <= kernel <= LARGEST_KERNEL:
        raise ArchitectureError(
            f"op '{key}': kernel must be odd and 1 to {LARGEST_KERNEL}, not {kernel}"
        )
    if not 0 <= channels <= LARGEST_CHANNELS:
        raise ArchitectureError(
            f"op '{key}': channels must be 1 to {LARGEST_CHANNELS} (0: as the input), "
            f"not {channels}"
        )
    if stride not in (1, 2):
        raise ArchitectureError(f"op '{key}': stride must be 1 or 2, not {stride}")
    if act not in ACTIVATIONS:
        raise ArchitectureError(
            f"op '{key}': act must be one of {', '.join(map(repr, ACTIVATIONS))}, not {act[:40]!r}"
        )
    if not 0 < expand <= 64:
        raise ArchitectureError(f"op '{key}': expand must be above 0 and at most 64, not {expand}")
    if not 0 <= se <= 1:
        raise ArchitectureError(f"op '{key}': se must be a ratio from 0 to 1, not {se}")
    if skip not in SHORTCUTS:
        raise ArchitectureError(
            f"op '{key}': skip must be one of {', '.join(SHORTCUTS)}, not {skip[:40]!r}"
        )


def check_squeeze(key: str, *, base: str, gate: str, act: str) -> None:
    """Raise unless the settings of squeeze-and-excitation are known ones."""
    for name, value, known in (
        ("se_base", base, SQUEEZE_BASES),
        ("se_gate", gate, GATES),
        ("se_act", act, ACTIVATIONS),
    ):
        if value not in known:
            raise ArchitectureError(
                f"op '{key}': {name} must be one of {', '.join(map(repr, known))}, "
                f"not {value[:40]!r}"
            )


def conv(
    shape: Shape,
    channels: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: str = "",
    bias: bool = False,
    norm: bool = True,
) -> tuple[Kernel, Shape]:
    """Convolution, batch norm (unless ``norm`` is false) and activation.

    Raises `ArchitectureError` if the groups do not divide both channel counts.
    """
    if shape.channels % groups or channels % groups:
        raise ArchitectureError(
            f"{groups} groups do not divide {shape.channels} and {channels} channels"
        )
    out = shape.strided(stride, channels)
    made = Kernel(
        kind="conv",
        in_channels=shape.channels,
        out_channels=channels,
        in_size=shape.size,
        out_size=out.size,
        kernel=kernel,
        stride=stride,
        groups=groups,
        bias=bias,
        norm=norm,
        act=act,
    )
    return made, out


def depthwise(
    shape: Shape,
    *,
    kernel: int,
    stride: int = 1,
    act: str = "",
    bias: bool = False,
    norm: bool = True,
) -> tuple[Kernel, Shape]:
    """One filter per channel, batch norm (unless told otherwise) and activation."""
    out = shape.strided(stride)
    made = Kernel(
        kind="dwconv",
        in_channels=shape.channels,
        out_channels=shape.channels,
        in_size=shape.size,
        out_size=out.size,
        kernel=kernel,
        stride=stride,
        groups=shape.channels,
        bias=bias,
        norm=norm,
        act=act,
    )
    return made, out


def _pointlike(
    kind: str, shape: Shape, out_channels: int, act: str = "", bias: bool = False
) -> Kernel:
    return Kernel(
        kind=kind,
        in_channels=shape.channels,
        out_channels=out_channels,
        in_size=shape.size,
        out_size=shape.size,
        bias=bias,
        act=act,
    )


def global_pool(shape: Shape) -> Kernel:
    """Mean over the map."""
    return Kernel(
        kind="pool",
        in_channels=shape.channels,
        out_channels=shape.channels,
        in_size=shape.size,
        out_size=1,
        kernel=shape.size,
        stride=shape.size,
    )


def linear(shape: Shape, channels: int, act: str = "", *, bias: bool = True) -> Kernel:
    """A matrix, with bias unless told otherwise, applied at every position."""
    return _pointlike("linear", shape, channels, act, bias=bias)


def squeeze_excite(
    shape: Shape, width: int, *, act: str = "relu", gate: str = "sigmoid"
) -> tuple[Kernel, ...]:
    """Pool, squeeze to ``width``, back, gate, scale (Hu et al. 2018, https://arxiv.org/abs/1709.01507)."""
    pooled = Shape(shape.channels, 1)
    return (
        global_pool(shape),
        # After the pool a 1x1 convolution is a linear layer, which is what runtimes are given.
        linear(pooled, width, act),
        linear(Shape(width, 1), shape.channels, gate),
        mul(shape),
    )


def mul(shape: Shape) -> Kernel:
    """A map times one factor per channel or per position."""
    return _pointlike("mul", shape, shape.channels)


def softmax(shape: Shape) -> Kernel:
    """Softmax over the channels of each position."""
    return _pointlike("softmax", shape, shape.channels)


def concat(shape: Shape) -> Kernel:
    """Two maps written one behind the other, ``shape`` being both."""
    return _pointlike("concat", shape, shape.channels)


def layer_norm(shape: Shape, act: str = "") -> Kernel:
    """Norm over the channels of each position."""
    return _pointlike("norm", shape, shape.channels, act)


def batch_norm(shape: Shape) -> Kernel:
    """Norm per channel that follows no convolution: a factor and an offset at inference."""
    # As many groups as channels tell it from a layer norm, which computes its statistics anew.
    return replace(layer_norm(shape), groups=shape.channels)


def layer_scale(shape: Shape) -> Kernel:
    """One trained factor per channel (Touvron et al. 2021, https://arxiv.org/abs/2103.17239)."""
    return _pointlike("scale", shape, shape.channels)


def add(shape: Shape, act: str = "") -> Kernel:
    """Sum of two maps, and the activation of the sum."""
    return _pointlike("add", shape, shape.channels, act)


def act(shape: Shape, name: str) -> Kernel:
    """An activation that follows no kernel it could be fused with."""
    return _pointlike("act", shape, shape.channels, name)


def resize(shape: Shape, size: Size) -> Kernel:
    """Bilinear up-sampling to another size."""
    return replace(_pointlike("resize", shape, shape.channels), out_size=size)


def activation(shape: Shape, act: str) -> Kernel:
    """An activation that follows no kernel which could apply it."""
    return _pointlike("act", shape, shape.channels, act)


def pool(shape: Shape, stride: int, *, kernel: int = 3) -> tuple[Kernel, Shape]:
    """A 3x3 pool, average or maximum."""
    out = shape.strided(stride)
    made = Kernel(
        kind="pool",
        in_channels=shape.channels,
        out_channels=shape.channels,
        in_size=shape.size,
        out_size=out.size,
        kernel=kernel,
        stride=stride,
    )
    return made, out


def shuffle(shape: Shape, groups: int) -> Kernel:
    """Channel shuffle between grouped convolutions (Zhang et al. 2018, https://arxiv.org/abs/1707.01083)."""
    return replace(_pointlike("shuffle", shape, shape.channels), groups=groups)


def held(shape: Shape, out: Shape, main: int, beside: int) -> tuple[int, ...]:
    """Values kept alive while each kernel of a residual block runs, see `nas.shape.Op.held`.

    The block has ``main`` kernels, then ``beside`` of its shortcut, of which the last is the sum;
    0 where it has none.
    """
    if not beside:
        return ()
    # The first kernel of both paths reads the block's input, and the sum reads all that is left.
    of_main = (0, *[shape.elements] * (main - 1))
    of_path = [out.elements] * (beside - 1)
    return (*of_main, *of_path, 0)


def shortcut(skip: str, shape: Shape, out: Shape) -> tuple[Kernel, ...]:
    """Kernels of the path beside a block, the sum included; empty where there is none.

    ``identity`` exists only between equal shapes. ``pool`` exists everywhere: a 3x3 average pool of
    the block's stride, then a 1x1 convolution with batch norm where the channels change.
    """
    # As published: a block that changes the shape has no residual, and asks for no projection.
    if skip == "none" or (skip == "identity" and shape != out):
        return ()
    if skip == "identity":
        return (add(out),)
    made, pooled = pool(shape, 2 if out.size != shape.size else 1)
    project = (conv(pooled, out.channels)[0],) if out.channels != shape.channels else ()
    return (made, *project, add(out))
