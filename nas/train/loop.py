"""The one training loop, of searches and of full trainings."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.cost.memory import check_fits
from nas.data.masks import IGNORED
from nas.errors import TrainingError
from nas.model import Network
from nas.train import optimisers, swift
from nas.train.augment import Change
from nas.train.average import Average
from nas.train.chance import counted
from nas.train.distil import Distillation
from nas.train.memory import available_bytes
from nas.train.parallel import ALONE, ProcessGroup, synchronise
from nas.train.precision import mixed, needs_scaling
from nas.train.schedule import Schedule

__all__ = ["Phase", "Source", "Training", "fit"]

SWIFT_SIDE = 16
"""Pixels a side up to which `nas.train.swift` was measured to be the faster one on a CPU.

A rectangle may have as many pixels in all.
"""
OnStep = Callable[[int, float], None]


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


@runtime_checkable
class Ahead(Protocol):
    """What makes images ahead, if it knows which."""

    def expect(self, batches: Sequence[tuple[int, Tensor]]) -> None:
        """The rows (k,) that will be asked for, in this order, each with its step."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a training, with images of one size."""

    end: int
    """The step before which it ends."""
    images: Source
    labels: Source | None = None
    """As `Training` takes them; None: those of the training."""
    change: Change | None = None
    dropout: float = 0.0
    """The classifier's."""
    random: bool = False
    """Whether the network itself draws."""

    @property
    def draws(self) -> bool:
        """Whether anything draws from torch's global generator."""
        return self.random or self.dropout > 0 or (self.change is not None and self.change.random)


