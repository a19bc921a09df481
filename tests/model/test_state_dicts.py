"""State dicts as other programs save them: wrapped, compiled, averaged, in other formats."""

# ruff: noqa: E402
import copy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError, RunError
from nas.model import build
from nas.model.weights import load_weights, read_weights, save
from nas.networks import get
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape


def network() -> Architecture:
    body = (Conv(kernel=3, channels=8, stride=2), MBConv(channels=8))
    return Architecture(
        Shape(3, 16), (Stage("body", body), Stage("head", (Classifier(classes=3),)))
    )


@pytest.fixture
def trained():
    return build(network(), seed=3)


def loaded(path):
    made = build(network(), seed=4)
    return made, load_weights(made, path)


def is_same(made, trained):
    state = trained.state_dict()
    return all(
        torch.equal(value, state[name])
        for name, value in made.state_dict().items()
        if not name.endswith("num_batches_tracked")
    )


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_wrappers_are_taken_off_and_told(trained, tmp_path, prefix):
    state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    made, report = loaded(tmp_path / "w.pt")
    assert is_same(made, trained)
    assert report.whole
    assert f"tensors loaded; prefix {prefix} taken off its names" in report.lines()[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile itself
def test_torchs_own_wrappers_load(trained, tmp_path):
    for wrapped in (
        torch.nn.DataParallel(trained),
        torch.compile(trained),
        torch.optim.swa_utils.AveragedModel(trained),
    ):
        torch.save(wrapped.state_dict(), tmp_path / "w.pt")
        assert is_same(loaded(tmp_path / "w.pt")[0], trained)


def test_a_foreign_file_keeps_its_origin_beside_the_prefix(tmp_path):
    whole = get("mobilenet_v2", width=0.35, resolution=32, classes=3)
    state = build(whole, seed=0).state_dict()
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "w.pt")
    made = build(whole, seed=1)
    assert load_weights(made, tmp_path / "w.pt").whole


def test_counters_of_norms_may_be_missing(trained, tmp_path):
    state = {
        name: value
        for name, value in trained.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "w.pt")
    made, report = loaded(tmp_path / "w.pt")
    assert is_same(made, trained)
    assert report.whole


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read(trained, tmp_path, prefix):
    from safetensors.torch import save_file

    state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    made, report = loaded(tmp_path / "w.safetensors")
    assert is_same(made, trained)
    assert report.whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.to_sparse(), r"tensor .* in .*w\.pt is sparse: save value\.to_dense"),
        (lambda value: value.to("meta"), "is without values, as torch.device"),
        (lambda value: value.to(torch.complex64), "is of complex numbers"),
        (
            lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            r"is quantised: save value\.dequantize",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_values_are_one_line(trained, tmp_path, change, message):
    state = copy.copy(dict(trained.state_dict()))
    name = next(name for name in state if name.endswith("weight"))
    state[name] = change(state[name])
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ArchitectureError, match=message):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff" * 8 + b"{}"])
def test_a_broken_file_of_safetensors_is_one_line(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ArchitectureError, match="is not a file of weights: save them with"):
        read_weights(tmp_path / "w.safetensors")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ArchitectureError, match=r"cannot read weights .*w\.safetensors"):
        read_weights(tmp_path / "w.safetensors")


def test_a_full_disk_is_called_that(trained, tmp_path, monkeypatch):
    opened = Path.open

    def full(path, *rest, **more):
        if path.name.startswith(".w.pt"):
            opened(path, "w").close()
            return opened(Path("/dev/full"), "wb", buffering=0)
        return opened(path, *rest, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(RunError, match=r"cannot write '.*w\.pt': No space left on device\. Mend"):
        save(tmp_path / "w.pt", trained.state_dict())
    assert not list(tmp_path.iterdir())
