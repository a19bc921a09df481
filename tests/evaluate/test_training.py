# ruff: noqa: E402
import dataclasses
import math

import pytest

torch = pytest.importorskip("torch")

from PIL import Image

from nas.data import Sealed, load, split
from nas.evaluate import Proxy, TrainingEvaluator
from nas.study.evaluator import Evaluator
from search_spaces import fbnet

PROXY = Proxy(resolution=8, images=640, score_images=50)


def evaluator() -> TrainingEvaluator:
    return TrainingEvaluator(split(load("digits")), PROXY, thread_count=1)


def test_metrics_repeat_bit_for_bit() -> None:
    space = fbnet.space()
    found: Evaluator = evaluator()
    network = space.decode([0] * 22)
    first = found.evaluate(network, seed=1)
    trained = {
        f"{part}{name}"
        for part in ("", "search_")
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss")
    }
    untrained = {"untrained_grad_norm", "untrained_naswot"}
    assert set(first) == trained | untrained | {"search_likelihood"}
    # What strategies are told orders networks as the loss does.
    assert first["search_likelihood"] == pytest.approx(math.exp(-first["search_loss"]))
    found.evaluate(space.decode([8] * 22), seed=3)  # what was evaluated in between does not matter
    assert found.evaluate(network, seed=1) == first
    assert evaluator().evaluate(network, seed=1) == first
    assert found.evaluate(network, seed=2) != first


def test_seconds_are_kept_beside_the_metrics() -> None:
    found = evaluator()
    found.evaluate(fbnet.space().decode([8] * 22), seed=0)
    assert len(found.seconds) == 1
    assert found.seconds[0] > 0


def test_the_test_set_is_never_opened() -> None:
    def fail() -> None:
        raise AssertionError

    digits = dataclasses.replace(load("digits"), test_part=Sealed(fail))
    metrics = TrainingEvaluator(split(digits), PROXY, thread_count=1).evaluate(
        fbnet.space().decode([8] * 22), 0
    )
    assert 0 <= metrics["accuracy"] <= 1


def test_statistics_are_those_of_the_weights_set() -> None:
    found = evaluator()
    pixels = found.dataset.images[found.splits.weights] / 255
    assert found.statistics.mean == pytest.approx([pixels.mean()])


def test_being_followed_changes_no_bit() -> None:
    found, network, parts = evaluator(), fbnet.space().decode([3] * 22), list[dict[str, float]]()
    followed = found.evaluate_in_parts(network, 4, lambda scores: parts.append(dict(scores)))
    assert followed == found.evaluate(network, 4)
    assert len(parts) == 7
    assert all(set(scores) == {f"search_{name}" for name in _SCORES} for scores in parts)


_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "loss", "likelihood")


def test_networks_of_smaller_inputs_train_on_smaller_images() -> None:
    proxy = dataclasses.replace(PROXY, input=224)
    found = TrainingEvaluator(split(load("digits")), proxy, thread_count=1)
    sizes = [found.slim(fbnet.space(resolution=side).decode([8] * 22)) for side in (128, 192, 224)]
    assert [network.input.size for network in sizes] == [5, 7, 8]
    strides = [[layer.op.settings.get("stride") for layer in network.layers] for network in sizes]
    assert strides[0] == strides[1] == strides[2]
    scores = [
        found.evaluate(fbnet.space(resolution=side).decode([8] * 22), seed=0) for side in (128, 224)
    ]
    assert scores[0] != scores[1]
    same = TrainingEvaluator(split(load("digits")), PROXY, thread_count=1)
    assert same.evaluate(fbnet.space(resolution=128).decode([8] * 22), seed=0) == scores[1]


def test_a_folders_recipe_keeps_its_number_of_images(tmp_path) -> None:
    for number, row in enumerate(load("digits").images[:60]):
        folder = tmp_path / str(number % 2)
        folder.mkdir(exist_ok=True)
        Image.fromarray(row[:, :, 0]).save(folder / f"{number}.png")
    files = split(load(f"folder:{tmp_path}"))
    described = TrainingEvaluator(files, PROXY, thread_count=1).describe_training()
    assert described["images"] == PROXY.images
    assert str(described["preprocessing"]).startswith("upright, grey")
