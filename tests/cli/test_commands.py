"""Commands that need no torch, run as a user runs them."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

import nas
from nas.arch import Architecture

ROOT = Path(nas.__file__).parent.parent


@pytest.fixture
def run(command_line):
    """Call as ``run(*arguments, code=0)``: stdout and stderr of ``nas ARGUMENTS``."""
    return command_line


def test_a_process_of_its_own_says_the_same(run):
    """The one real process of this file."""
    command = [sys.executable, "-m", "nas", "cost", "mobilenet_v3x"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.stderr) == run("cost", "mobilenet_v3x", code=2)
    assert done.returncode == 2


def test_help_lists_every_command_with_its_purpose(run):
    out, _ = run("--help")
    for name in ("cost", "devices", "front", "search", "spaces"):
        assert f"  {name} " in out


@pytest.mark.parametrize("name", ["cost", "devices", "front", "search", "spaces"])
def test_every_command_has_help_with_examples(run, name):
    out, _ = run(name, "--help")
    assert "Examples:" in out


def test_cost_as_json(run):
    out, err = run("cost", "mobilenet_v2", "--device", "pixel", "--device", "raspi4", "--json")
    found = json.loads(out)
    assert err == ""
    assert found["params"] == 3_504_872
    assert set(found["devices"]) == {"pixel1", "raspi4"}
    for device in found["devices"].values():
        assert device["measured"] + device["summed"] + device["predicted"] == pytest.approx(1)
        assert device["latency_sd_ms"] > 0
    per_layer = sum(layer["latency_ms"]["pixel1"] for layer in found["layers"])
    assert per_layer == pytest.approx(found["devices"]["pixel1"]["latency_ms"])


def test_cost_prints_layers_and_totals(run):
    out, _ = run("cost", "mnasnet_a1", "--width", "0.5", "--device", "pixel1")
    assert "mbconv(" in out
    assert "pixel1" in out.splitlines()[-1]


def test_cost_fits_a_width_to_a_latency(run):
    arguments = ("cost", "mobilenet_v2", "--fit", "20ms", "--no-layers")
    out, _ = run(*arguments, "--device", "pixel1")
    assert out.startswith("width 0.37 is the widest within 20 ms on pixel1\n")
    found = json.loads(run(*arguments, "--device", "pixel1", "--json")[0])
    assert found["width"] == 0.37
    assert 19 < found["devices"]["pixel1"]["latency_ms"] <= 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fit", "20ms"), "--fit is to the latency on a device: give one --device"),
        (("--fit", "20ms", "--width", "0.5"), "--fit finds the width: leave --width out"),
        (("--fit-resolution",), "--fit-resolution says how to fit: give --fit TIME"),
        (("--fit", "2ms", "--device", "pixel1"), "no width gives 2 ms on 'pixel1'"),
    ],
)
def test_fits_that_cost_refuses(run, arguments, message):
    _, err = run("cost", "mobilenet_v2", *arguments, code=2)
    assert message in err
    assert err.count("\n") == 1


def test_networks_near_a_latency_come_first(run):
    names = ("mobilenet_v2", "mobilenet_v3_small", "mnasnet_small")
    arguments = ("networks", *names, "--device", "pixel1", "--near", "32ms", "--json")
    found = json.loads(run(*arguments)[0])
    distances = [abs(row["latency_ms"] - 32) for row in found]
    assert distances == sorted(distances)
    assert all(row["latency_sd_ms"] > 0 for row in found)
    out, _ = run("networks", *names, "--device", "pixel1", "--resolution", "32", "--small-images")
    assert " ± " in out.splitlines()[2]
    _, err = run("networks", "--near", "20ms", code=2)
    assert "--near is a latency on a device: give --device" in err


def test_devices_say_kind_conditions_coverage_and_error(run):
    out, _ = run("devices", "--resolution", "32")
    for word in ("pixel1 (pixel)", "raspi4", "published", "batch 1", "fbnet", "error"):
        assert word in out
    # Coverage takes seconds to count: who only looks for a device does not wait for it.
    assert "rows for" in out
    assert "rows for" not in run("devices")[0]
    page, _ = run("devices", "pixel", "--resolution", "32")
    assert "caveat" in page
    assert "  fitted      Four non-negative prices by least squares" in page
    assert "licence" in page.lower() or "Apache" in page


def test_spaces(run):
    out, _ = run("spaces", "fbnet", "--resolution", "32")
    assert "327,700,343,401,999,790,625" in out
    assert "k5_e1_g2" in out
    assert len(json.loads(run("spaces", "--json")[0])) >= 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("cots",), 2, "no command named 'cots'. Did you mean 'cost'"),
        (("cost", "mobilenet_v3x"), 2, "no network, file or run named"),
        (("cost", "mobilenet_v2", "--device", "pixl"), 2, "Did you mean 'pixel'"),
        (("cost", "mobilenet_v2", "--width", "0"), 2, "--width"),
        (("cost",), 2, "Missing argument"),
        (("cost", 300 * "n"), 1, "File name too long"),
        (("spaces", "fbnt"), 2, "Did you mean 'fbnet'"),
        (("front", "nowhere"), 1, "no run in folder"),
        (("search", "--latency", "quick"), 2, "a latency must be a number"),
        (("search", "--max", "params"), 2, "a bound is written cost=value"),
        (("search", "--resume", "nowhere"), 1, "no run in folder"),
    ],
)
def test_bad_input_is_one_line_and_no_traceback(run, arguments, code, message):
    out, err = run(*arguments, code=code)
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_an_imported_table_is_a_device(run, tmp_path):
    lines = ["op,in_channels,in_size,latency_ms"]
    for channels, kernel, size in product((24, 32, 48), (3, 5), (14, 28)):
        op = f'"mbconv(channels={channels},kernel={kernel})"'
        lines.append(f"{op},24,{size},{channels * kernel * size / 9e3}")
    (tmp_path / "timings.csv").write_text("\n".join(lines) + "\n")
    arguments = (
        "latency",
        "import",
        str(tmp_path / "timings.csv"),
        "--device",
        "board",
        "--out",
        str(tmp_path),
    )
    out, _ = run(*arguments)
    assert "12 rows" in out
    found = json.loads(
        run("cost", "mobilenet_v2", "--device", str(tmp_path / "board.csv"), "--json")[0]
    )
    assert found["devices"]["board"]["latency_ms"] > 0
    _, err = run(*arguments, code=1)
    assert "exists: choose another --device or --out" in err
    assert "left_out" in json.loads(run(*arguments, "--force", "--json")[0])


def test_a_table_is_adapted_from_timed_networks(run, tmp_path):
    from nas import catalog

    space, source = catalog.space("fbnet", resolution=32, classes=100), catalog.device("pixel3")
    genes = [[(7 * i + 3 * j + i * j) % 9 for j in range(22)] for i in range(30)]
    lines = [
        f"{' '.join(map(str, g))},{2 * source.estimate(space.decode(g)).latency_ms}" for g in genes
    ]
    (tmp_path / "timed.csv").write_text("genes,latency_ms\n" + "\n".join(lines) + "\n")
    space_options = ["--space", "fbnet", "--resolution", "32", "--classes", "100"]
    files = ("--measurements", str(tmp_path / "timed.csv"), "--out", str(tmp_path))
    arguments = (
        "latency",
        "adapt",
        "--from",
        "pixel3",
        *space_options,
        "--device",
        "phone",
        *files,
    )
    assert "MAPE" in run(*arguments)[0]
    found = json.loads(run(*arguments, "--force", "--json")[0])
    assert found["known_error"]["left_out_networks_mape"] < 0.02
    (tmp_path / "timed.csv").write_text("genes,latency_ms\n1 2 3,5.0\n")
    assert "timed.csv line 2: space 'fbnet' takes 22 genes" in run(*arguments, "--force", code=1)[1]


def test_scale_gives_the_published_family_with_files(run, tmp_path):
    arguments = [
        "scale",
        "efficientnet_b0",
        "--preset",
        "efficientnet",
        "--members",
        "2",
        "--device",
        "pixel",
    ]
    out, err = run(*arguments, "--out", str(tmp_path / "family"))
    assert err == ""
    assert "7,794,184" in out
    assert "9,109,994" in out
    assert "efficientnet_b0_x2: stem channels 35.2 -> 32; " in out
    assert "b7  6.88  3.1 (3.50)" in out
    found = json.loads((tmp_path / "family" / "family.json").read_text())
    assert [member["params"] for member in found["members"]] == [5_288_548, 7_794_184, 9_109_994]
    assert found["members"][2]["devices"]["pixel1"]["predicted"] == 1
    assert Architecture.load(tmp_path / "family" / "efficientnet_b0_x1.json").params == 7_794_184
    assert (tmp_path / "family" / "family.png").stat().st_size > 10_000
    _, err = run(
        "scale",
        "efficientnet_b0",
        "--preset",
        "efficientnet",
        "--out",
        str(tmp_path / "family"),
        code=1,
    )
    assert "holds a family: choose another --out, or overwrite it with --force" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give either --preset NAME or --fit"),
        (("--preset", "efficientnet", "--fit"), 2, "give either --preset NAME or --fit"),
        (
            ("--preset", "efficentnet"),
            2,
            "no preset named 'efficentnet'. Did you mean 'efficientnet'?",
        ),
        (
            ("--preset", "uninet", "--members", "7"),
            2,
            "preset 'uninet' has 6 members beyond this base, not 7",
        ),
        (("--fit",), 2, "--fit trains candidates: give --data"),
        (
            ("--fit", "--data", "digits"),
            2,
            "--fit needs a folder to go on from after a kill: give --out",
        ),
        (
            ("--fit", "--data", "digits", "--out", "x", "--formula"),
            2,
            "--formula belongs to --preset efficientnet",
        ),
        (
            ("--preset", "uninet", "--out", "setup.cfg"),
            1,
            "setup.cfg is a file: a family needs a folder",
        ),
    ],
)
def test_what_scale_refuses(run, monkeypatch, arguments, code, message):
    monkeypatch.chdir(ROOT)
    _, err = run("scale", "mobilenet_v2", *arguments, code=code)
    assert message in err
    assert err.count("\n") == 1
