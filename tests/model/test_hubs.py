"""Weights by their published names, out of the caches that huggingface_hub and torch keep."""

import argparse
import sys

import pytest
import torch
from safetensors.torch import save_file

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError, NasError, UsageError
from nas.model import build, hubs
from nas.model.weights import load_weights, read_weights
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape

constants = pytest.importorskip("huggingface_constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NETWORK = Architecture(
    Shape(3, 8),
    (Stage("stem", (Conv(kernel=3, channels=8),)), Stage("head", (Classifier(classes=3),))),
)
STATE = build(NETWORK, seed=1).state_dict()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Adds a repository to a cache in the hub's own layout; the hub is not asked for anything."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def add(name, *files):
        folder = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        (folder / "blobs").mkdir()
        for number, file in enumerate(files):
            blob = folder / "blobs" / f"blob{number}"
            if file.endswith(".safetensors"):
                save_file(STATE, blob)
            else:
                torch.save(STATE, blob)
            (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
            (snapshot / file).symlink_to(blob)

    return add


@pytest.mark.parametrize(
    "name",
    [
        "hf:timm/small.in1k",
        "hf:timm/small.in1k/model.safetensors",
        "hf:timm/small.in1k@main",
        f"hf:timm/small.in1k/model.safetensors@{COMMIT}",
        "hf:timm/small.in1k/old/pytorch_model.bin",
        "timm:small.in1k",
        "timm:small.in1k@main",
    ],
)
def test_a_name_of_the_hub_is_read_from_its_cache(repository, name):
    repository("timm/small.in1k", "config.json", "model.safetensors", "old/pytorch_model.bin")
    network = build(NETWORK)
    loaded = load_weights(network, name)
    assert loaded.whole
    assert torch.equal(
        network.state_dict()["stages.stem.0.conv.weight"], STATE["stages.stem.0.conv.weight"]
    )
    assert f"of timm/small.in1k at {COMMIT[:12]}" in loaded.origin


def test_the_only_file_of_weights_is_taken_and_of_several_one_must_be_named(repository):
    repository("me/one", "README.md", "weights/best.pt")
    assert read_weights("hf:me/one").file.name == "best.pt"
    repository("me/two", "a.pt", "b.pth")
    with pytest.raises(
        UsageError, match=r"has 2 files of weights: hf:me/two/a.pt, hf:me/two/b.pth"
    ):
        read_weights("hf:me/two")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:me/none", r"hf:me/none is not in the cache \S+hub, and .*HF_HUB_OFFLINE is set"),
        ("timm:none.in1k@v1", r"hf download timm/none.in1k model.safetensors --revision v1; then"),
        ("hf:me/one/other.pt", r"not in the cache \S+, which has README.md, best.pt of it"),
        ("hf:me/one@v2", r"hf:me/one@v2 is not in the cache"),
        ("hf:me", r"is not hf:OWNER/REPO\[/FILE\]\[@REVISION\]"),
        ("hf:me/o ne", r"hf:me/o ne names no repository of the hub: Repo id must use"),
        ("timm:a/b", r"is not timm:NAME, as timm:mobilenetv3_large_100.ra_in1k"),
        ("torchvision:mobilenet_v22", r"no weights of torchvision named .* mean 'mobilenet_v2'"),
        ("torchvision:resnet18@IMAGENET1K_V2", r"no version of torchvision:resnet18 named"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(repository, name, message):
    repository("me/one", "README.md", "best.pt")
    with pytest.raises(NasError, match=message) as told:
        read_weights(name)
    assert "\n" not in str(told.value)


def test_without_the_hubs_library_its_pip_line_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'nas-toolkit\[hub\]', or give a file"):
        read_weights("timm:small.in1k")


def test_weights_of_torchvision_come_from_torchs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(STATE, folder / "mobilenet_v2-7ebf99e0.pth")
    weights = read_weights("torchvision:mobilenet_v2")
    assert weights.origin == "torchvision's mobilenet_v2, IMAGENET1K_V2"
    first = folder / "mobilenet_v2-b0353104.pth"
    monkeypatch.setattr(hubs, "TORCHVISION_URL", f"{(tmp_path / 'site').as_uri()}/")
    with pytest.raises(ArchitectureError, match=f"cannot download .*: .* Put the file at {first}"):
        read_weights("torchvision:mobilenet_v2@IMAGENET1K_V1")
    # What has not the digest of its name is not kept.
    (tmp_path / "site").mkdir()
    torch.save(STATE, tmp_path / "site" / first.name)
    with pytest.raises(ArchitectureError, match="invalid hash value"):
        read_weights("torchvision:mobilenet_v2@IMAGENET1K_V1")
    assert not first.exists()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"state_dict": STATE, "epoch": 3}, "state_dict"),
        ({"model": STATE, "args": argparse.Namespace(lr=0.1)}, "model"),
        ({"model": {}, "ema": {"state_dict": STATE}}, "ema.state_dict"),
        ({"state_dict": {f"module.{k}": v for k, v in STATE.items()}}, "state_dict"),
        ({"state_dict": {f"model.{k}": v for k, v in STATE.items()}}, "state_dict"),
    ],
)
def test_checkpoints_of_trainings_are_opened(tmp_path, content, key):
    torch.save(content, tmp_path / "best.pth.tar")
    loaded = load_weights(build(NETWORK), tmp_path / "best.pth.tar")
    assert loaded.whole
    assert f"found under its key {key}" in loaded.origin


def test_a_file_that_would_run_code_is_not_read(tmp_path):
    torch.save(build(NETWORK), tmp_path / "whole.pt")
    message = r"whole.pt holds nas.model.network.Network beside tensors, and reading that would run"
    with pytest.raises(ArchitectureError, match=message):
        read_weights(tmp_path / "whole.pt")
