"""How a table names what it prices: an op at an input shape, or a kernel."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from nas.arch import Layer
from nas.ops import op_from_signature, registry
from nas.shape import Kernel, Op, Shape
from nas.size import parse_size, size_of

__all__ = ["as_run", "kernel_from_key", "kernel_key", "layer_from_key", "layer_key"]

# With the comma of either side, so that what is left is a list of settings again.
_RELU6 = re.compile(r"act=relu6,|,act=relu6|act=relu6")
# A square's side, or height x width.
_SIZE = r"\d+(?:x\d+)?"
_KERNEL = re.compile(
    r"(?P<kind>[a-z]+):"
    r"(?P<in_channels>\d+)>(?P<out_channels>\d+),"
    rf"(?P<in_size>{_SIZE})>(?P<out_size>{_SIZE}),"
    rf"k(?P<kernel>{_SIZE}),s(?P<stride>{_SIZE}),g(?P<groups>\d+),"
    r"(?P<act>[a-z0-9]*)"
    r"(?:,r(?P<rows>\d+))?"
)


def layer_key(op: Op | str, shape: Shape) -> str:
    """The key of an op at an input shape: ``conv(channels=16,kernel=3)@3x32x32``.

    ReLU and ReLU6 take the same time and share a row. Branches share that of what they fold into.
    """
    signature = op if isinstance(op, str) else op.deployed.signature
    return f"{_RELU6.sub('', signature)}@{shape}"


# A table is read, looked through for what is odd, and asked: each time by all of its keys.
@lru_cache(maxsize=1 << 15)
def layer_from_key(key: str) -> Layer | None:
    """The layer a key names; None for a kernel's key or an op that is not installed."""
    signature, _, where = key.partition("@")
    # Ops of a package that is not installed here are no error: their rows wait for it.
    if not where or signature.partition("(")[0] not in registry():
        return None
    channels, height, width = map(int, where.split("x"))
    return Layer(op_from_signature(signature), Shape(channels, size_of(height, width)))


def kernel_key(kernel: Kernel) -> str:
    """The key of a kernel: ``conv:3>16,32>16,k3,s2,g1,relu``, or ``conv:3>16,24x32>12x16,...``."""
    rows = f",r{kernel.rows}" if kernel.rows > 1 else ""
    return (
        f"{kernel.kind}:{kernel.in_channels}>{kernel.out_channels},"
        f"{kernel.in_size}>{kernel.out_size},"
        f"k{kernel.kernel},s{kernel.stride},g{kernel.groups},{kernel.act}{rows}"
    )


def kernel_from_key(key: str) -> Kernel | None:
    """The kernel that `kernel_key` named; None for another key.

    Bias and norm are not in it: a runtime folds them in.
    """
    match = _KERNEL.fullmatch(key)
    if match is None:
        return None
    return Kernel(
        kind=match["kind"],
        in_channels=int(match["in_channels"]),
        out_channels=int(match["out_channels"]),
        in_size=parse_size(match["in_size"]),
        out_size=parse_size(match["out_size"]),
        kernel=parse_size(match["kernel"]),
        stride=parse_size(match["stride"]),
        groups=int(match["groups"]),
        rows=int(match["rows"] or 1),
        act=match["act"],
    )


def as_run(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """The kernels with every ReLU6 as a ReLU, which takes the same time."""
    return tuple(
        replace(kernel, act="relu") if kernel.act == "relu6" else kernel for kernel in kernels
    )
