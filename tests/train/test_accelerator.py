"""Words for accelerators and precisions, and what is computed by them."""

import re

import pytest
import torch
from torch import nn

from nas.compute import Compute, spread
from nas.errors import UsageError
from nas.train import Schedule, precise
from nas.train import accelerator as module
from nas.train.accelerator import device_of, placed, usual_precision
from nas.train.loop import Training
from nas.train.precision import mixed


def test_workers_are_spread_over_the_gpus_of_a_machine() -> None:
    two = ("cpu", "cuda:0", "cuda:1")
    assert spread("auto", 4, two) == ("cuda:0", "cuda:1", "cuda:0", "cuda:1")
    assert spread("cuda", 3, two) == ("cuda:0", "cuda:1", "cuda:0")
    assert spread("cuda:1", 2, two) == ("cuda:1", "cuda:1")
    assert spread("cpu", 2, two) == ("cpu", "cpu")
    assert spread("auto", 2, ("cpu", "mps")) == ("auto", "auto")


def test_a_word_means_a_device_that_is_here(monkeypatch) -> None:
    monkeypatch.setattr(module, "present", lambda: ("cpu", "cuda:0", "cuda:1"))
    assert device_of("auto") == device_of("cuda") == torch.device("cuda:0")
    assert device_of("cuda:1") == torch.device("cuda:1")
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match=r"no accelerator 'cuda:2' here, only cpu, cuda:0, cuda:1"):
        device_of("cuda:2")
    monkeypatch.setattr(module, "present", lambda: ("cpu",))
    assert device_of("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="no accelerator 'mps' here, only cpu"):
        device_of("mps")


@pytest.mark.parametrize("word", ["gpu", "cuda:", "cuda:01", "cuda:x", "CUDA", ""])
def test_other_words_are_refused(word) -> None:
    match = re.escape(f"no accelerator named '{word}'") + ".*auto, cpu, cuda, cuda:N, mps"
    with pytest.raises(UsageError, match=match):
        Compute(accelerator=word)
    with pytest.raises(UsageError, match="no precision named 'half'"):
        Compute(precision="half")


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_precision_is_mixed_where_that_is_usual_or_asked_for() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert usual_precision(cpu) == "float32"
    assert usual_precision(cuda) in ("bfloat16", "float16")
    assert isinstance(mixed(cuda), torch.autocast)
    with precise("float32"):
        assert not isinstance(mixed(cuda), torch.autocast)
    with precise("bfloat16"), mixed(cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert placed(cpu) == "cpu"
    assert placed(cpu, "bfloat16") == "cpu, bfloat16"


def training(precision: str, steps: int = 12) -> tuple[list[float], nn.Module]:
    """A small network that learns which half of an image is bright."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(32, 1, 8, 8, generator=draw)
    labels = torch.arange(32) % 2
    images[labels == 1, :, :4] += 1
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    )
    schedule = Schedule(steps=steps, batch_size=16, lr=0.05)
    with precise(precision):
        fitting = Training(network, images, labels, schedule, seed=0)
        losses = [fitting.advance() for _ in range(steps)]
    return losses, network


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_training_in_fewer_bits_learns_as_well(precision) -> None:
    whole, _ = training("float32")
    losses, network = training(precision)
    assert losses != whole
    assert losses == pytest.approx(whole, abs=0.1)
    assert losses[-1] < 0.3 * losses[0]
    assert all(weight.dtype == torch.float32 for weight in network.parameters())


def test_scaled_losses_go_on_from_a_checkpoint() -> None:
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.rand(16, 1, 4, 4, generator=draw), torch.arange(16) % 2

    def fresh() -> Training:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        schedule = Schedule(steps=6, batch_size=8, lr=0.1)
        return Training(network, images, labels, schedule, seed=0)

    with precise("float16"):
        unbroken = fresh()
        losses = [unbroken.advance() for _ in range(6)]
        first = fresh()
        for _ in range(3):
            first.advance()
        state = first.state()
        assert state["scaler"]["scale"] > 1
        second = fresh()
        second.restore(state)
        assert [second.advance() for _ in range(3)] == losses[3:]
