"""Several processes that train one network, as torch starts them.

    torchrun --nproc-per-node 2 -m nas train ...

Each process works off an equal part of every batch. Gradients are averaged, and batch norms see the
whole batch, so that the result is that of one process up to the order of sums.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from nas.errors import TrainingError, UsageError
from nas.train.accelerator import device_of

__all__ = ["ALONE", "ProcessGroup", "launched", "synchronise"]


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes that share each batch: how many there are, and which of them this is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes; without gradients."""
        if self.count > 1:
            dist.all_reduce(value)
            value /= self.count
        return value

    def gathered(self, value: Tensor) -> list[Tensor]:
        """A tensor of equal shape from each process, by rank."""
        if self.count == 1:
            return [value]
        values = [torch.empty_like(value) for _ in range(self.count)]
        dist.all_gather(values, value)
        return values

    def wait(self) -> None:
        """Go on when all are here."""
        if self.count > 1:
            dist.barrier()

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over the processes during the backward pass."""
        if self.count == 1:
            return network
        # Running statistics are equal already, see `synchronise`: nothing to broadcast.
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)

    def apart(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside, gradients of a `wrapped` network are added up.

        The next backward pass outside averages them.
        """
        if isinstance(network, nn.parallel.DistributedDataParallel):
            return network.no_sync()
        return nullcontext()


ALONE = ProcessGroup()


def launched(accelerator: str = "auto") -> tuple[ProcessGroup, torch.device]:
    """Which of the launcher's processes this is, with its device; alone where none started it.

    Processes on the CPU talk through gloo, those on CUDA, a device each, through nccl. Raises
    `UsageError` for an accelerator that is not here, or that processes cannot share.
    """
    chosen = device_of(accelerator)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE, chosen
    if chosen.type == "mps" or ":" in accelerator:
        raise UsageError(
            f"processes of torchrun have a GPU each, or the CPU, and not --accelerator "
            f"{accelerator}: give cuda or cpu, or start one process without torchrun"
        )
    cuda = chosen.type == "cuda"
    local_rank = int(os.environ["LOCAL_RANK"])
    if cuda and local_rank >= torch.cuda.device_count():
        raise TrainingError(
            f"process {local_rank} of this machine has no device: "
            f"there are {torch.cuda.device_count()}. "
            "Start fewer with torchrun --nproc-per-node"
        )
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return ProcessGroup(rank=dist.get_rank(), count=dist.get_world_size()), device


def synchronise(network: nn.Module) -> None:
    """Batch norms take their statistics over all processes from now on.

    Parameters and names stay.
    """
    for part in list(network.modules()):
        for name, norm in list(part.named_children()):
            if type(norm) is nn.BatchNorm2d:
                setattr(part, name, _SharedNorm.of(norm))


class _SharedNorm(nn.BatchNorm2d):
    """Batch norm over the equal parts of all processes. Torch's own does not run on CPUs."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "_SharedNorm":
        shared = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        # The very tensors: names and values of the state dict stay.
        shared._parameters, shared._buffers = norm._parameters, norm._buffers
        return shared

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, c, s, s), the same out."""
        if not self.training:
            return super().forward(maps)
        values = maps.float()
        mean, var = values.mean((0, 2, 3)), values.var((0, 2, 3), correction=0)
        # Var = E[x²] - E[x]²: means of equal parts can be averaged, variances cannot. In double
        # precision, as the difference of two large squares would lose its digits.
        own = torch.stack([mean, var + mean**2]).double()
        whole: Tensor = all_reduce(own) / dist.get_world_size()  # type: ignore[no-untyped-call]
        mean = whole[0]
        var = whole[1] - mean**2
        self._follow(mean.detach(), var.detach(), maps.numel() // len(mean) * dist.get_world_size())
        scale = (var + self.eps).rsqrt().float() * self.weight
        shift = self.bias - mean.float() * scale
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(maps.dtype)

    def _follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics, as torch's norm does."""
        self.get_buffer("num_batches_tracked").add_(1)
        momentum = self.momentum or 0.0
        # The running variance is the unbiased one, though the maps are divided by the biased one.
        unbiased = var * count / max(count - 1, 1)
        self.get_buffer("running_mean").lerp_(mean.float(), momentum)
        self.get_buffer("running_var").lerp_(unbiased.float(), momentum)
