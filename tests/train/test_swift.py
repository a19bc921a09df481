import numpy as np
import pytest
import torch

from nas import catalog
from nas.evaluate import Proxy, slim
from nas.model import build
from nas.train import swift


@pytest.mark.parametrize("name", catalog.space_names())
@pytest.mark.parametrize("training", [False, True])
def test_the_faster_pass_gives_what_the_modules_give(name, training):
    """Outputs, gradients and running statistics, in double precision, over random networks of every space."""
    space, proxy = catalog.space(name, resolution=32, classes=5, in_channels=3), Proxy(resolution=8, width=0.1)
    rng = np.random.default_rng(0)
    for seed in range(3):
        network = slim(space.decode([int(rng.integers(size)) for size in space.gene_sizes]), proxy, 3, 5)
        ours, theirs = (build(network, seed=seed).double().train(training) for _ in range(2))
        images = torch.from_numpy(rng.standard_normal((4, 3, 8, 8)))
        fast, plain = swift.forward(ours, images), theirs(images)
        torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-8)
        fast.square().sum().backward()
        plain.square().sum().backward()
        for (key, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7, msg=lambda text, key=key: f"{key}: {text}")
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
