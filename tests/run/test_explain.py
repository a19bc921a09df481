"""Where a network's time goes, and what a change of one gene costs: exact by the table."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nas import catalog, networks
from nas.arch import Architecture
from nas.errors import UsageError
from nas.latency.correction import Correction
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.report.difference import difference
from nas.report.explain import dearest, explain, gene_changes, layer_times
from nas.run.network import placed_network
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sys.path.insert(0, str(Path(__file__).parent.parent / "kill"))
    import instant

    yield instant.searched(tmp_path_factory.mktemp("runs") / "run", trials=6)
    sys.path.pop(0)


@pytest.fixture
def nas(command_line):
    """Call as ``nas(*arguments, code=0)``: stdout and stderr of the command."""
    return command_line


@pytest.fixture(scope="module")
def table():
    return catalog.device("pixel1")


def test_layers_and_what_the_table_adds_make_the_whole(table):
    network = networks.get("mnasnet_a1")
    corrected = replace(
        table,
        info=replace(
            table.info,
            correction=Correction(slopes={"*": 1.1}, constant_ms=3.0, common_sd=0.05),
        ),
    )
    for device in (table, corrected):
        total = device.estimate(network)
        layers = layer_times(network, device)
        parts_ms = [layer.latency_ms for layer in layers]
        assert sum(parts_ms) + device.constant_ms == pytest.approx(total.latency_ms)
        shares = sum(layer.share for layer in layers)
        assert shares == pytest.approx(1 - device.constant_ms / total.latency_ms)
    assert dearest(layers, 1)[0].latency_ms == max(parts_ms)


def test_every_change_of_a_gene_is_the_difference_of_two_estimates(table):
    space = catalog.space("fbnet")
    genes = space.canonical(tuple(place % size for place, size in enumerate(space.gene_sizes)))
    base = table.estimate(space.decode(genes))
    changes = gene_changes(space, genes, table)
    assert len(changes) == sum(size - 1 for size in space.gene_sizes)
    for change in changes[::7]:
        place = space.gene_names.index(change.gene)
        other = list(genes)
        other[place] = space.choices[place].labels.index(change.instead)
        network = space.decode(other)
        expected_ms = table.estimate(network).latency_ms - base.latency_ms
        assert change.latency_ms == pytest.approx(expected_ms, abs=1e-9)
        assert change.macs == network.macs - space.decode(genes).macs
        # Most of the network stays, and so does its error.
        assert change.latency_sd_ms < base.latency_sd_ms


def small_space():
    """A width, and a layer that may be left out with its kernel."""

    def make(picked, shape):
        yield Conv(channels=picked["width"], kernel=3, stride=2)
        if picked["depth"]:
            yield MBConv(channels=picked["width"], kernel=picked["kernel"])

    choices = (Choice("width", (16, 24)), Choice("depth", (0, 1)), Choice("kernel", (3, 5)))
    body = Slot(name="body", stage="body", choices=choices, make=make)
    head = fixed("head", Conv(channels=64), Classifier(classes=10))
    return SearchSpace(name="small", input=Shape(3, 32), slots=(body, head))


def test_a_change_that_widens_a_layer_prices_the_layers_behind_it(table):
    space = small_space()
    wider = gene_changes(space, (0, 0, 0), table)[0]
    before, after = space.decode((0, 0, 0)), space.decode((1, 0, 0))
    more_ms = table.estimate(after).latency_ms - table.estimate(before).latency_ms
    stem_ms = table.layer(after.layers[0]).latency_ms - table.layer(before.layers[0]).latency_ms
    assert wider.text == "body.width: 16 to 24"
    assert wider.latency_ms == pytest.approx(more_ms)
    assert more_ms > stem_ms


def test_the_kernel_of_a_layer_left_out_changes_nothing_and_says_so(table):
    space = small_space()
    kernel = gene_changes(space, (0, 0, 0), table)[-1]
    assert (kernel.gene, kernel.same, kernel.latency_ms) == ("body.kernel", True, 0)
    genes = (0, 0, 0)
    text = explain("net", space.decode(genes), table, space=space, genes=genes).text()
    assert "no effect here" in text
    assert not gene_changes(space, (0, 1, 0), table)[-1].same


def test_networks_are_placed_by_their_run_their_paper_or_the_space_named(run, tmp_path):
    last = run.trials[-1]
    placed = placed_network(f"{run.folder}:{last.number}")
    assert placed.genes == last.genes
    assert [table.digest for table in placed.tables] == [table.digest for table in run.tables]
    network = catalog.space("fbnet", resolution=96, classes=7).decode((1,) * 22)
    path = tmp_path / "net.json"
    network.save(path)
    assert placed_network(str(path)).unplaced.startswith("no space is known for it")
    placed = placed_network(str(path), space="fbnet")
    assert placed.space.decode(placed.genes).digest == network.digest
    assert placed.nearest == ""


def test_a_network_beside_its_space_is_explained_at_its_nearest_point(nas):
    placed = placed_network("mnasnet_a1")
    assert placed.nearest == "block5: channels 112 instead of 120"
    out, _ = nas("explain", "mnasnet_a1", "--device", "pixel")
    assert "of its nearest point there; the network has block5: channels 112" in out


def test_why_a_network_has_no_changes_is_said(tmp_path):
    assert "no space of this toolkit" in placed_network("resnet18").unplaced
    path = tmp_path / "net.json"
    small_space().decode((0, 0, 0)).save(path)
    unplaced = placed_network(str(path), space="fbnet").unplaced
    assert unplaced.startswith("space fbnet has nothing like it: 2 stages")


def test_explain_says_where_time_goes_and_what_changes_cost(nas, run):
    out, _ = nas("explain", f"{run.folder}:0")
    assert "the dearest layers" in out
    assert "one gene changed in space" in out
    out, _ = nas("explain", "fbnet_c", "--device", "pixel", "--all")
    figures = [
        line.split() for line in out.splitlines() if line.startswith("stage") and "±" in line
    ]
    savings = [float(words[words.index("±") - 1]) for words in figures]
    # Of two that are told with other digits, the order is known to the digits of both.
    assert savings == sorted(savings, key=lambda ms: round(ms, 1))
    out, _ = nas("explain", "fbnet_c", "--device", "pixel", "--device", "raspi4", "--json")
    found = json.loads(out)
    assert [each["device"] for each in found] == ["pixel1", "raspi4"]
    total_ms = sum(layer["latency_ms"] for layer in found[0]["layers"])
    assert total_ms == pytest.approx(found[0]["latency_ms"])


def test_explain_needs_a_device_where_no_run_has_one(nas):
    _, err = nas("explain", "fbnet_c", code=2)
    assert "a time is of a device: give --device" in err


def test_a_space_of_vectors_does_not_hold_a_network_of_maps(tmp_path):
    network = networks.get("mobilenet_v2")
    backbone = Architecture(network.input, network.stages[:-1])
    backbone.save(tmp_path / "net.json")
    with pytest.raises(UsageError, match="leave --space out"):
        placed_network(str(tmp_path / "net.json"), space="fbnet")


def test_the_difference_of_two_networks_adds_up(table):
    first, second = networks.get("mobilenet_v2"), networks.get("fbnet_c")
    found = difference(("a", "b"), first, second, [table], {}).to_json()
    more_ms = table.estimate(second).latency_ms - table.estimate(first).latency_ms
    assert found["devices"]["pixel1"]["difference_ms"] == pytest.approx(more_ms)
    by_layer = sum(layer["difference_ms"]["pixel1"] for layer in found["layers"])
    assert by_layer == pytest.approx(more_ms)
    assert not found["same"]


def test_a_shared_layer_brings_no_error_into_the_difference(table):
    space = catalog.space("fbnet")
    genes = (1,) * len(space.gene_sizes)
    first = space.decode(genes)
    second = space.decode((2, *genes[1:]))
    found = difference(("a", "b"), first, second, [table], {}).to_json()["devices"]["pixel1"]
    whole = [table.estimate(network).latency_sd_ms for network in (first, second)]
    assert 0 < found["difference_sd_ms"] < math.hypot(*whole) / 3


def test_diff_names_genes_layers_and_totals(nas, run):
    first, last = run.trials[0], run.trials[-1]
    out, _ = nas("diff", f"{run.folder}:{first.number}", f"{run.folder}:{last.number}")
    there, here = run.space.describe(first.genes), run.space.describe(last.genes)
    for gene in there:
        assert (f"\n{gene} " in out) == (there[gene] != here[gene])
    assert "layers are the same in both" in out or first.digest == last.digest
    out, _ = nas("diff", "mobilenet_v2", "mobilenet_v2", "--device", "pixel")
    assert "both compute the same" in out
    out, _ = nas("diff", "resnet18", "mobilenet_v2", "--json")
    assert json.loads(out)["params"] < 0