class Training:
    """A training that goes a step at a time, and can be stopped and taken up again without a trace.

    ``images``: n at least 2; ``labels``: (n,) int64, or masks (n, s, s) where the network gives
    logits per pixel, on the same device. ``phases`` follow each other and replace ``images`` and
    ``augment``, the last one ends with the schedule. All that is random comes from ``seed`` alone.
    Precision is that of the block, see `nas.train.precision`. ``done`` counts the steps taken. A
    network that the machine's memory cannot hold raises `TrainingError` before the first step.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Source,
        labels: Source,
        schedule: Schedule,
        *,
        seed: int,
        augment: Change | None = None,
        phases: Sequence[Phase] = (),
        distillation: Distillation | None = None,
        processes: ProcessGroup = ALONE,
    ) -> None:
        parts = schedule.accumulate * processes.count
        # Two or more: batch norms have no variance of a single image of one pixel.
        if schedule.batch_size % parts or schedule.batch_size < 2 * parts:
            raise TrainingError(
                f"a batch of {schedule.batch_size} images cannot be cut into {parts} equal parts "
                f"of two or more ({processes.count} processes, accumulate={schedule.accumulate})"
            )
        if isinstance(network, Network):
            check_fits(
                network.architecture, schedule.batch_size // parts, available_bytes(images.device)
            )
        network.to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if processes.count > 1:
            synchronise(network)
        self.network = network
        self.images, self.labels = images, labels
        self.schedule = schedule
        self.phases = phases or (Phase(end=schedule.steps, images=images, change=augment),)
        self.distillation = distillation
        self.processes = processes
        self.seed = seed
        self.optimiser = optimisers.make(network, schedule)
        self._scaler = torch.amp.GradScaler(
            images.device.type, enabled=needs_scaling(images.device)
        )
        self.generator = torch.Generator().manual_seed(seed)
        # Alone, one generator serves the order and the changes; processes share the order only.
        self._changing = self.generator
        if processes.count > 1:
            self._changing = torch.Generator().manual_seed(seed + 1 + processes.rank)
        self.done = 0
        self._order = torch.empty(0, dtype=torch.int64)
        self._announced = 0
        self.average = Average(network, schedule)
        self._fast = _Fast(network)
        self._forward = processes.wrapped(self._fast)
        self._phase: Phase | None = None

    def advance(self) -> float:
        """Take one step and give its loss.

        Raises `TrainingError` for a loss that is not finite and for lack of memory.
        """
        self.network.train()
        try:
            return self._step()
        except RuntimeError as error:
            # CUDA has a class for it; the CPU's allocator only says so.
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                shape = tuple(self.images.shape[1:])
                raise TrainingError(
                    f"out of memory with {self.schedule.batch_size} images of {shape} a batch: "
                    "try fewer"
                ) from None
            raise

    def _step(self) -> float:
        schedule, phase = self.schedule, self._entered()
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.lr_at(self.done)
        own = self._own(self._rows(phase)).to(phase.images.device)
        self.optimiser.zero_grad(set_to_none=True)
        value = sum(
            self._gradients(phase, part, number)
            for number, part in enumerate(own.chunk(schedule.accumulate))
        )
        # A step whose scaled gradients overflow is left out, and the scale halved.
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self.average.after(self.done)
        self.done += 1
        return value

    def _gradients(self, phase: Phase, rows: Tensor, number: int) -> float:
        """Add the gradients of a part of the batch; its share of the loss."""
        accumulate = self.schedule.accumulate
        last = number == accumulate - 1
        # Processes talk once a step, in the backward pass of the last part.
        with nullcontext() if last else self.processes.apart(self._forward):
            with self._chance(phase, number):
                loss = self._loss(phase, rows)
                if accumulate > 1:
                    loss = loss / accumulate
            value = self.processes.mean(loss.detach().clone()).item()
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {self.done + 1} of {self.schedule.steps}: "
                    f"try a learning rate below {self.schedule.lr:g}"
                )
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return value

    def peek(self) -> tuple[Tensor, Tensor]:
        """The next batch as the network would see it: images (k, c, s, s), and labels.

        The training cannot go on afterwards: its draws are gone.
        """
        phase = self._entered()
        rows = self._own(self._rows(phase)).to(phase.images.device)
        with self._chance(phase, 0):
            return self._batch(phase, rows.chunk(self.schedule.accumulate)[0])

    def _batch(self, phase: Phase, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels, changed at random."""
        source = self.labels if phase.labels is None else phase.labels
        images, labels = phase.images[rows], source[rows]
        if phase.change is not None:
            images, labels = phase.change(images, labels, self._changing)
        return images, labels

    def _loss(self, phase: Phase, rows: Tensor) -> Tensor:
        images, labels = self._batch(phase, rows)
        smoothing = self.schedule.label_smoothing
        with mixed(images.device):
            logits = self._forward(images)
            ignored = IGNORED if logits.ndim == 4 else -100  # torch's default
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing, ignore_index=ignored)
            if self.distillation is None:
                return loss
            return self.distillation(loss, logits, images, rows)

    def _chance(self, phase: Phase, number: int) -> AbstractContextManager[None]:
        if not phase.draws:
            return nullcontext()
        return counted(phase.images.device, self.seed, self.done, self.processes.rank, number)

    def _entered(self) -> Phase:
        """The phase of the next step; on its first one the network is readied for it."""
        phase = next(phase for phase in self.phases if self.done < phase.end)
        if phase is not self._phase:
            self._phase = phase
            self._fast.choose(phase.images)
            if phase.dropout:
                for part in self.network.modules():
                    if isinstance(part, nn.Dropout):
                        part.p = phase.dropout
        return phase

    def _rows(self, phase: Phase) -> Tensor:
        """The next batch: passes over all images, each in a new order, cut across pass borders."""
        size = self.schedule.batch_size
        while len(self._order) < size:
            one_pass = torch.randperm(len(self.images), generator=self.generator)
            self._order = torch.cat([self._order, one_pass])
        if isinstance(phase.images, Ahead) and self.done >= self._announced:
            self._announce(phase, phase.images)
        rows, self._order = self._order[:size], self._order[size:]
        return rows

    def _own(self, rows: Tensor) -> Tensor:
        """The part of a batch that is for this process."""
        return rows.chunk(self.processes.count)[self.processes.rank]

    def _announce(self, phase: Phase, images: Ahead) -> None:
        """Tell of all whole batches of this pass, as far as the phase goes."""
        size = self.schedule.batch_size
        batches: list[tuple[int, Tensor]] = []
        count = min(len(self._order) // size, phase.end - self.done)
        for number in range(count):
            own = self._own(self._order[number * size : (number + 1) * size])
            parts = own.chunk(self.schedule.accumulate)
            batches += [(self.done + number, part) for part in parts]
        images.expect(batches)
        self._announced = self.done + count

    def finish(self) -> None:
        """Put the averaged weights, if any, into the network, and leave it in evaluation mode."""
        self.average.store()
        self.network.eval()

    def state(self) -> dict[str, object]:
        """All that the steps to come depend on, as values for ``weights_only`` files.

        Of several processes each must call it; the first one's is complete.
        """
        return {
            "done": self.done,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "changing": self.processes.gathered(self._changing.get_state()),
            "order": self._order.clone(),
            "mean": list(self.average.mean),
            "mean_count": self.average.count,
            **({"scaler": self._scaler.state_dict()} if self._scaler.is_enabled() else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from another `state` of the same training."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self._changing.set_state(state["changing"][self.processes.rank])
        self._order, self.done = state["order"], state["done"]
        self._announced = self.done
        self.average.mean = [v.to(self.images.device) for v in state["mean"]]
        self.average.count = state["mean_count"]
        # Without one: it was begun where no loss was scaled.
        if self._scaler.is_enabled() and "scaler" in state:
            self._scaler.load_state_dict(state["scaler"])


def fit(
    network: nn.Module,
    images: Source,
    labels: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    augment: Change | None = None,
    on_step: OnStep | None = None,
    distillation: Distillation | None = None,
) -> None:
    """Train in place from the first step to the last; see `Training`.

    ``on_step(step, loss)`` is called after each step, from 1; what it raises ends the training.
    """
    training = Training(
        network, images, labels, schedule, seed=seed, augment=augment, distillation=distillation
    )
    while training.done < schedule.steps:
        loss = training.advance()
        if on_step is not None:
            on_step(training.done, loss)
    training.finish()


class _Fast(nn.Module):
    """A network by the fastest forward pass that was measured for such maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._run: Callable[[Tensor], Tensor] = self._channels_last

    def choose(self, images: Source) -> None:
        """`swift` on the CPU up to `SWIFT_SIDE`, else torch's channels-last."""
        small = images.device.type == "cpu" and images.shape[2] * images.shape[3] <= SWIFT_SIDE**2
        if isinstance(self.network, Network) and small:
            self._run = partial(swift.forward, self.network)
        else:
            self._run = self._channels_last

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, c, s, s). The network's logits."""
        return self._run(images)

    def _channels_last(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
        return logits
