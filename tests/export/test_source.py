# ruff: noqa: E402
import sys
from functools import partial
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

from nas import networks
from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.export import python_source
from nas.export.source import excerpt
from nas.metadata import Metadata
from nas.model import build
from nas.model.mbconv import MBConv
from nas.model.unified import TokenMLPBlock
from nas.ops.conv import Classifier, Conv
from nas.ops.down import GlobalDown, LocalDown, LocalGlobalDown
from nas.ops.ghost import GhostBottleneck
from nas.ops.mbconv import FusedMBConv
from nas.ops.mbconv import MBConv as MBConvOp
from nas.ops.mqa import MobileMQA
from nas.ops.residual import BasicBlock, Bottleneck, MaxPool
from nas.ops.selective import SelectiveBlock
from nas.ops.uib import UIB
from nas.ops.unified import AttentionBlock, ConvBlock
from nas.ops.unified import TokenMLPBlock as TokenMLPOp
from nas.shape import Shape

OPS = (
    Conv(kernel=3, channels=16, act="hswish"),
    MBConvOp(expand=3, groups=2, se=0.25, skip="pool", stride=2, se_gate="hsigmoid"),
    UIB(first=3, expand=2, scale=True),
    FusedMBConv(expand=2, channels=24, eca=True),
    GhostBottleneck(channels=24, se=0.25),
    Bottleneck(groups=4, gc=0.25),
    BasicBlock(eca=True),
    MaxPool(stride=1),
    SelectiveBlock(least=4),
    MobileMQA(kv_stride=2),
    LocalDown(channels=16),
    ConvBlock(expand=2, channels=32),
    LocalGlobalDown(channels=32),
    AttentionBlock(window=3, expand=2),
    GlobalDown(channels=40),
    TokenMLPOp(tokens=8, expand=2),
    Classifier(classes=3, hidden=8),
)
EVERYTHING = Architecture(
    Shape(3, 40), (Stage("stem", OPS[:1]), Stage("body", OPS[1:-1]), Stage("head", OPS[-1:]))
)


def run(text: str) -> dict:
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return names


@pytest.mark.parametrize(
    "architecture",
    [EVERYTHING, networks.get("mobilenet_v2", resolution=32)],
    ids=["every op", "mobilenet_v2"],
)
def test_the_exported_network_is_the_same_from_the_first_draw(architecture):
    names = run(python_source(architecture))
    source = build(architecture, seed=3).state_dict()
    torch.manual_seed(3)
    own = names["network"]().state_dict()
    assert list(own) == list(source)
    assert all(torch.equal(own[name], value) for name, value in source.items())


def test_only_what_the_network_uses_is_in_the_file():
    text = python_source(networks.get("mobilenet_v2", resolution=32))
    assert "class MBConv(" in text
    assert "import nas" not in text
    assert "from nas" not in text
    for name in ("FusedMBConv", "Attention", "TokenMix", "Residual", "import math"):
        assert name not in text


def test_a_definition_comes_after_what_it_uses():
    found = excerpt([MBConv])
    order = list(found.definitions)
    assert order.index("ConvNorm") < order.index("MBConv")
    assert order.index("Block") < order.index("MBConv")
    assert order[-1] == "MBConv"
    assert found.constants["NORM_EPS"].endswith("\nNORM_EPS = 1e-3")
    assert found.imports() == "from collections import OrderedDict\n\nfrom torch import Tensor, nn"


def test_the_toolkits_errors_become_value_errors():
    text = "".join(excerpt([TokenMLPBlock]).definitions.values())
    assert "ArchitectureError" not in text
    assert "raise ValueError" in text


HOSTILE = 'a"\n"""\nimport os\'{x}\\'


def test_other_peoples_words_stay_data():
    architecture = Architecture(Shape(3, 8), (Stage(HOSTILE, (Conv(), Classifier(classes=2))),))
    names = run(python_source(architecture, Metadata(classes=(HOSTILE, "plain"))))
    assert names["CLASSES"] == (HOSTILE, "plain")
    assert "os" not in names
    assert list(names["network"]().state_dict()) == list(build(architecture).state_dict())


def test_long_calls_are_wrapped():
    op = MBConvOp(
        expand=64,
        kernel=31,
        channels=60000,
        groups=50,
        se=1,
        act="hswish",
        se_act="relu6",
        se_gate="hsigmoid",
    )
    architecture = Architecture(Shape(50000, 8), (Stage("s", (op, op.replace(channels=50000))),))
    assert max(map(len, python_source(architecture).splitlines())) <= 120


def foreign(monkeypatch, text, name):
    """A class of a package that is not ours, from its source."""
    import linecache

    module = ModuleType("their_blocks")
    module.__file__ = "/their_blocks.py"
    monkeypatch.setitem(sys.modules, "their_blocks", module)
    monkeypatch.setitem(
        linecache.cache,
        "/their_blocks.py",
        (len(text), None, text.splitlines(True), "/their_blocks.py"),
    )
    exec(compile(text, "/their_blocks.py", "exec"), vars(module))
    return getattr(module, name)


def test_modules_of_other_packages_are_exported_too(monkeypatch):
    text = (
        "import math\nfrom nas.model.blocks import ConvNorm\n\nWIDE = 2\n\n\n"
        "class Own(ConvNorm):\n    wide = math.floor(WIDE)\n"
    )
    found = excerpt([foreign(monkeypatch, text, "Own")])
    assert found.modules == {"math"}
    assert list(found.definitions) == ["activation", "ConvNorm", "Own"]
    assert found.constants["WIDE"] == "WIDE = 2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import numpy as np\n\n\nclass Own:\n    wide = np.pi\n",
            "'np' comes from numpy: an exported torch module may use",
        ),
        (
            "from nas.model.blocks import ConvNorm\n\n\ndef activation(): ...\n\n\n"
            "class Own(ConvNorm):\n    wide = activation\n",
            "both define 'activation': one of them must be renamed",
        ),
        (
            "globals()['late'] = 1\n\n\nclass Own:\n    wide = late\n",
            "'late' is not defined at the top of their_blocks",
        ),
    ],
)
def test_what_cannot_stand_alone_is_refused(monkeypatch, text, message):
    with pytest.raises(ArchitectureError, match=message):
        excerpt([foreign(monkeypatch, text, "Own")])


def test_a_recipe_takes_numbers_and_words(monkeypatch):
    from nas.export import python

    monkeypatch.setattr(python, "recipe", lambda op, shape: partial(MBConv, shape, 8))
    with pytest.raises(ArchitectureError, match="takes numbers and words, not Shape"):
        python_source(Architecture(Shape(3, 8), (Stage("s", (Conv(),)),)))
