"""The tables that were learnt from whole networks: what they say of themselves is so."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from nas import catalog
from nas.errors import TableError
from nas.report.listing import Device, devices_text
from search_spaces import fbnet

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("NAS_DATA", ROOT.parent / "shared" / "data"))
FILE = DATA / "fbnet_cifar100_device_latency.npz"
DEVICES = (
    "galaxy_a50",
    "pixel2",
    "rtx2080ti",
    "rtx2080ti_batch64",
    "xeon_gold_6226",
    "xeon_silver_4114",
)


@pytest.fixture(scope="module")
def script():
    """experiments/fit_measured.py as a module."""
    spec = importlib.util.spec_from_file_location(
        "fit_measured", ROOT / "experiments" / "fit_measured.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("name", DEVICES)
def test_it_prices_its_space_and_says_where_it_comes_from(name):
    table = catalog.device(name)
    info = table.info
    assert [source["licence"] for source in info.sources] == ["MIT", "MIT"]
    assert info.kind.startswith("learnt from 500 whole networks")
    assert {row.source for row in table.rows.values()} == {"apportioned"}
    assert info.known_error["held_out_networks_mape"] < 0.12
    space = fbnet.space(resolution=32, classes=100)
    assert all(table.row(layer) is not None for layer in space.layers if layer.kernels)
    # Stem and head have other rows with other images and classes; blocks of other sizes have none.
    assert table.estimate(fbnet.space(32, classes=10).decode([0] * 22)).predicted_ms > 0
    with pytest.raises(TableError, match="does not tell what that takes"):
        table.estimate(fbnet.space().decode([0] * 22))


def test_a_batch_is_stated():
    batches = {name: catalog.device(name).info.conditions["batch"] for name in DEVICES}
    assert batches.pop("rtx2080ti_batch64") == 64
    assert set(batches.values()) == {1}


@pytest.mark.skipif(not FILE.is_file(), reason="the data folder (NAS_DATA) is not here")
@pytest.mark.parametrize("name", DEVICES)
def test_its_errors_are_those_of_networks_that_were_left_out(name, script):
    data = np.load(FILE, allow_pickle=False)
    ms = data[f"lat_{script.DEVICES[name].column}"].astype(np.float64)
    table = catalog.device(name)
    found = script.held_out(table, data["arch"].astype(np.int64), ms)
    assert found == pytest.approx(dict(table.info.known_error), abs=2e-4)


def test_devices_are_listed_by_how_their_rows_came_about():
    names = ("pixel1", "pixel2", "pixel3")
    text = devices_text([Device.of(catalog.device(name), []) for name in names])
    headings = [line for line in text.splitlines() if line.startswith("-- ")]
    assert headings == [
        "-- published timings of layers",
        "-- learnt from whole networks that were timed",
    ]
    assert text.index("pixel1 (") < text.index("pixel3:") < text.index("pixel2:")
