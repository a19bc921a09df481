"""int8: a file that runs alone, about as accurate, calibrated without the test set."""

import json

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from nas.arch import Architecture, Stage
from nas.cli.export import command
from nas.data import Splits, load, split
from nas.errors import ArchitectureError, DataError, ExistsError, UsageError
from nas.export.int8 import OnnxNetwork
from nas.export.onnx import write_onnx
from nas.export.predict import image_tensor
from nas.measure import int8
from nas.measure.int8 import quantise
from nas.metadata import read_metadata
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


def photos(root, side=(40, 30), level=0):
    """40 pictures, some turned; those of ``level`` are brighter."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 60, (side[1], side[0], 3)) + 90 * label + level
            exif = Image.Exif()
            exif[0x0112] = 6 if number % 3 else 1
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png", exif=exif)
    return root


@pytest.mark.parametrize("own", [True, False], ids=["of the training", "of another folder"])
def test_photos_calibrate_as_the_shipped_network_sees_them(tmp_path, monkeypatch, own):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    root = photos(tmp_path / "photos")
    recipe = Recipe(steps=2, batch_size=8, resolution=8)
    FullTraining(network(2, 3), load(f"folder:{root}"), tmp_path / "t", recipe).run()
    # Squares, of which a data set of their own would show all, not the middle.
    other = root if own else photos(tmp_path / "other", (32, 32), level=40)
    seen = []
    write = int8.write_int8
    monkeypatch.setattr(int8, "write_int8", lambda *given: (seen.append(given[1]), write(*given)))
    words = [tmp_path / "t/architecture.json", "--weights", tmp_path / "t", "--to", "onnx"]
    words += ["--int8", "--calibrate", f"folder:{other}", "--out", tmp_path / "out", "--json"]
    done = CliRunner().invoke(
        command, list(map(str, words)), standalone_mode=False, catch_exceptions=False
    )
    assert json.loads(done.stdout)["int8"]["calibration_images"] == len(seen[0])
    splits = split(load(f"folder:{other}"))
    metadata = read_metadata(tmp_path / "t/architecture.json")
    for row, image in zip(splits.weights, seen[0], strict=True):
        file = other / splits.dataset.names[row]
        assert torch.allclose(image, image_tensor(file, metadata)[0], atol=1e-5)
