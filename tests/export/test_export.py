# ruff: noqa: E402
import dataclasses
import importlib
import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner

from nas.arch import Architecture, Stage
from nas.cli import nas as command_line
from nas.cli.export import default_name
from nas.errors import ArchitectureError, ExistsError, UsageError
from nas.export import export, load_weights, verification
from nas.export.verification import Job, check, shake
from nas.metadata import Metadata, read_metadata
from nas.model import build
from nas.model.segmenter import segmenter
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.ops.mqa import MobileMQA
from nas.ops.uib import UIB
from nas.shape import Shape
from nas.size import Rect

BODY = (
    Conv(kernel=3, channels=8),
    MBConv(expand=2, se=0.5),
    MBConv(expand=1, groups=2, pointwise=True),
)
SMALL = Architecture(Shape(1, 8), (Stage("body", BODY), Stage("head", (Classifier(classes=3),))))
HOSTILE = ('a"\n"""', "b'", "\\ ünï 猫 \u2028")
METADATA = Metadata(classes=HOSTILE, mean=(0.25,), std=(0.5,))


@pytest.fixture
def trained(tmp_path):
    network = build(SMALL, seed=5)
    shake(network)
    torch.save(network.state_dict(), tmp_path / "trained.pt")
    return tmp_path / "trained.pt"


def test_all_formats_with_weights(tmp_path, trained):
    onnx = pytest.importorskip("onnx")
    made = export(SMALL, tmp_path / "new" / "out", name="small", weights=trained, metadata=METADATA)
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == [
        "small.json",
        "small.onnx",
        "small.pt",
        "small.py",
    ]
    assert made.trained
    assert made.python_difference <= 1e-5
    assert made.onnx_difference <= 1e-5
    assert Architecture.load(made.files["json"]) == SMALL
    given = torch.load(made.files["weights"], weights_only=True)
    assert all(
        torch.equal(value, given[name])
        for name, value in torch.load(trained, weights_only=True).items()
    )

    model = onnx.load(made.files["onnx"])
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.opset_import[0].version == 20
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["digest"] == SMALL.digest
    assert json.loads(properties["classes"]) == list(HOSTILE)
    assert json.loads(properties["mean"]) == [0.25]
    assert read_metadata(made.files["json"]) == METADATA
    names: dict[str, object] = {}
    exec(made.files["python"].read_text(encoding="utf-8"), names)
    assert (names["CLASSES"], names["MEAN"], names["STD"]) == (HOSTILE, (0.25,), (0.5,))
    assert not list(tmp_path.glob("**/.nas-export-*"))


def test_a_path_that_exists_is_refused_without_force(tmp_path):
    export(SMALL, tmp_path, formats=["json"])
    before = (tmp_path / "network.json").read_text()
    with pytest.raises(
        ExistsError,
        match=r"network.json exists: choose another --name or --out, or overwrite it with",
    ):
        export(SMALL, tmp_path, formats=["json"])
    (tmp_path / "network.json").write_text("old")
    export(SMALL, tmp_path, formats=["json"], force=True)
    assert (tmp_path / "network.json").read_text() == before
    with pytest.raises(ExistsError, match="is a file: an export needs a folder"):
        export(SMALL, tmp_path / "network.json", formats=["json"])
    (tmp_path / "other.py").mkdir()
    with pytest.raises(ExistsError, match=r"other.py is a folder"):
        export(SMALL, tmp_path, name="other", formats=["python"], force=True)


def no_shortcut(text: str) -> str:
    return text.replace("out + beside(maps)", "out")


def needs_the_toolkit(text: str) -> str:
    return text.replace("import OrderedDict", "import OrderedDict\n\nimport nas")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            no_shortcut,
            "logits of the exported python file differ .* by 0.*at most 1e-05 is allowed",
        ),
        (
            needs_the_toolkit,
            "does not run without the toolkit: ImportError: an exported file must not import nas",
        ),
    ],
)
def test_a_mismatch_leaves_no_file(tmp_path, monkeypatch, spoil, message):
    from nas.export import products

    honest = products.python_source
    monkeypatch.setattr(products, "python_source", lambda *given: spoil(honest(*given)))
    with pytest.raises(ArchitectureError, match=message):
        export(SMALL, tmp_path / "out", formats=["python", "json"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({"params": SMALL.params + 1}, "Python file has .* params, its source"),
        ({"macs": SMALL.macs + 0.5}, "Python file has .* macs, its source"),
        ({"onnx": None}, "logits of the exported onnx file differ from the source's by None"),
        ({"onnx": 2e-5}, "at most 1e-05 is allowed"),
    ],
)
def test_what_counts_as_a_mismatch(monkeypatch, measured, message):
    monkeypatch.setattr(verification, "_run", lambda *_: [measured])
    with pytest.raises(ArchitectureError, match=message):
        check(
            [
                Job(
                    shape=SMALL.input,
                    params=SMALL.params,
                    macs=SMALL.macs,
                    network=build(SMALL),
                    python=Path("small.py"),
                )
            ]
        )


