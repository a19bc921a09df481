from dataclasses import dataclass

import pytest

from nas import catalog, networks
from nas.cost.memory import check_fits, training_bytes
from nas.errors import SpaceError, TrainingError
from nas.lint import lint
from nas.ops import blocks
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv
from nas.shape import Kernel, Op, Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from nas.testing.spaces import check_space
from search_spaces import fbnet, uninet


def space_of(
    *choices: Choice,
    make=lambda picked, shape: [Conv(kernel=picked["kernel"], channels=8)],
    head=None,
):
    slot = Slot(name="body", stage="body", choices=(Choice("kernel", (1, 3)), *choices), make=make)
    return SearchSpace("odd", Shape(3, 8), (slot, fixed("head", head or Classifier(classes=2))))


def texts(space):
    return [str(finding) for finding in lint(space).findings]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda picked, shape: ["conv"], "slot 'body': make.. must give ops, .* not a str"),
        (lambda picked, shape: 3, r"slot 'body': make.. failed at 3x8x8: TypeError"),
        (
            lambda picked, shape: ["conv".replace(kernel=picked["kernel"])],
            r"slot 'body': .*no keyword arguments .*test_lint\.py, line \d+\)",
        ),
    ],
)
def test_what_a_slot_makes_wrongly_is_one_line(make, message):
    with pytest.raises(SpaceError, match=message):
        lint(space_of(make=make))


def test_a_device_that_cannot_price_a_space_is_an_error_only_where_it_was_asked_for():
    tables = [catalog.device(name) for name in ("galaxy_a50", "pixel2", "pixel1")]
    space = space_of(make=lambda picked, shape: [FusedMBConv(expand=picked["kernel"] + 1)])
    assert len(lint(space, tables).of("error")) == 2
    report = lint(space, tables, must_price=False)
    assert [str(note)[:30] for note in report.of("note")] == ["note: devices galaxy_a50, pixe"]
    assert report.ok


def test_a_sound_space_has_no_findings():
    report = lint(space_of())
    assert report.ok
    assert report.findings == ()
    assert (report.gene_tuples, report.distinct, report.exportable) == (2, 2, True)


def test_choices_that_choose_nothing_are_found():
    assert texts(space_of(Choice("colour", ("red", "green")))) == [
        "warning: body.colour: has no effect: all options give the same layers",
        "note: body: 2 of 4 combinations repeat another one",
    ]
    assert texts(space_of(Choice("colour", ("red",)))) == [
        "warning: body.colour: has a single option, so it is no choice"
    ]


def test_options_that_cannot_be_told_apart_are_named():
    def make(picked, shape):
        yield Conv(kernel=picked["kernel"], channels=max(8, picked["width"]))

    assert texts(space_of(Choice("width", (4, 8, 16)), make=make)) == [
        "warning: body.width: options 4 and 8 give the same layers",
        "note: body: 2 of 6 combinations repeat another one",
    ]


@dataclass(frozen=True, kw_only=True)
class Stranger(Op):
    key = "stranger"
    label: str = ""

    def out_shape(self, shape: Shape) -> Shape:
        return shape

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        return (blocks.add(shape),)


def test_an_op_nobody_registered_is_an_error():
    report = lint(space_of(make=lambda picked, shape: [Stranger(label=str(picked["kernel"]))]))
    assert not report.ok
    assert not report.exportable
    assert "no op named 'stranger'" in str(report.findings[0])
    assert "note: body.kernel: options 1 and 3 run the same kernels, with other settings" in map(
        str, report.findings
    )


def test_a_network_that_does_not_end_in_logits_is_an_error():
    found = texts(space_of(head=Conv(channels=2)))
    assert found == ["error: head: networks must end in one vector of logits, not ['2x8x8']"]


@pytest.fixture(scope="module")
def uninet_report():
    return lint(uninet.space())


def test_attention_on_large_maps_is_flagged_as_a_memory_danger(uninet_report):
    found = [text for text in map(str, uninet_report.findings) if "MiB" in text]
    assert len(found) == 1
    assert "down_local_global" in found[0]
    assert "@24x112x112" in found[0]
    assert not [text for text in texts(uninet.space(32)) if "MiB" in text]


def test_ranges_are_exact_and_named_by_metric():
    space = space_of()
    params = sorted(space.decode((kernel,)).params for kernel in (0, 1))
    found = lint(space).ranges["params"]
    assert [found.least, found.greatest] == params
    assert space.decode(found.least_genes).params == params[0]


def test_tables_give_ranges_of_latency_and_their_coverage():
    report = lint(fbnet.space(), [catalog.device("pixel3")])
    assert report.ranges["latency_ms@pixel3"].least > 0
    counts = report.coverage["pixel3"]
    assert counts.measured + counts.summed + counts.predicted == report.layers
    assert (
        report.to_json()["ranges"]["latency_ms@pixel3"][1]
        == report.ranges["latency_ms@pixel3"].greatest
    )


@pytest.mark.parametrize(
    "name",
    [
        "fbnet",
        "mnasnet",
        "fused_mbconv",
        "fused_mbconv:base=b0",
        "uninet",
        "mobilenet_v3",
        "mobilenet_v3:width=1.2",
        "mobilenet_v4",
    ],
)
def test_every_shipped_space_keeps_the_contract(name):
    check_space(lambda **settings: catalog.space(name, **settings))


def test_the_contract_finds_what_is_wrong():
    def forgets_classes(resolution, classes, in_channels):
        return SearchSpace("s", Shape(in_channels, resolution), space_of().slots)

    with pytest.raises(AssertionError, match="has 2 classes, not 7"):
        check_space(forgets_classes)
    with pytest.raises(AssertionError, match="the input is 3x8x8"):
        check_space(lambda **settings: space_of())
    with pytest.raises(AssertionError, match="no op named 'stranger'"):
        check_space(
            lambda resolution, classes, in_channels: SearchSpace(
                "s",
                Shape(in_channels, resolution),
                (fixed("a", Stranger()), fixed("b", Classifier(classes=classes))),
            )
        )


def test_a_network_that_cannot_fit_is_refused_before_training(uninet_report):
    space = uninet.space()
    genes = uninet_report.ranges["peak_memory_bytes"].greatest_genes
    with pytest.raises(
        TrainingError,
        match=r"training with a batch of 64 needs about [\d.]+ GiB, there are 8.0; the",
    ):
        check_fits(space.decode(genes), 64, 8 << 30)
    small = networks.get("mobilenet_v2", resolution=32)
    check_fits(small, 64, 8 << 30)
    assert training_bytes(small, 128) < 2 * training_bytes(small, 64)
