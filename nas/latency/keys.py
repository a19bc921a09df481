"""How a table names what it prices: an op at an input shape, or a kernel."""

import re
from collections.abc import Iterable
from dataclasses import replace

from nas.arch import Layer
from nas.ops import op_from_signature, registry
from nas.shape import Kernel, Op, Shape

__all__ = ["as_run", "kernel_from_key", "kernel_key", "layer_from_key", "layer_key"]

# With the comma of either side, so that what is left is a list of settings again.
_RELU6 = re.compile(r"act=relu6,|,act=relu6|act=relu6")
_KERNEL = re.compile(
    r"(?P<kind>[a-z]+):"
    r"(?P<in_channels>\d+)>(?P<out_channels>\d+),"
    r"(?P<in_size>\d+)>(?P<out_size>\d+),"
    r"k(?P<kernel>\d+),s(?P<stride>\d+),g(?P<groups>\d+),"
    r"(?P<act>[a-z0-9]*)"
    r"(?:,r(?P<rows>\d+))?"
)


def layer_key(op: Op | str, shape: Shape) -> str:
    """The key of an op at an input shape: ``conv(channels=16,kernel=3)@3x32x32``.

    ReLU and ReLU6 take the same time and share a row. Branches share that of what they fold into.
    """
    signature = op if isinstance(op, str) else op.deployed.signature
    return f"{_RELU6.sub('', signature)}@{shape}"


def layer_from_key(key: str) -> Layer | None:
    """The layer a key names; None for a kernel's key or an op that is not installed."""
    signature, _, where = key.partition("@")
    # Ops of a package that is not installed here are no error: their rows wait for it.
    if not where or signature.partition("(")[0] not in registry():
        return None
    channels, size, _ = where.split("x")
    return Layer(op_from_signature(signature), Shape(int(channels), int(size)))


def kernel_key(kernel: Kernel) -> str:
    """The key of a kernel: ``conv:3>16,32>16,k3,s2,g1,relu``."""
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
    numbers = {
        name: int(text)
        for name, text in match.groupdict(default="1").items()
        if name not in ("kind", "act")
    }
    return Kernel(
        kind=match["kind"],
        in_channels=numbers["in_channels"],
        out_channels=numbers["out_channels"],
        in_size=numbers["in_size"],
        out_size=numbers["out_size"],
        kernel=numbers["kernel"],
        stride=numbers["stride"],
        groups=numbers["groups"],
        rows=numbers["rows"],
        act=match["act"],
    )


def as_run(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """The kernels with every ReLU6 as a ReLU, which takes the same time."""
    return tuple(
        replace(kernel, act="relu") if kernel.act == "relu6" else kernel for kernel in kernels
    )
