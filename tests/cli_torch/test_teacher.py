"""Teachers: a network of ours or an ONNX file; other classes are one line."""

import dataclasses

import numpy as np
import pytest
import torch

from nas.arch import Architecture, Stage
from nas.data import load, statistics, tensors
from nas.errors import ArchitectureError, RunError, TrainingError, UsageError
from nas.evaluate.retraining import retraining
from nas.evaluate.training import make
from nas.export.onnx import write_onnx
from nas.model import Network, build
from nas.ops.conv import Classifier, Conv
from nas.run.plan import plan
from nas.run.settings import Search
from nas.shape import Shape
from nas.train.distil import Distillation
from nas.train.full import FullTraining
from nas.train.recipe import Recipe
from nas.train.teacher import load_teacher


def network(classes: int = 10, size: int = 8) -> Architecture:
    stages = (
        Stage("stem", (Conv(kernel=3, channels=8, stride=2),)),
        Stage("head", (Classifier(classes=classes),)),
    )
    return Architecture(Shape(1, size), stages)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An architecture file and weights: untrained, but with opinions that depend on the image."""
    folder = tmp_path_factory.mktemp("teacher")
    network().save(folder / "big.json")
    torch.save(opinionated(10).state_dict(), folder / "big.pt")
    return folder


def opinionated(classes: int, seed: int = 5) -> Network:
    net = build(network(classes), seed=seed).eval()
    digits = load("digits").images[:300]
    linear = net.get_submodule("stages.head.0.linear")
    with torch.no_grad():
        linear.weight.mul_(200)
        linear.bias.sub_(net(tensors(digits, statistics(digits), 8)).mean(0))
    return net


def test_the_loss_is_hintons():
    generator = torch.Generator().manual_seed(0)
    given, wanted = torch.randn(2, 5, 3, generator=generator)
    loss = Distillation(teacher=lambda images, rows: wanted, temperature=2.0, weight=0.25)
    found = loss(torch.tensor(1.0), given, given, torch.arange(5))
    p, q = (wanted / 2).softmax(1), (given / 2).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean() * 4
    torch.testing.assert_close(found, 0.75 * 1.0 + 0.25 * expected)


def test_a_network_alone_with_its_teacher_comes_to_agree(saved, tmp_path):
    data = load("digits")
    teacher = load_teacher(
        str(saved / "big.json"), saved / "big.pt", data, weight=1.0, temperature=2.0
    )
    recipe = Recipe(
        steps=150, batch_size=32, lr=0.5, shift=0, resolution=8, average=0.2, weight_decay=0, seed=5
    )
    training = FullTraining(network(), data, tmp_path / "x", recipe, teacher=teacher)
    training.run()
    student = build(network())
    student.load_state_dict(torch.load(tmp_path / "x" / "weights.pt", weights_only=True))
    images = training.task._images(training.splits.selection, 8)[torch.arange(200)]
    with torch.no_grad():
        named = student.eval()(images).argmax(1)
    told = teacher.logits(torch.device("cpu"))(images).argmax(1)
    assert told.bincount().max() < 80  # no opinion is that of most images
    assert (named == told).float().mean() > 0.6
    assert "temperature 2, weight 1" in training.lines()[-1]
    assert training.identity()["teacher"]["digest"] == teacher.digest


def test_an_onnx_file_teaches_as_its_network_does(saved, tmp_path):
    write_onnx(opinionated(10), network().input, tmp_path / "big.onnx", {})
    data = load("digits")
    images = torch.rand(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    ours = load_teacher(str(saved / "big.json"), saved / "big.pt", data)
    theirs = load_teacher(str(tmp_path / "big.onnx"), None, data)
    rows = torch.tensor([3, 1])
    logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    found = [
        teacher.on(torch.device("cpu"))(torch.tensor(1.0), logits, images[:2], rows).item()
        for teacher in (ours, theirs)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    fixed = [
        teacher.fixed(images)(torch.tensor(1.0), logits, images[:2], rows).item()
        for teacher in (ours, theirs)
    ]
    assert fixed[0] == pytest.approx(fixed[1], rel=1e-4)
    assert fixed[0] != pytest.approx(found[0], rel=1e-4)  # rows 3 and 1, whatever the images shown


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        (("big.json", None), {}, "needs its weights: --teacher-weights FILE"),
        (
            ("none.onnx", "big.pt"),
            {},
            "an ONNX teacher holds its weights: leave --teacher-weights out",
        ),
        (
            ("big.json", "big.pt"),
            {"temperature": 0},
            "temperature must be above 0 and its weight above 0 and at most 1, not 0",
        ),
        (("big.json", "big.pt"), {"weight": 1.5}, "not 4 and 1.5"),
        (("big.json", "big.json"), {}, "big.json is not a file of weights"),
        (("big.pt.onnx", None), {}, "cannot read teacher"),
    ],
)
def test_bad_teachers_are_one_line(saved, files, changes, message):
    spec, weights = files
    (saved / "big.pt.onnx").write_bytes(b"no graph")
    with pytest.raises((ArchitectureError, UsageError, TrainingError), match=message) as found:
        load_teacher(str(saved / spec), weights and saved / weights, load("digits"), **changes)
    assert "\n" not in str(found.value)


def test_a_teacher_with_other_classes_is_refused(saved, tmp_path):
    network(7).save(tmp_path / "seven.json")
    torch.save(opinionated(7).state_dict(), tmp_path / "seven.pt")
    write_onnx(opinionated(7), network().input, tmp_path / "seven.onnx", {})
    for spec, weights in (("seven.json", tmp_path / "seven.pt"), ("seven.onnx", None)):
        with pytest.raises(
            TrainingError,
            match=r"knows 7 classes, data set 'digits' has 10: train a teacher on this data",
        ):
            load_teacher(str(tmp_path / spec), weights, load("digits"))
    colour = dataclasses.replace(load("digits"), images=np.repeat(load("digits").images, 3, axis=3))
    with pytest.raises(TrainingError, match=r"must take images \(any number, 3, height, width\)"):
        load_teacher(str(tmp_path / "seven.onnx"), None, colour)


def test_a_search_trains_with_a_teacher_and_says_so(saved):
    data = load("digits")
    teacher = load_teacher(str(saved / "big.json"), saved / "big.pt", data)
    with_it, without = (
        make(data, "images=320,score_images=50", teacher=t) for t in (teacher, None)
    )
    assert with_it.describe_training()["teacher"] == teacher.describe()
    assert "teacher" not in without.describe_training()
    assert any("teacher" in line for line in with_it.lines())
    assert (
        with_it.evaluate(network(), 0)
        == with_it.evaluate(network(), 0)
        != without.evaluate(network(), 0)
    )


def test_a_confirmation_takes_the_runs_teacher_as_it_was(saved, tmp_path):
    ready = plan(
        Search().changed(
            data="digits",
            teacher=str(saved / "big.json"),
            teacher_weights=str(saved / "big.pt"),
            proxy="images=64",
        )
    )
    described = ready.identity.proxy
    assert described["teacher"]["digest"]
    assert retraining(load("digits"), described, 2.0).teacher.describe() == described["teacher"]
    torch.save(opinionated(10, seed=6).state_dict(), tmp_path / "big.pt")
    described["teacher"]["files"][1] = str(tmp_path / "big.pt")
    with pytest.raises(RunError, match="is not the one the run was made with: put that back"):
        retraining(load("digits"), described, 2.0)


def test_a_search_refuses_weights_without_their_teacher():
    with pytest.raises(UsageError, match="--teacher-weights needs --teacher NETWORK"):
        plan(Search().changed(data="digits", teacher_weights="big.pt"))