def test_a_network_without_finite_logits_is_refused():
    network = build(SMALL)
    network.get_parameter("stages.head.0.linear.bias").data.fill_(torch.inf)
    with pytest.raises(ArchitectureError, match="logits that are not finite"):
        check([Job(shape=SMALL.input, params=SMALL.params, macs=SMALL.macs, network=network)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a-b", "letters, digits and _"),
        ("../up", "letters, digits and _"),
        ("", "letters, digits and _"),
        ("class", "letters, digits and _"),
        ("torch", "would hide the module"),
        ("math", "would hide the module"),
    ],
)
def test_names_that_no_module_can_have(tmp_path, name, message):
    with pytest.raises(UsageError, match=message):
        export(SMALL, tmp_path, name=name)


def test_formats_and_classes_are_checked(tmp_path):
    with pytest.raises(UsageError, match=r"no export format named 'onx'. Did you mean 'onnx'"):
        export(SMALL, tmp_path, formats=["onx"])
    with pytest.raises(UsageError, match="needs at least one format"):
        export(SMALL, tmp_path, formats=[])
    with pytest.raises(ArchitectureError, match="2 class names do not fit 3 logits"):
        export(SMALL, tmp_path, metadata=Metadata(classes=("a", "b")), formats=["json"])
    with pytest.raises(ArchitectureError, match="mean and std of 3 channels do not fit 1"):
        export(SMALL, tmp_path, metadata=Metadata(mean=(0, 0, 0), std=(1, 1, 1)), formats=["json"])


def test_missing_onnx_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", type(sys)("onnx"))
    with pytest.raises(
        UsageError, match=r"need the package onnxruntime: pip install 'nas-toolkit\[export\]'"
    ):
        export(SMALL, tmp_path, formats=["onnx"])


def save(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


class Evil:
    def __reduce__(self):
        return (print, ("never",))


def test_weights_that_are_not_this_networks(tmp_path, capsys):
    state, network = build(SMALL).state_dict(), build(SMALL)
    head, stem = "stages.head.0.linear.weight", "stages.body.0.conv.weight"
    wrong = {
        "1 missing \\(stages.body": {name: value for name, value in state.items() if name != stem},
        "1 unknown \\(more": {**state, "more": torch.zeros(1)},
        "1 of another shape \\(stages.body": {**state, stem: torch.zeros(2)},
        "1 not finite \\(stages.head": {**state, head: torch.full_like(state[head], torch.nan)},
        "holds no state dict": {"model": {"epochs": 3}},
        "reading that would run code": Evil(),
    }
    for message, value in wrong.items():
        with pytest.raises(ArchitectureError, match=message) as error:
            load_weights(network, save(tmp_path / "w.pt", value))
        assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ArchitectureError, match="not a file of weights"):
        load_weights(network, tmp_path / "text.pt")
    with pytest.raises(ArchitectureError, match="cannot read weights"):
        load_weights(network, tmp_path / "none.pt")


