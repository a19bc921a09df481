"""A device as a few prices: milliseconds of a kernel from the work it does.

``ms = sum over kernels of sum over amounts of price * amount``, all prices non-negative, all
amounts in millions, so a kernel never gets cheaper by growing. The amounts:

``dense_macs``  multiply-adds of convolutions, linear layers and matrix products ``dw_macs``
multiply-adds of depthwise convolutions ``moved``       elements read and written; a dense k x k
convolution also reads its unfolded input ``weights``     weights read ``wspill``      weights of
one dense kernel beyond 131,072 (0.5 MiB), which fall out of a small cache ``grouped``     elements
that grouped convolutions split and join, and that a channel shuffle moves

A table with rows enough may price more, each amount for a kind of kernel by itself
(`KIND_AMOUNTS`): ``conv_calls``, kernels of that kind, in thousands; ``conv_moved``, elements they
read and write; ``dense_macs`` apart for pointwise, spatial and linear ones; ``window``, elements
that pools compare; ``curved``, elements through an activation other than ReLU.

What the published figures do not identify on its own (activation, pool, the scaling of
squeeze-and-excitation) is priced by ``moved``. How the form was chosen:
``experiments/fit_devices.py``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.errors import TableError
from nas.shape import Kernel

__all__ = ["AMOUNTS", "KIND_AMOUNTS", "DeviceModel", "work"]

MILLION = 1e6
LARGEST_PRICE = 1e9
CACHED_WEIGHTS = 131_072
AMOUNTS = ("dense_macs", "dw_macs", "moved", "weights", "wspill", "grouped")
KINDS = (
    "act",
    "add",
    "conv",
    "dwconv",
    "linear",
    "matmul",
    "mul",
    "norm",
    "pool",
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
    dense = kernel.kind in ("conv", "linear", "matmul")
    unfolded = 0
    if kernel.kind == "conv" and kernel.kernel > 1:
        unfolded = kernel.in_channels * (kernel.kernel * kernel.out_size) ** 2
    through = kernel.in_elements + kernel.out_elements
    splits = (kernel.kind == "conv" and kernel.groups > 1) or kernel.kind == "shuffle"
    found = {
        "dense_macs" if dense else "dw_macs": kernel.macs,
        "moved": through + unfolded,
        "weights": kernel.weights,
        "wspill": max(0, kernel.weights - CACHED_WEIGHTS) if dense else 0,
        "grouped": through if splits else 0,
    }
    return {name: amount / MILLION for name, amount in found.items()}


def _kind_amounts(kernel: Kernel) -> dict[str, float]:
    """The same split by kind; calls in thousands, all else in millions."""
    which = (
        "linear"
        if kernel.kind in ("linear", "matmul")
        else "pointwise"
        if kernel.kernel == 1
        else "spatial"
    )
    curved = kernel.kind == "softmax" or kernel.act not in ("", "relu", "relu6")
    return {
        f"{which}_macs": kernel.macs / MILLION
        if kernel.kind in ("conv", "linear", "matmul")
        else 0.0,
        "window": kernel.kernel**2 * kernel.out_elements / MILLION
        if kernel.kind == "pool"
        else 0.0,
        "curved": kernel.out_elements / MILLION if curved else 0.0,
        f"{kernel.kind}_calls": 1e-3,
        f"{kernel.kind}_moved": (kernel.in_elements + kernel.out_elements) / MILLION,
    }


def work(kernels: Iterable[Kernel]) -> Counter[str]:
    """Total work of kernels by amount, as a device model may price it."""
    total: Counter[str] = Counter()
    for kernel in kernels:
        total.update(_amounts(kernel) | _kind_amounts(kernel))
    return total


@dataclass(frozen=True, kw_only=True)
class DeviceModel:
    """``prices``: ms per million of each amount. The errors are fractions of a prediction.

    Errors of single layers (``row_sd``) are independent and add in quadrature; the error that the
    model makes everywhere (``common_sd``) adds linearly.
    """

    prices: Mapping[str, float]
    row_sd: float
    common_sd: float
    _known: dict[Kernel, float] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, price in self.prices.items():
            if name not in (*AMOUNTS, *KIND_AMOUNTS) or not 0 <= price <= LARGEST_PRICE:
                raise TableError(
                    f"a device model prices {', '.join((*AMOUNTS, *KIND_AMOUNTS))}, "
                    f"each at 0 or more, not {name}={price}"
                )
        if not any(self.prices.values()):
            raise TableError(
                "a device model needs a price above 0, or everything would take no time"
            )
        for name, sd in (("row_sd", self.row_sd), ("common_sd", self.common_sd)):
            if not 0 <= sd < 1:
                raise TableError(f"{name} of a device model must be a fraction below 1, not {sd}")

    def latency_ms(self, kernel: Kernel) -> float:
        """Predicted milliseconds of one kernel."""
        if kernel not in self._known:
            amounts = _amounts(kernel) | _kind_amounts(kernel)
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
            return cls(
                prices=prices, row_sd=float(data["row_sd"]), common_sd=float(data["common_sd"])
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(
                f"the model of a table needs prices, row_sd and common_sd: {error!r}"
            ) from None
