"""The one training loop: SGD with Nesterov momentum, warm-up, cosine decay, average of the last weights."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.errors import TrainingError
from nas.model import Network
from nas.train import swift
from nas.train.augment import Augment

__all__ = ["Schedule", "fit"]

SWIFT_SIDE = 16

OnStep = Callable[[int, float], None]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """``steps`` batches of ``batch_size`` images; ``lr`` is the peak rate.

    ``warmup`` and ``average`` are shares of the steps: a linear rise at the start, and the part at the end whose
    weights (and batch norm statistics) are averaged into the result. ``weight_decay`` spares norms and biases.
    """

    steps: int
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.1
    label_smoothing: float = 0.0
    average: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise TrainingError(
                f"a schedule needs at least one step and two images a batch, not {self.steps} and {self.batch_size}"
            )
        if not (0 <= self.warmup < 1 and 0 <= self.average <= 1):
            raise TrainingError(f"warmup and average are shares of the steps, not {self.warmup} and {self.average}")

    def lr_at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        rise = self.warmup * self.steps
        if step < rise:
            return self.lr * (step + 1) / (math.ceil(rise) + 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / (self.steps - rise)))


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    augment: Augment | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train in place, on the device of the images, with automatic mixed precision on CUDA.

    images: (n, c, s, s) float32, n at least 2; labels: (n,) int64. ``on_step(step, loss)`` is called after each step,
    from 1; what it raises ends the training. The order of images and their changes come from ``seed`` alone.
    Raises `TrainingError` for a loss that is not finite and for lack of memory.
    """
    network.to(images.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(_groups(network, schedule.weight_decay), schedule.lr, schedule.momentum, nesterov=True)
    generator = torch.Generator().manual_seed(seed)
    mean = _Mean(network)
    forward = _forward(network, images)
    try:
        for step, rows in enumerate(_batches(len(images), schedule, generator)):
            for group in optimiser.param_groups:
                group["lr"] = schedule.lr_at(step)
            rows = rows.to(images.device)
            batch = images[rows] if augment is None else augment(images[rows], generator)
            with _precision(images.device):
                loss = F.cross_entropy(forward(batch), labels[rows], label_smoothing=schedule.label_smoothing)
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {step + 1} of {schedule.steps}: try a learning rate below {schedule.lr:g}"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if step >= schedule.steps * (1 - schedule.average):
                mean.add()
            if on_step is not None:
                on_step(step + 1, value)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise TrainingError(
                f"out of memory with {schedule.batch_size} images of {tuple(images.shape[1:])} a batch: try fewer"
            ) from None
        raise
    mean.store()
    network.eval()


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _batches(count: int, schedule: Schedule, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of each step's images: passes over all images, each in a new order, cut across pass borders."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(schedule.steps):
        while len(order) < schedule.batch_size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[: schedule.batch_size]
        order = order[schedule.batch_size :]


def _forward(network: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """The fastest forward pass that was measured for such maps: `swift` up to `SWIFT_SIDE`, else torch's channels-last."""
    if isinstance(network, Network) and images.device.type == "cpu" and images.shape[3] <= SWIFT_SIDE:
        return partial(swift.forward, network)
    return lambda batch: network(batch.contiguous(memory_format=torch.channels_last))


def _precision(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


class _Mean:
    """The running mean of a network's floating-point state."""

    def __init__(self, network: nn.Module) -> None:
        self.state = [v for v in network.state_dict().values() if v.is_floating_point()]
        self.mean: list[Tensor] = []
        self.count = 0

    def add(self) -> None:
        """Take the network as it is now into the mean."""
        self.count += 1
        if not self.mean:
            self.mean = [v.clone() for v in self.state]
        else:
            torch._foreach_lerp_(self.mean, self.state, 1 / self.count)

    def store(self) -> None:
        """Write the mean, if there is one, into the network."""
        for value, mean in zip(self.state, self.mean, strict=bool(self.mean)):
            value.copy_(mean)