def test_command(tmp_path, monkeypatch):
    SMALL.save(tmp_path / "my net.json")
    arguments = [
        "export",
        str(tmp_path / "my net.json"),
        "--to",
        "python,json",
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(command_line, [*arguments, "--json"], catch_exceptions=False)
    document = json.loads(done.stdout)
    assert document["digest"] == SMALL.digest
    assert document["largest_difference"]["python"] <= 1e-5
    assert set(document["files"]) == {"python", "json"}
    monkeypatch.syspath_prepend(tmp_path / "out")
    assert importlib.import_module("my_net").network()(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
    only_json = [*arguments, "--to", "json", "--force"]
    done = CliRunner().invoke(command_line, only_json, catch_exceptions=False)
    assert "Weights: untrained." in done.stdout
    assert "my_net.json  architecture" in done.stdout


def test_default_names(tmp_path):
    (tmp_path / "my run").mkdir()
    assert default_name("mobilenet_v2") == "mobilenet_v2"
    assert default_name(f"{tmp_path}/my run:12") == "my_run_12"
    assert default_name("some/a.b.json") == "a_b"
    assert default_name("3\n'.json") == "network_3"


FEATURED = Architecture(
    Shape(1, 32),
    (
        Stage("stem", (Conv(kernel=3, channels=8, stride=2),)),
        Stage("stage-1", (MBConv(channels=8, expand=1, stride=2), MBConv(channels=8, se=0.25))),
        Stage("stage2", (MBConv(channels=16, stride=2),)),
        Stage("head", (Conv(channels=24), Classifier(classes=3))),
    ),
)
WIDE = Architecture(Shape(1, Rect(32, 48)), FEATURED.stages)
"""The same for rectangles."""


def test_features_are_maps_of_any_size_without_the_head(tmp_path, monkeypatch):
    whole = build(FEATURED, seed=3)
    shake(whole)
    made = export(
        FEATURED,
        tmp_path / "out",
        name="back",
        features=True,
        weights=save(tmp_path / "w.pt", whole.state_dict()),
    )
    assert made.python_difference <= 1e-5
    assert made.onnx_difference <= 1e-4
    monkeypatch.syspath_prepend(tmp_path / "out")
    features = importlib.import_module("back").features()
    features.load_state_dict(torch.load(made.files["weights"], weights_only=True))
    images = torch.rand(2, 1, 48, 40)
    maps = features.eval()(images)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 12, 10), (2, 16, 6, 5)]
    out = whole.eval().stages.stem(images)
    fine = whole.stages.get_submodule("stage-1")(out)
    assert torch.equal(maps[0], fine)
    assert torch.equal(maps[1], whole.stages.stage2(fine))
    model = importlib.import_module("onnx").load(made.files["onnx"])
    assert [output.name for output in model.graph.output] == ["stride4", "stride8"]


def test_a_backbone_with_a_channel_shuffle_takes_any_size(tmp_path):
    block = MBConv(kernel=3, expand=1, groups=2, pointwise=True, channels=16)
    down = tuple(Conv(kernel=3, channels=16, stride=2) for _ in range(2))
    network = Architecture(
        Shape(1, 16), (Stage("body", (*down, block)), Stage("head", (Classifier(classes=3),)))
    )
    made = export(network, tmp_path, name="back", features=True, formats=("onnx",))
    assert made.onnx_difference <= 1e-5


def test_a_backbone_with_attention_takes_any_size(tmp_path, monkeypatch):
    attention = MobileMQA(heads=2, key_channels=8)
    body = (Conv(kernel=3, channels=16, stride=2), UIB(stride=2, scale=True))
    attending = (*body, attention.replace(kv_stride=2), attention)
    head = Stage("head", (Classifier(classes=3),))
    network = Architecture(Shape(1, 32), (Stage("body", attending), head))
    whole = build(network, seed=3)
    shake(whole)
    weights = save(tmp_path / "w.pt", whole.state_dict())
    made = export(network, tmp_path / "out", name="hybrid", features=True, weights=weights)
    assert made.python_difference <= 1e-5
    assert made.onnx_difference <= 1e-4
    monkeypatch.syspath_prepend(tmp_path / "out")
    features = importlib.import_module("hybrid").features()
    features.load_state_dict(torch.load(made.files["weights"], weights_only=True))
    images = torch.rand(2, 1, 44, 60)
    maps = features.eval()(images)
    assert [tuple(m.shape) for m in maps] == [(2, 16, 11, 15)]
    session = pytest.importorskip("onnxruntime").InferenceSession(str(made.files["onnx"]))
    (found,) = session.run(None, {"image": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), maps[0], rtol=1e-4, atol=1e-4)


def test_a_backbone_that_hands_out_another_map_is_noticed(tmp_path, monkeypatch):
    from nas.export import products

    honest = products.features_source
    spoilt = lambda *given: honest(*given).replace('"stage-1.1"', '"stage-1.0"')  # noqa: E731
    monkeypatch.setattr(products, "features_source", spoilt)
    with pytest.raises(ArchitectureError, match="logits of the exported python file differ"):
        export(FEATURED, tmp_path / "out", formats=["python"], features=True)


