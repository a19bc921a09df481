"""int8: a file that runs alone, about as accurate, calibrated without the test set."""

import json

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from nas.arch import Architecture, Stage
from nas.cli.export import command
from nas.data import Splits, load
from nas.errors import ArchitectureError, DataError, ExistsError, UsageError
from nas.export.int8 import OnnxNetwork
from nas.export.onnx import write_onnx
from nas.measure.int8 import quantise
from nas.model import build
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.record import ledger
from nas.shape import Shape
from nas.train.full import FullTraining
from nas.train.recipe import Recipe


def network(classes: int = 10, channels: int = 1) -> Architecture:
    layers = (
        Conv(kernel=3, channels=16),
        MBConv(expand=2, se=0.25, act="hswish"),
        MBConv(expand=2, stride=2, channels=32),
    )
    return Architecture(
        Shape(channels, 8), (Stage("body", layers), Stage("head", (Classifier(classes=classes),)))
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    recipe = Recipe(steps=150, batch_size=32, resolution=8, lr=0.3, label_smoothing=0, shift=0)
    FullTraining(network(), load("digits"), folder / "t", recipe).run()
    net = build(network())
    net.load_state_dict(torch.load(folder / "t" / "weights.pt", weights_only=True))
    write_onnx(net, network().input, folder / "net.onnx", {"digest": network().digest})
    return folder, folder / "net.onnx"


def test_accuracy_stays_and_the_test_set_stays_shut(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Splits, "open_test", lambda *_: pytest.fail("the test set was opened"))
    _, source = trained
    made = quantise(source, load("digits"), tmp_path / "net.int8.onnx", seconds=0.05)
    assert made.accuracy[0] > 0.9
    assert made.accuracy[1] > made.accuracy[0] - 0.03
    assert (made.images, made.test_accuracy, made.test_openings) == (256, None, 0)
    assert all(timing.latency_ms > 0 for timing in made.latency)
    model = onnx.load(made.file)
    assert {entry.key for entry in model.metadata_props} == {"digest", "int8"}
    kinds = {initial.data_type for initial in model.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before, after = (OnnxNetwork(path)(images) for path in (source, made.file))
    assert not torch.allclose(before, after, rtol=1e-3)


def test_the_shell_scores_the_test_set_only_when_asked_and_counts(trained, tmp_path):
    folder, _ = trained
    network().save(tmp_path / "net.json")
    words = [
        str(tmp_path / "net.json"),
        "--weights",
        str(folder / "t/weights.pt"),
        "--to",
        "onnx",
        "--int8",
        "--calibrate",
        "digits",
        "--calibration-images",
        "64",
        "--out",
        str(tmp_path),
        "--score-test",
    ]
    done = CliRunner().invoke(
        command, [*words, "--json"], standalone_mode=False, catch_exceptions=False
    )
    found = json.loads(done.stdout)["int8"]
    assert found["test_openings"] == 1
    assert found["test_accuracy"]["after"] > found["test_accuracy"]["before"] - 0.05 > 0.7
    assert found["calibration_images"] == 64
    assert len(ledger.read(tmp_path / "test.jsonl")) == 1
    with pytest.raises(ExistsError, match=r"net.int8.onnx exists|net.onnx exists"):
        CliRunner().invoke(command, words, standalone_mode=False, catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--int8"], "--int8 needs --calibrate DATA"),
        (["--int8", "--calibrate", "digits"], "--int8 needs --weights FILE"),
        (["--calibrate", "digits"], "have a meaning only with --int8"),
        (
            ["--int8", "--calibrate", "digits", "--weights", "w.pt", "--to", "json"],
            "put onnx into --to",
        ),
    ],
)
def test_bad_options_are_one_line(words, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(
            command,
            ["mobilenet_v2", "--out", str(tmp_path), *words],
            standalone_mode=False,
            catch_exceptions=False,
        )


def test_other_data_and_other_files_are_refused(trained, tmp_path):
    _, model = trained
    digits = load("digits")
    colour = type(digits)(
        name="colour",
        images=np.repeat(digits.images, 3, axis=3),
        labels=digits.labels,
        classes=digits.classes,
    )
    with pytest.raises(DataError, match=r"takes images of 1 channels, data set 'colour' has 3"):
        quantise(model, colour, tmp_path / "x.onnx")
    (tmp_path / "no.onnx").write_bytes(b"no")
    with pytest.raises(ArchitectureError, match="cannot read"):
        quantise(tmp_path / "no.onnx", digits, tmp_path / "x.onnx")
    write_onnx(build(network(7)), network().input, tmp_path / "seven.onnx", {})
    with pytest.raises(DataError, match=r"knows 7 classes, data set 'digits' has 10"):
        quantise(tmp_path / "seven.onnx", digits, tmp_path / "x.onnx")
