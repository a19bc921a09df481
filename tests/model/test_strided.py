"""Strided 1x1 convolutions of few channels, which torch's CPU library cannot train safely."""

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from nas.evaluate.proxy import PRESETS, slim  # noqa: E402
from nas.model import build  # noqa: E402
from nas.model.strided import PickedConv2d, around_the_fault  # noqa: E402
from search_spaces import fbnet  # noqa: E402

CHECKER = Path("/lib/x86_64-linux-gnu/libc_malloc_debug.so.0")
TRAIN = """
import torch
from torch import nn
from nas.model.strided import around_the_fault
for _ in range(20):
    conv = {conv}.to(memory_format=torch.channels_last)
    maps = torch.randn(16, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    conv(maps).sum().backward()
"""


def test_it_computes_what_the_convolution_computes() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 1, 2).double()
    picked = around_the_fault(nn.Conv2d(4, 6, 1, 2)).double()
    picked.load_state_dict(plain.state_dict())
    assert type(picked) is PickedConv2d
    maps = torch.randn(3, 4, 7, 7, dtype=torch.float64)
    for mode in (True, False):
        outs = plain.train(mode)(maps), picked.train(mode)(maps)
        assert torch.allclose(*outs)
    plain(maps).square().sum().backward()
    picked.train()(maps).square().sum().backward()
    assert torch.allclose(plain.weight.grad, picked.weight.grad)


def test_slimmed_networks_have_none_at_fault() -> None:
    space = fbnet.space()
    skip = [len(choice) - 1 for choice in space.choices]
    network = build(slim(space.decode(skip), PRESETS["large"], 3, 10), seed=0)
    strided = [
        part
        for part in network.modules()
        if isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and max(part.stride) > 1
    ]
    few = [part for part in strided if part.in_channels < 8]
    assert few
    assert all(type(part) is PickedConv2d for part in few)
    assert all(type(part) is nn.Conv2d for part in strided if part.in_channels >= 8)


@pytest.mark.skipif(not CHECKER.exists(), reason="the C library's memory checker is not here")
def test_nothing_is_written_beyond_its_memory() -> None:
    code = TRAIN.format(conv="around_the_fault(nn.Conv2d(4, 6, 1, 2, bias=False))")
    checked = {"LD_PRELOAD": str(CHECKER), "MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=checked, capture_output=True)
    assert done.returncode == 0, done.stderr[-300:]