def test_weights_of_a_segmenter_ship_a_class_per_pixel(tmp_path, monkeypatch):
    deep = dataclasses.replace(
        FEATURED, stages=(*FEATURED.stages[:-1], Stage("more", (Conv(channels=8, stride=2),)))
    )
    made = segmenter(deep, 3, seed=1)
    shake(made)
    weights = save(tmp_path / "w.pt", made.state_dict())
    found = export(
        deep,
        tmp_path / "out",
        name="masks",
        weights=weights,
        metadata=Metadata(classes=("a", "b", "c")),
    )
    assert found.trained
    assert found.python_difference <= 1e-5
    assert found.onnx_difference <= 1e-5
    assert found.params == sum(value.numel() for value in made.parameters())
    monkeypatch.syspath_prepend(tmp_path / "out")
    module = importlib.import_module("masks")
    shipped = module.network()
    shipped.load_state_dict(torch.load(found.files["weights"], weights_only=True))
    images = torch.rand(2, 1, 40, 48)
    assert torch.equal(shipped.eval().masks(images), made.eval()(images).argmax(1))
    assert module.CLASSES == ("a", "b", "c")
    session = pytest.importorskip("onnxruntime").InferenceSession(str(found.files["onnx"]))
    logits, mask = session.run(["logits", "mask"], {"image": images.numpy()})
    assert (logits.shape, mask.shape) == ((2, 3, 40, 48), (2, 40, 48))
    assert (
        mask == shipped.masks(images).numpy()
    ).mean() > 0.999  # equal logits may fall either way
    with pytest.raises(
        UsageError, match="a segmentation network is written as python, onnx, json, not timm"
    ):
        export(deep, tmp_path / "more", weights=weights, formats=["timm"])
    with pytest.raises(ArchitectureError, match="2 class names do not fit 3 logits"):
        export(deep, tmp_path / "more", weights=weights, metadata=Metadata(classes=("a", "b")))
    body = export(deep, tmp_path / "body", features=True, weights=weights, formats=["python"])
    assert body.trained


def test_weights_of_other_classes_leave_the_head_untrained(tmp_path):
    other = build(
        dataclasses.replace(
            SMALL, stages=(*SMALL.stages[:-1], Stage("head", (Classifier(classes=7),)))
        )
    )
    made = export(
        SMALL, tmp_path, weights=save(tmp_path / "w.pt", other.state_dict()), formats=["json"]
    )
    assert not made.trained
    assert made.weights.head == ("stages.head.0.linear.weight", "stages.head.0.linear.bias")


def test_formats_that_are_not_run_here(tmp_path, monkeypatch):
    made = export(FEATURED, tmp_path, formats=["timm"])
    assert json.loads(made.files["timm"].read_text())["arch_def"][0] == [
        "ds_r1_k3_s2_e1_c8",
        "ir_r1_k3_s1_e6_c8_se0.25",
    ]
    with pytest.raises(UsageError, match=r"tensorrt is not written here: trtexec --onnx=FILE"):
        export(SMALL, tmp_path, formats=["tensorrt"])
    with pytest.raises(UsageError, match="timm's strings are of whole networks"):
        export(FEATURED, tmp_path, formats=["timm"], features=True)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(
        UsageError, match=r"need the package coremltools: pip install 'nas-toolkit\[coreml\]'"
    ):
        export(SMALL, tmp_path, formats=["coreml"])
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(
        UsageError, match=r"need the package \S+: pip install 'nas-toolkit\[tflite\]'"
    ):
        export(SMALL, tmp_path, formats=["tflite"])


@pytest.mark.parametrize(
    ("network", "features"), [(SMALL, False), (WIDE, False), (FEATURED, True), (WIDE, True)]
)
def test_tflite_file_gives_the_same_outputs(tmp_path, network, features):
    pytest.importorskip("litert_torch", reason="TFLite files need litert-torch")
    made = export(network, tmp_path, formats=["tflite"], features=features)
    assert made.files["tflite"].read_bytes()[4:8] == b"TFL3"
    assert made.tflite_difference < 1e-5


@pytest.mark.parametrize("network", [SMALL, WIDE])
def test_core_ml_package_is_converted(tmp_path, network):
    pytest.importorskip("coremltools", reason="Core ML packages need coremltools")
    made = export(network, tmp_path, formats=["coreml"])
    assert (made.files["coreml"] / "Manifest.json").is_file()
