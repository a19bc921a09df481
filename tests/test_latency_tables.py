"""What ships in latency_tables: provenance, coverage, exactness, and how to compute it again."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from nas import catalog, networks
from nas.cost.compiled import compile_costs
from nas.latency.device import AMOUNTS
from nas.latency.rows import HEADER
from nas.latency.table import Table
from search_spaces import fbnet

ROOT = Path(__file__).parent.parent
DEVICES = ("pixel1", "pixel3", "raspi4")
FBNET_DEVICES = ("pixel3", "raspi4")
DATA = Path(os.environ.get("NAS_DATA", ROOT.parent / "shared" / "data"))
FIGURES = Path(os.environ.get("NAS_FIGURES", DATA.parent / "figures"))

needs_data = pytest.mark.skipif(
    not (DATA / "fbnet_cifar100_device_latency.npz").is_file(),
    reason="the data folder (NAS_DATA) is not here",
)
needs_figures = pytest.mark.skipif(
    not (FIGURES / "fbnet32_blocks.csv").is_file(),
    reason="the published figures (NAS_FIGURES) are not here",
)

# Change these with the files, never by accident.
DIGESTS = {
    "pixel1": "436e24ca84769cd1ddf5",
    "pixel3": "e621ba43f59e8859bd90",
    "raspi4": "2383ee3a9f7a7efda834",
}


def fbnet_layers(space):
    return set(space.layers)


@pytest.fixture(scope="module")
def script():
    """experiments/fit_devices.py as a module."""
    spec = importlib.util.spec_from_file_location(
        "fit_devices", ROOT / "experiments" / "fit_devices.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_these_devices_ship():
    assert set(DEVICES) <= set(catalog.device_names())
    assert catalog.device("pixel").name == "pixel1"


@pytest.mark.parametrize("name", DEVICES)
def test_digests(name):
    assert catalog.device(name).digest == DIGESTS[name]


@pytest.mark.parametrize("name", DEVICES)
def test_provenance_is_complete(name):
    info = catalog.device(name).info
    assert info.name == name
    assert set(info.conditions) == {"runtime", "dtype", "threads", "batch", "hardware", "date"}
    assert all(set(source) == {"what", "who", "where", "licence"} for source in info.sources)
    assert all((info.kind, info.title, info.fitted, info.caveats))
    assert all(isinstance(value, float) for value in info.known_error.values())
    assert set(info.model.prices) <= set(AMOUNTS)


def test_known_errors_meet_the_goal():
    known = catalog.device("pixel1").info.known_error
    assert known["leave_family_out_mape"] <= 0.05
    assert (
        known["shipped_form_mape"] <= known["shipped_form_without_rows_mape"] + 0.0005
    )  # rows do no harm
    for name in DEVICES:
        error = catalog.device(name).info.known_error
        assert error["shipped_form_mape"] < error["macs_only_mape"] / 2


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("resolution", [32, 224])
@pytest.mark.parametrize("space", ["fbnet", "mnasnet"])
def test_every_layer_of_the_spaces_has_a_price(name, space, resolution):
    table = catalog.device(name)
    for layer in fbnet_layers(catalog.space(space, resolution=resolution)):
        found = table.layer(layer)
        assert found.latency_ms > 0
        assert found.latency_sd_ms > 0 or found.measured_ms > 0


@pytest.mark.parametrize("name", FBNET_DEVICES)
def test_rows_cover_fbnet_at_32_and_nothing_at_224(name):
    table = catalog.device(name)
    small, large = (fbnet_layers(fbnet.space(resolution=size, classes=100)) for size in (32, 224))
    assert all(table.row(layer) for layer in small)
    assert len(table.rows) == len(small) == 105
    assert not any(table.row(layer) for layer in large)


def test_pixel1_rows_cover_what_was_timed():
    table = catalog.device("pixel1")
    covered = {str(layer) for layer in fbnet_layers(fbnet.space()) if table.row(layer)}
    assert covered == {
        f"mbconv({settings})@{shape}"
        for stride, shape in ((",stride=2", "16x112x112"), ("", "24x56x56"))
        for settings in (
            f"channels=24,expand=3,kernel=5{stride}",
            f"channels=24,expand=3{stride}",
            f"channels=24,kernel=5{stride}",
            f"channels=24{stride}",
        )
    }
    rows = {
        n: sum(table.row(x) is not None for x in networks.get(n).layers)
        for n in ("mnasnet_a1", "mnasnet_b1")
    }
    assert rows == {"mnasnet_a1": 7, "mnasnet_b1": 17}  # the first block's `skip=none` included
    assert sum(table.row(x) is not None for x in networks.get("mobilenet_v2").layers) == 5


@pytest.mark.parametrize("name", DEVICES)
def test_time_grows_with_kernel_and_expansion(name):
    """Rows included. One pair of the Raspberry Pi's published blocks falls, as published."""
    table, falls = catalog.device(name), []
    for size in (32, 224):
        for layer in fbnet_layers(fbnet.space(resolution=size, classes=100)):
            settings = layer.op.settings
            if layer.op.key != "mbconv":
                continue
            larger = [layer.op.replace(kernel=5)] + [
                layer.op.replace(expand=e, pointwise=False)
                for e in (3, 6)
                if e > layer.op.expand and "groups" not in settings
            ]
            falls += [
                str(layer)
                for op in larger
                if table.layer(type(layer)(op, layer.shape)).latency_ms
                < table.layer(layer).latency_ms
            ]
    assert falls == (
        ["mbconv(channels=352,expand=1,pointwise=True)@184x4x4"] if name == "raspi4" else []
    )


