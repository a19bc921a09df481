# ruff: noqa: E402
"""A shipped file says itself what was done to images, and does it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from PIL import Image

from nas.arch import Architecture, Stage
from nas.cli.predict import command
from nas.data import LazyTensors, load
from nas.data.preprocess import as_tensor
from nas.errors import ArchitectureError, DataError, UsageError
from nas.export import export
from nas.export.predict import predictor
from nas.metadata import read_metadata
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape
from nas.train.full import FullTraining
from nas.train.recipe import Recipe


def scenes(root: Path, count: int = 8) -> Path:
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([label, number])
            low = 40 + 140 * label
            small = rng.integers(low, low + 40, size=(6, 8, 3)).astype("uint8")
            picture = Image.fromarray(small).resize((80, 60), Image.Resampling.BICUBIC)
            exif = Image.Exif()
            exif[0x0112] = 6 if number % 2 else 1
            picture.save(root / name / f"{number}.jpg", quality=90, exif=exif)
    return root


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder of scenes, a training on random crops, and its export."""
    top = tmp_path_factory.mktemp("scenes")
    photos = scenes(top / "photos")
    layers = (Conv(kernel=3, channels=8, stride=2),)
    head = Stage("head", (Classifier(classes=2),))
    network = Architecture(Shape(3, 24), (Stage("body", layers), head))
    recipe = Recipe(steps=30, batch_size=8, lr=0.2, crop=0.5)
    training = FullTraining(network, load(f"folder:{photos}"), top / "trained", recipe)
    training.run()
    file = top / "trained" / "architecture.json"
    export(
        Architecture.load(file),
        top / "shipped",
        name="scenes",
        weights=top / "trained",
        metadata=read_metadata(file),
    )
    return top


def test_all_forms_of_a_network_say_the_same_of_an_image(shipped):
    images = sorted((shipped / "photos").rglob("*.jpg"))
    forms = [shipped / "shipped" / "scenes.onnx", shipped / "shipped" / "scenes.py"]
    first = predictor(shipped / "trained")
    for form in forms:
        other = predictor(form)
        for image in images:
            assert torch.equal(first.tensor(image), other.tensor(image))
            ours, theirs = first.probabilities(image), other.probabilities(image)
            assert ours == pytest.approx(theirs, abs=1e-5)
    named = [next(iter(first.probabilities(image))) == image.parent.name for image in images]
    assert sum(named) > 12  # of 16: it has learnt


def test_a_prediction_sees_what_an_evaluation_saw(shipped):
    data = load(f"folder:{shipped / 'photos'}")
    metadata = read_metadata(shipped / "trained" / "architecture.json")
    stats = type("S", (), {"mean": metadata.mean, "std": metadata.std})()
    rows = np.arange(len(data))
    seen = LazyTensors(data.images, rows, stats, 24, torch.device("cpu"))[torch.arange(len(data))]
    first = predictor(shipped / "trained")
    for row in rows:
        alone = first.tensor(data.images.index.source(row))
        torch.testing.assert_close(seen[row : row + 1], alone, rtol=0, atol=1e-6)


def test_the_command_prints_classes_or_json_and_goes_on_after_a_bad_file(shipped, tmp_path):
    (tmp_path / "no.jpg").write_text("no image")
    image = shipped / "photos" / "light" / "0.jpg"
    network = str(shipped / "shipped" / "scenes.onnx")
    run = CliRunner().invoke(command, [network, str(image), "--top", "1"])
    assert run.output.startswith(f"{image}  light 0.")
    run = CliRunner().invoke(command, [network, str(tmp_path / "no.jpg"), str(image), "--json"])
    (row,) = json.loads(run.stdout)
    assert [each["class"] for each in row["classes"]] == ["light", "dark"]
    assert isinstance(run.exception, DataError)
    assert "no.jpg: cannot read an image" in str(run.exception)


def test_more_than_eight_bits_are_refused_where_eight_were_learnt(shipped, tmp_path):
    Image.fromarray(np.full((60, 80), 40000, np.uint16)).save(tmp_path / "deep.png")
    for form in ("trained", "shipped/scenes.py"):
        with pytest.raises(DataError, match="more than eight bits a pixel, and the network has"):
            predictor(shipped / form).probabilities(tmp_path / "deep.png")


def test_what_cannot_be_asked_is_one_line(shipped, tmp_path):
    with pytest.raises(UsageError, match=r"no file .*: give an exported"):
        predictor(tmp_path / "absent.onnx")
    with pytest.raises(UsageError, match="no folder of a finished training"):
        predictor(tmp_path)
    (tmp_path / "alone.py").write_text("")
    with pytest.raises(UsageError, match=r"needs its weights beside it, as alone\.pt"):
        predictor(tmp_path / "alone.py")
    torch.save({}, tmp_path / "alone.pt")
    with pytest.raises(ArchitectureError, match="not a classifier exported with its preprocessing"):
        predictor(tmp_path / "alone.py")
    network = Architecture.load(shipped / "trained" / "architecture.json")
    export(network, tmp_path, name="bare", formats=("onnx",))
    with pytest.raises(ArchitectureError, match="does not say what was done to its images"):
        predictor(tmp_path / "bare.onnx")


def test_the_first_batch_is_drawn_as_the_network_sees_it(shipped, tmp_path):
    network = Architecture.load(shipped / "trained" / "architecture.json")
    training = FullTraining(
        network,
        load(f"folder:{shipped / 'photos'}"),
        tmp_path / "none",
        Recipe(steps=3, batch_size=4, crop=0.5),
    )
    assert training.show_batch(tmp_path / "batch.png") == 4
    with Image.open(tmp_path / "batch.png") as sheet:
        assert sheet.size == (2 * (72 + 4), 2 * (72 + 4 + 14))
        pixels = as_tensor(sheet.convert("RGB"))
    assert pixels.std() > 0.1
    assert not (tmp_path / "none").exists()


def test_a_kill_changes_no_bit_of_a_training_on_crops(shipped, tmp_path):
    network = Architecture.load(shipped / "trained" / "architecture.json")

    def training(name: str, workers: int) -> FullTraining:
        recipe = Recipe(steps=9, batch_size=4, crop=0.2, stages=2, smallest=0.6)
        data = load(f"folder:{shipped / 'photos'}")
        return FullTraining(network, data, tmp_path / name, recipe, data_workers=workers)

    training("a", 0).run()

    def stop(progress):
        if progress.done == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        training("b", 1).run(checkpoint_seconds=0, watch=stop)
    training("b", 2).run()
    first, second = (torch.load(tmp_path / n / "weights.pt", weights_only=True) for n in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
