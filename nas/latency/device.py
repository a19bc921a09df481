"""A device as a few prices: milliseconds of a kernel from the work it does.

``ms = sum over kernels of sum over amounts of price * amount``, all prices non-negative, all
amounts in millions, so a kernel never gets cheaper by growing. The amounts:

- ``dense_macs``: multiply-adds of convolutions, linear layers and matrix products.
- ``dw_macs``: multiply-adds of depthwise convolutions.
- ``moved``: elements read and written; a dense k x k convolution also reads its unfolded input.
- ``weights``: weights read.
- ``wspill``: weights of one dense kernel beyond 131,072 (0.5 MiB), which fall out of a small cache.
- ``grouped``: elements that grouped convolutions split and join, and that a channel shuffle moves.

A table with rows enough may price more, each amount for a kind of kernel by itself
(`KIND_AMOUNTS`):

- ``conv_calls``: kernels of that kind, in thousands. ``conv_moved``: elements they read and write.
- ``pointwise_macs``, ``spatial_macs``, ``linear_macs``: ``dense_macs`` apart.
- ``window``: elements that pools compare.
- ``curved``: elements through an activation other than ReLU.

What the published figures do not identify on its own (activation, pool, the scaling of
squeeze-and-excitation) is priced by ``moved``. How the form was chosen:
``experiments/fit_devices.py``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nas.errors import TableError
from nas.shape import Kernel
from nas.size import area

__all__ = ["AMOUNTS", "KIND_AMOUNTS", "DeviceModel", "work"]

MILLION = 1e6
LARGEST_PRICE = 1e9
CACHED_WEIGHTS = 131_072
AMOUNTS = ("dense_macs", "dw_macs", "moved", "weights", "wspill", "grouped")
DENSE = ("conv", "gram", "linear", "matmul")
KINDS = (
    "act",
    "add",
    "bias",
    "concat",
    "conv",
    "dwconv",
    "gram",
    "linear",
    "matmul",
    "mul",
    "norm",
    "pool",
    "resize",
    "scale",
    "shuffle",
    "softmax",
)
KIND_AMOUNTS = (
    "pointwise_macs",
    "spatial_macs",
    "linear_macs",
    "window",
    "curved",
    *(f"{kind}_{what}" for kind in KINDS for what in ("calls", "moved")),
)


def _amounts(kernel: Kernel) -> dict[str, float]:
    """Work of one kernel by amount, in millions."""
    is_dense = kernel.kind in DENSE
    through = kernel.in_elements + kernel.out_elements
    amounts = {
        "dense_macs" if is_dense else "dw_macs": kernel.macs,
        "moved": through + _unfolded(kernel),
        "weights": kernel.weights,
        # Depthwise kernels have too few weights to fall out of any cache.
        "wspill": max(0, kernel.weights - CACHED_WEIGHTS) if is_dense else 0,
        "grouped": through if _splits(kernel) else 0,
    }
    return {name: amount / MILLION for name, amount in amounts.items()}


def _unfolded(kernel: Kernel) -> int:
    """Elements of the matrix that a runtime makes of a convolution's input (im2col)."""
    # A 1x1 convolution is a matrix product as it stands.
    if kernel.kind != "conv" or kernel.kernel == 1:
        return 0
    return kernel.in_channels * area(kernel.kernel) * area(kernel.out_size)


def _splits(kernel: Kernel) -> bool:
    """Whether channels are taken apart by groups, which moves all of them."""
    return kernel.kind == "shuffle" or (kernel.kind == "conv" and kernel.groups > 1)


def _kind_amounts(kernel: Kernel) -> dict[str, float]:
    """The same split by kind; calls in thousands, all else in millions."""
    amounts = {
        f"{kernel.kind}_calls": 1e-3,
        f"{kernel.kind}_moved": (kernel.in_elements + kernel.out_elements) / MILLION,
    }
    if kernel.kind in DENSE:
        amounts[_dense_macs(kernel)] = kernel.macs / MILLION
    # A pool's window may be the whole map: its outputs alone say little of its work.
    if kernel.kind == "pool":
        amounts["window"] = area(kernel.kernel) * kernel.out_elements / MILLION
    # A ReLU is one comparison; the others take an exponential, or several products.
    if kernel.kind == "softmax" or kernel.act not in ("", "relu", "relu6"):
        amounts["curved"] = kernel.out_elements / MILLION
    return amounts


def _dense_macs(kernel: Kernel) -> str:
    """The amount that a dense kernel's multiply-adds count for."""
    if kernel.kind in ("gram", "linear", "matmul"):
        return "linear_macs"
    return "pointwise_macs" if kernel.kernel == 1 else "spatial_macs"


def work(kernels: Iterable[Kernel]) -> Counter[str]:
    """Total work of kernels by amount, as a device model may price it."""
    total: Counter[str] = Counter()
    for kernel in kernels:
        total.update(_amounts(kernel) | _kind_amounts(kernel))
    return total


@dataclass(frozen=True, kw_only=True)
class DeviceModel:
    """Prices, and how far a prediction by them may be off.

    Raises `TableError` for an unknown amount, a price below 0, or errors that are no fractions.
    """

    prices: Mapping[str, float]
    """Milliseconds per million of each amount."""
    row_sd: float
    """Relative error of a single layer; layers' errors are independent and add in quadrature."""
    common_sd: float
    """Relative error that the model makes everywhere; it adds linearly."""
    _known: dict[Kernel, float] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, price in self.prices.items():
            if name not in (*AMOUNTS, *KIND_AMOUNTS) or not 0 <= price <= LARGEST_PRICE:
                raise TableError(
                    f"a device model prices {', '.join((*AMOUNTS, *KIND_AMOUNTS))}, "
                    f"each at 0 or more, not {name}={price}"
                )
        # Every network would fit every bound.
        if not any(self.prices.values()):
            raise TableError(
                "a device model needs a price above 0, or everything would take no time"
            )
        for name, sd in (("row_sd", self.row_sd), ("common_sd", self.common_sd)):
            if not 0 <= sd < 1:
                raise TableError(f"{name} of a device model must be a fraction below 1, not {sd}")

    @cached_property
    def _prices_kinds(self) -> bool:
        return not self.prices.keys() <= set(AMOUNTS)

    def latency_ms(self, kernel: Kernel) -> float:
        """Predicted milliseconds of one kernel."""
        if kernel not in self._known:
            amounts = _amounts(kernel)
            if self._prices_kinds:
                amounts |= _kind_amounts(kernel)
            self._known[kernel] = sum(
                price * amounts.get(name, 0.0) for name, price in self.prices.items()
            )
        return self._known[kernel]

    def to_json(self) -> dict[str, object]:
        """The ``model`` object of a table's JSON file."""
        return {
            "prices": dict(self.prices),
            "row_sd": self.row_sd,
            "common_sd": self.common_sd,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DeviceModel":
        """The ``model`` object of a table's JSON file."""
        try:
            prices = {str(name): float(price) for name, price in data["prices"].items()}
            row_sd = float(data["row_sd"])
            common_sd = float(data["common_sd"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(
                f"the model of a table needs prices, row_sd and common_sd: {error!r}"
            ) from None
        return cls(prices=prices, row_sd=row_sd, common_sd=common_sd)