@needs_data
@pytest.mark.parametrize("name", FBNET_DEVICES)
def test_fbnet_networks_sum_to_the_published_latency(name):
    published = np.load(DATA / "fbnet_cifar100_device_latency.npz")
    space = fbnet.space(resolution=32, classes=100)
    assert list(published["ops"]) == list(fbnet.BLOCKS)
    table = catalog.device(name)
    rounding_ms = 23 * 0.5e-6  # the figures give each block to a nanosecond
    costs = compile_costs(space, ["latency_ms"], lambda layer: [table.layer(layer).latency_ms])
    assert costs.price(published["arch"])[:, 0] == pytest.approx(
        published[f"lat_{name}"], abs=rounding_ms
    )
    for genes, latency_ms in zip(published["arch"][:20], published[f"lat_{name}"], strict=False):
        assert table.estimate(space.decode(genes)).latency_ms == pytest.approx(
            latency_ms, abs=rounding_ms
        )


@needs_figures
@pytest.mark.parametrize("name", FBNET_DEVICES)
def test_fbnet_rows_are_the_published_ones(name, script):
    blocks, base = script.fbnet_timings(FIGURES, name)
    table = catalog.device(name)
    assert table.estimate(script.EVERY_SKIP).latency_ms == pytest.approx(base, abs=1e-9)
    for block in blocks:
        skip_ms = table.layer(block.skip).latency_ms if block.skip else 0
        assert table.layer(block.layer).latency_ms - skip_ms == pytest.approx(block.ms, abs=1e-9)


@needs_figures
def test_tables_can_be_computed_again(script):
    for name, fitted in script.shipped(FIGURES).items():
        stored = catalog.device(name)
        assert list(stored.rows) == list(fitted.rows)
        for key, row in fitted.rows.items():
            assert stored.rows[key].latency_ms == pytest.approx(row.latency_ms, rel=1e-4)
            assert stored.rows[key].sd_ms == pytest.approx(row.sd_ms, rel=1e-3, abs=1e-6)
            assert (stored.rows[key].count, stored.rows[key].source) == (row.count, row.source)
        assert stored.model.prices == pytest.approx(fitted.model.prices, rel=1e-4)
        assert (stored.model.row_sd, stored.model.common_sd) == (
            fitted.model.row_sd,
            fitted.model.common_sd,
        )


@needs_figures
def test_known_errors_can_be_computed_again(script, capsys):
    known = {"pixel1": script.pixel1_report(script.pixel1_timings(FIGURES))} | {
        name: script.fbnet_report(name, *script.fbnet_timings(FIGURES, name))
        for name in FBNET_DEVICES
    }
    for name, found in known.items():
        assert found == pytest.approx(catalog.device(name).info.known_error, abs=2e-4)
    assert "worst_network_error" in capsys.readouterr().out


def test_written_tables_load(script, tmp_path):
    stored = catalog.device("pixel1")
    script.write(stored.rows, stored.to_json(), tmp_path)
    again = Table.load(tmp_path / "pixel1.csv")
    assert again.rows == stored.rows
    assert again.digest == stored.digest
    assert (tmp_path / "pixel1.csv").read_text().startswith(",".join(HEADER))
    assert json.loads((tmp_path / "pixel1.json").read_text()) == stored.to_json()


def test_without_figures_the_script_says_so(script, monkeypatch):
    monkeypatch.delenv("NAS_FIGURES", raising=False)
    with pytest.raises(
        SystemExit, match=r"no figures in .*: give --figures DIR or set NAS_FIGURES"
    ):
        script.figures_folder("/nowhere")
