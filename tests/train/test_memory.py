import pytest
import torch

from nas.errors import TrainingError
from nas.model import build
from nas.train import Schedule, fit, loop
from search_spaces import fbnet


def test_a_network_that_does_not_fit_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr(loop, "available_bytes", lambda device: 1 << 20)
    network = build(fbnet.space(resolution=32, classes=3).decode([3] * 22))
    seen = []
    with pytest.raises(
        TrainingError, match=r"needs about .* GiB, there are 0\.0; the largest layer is"
    ):
        fit(
            network,
            torch.zeros(8, 3, 32, 32),
            torch.zeros(8, dtype=torch.int64),
            Schedule(steps=2, batch_size=4),
            seed=0,
            on_step=lambda step, loss: seen.append(step),
        )
    assert not seen
