# ruff: noqa: E402
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nas.data import Statistics, statistics, tensors


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_shape_and_normalisation(channels: int, resolution: int) -> None:
    images = np.random.default_rng(0).integers(256, size=(50, 8, 8, channels), dtype=np.uint8)
    found = tensors(images, statistics(images), resolution)
    assert found.shape == (50, channels, resolution, resolution)
    assert found.mean().item() == pytest.approx(0, abs=1e-2)
    assert statistics(images).mean == pytest.approx(images.mean((0, 1, 2)) / 255)
    assert statistics(images).std == pytest.approx(images.std((0, 1, 2)) / 255)
    if resolution == 8:
        assert found.std().item() == pytest.approx(1, abs=1e-2)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    flat = np.full((3, 4, 4, 1), 7, np.uint8)
    assert torch.isfinite(tensors(flat, statistics(flat), 4)).all()


def test_smaller_is_the_mean_over_areas() -> None:
    images = np.array([[0, 255], [255, 0]], np.uint8).reshape(1, 2, 2, 1)
    assert tensors(images, Statistics((0.0,), (1.0,)), 1).item() == pytest.approx(0.5)
