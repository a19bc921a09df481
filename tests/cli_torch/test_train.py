"""Full training: killed and resumed it ends in the same bits; bad input is one line."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import nas
from nas.cli import export, train
from nas.data import LazyTensors, load, statistics, tensors
from nas.errors import ArchitectureError, NasError, RunError, TrainingError, UsageError
from nas.model import build
from nas.run.network import metadata_of, named_network
from nas.train import Augment, Schedule, Training, fit
from nas.train.full import FullTraining, Recipe

ROOT = Path(nas.__file__).parent.parent
NETWORK = "mobilenet_v2"
SMALL = Recipe(steps=6, batch_size=16, resolution=16, seed=4)


def small(folder, recipe=SMALL, **settings):
    return FullTraining(
        named_network(NETWORK, width=0.25), load("digits"), folder, recipe, **settings
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "whole"
    return folder, small(folder).run()


def test_the_folder_holds_network_weights_and_result(done):
    folder, result = done
    assert json.loads((folder / "result.json").read_text()) == result
    network = nas.arch.Architecture.load(folder / "architecture.json")
    assert (network.input.channels, network.input.size) == (1, 16)
    module = build(network)
    module.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    metadata = metadata_of(str(folder / "architecture.json"))
    assert list(metadata.classes) == result["classes"]
    assert {"mean": list(metadata.mean), "std": list(metadata.std)} == result["normalisation"]
    assert result["test_openings"] == 1
    assert result["test_images"] == 274
    assert 0 <= result["test"]["accuracy"] <= 1


def test_norms_have_the_recipes_momentum_and_a_short_training_says_what_it_leaves(tmp_path):
    recipe = dataclasses.replace(SMALL, norm_momentum=0.01)
    training = small(tmp_path / "slow", recipe)
    norms = [
        part
        for part in training._training().network.modules()
        if isinstance(part, torch.nn.BatchNorm2d)
    ]
    assert norms
    assert {norm.momentum for norm in norms} == {0.01}
    line = "so short a training leaves 94% of their start in the statistics of batch norms"
    assert f"{line}: --set norm_momentum=0.1, or more --epochs" in "\n".join(training.lines())
    # What is given already is no way out.
    assert "batch norms: more --epochs" in "\n".join(small(tmp_path / "usual").lines())
    # Trainings begun before there was a choice have the momentum of the search, and may go on.
    old, slow = small(tmp_path / "old").identity(), training.identity()
    assert "norm_momentum" not in old["recipe"]
    assert old["recipe"]["eps"] == 1e-3
    assert slow["recipe"]["norm_momentum"] == 0.01


def test_given_again_it_only_reads_the_result(done):
    folder, result = done
    assert small(folder).run() == result


def test_another_training_is_refused_in_the_same_folder(done):
    folder, _ = done
    with pytest.raises(
        RunError, match=r"was begun with another recipe: recipe.lr is 0.05 there and 0.1 here"
    ):
        small(folder, Recipe(steps=6, batch_size=16, resolution=16, seed=4, lr=0.1)).run()


def test_stopped_at_every_step_it_ends_in_the_same_bits(done, tmp_path):
    class StoppedError(Exception):
        pass

    folder = tmp_path / "stopped"
    for _ in range(SMALL.steps):
        # The checkpoint comes after the watch: each session saves one step, and stops in the next,
        # which is repeated.
        stops = iter((False, True))

        def second(watched, stops=stops):
            if next(stops, True):
                raise StoppedError

        try:
            small(folder).run(checkpoint_seconds=0, watch=second)
        except StoppedError:
            continue
    result = small(folder).run(checkpoint_seconds=0)
    assert_equal_weights(folder, done[0])
    assert {**result, "core_seconds": 0} == {**done[1], "core_seconds": 0}


def test_killed_in_the_shell_it_ends_in_the_same_bits(tmp_path):
    def command(folder):
        return [
            sys.executable,
            "-m",
            "nas",
            "train",
            NETWORK,
            "--data",
            "digits",
            "--resolution",
            "16",
            "--steps",
            "12",
            "--batch-size",
            "16",
            "--checkpoint",
            "0.001s",
            "--threads",
            "1",
            "--json",
            "--out",
            str(folder),
        ]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, cwd=ROOT, capture_output=True)
    process = subprocess.Popen(
        command(killed), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while (
        not (killed / "checkpoint.pt").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    out = subprocess.run(
        command(killed), check=True, cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert json.loads(out)["steps"] == 12
    assert_equal_weights(killed, whole)


def assert_equal_weights(first, second):
    a, b = (torch.load(folder / "weights.pt", weights_only=True) for folder in (first, second))
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint_is_plain_data_and_fit_is_the_same_loop():
    data = load("digits")
    stats = statistics(data.images)
    images, labels = tensors(data.images[:64], stats, 8), torch.from_numpy(data.labels[:64])
    network = named_network(NETWORK, width=0.25, resolution=8, classes=10)
    network = nas.scale.scaled(network, in_channels=1)
    schedule = Schedule(steps=4, batch_size=16, average=0.5)
    first, second = build(network), build(network)
    fit(first, images, labels, schedule, seed=1, augment=Augment(pad=1))
    training = Training(second, images, labels, schedule, seed=1, augment=Augment(pad=1))
    for _ in range(schedule.steps):
        training.advance()
    training.finish()
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_lazy_images_are_the_same_images():
    data = load("digits")
    stats = statistics(data.images)
    rows = np.array([5, 3, 99, 7])
    lazy = LazyTensors(data.images, rows, stats, 12, torch.device("cpu"))
    assert lazy.shape == (4, 1, 12, 12)
    assert torch.equal(lazy[torch.tensor([2, 0])], tensors(data.images[[99, 5]], stats, 12))


@pytest.mark.parametrize("name", ["weights.pt", ""])
def test_weights_beside_their_network_bring_its_normalisation(done, tmp_path, name):
    folder, _ = done
    trained = json.loads((folder / "architecture.json").read_text())
    bare = {key: value for key, value in trained.items() if key not in ("mean", "std")}
    (tmp_path / "bare.json").write_text(json.dumps(bare))
    words = [
        str(tmp_path / "bare.json"),
        "--weights",
        str(folder / name),
        "--to",
        "json",
        "--out",
        str(tmp_path / "out"),
    ]
    CliRunner().invoke(export.command, words, standalone_mode=False, catch_exceptions=False)
    shipped = json.loads((tmp_path / "out" / "bare.json").read_text())
    assert (shipped["mean"], shipped["std"]) == (trained["mean"], trained["std"])


def test_training_starts_from_weights(done, tmp_path):
    folder, _ = done
    again = small(
        tmp_path / "more", Recipe(steps=1, lr=1e-6, resolution=16), weights=folder / "weights.pt"
    )
    again.run()
    a, b = (torch.load(f / "weights.pt", weights_only=True) for f in (folder, tmp_path / "more"))
    assert all(torch.allclose(a[name], b[name], atol=1e-3) for name in a if name.endswith("weight"))
    assert again.identity()["weights"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a file of weights"),
        (b"\x80\x04garbage", "is not a file of weights"),
        (None, "cannot read"),
    ],
)
def test_bad_weights_are_one_line(tmp_path, content, message):
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArchitectureError, match=message):
        small(tmp_path / "x", weights=path)


def test_weights_of_another_network_and_checkpoints_are_refused(done, tmp_path):
    folder, _ = done
    with pytest.raises(
        ArchitectureError, match=r"give a training's weights.pt, not its checkpoint"
    ):
        small(tmp_path / "x", weights=folder / "checkpoint.pt")
    whole = named_network(NETWORK)
    with pytest.raises(
        ArchitectureError, match=r"weights.pt are not this network's: .* of another shape"
    ):
        FullTraining(whole, load("digits"), tmp_path / "y", SMALL, weights=folder / "weights.pt")
    taken = FullTraining(whole, load("digits"), tmp_path / "y", SMALL, weights=folder, partial=True)
    assert any("mismatched: stages.stem.0.conv.weight" in line for line in taken.lines())
    assert taken.identity()["partial"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.json", b"{", r"cannot read .*train\.json: .*Remove it to start anew"),
        ("result.json", b"[]", "is not a file of a training: it holds a list"),
        (
            "checkpoint.pt",
            None,
            r"checkpoint\.pt is not a checkpoint of this training: .*Remove it to start anew",
        ),
    ],
)
def test_a_folder_that_was_tampered_with_is_refused(done, tmp_path, name, content, message):
    folder = tmp_path / "copy"
    shutil.copytree(done[0], folder)
    (folder / "result.json").unlink()
    if content is None:
        torch.save({"history": [], "seconds": 1.0, "network": {}}, folder / name)
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        small(folder).run()


def test_a_checkpoint_of_fewer_processes_is_refused(done, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(done[0], folder)
    (folder / "result.json").unlink()
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    torch.save({**state, "changing": []}, folder / "checkpoint.pt")
    with pytest.raises(
        RunError, match=r"checkpoint\.pt is not a checkpoint of this training: list index"
    ):
        small(folder).run()


def shell(*words):
    return CliRunner().invoke(
        train.command, [str(word) for word in words], standalone_mode=False, catch_exceptions=False
    )


@pytest.fixture
def tiny(tmp_path):
    nas.scale.scaled(
        named_network(NETWORK, width=0.25), resolution=16, classes=10, in_channels=1
    ).save(tmp_path / "n.json")
    return tmp_path


def test_a_papers_recipe_is_printed_and_drawn(tiny):
    pytest.importorskip("tensorboard")
    done = shell(
        tiny / "n.json",
        "--data",
        "digits",
        "--recipe",
        "efficientnet",
        "--progressive",
        "s",
        "--set",
        "randaugment=0,randaugment_start=0,mixup=0.2",
        "--steps",
        4,
        "--batch-size",
        16,
        "--threads",
        1,
        "--tensorboard",
        "--out",
        tiny / "o",
    )
    assert "rmsprop, peak rate 0.001, exponential; " in done.stderr
    assert "at 6 then 8 then 10 then 12 px" in done.stderr
    assert "drop_path=0.2" in done.stderr
    assert "test accuracy" in done.stdout
    # Four steps teach nothing, and whoever would ship that is told.
    assert "hardly more than chance" in done.stderr
    assert list((tiny / "o" / "tensorboard").glob("events*"))
    assert json.loads((tiny / "o" / "train.json").read_text())["recipe"]["ema"] == 0.9999


def test_without_tensorboard_the_way_out_is_told(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(
        UsageError,
        match=r"--log tensorboard needs the package tensorboard: pip .* 'nas-toolkit\[train\]'",
    ):
        shell(
            tiny / "n.json", "--data", "digits", "--steps", 1, "--tensorboard", "--out", tiny / "o"
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--recipe", "sgd"), "no recipe named 'sgd'"),
        (("--progressive", "z"), "no preset of progressive learning named 'z'"),
        (
            ("--set", "accumulate=3"),
            r"a batch of 64 images cannot be cut into 3 equal parts of two or more",
        ),
        (("--teacher-weights", "w.pt"), "--teacher-weights needs --teacher NETWORK"),
        (("--teacher", NETWORK), "needs its weights: --teacher-weights FILE"),
        (
            ("--task", "segmentation"),
            "segmentation reads folder:DIR with images/ and masks/, not 'digits'",
        ),
    ],
)
def test_bad_options_are_one_line(tiny, words, message):
    with pytest.raises(NasError, match=message) as found:
        shell(tiny / "n.json", "--data", "digits", "--steps", 1, "--out", tiny / "o", *words)
    assert "\n" not in str(found.value)


def test_a_network_of_fixed_size_refuses_to_grow(tmp_path):
    network = named_network("uninet_b0", resolution=64)
    recipe = Recipe(steps=4, batch_size=4, stages=4, smallest=0.4)
    with pytest.raises(
        TrainingError,
        match=r"takes maps of 128x4x4 only: it cannot be trained at 35 px; leave --progressive",
    ):
        FullTraining(network, load("digits"), tmp_path / "x", recipe)


def test_strides_are_relaxed_for_small_images(tmp_path):
    words = ("mnasnet_small", "--data", "digits", "--resolution", 8, "--steps", 1, "--threads", 1)
    shell(*words, "--small-images", "--out", tmp_path / "small")
    network = nas.arch.Architecture.load(tmp_path / "small" / "architecture.json")
    assert network.layers[-1].shape.size == 4
