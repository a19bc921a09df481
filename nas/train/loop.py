"""The one training loop: SGD with Nesterov momentum, warm-up, cosine decay, average of the last weights."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.cost.memory import check_fits
from nas.errors import TrainingError
from nas.model import Network
from nas.train import swift
from nas.train.augment import Augment
from nas.train.memory import available_bytes

__all__ = ["Schedule", "Source", "Training", "fit"]

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


class Source(Protocol):
    """Images by row number: a tensor (n, c, s, s), or what makes them when asked."""

    @property
    def device(self) -> torch.device:
        """Where the images are given."""

    @property
    def shape(self) -> torch.Size:
        """(n, c, s, s)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """rows: (k,) int64. (k, c, s, s) float32."""


class Training:
    """A training that goes a step at a time, and can be stopped and taken up again without a trace.

    ``images``: n at least 2; ``labels``: (n,) int64, on the same device. The order of images and their changes come
    from ``seed`` alone. Mixed precision on CUDA. ``done`` counts the steps taken. A network that the machine's memory
    cannot hold raises `TrainingError` before the first step.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Source,
        labels: Tensor,
        schedule: Schedule,
        *,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        if isinstance(network, Network):
            check_fits(network.architecture, schedule.batch_size, available_bytes(images.device))
        network.to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.images, self.labels, self.schedule, self.augment = network, images, labels, schedule, augment
        groups = _groups(network, schedule.weight_decay)
        self.optimiser = torch.optim.SGD(groups, schedule.lr, schedule.momentum, nesterov=True)
        self.generator = torch.Generator().manual_seed(seed)
        self.done = 0
        self._order = torch.empty(0, dtype=torch.int64)
        self._mean = _Mean(network)
        self._forward = _forward(network, images)

    def advance(self) -> float:
        """Take one step; its loss. Raises `TrainingError` for one that is not finite and for lack of memory."""
        self.network.train()
        try:
            return self._step()
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                shape = tuple(self.images.shape[1:])
                raise TrainingError(
                    f"out of memory with {self.schedule.batch_size} images of {shape} a batch: try fewer"
                ) from None
            raise

    def _step(self) -> float:
        schedule, device = self.schedule, self.images.device
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.lr_at(self.done)
        rows = self._rows().to(device)
        batch = self.images[rows] if self.augment is None else self.augment(self.images[rows], self.generator)
        with _precision(device):
            loss = F.cross_entropy(self._forward(batch), self.labels[rows], label_smoothing=schedule.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {self.done + 1} of {schedule.steps}: try a learning rate below {schedule.lr:g}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if self.done >= schedule.steps * (1 - schedule.average):
            self._mean.add()
        self.done += 1
        return value

    def _rows(self) -> Tensor:
        """The next batch: passes over all images, each in a new order, cut across pass borders."""
        size = self.schedule.batch_size
        while len(self._order) < size:
            self._order = torch.cat([self._order, torch.randperm(len(self.images), generator=self.generator)])
        rows, self._order = self._order[:size], self._order[size:]
        return rows

    def finish(self) -> None:
        """Put the averaged weights, if any, into the network, and leave it in evaluation mode."""
        self._mean.store()
        self.network.eval()

    def state(self) -> dict[str, Any]:
        """All that the steps to come depend on: tensors, lists, dicts, strings and numbers, for ``weights_only`` files."""
        return {
            "done": self.done,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "order": self._order.clone(),
            "mean": list(self._mean.mean),
            "mean_count": self._mean.count,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from another `state` of the same training."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self._order, self.done = state["order"], state["done"]
        self._mean.mean, self._mean.count = [v.to(self.images.device) for v in state["mean"]], state["mean_count"]


def fit(
    network: nn.Module,
    images: Source,
    labels: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    augment: Augment | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train in place from the first step to the last; see `Training`.

    ``on_step(step, loss)`` is called after each step, from 1; what it raises ends the training.
    """
    training = Training(network, images, labels, schedule, seed=seed, augment=augment)
    while training.done < schedule.steps:
        loss = training.advance()
        if on_step is not None:
            on_step(training.done, loss)
    training.finish()


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _forward(network: nn.Module, images: Source) -> Callable[[Tensor], Tensor]:
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
