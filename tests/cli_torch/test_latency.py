"""``nas latency`` as a user runs it, on a space of a few small layers."""

import json

import pytest
from click.testing import CliRunner

from nas.cli import nas
from nas.errors import NasError, UsageError
from nas.measure import front
from nas.run.network import named_network
from nas.run.run import Run

SPACE = """
from nas.testing.toys import toy_space


def space(resolution=8, classes=10, in_channels=3):
    return toy_space(2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small.py").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    """What the command prints on stdout; its error is raised."""
    done = CliRunner().invoke(nas, arguments, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


BUILD = (
    "latency",
    "build",
    "--device",
    "here",
    "--space",
    "small.py",
    "--seconds-per-row",
    "0.002",
    "--no-verify",
)


def test_one_command_builds_and_verifies_and_says_what_was_left_out(folder):
    said = run(*BUILD[:-1], "--minutes", "0.15")
    assert "12 whole networks: off by" in said
    assert "next        nas " in said
    info = json.loads((folder / "here.json").read_text())
    assert info["audit"]["every"]["networks"] == 12
    assert "disturbed" in info["conditions"]
    assert (folder / "here.verify.png").exists()


def test_a_table_is_built_and_prices_networks_it_never_saw(folder):
    said = run(*BUILD)
    assert "here.csv" in said
    assert "nas latency verify" in said
    found = json.loads(
        run("cost", "mobilenet_v2", "--resolution", "32", "--device", "here.csv", "--json")
    )
    assert found["devices"]["here"]["latency_ms"] > 0
    assert found["devices"]["here"]["latency_sd_ms"] > 0
    again = json.loads(run(*BUILD, "--json"))
    assert again["conditions"]["threads"] == 1
    assert "onnxruntime" in again["conditions"]["runtime"]


def test_other_conditions_are_refused(folder):
    run(*BUILD)
    with pytest.raises(NasError, match="was begun with threads 1, now it is 2"):
        run(*BUILD, "--threads", "2")


def test_a_provider_that_is_not_here_and_a_runner_with_settings_of_ours(folder):
    with pytest.raises(UsageError, match="no execution provider 'tpu', only"):
        run(*BUILD, "--provider", "tpu")
    with pytest.raises(UsageError, match="a --runner sees to them itself"):
        run(*BUILD, "--runner", "echo {model} 1", "--dtype", "int8")


def test_training_steps_are_built_and_verified(folder):
    run(*BUILD, "--training", "--training-batch", "2")
    with pytest.raises(UsageError, match="--training goes without --runner"):
        run(
            "latency",
            "verify",
            "--device",
            "here.csv",
            "--space",
            "small.py",
            "--training",
            "--runner",
            "x {model}",
        )
    verified = (
        "latency",
        "verify",
        "--device",
        "here.csv",
        "--space",
        "small.py",
        "--networks",
        "6",
        "--seconds",
        "0.01",
    )
    found = json.loads(run(*verified, "--training", "--json"))
    assert found["every"]["networks"] == 6
    assert not any(
        " was " in remark for remark in found["unreliable"]
    )  # the conditions are those of training, not of the rows
    info = json.loads((folder / "here.json").read_text())
    assert info["columns"]["train_ms"]["audit"]["every"] == found["every"]
    assert "audit" not in info


def test_a_command_times_too(folder):
    run(*BUILD, "--runner", "printf '0.5 ms' {model}")
    rows = (folder / "here.csv").read_text().splitlines()[1:]
    assert len(rows) > 20
    assert all(",0.5," in row for row in rows)


def test_help_and_mistakes(folder):
    assert "build" in run("latency", "--help")
    with pytest.raises(
        UsageError, match=r"no step of nas latency named 'biuld'. Did you mean 'build'"
    ):
        run("latency", "biuld")
    with pytest.raises(UsageError, match=r"not '../x'"):
        run("latency", "build", "--device", "../x", "--space", "small.py")


def test_a_table_is_verified_and_corrected(folder):
    run(*BUILD)
    verify = (
        "latency",
        "verify",
        "--device",
        "here.csv",
        "--space",
        "small.py",
        "--networks",
        "24",
        "--seconds",
        "0.002",
    )
    said = run(*verify)
    assert "tau" in said
    assert (folder / "here.verify.png").stat().st_size > 1000
    # By force: other tests run beside this one.
    found = json.loads(run(*verify, "--correct", "--force", "--json"))
    assert found["every"]["networks"] == 24
    assert found["refused"] == []
    assert len(found["bands"]) == 3
    assert not (folder / "here.verify.journal").exists()
    assert json.loads((folder / "here.json").read_text())["audit"]["every"] == found["every"]


def test_too_few_networks_for_a_correction_are_refused_before_any_is_timed(folder):
    run(*BUILD)
    few = ("latency", "verify", "--device", "here.csv", "--space", "small.py", "--networks", "6")
    with pytest.raises(UsageError, match="needs at least 10 timed networks, not 6: give --net"):
        run(*few, "--correct")


def test_a_shipped_table_is_not_written_to(folder):
    with pytest.raises(UsageError, match=r"--device must be the \.csv file of a table you own"):
        run("latency", "verify", "--device", "pixel1", "--space", "small.py")


def test_a_check_names_the_row_that_is_off(folder):
    steady = ("--runner", "printf '0.5 ms' {model}")
    run(*BUILD, *steady)
    check = ("latency", "check", "--device", "here.csv", "--sample", "40", *steady)
    assert json.loads(run(*check, "--json"))["ok"]
    path = folder / "here.csv"
    path.write_text(path.read_text().replace(",0.5,", ",5,", 1))
    done = CliRunner().invoke(nas, check, standalone_mode=False)
    assert "10.0 times off" in done.stdout
    with pytest.raises(
        NasError, match="cannot be relied on: 1 of 40 rows are off by a factor of 2 or more"
    ):
        raise done.exception


def test_given_networks_are_timed_beside_the_table(folder):
    run(*BUILD)
    how = ("--resolution", "32", "--device", "here.csv", "--seconds", "0.01")
    found = json.loads(run("latency", "time", "mobilenet_v2", *how, "--json"))
    (one,) = found["networks"]
    assert one["network"] == "mobilenet_v2"
    assert one["first_ms"] > 0
    assert one["error"] == pytest.approx(
        2 * one["latency_ms"] / (one["first_ms"] + one["second_ms"]) - 1
    )
    named_network("mobilenet_v2", resolution=32).save(folder / "same.json")
    said = run("latency", "time", "mobilenet_v2", "same.json", *how)
    assert "table off by" in said
    assert "mobilenet_v2 = same.json" in said
    with pytest.raises(UsageError, match="nothing timed here can be held against it"):
        run("latency", "time", "mobilenet_v2", "--device", "pixel1")


def test_a_search_with_a_table_of_this_machine_times_its_front(folder):
    run(*BUILD)
    search = ("search", "--space", "small.py", "--device", "here.csv", "--trials", "2")
    quick = ("--proxy", "images=64,epochs=1,resolution=8", "--warm", "none", "--out", "run")
    found = json.loads(run(*search, *quick, "--json"))
    assert all(row["timed_ms"] > 0 for row in found["front"])
    assert any(line.startswith("timed on here: ") for line in found["remarks"])
    lines = (folder / "run" / "latency.jsonl").read_text().splitlines()
    assert len(lines) >= len(found["front"])
    assert "timed on here as a whole" in run("pick", "run")
    # Once more with nothing left to do: no network is timed twice.
    run("search", "--resume", "run", "--json")
    assert (folder / "run" / "latency.jsonl").read_text().splitlines() == lines


def test_a_search_of_a_budget_shifts_its_table_to_this_machine(folder, monkeypatch):
    # Rows timed for two milliseconds may be several times too slow: no network takes what they say.
    run(*BUILD, "--seconds-per-row", "0.05")
    # These networks take microseconds: a moment tells how many.
    monkeypatch.setattr(front, "SECONDS", 0.2)
    (space,) = json.loads(run("spaces", "small.py", "--device", "here.csv", "--json"))
    latency_ms = space["devices"]["here.csv"]["quantiles_ms"]["0.95"]
    quick = ("--proxy", "images=64,epochs=1,resolution=8", "--warm", "none", "--trials", "2")
    bound = ("--latency", f"{latency_ms}ms", "--calibrate")
    run("search", "--space", "small.py", "--device", "here.csv", *quick, *bound, "--out", "run")
    found = Run("run")
    made = found.tables[0].info.calibration
    if made is None:
        pytest.skip("another load on this machine: the table was left as it is")
    assert made.networks >= 4
    assert made.low_ms <= made.high_ms
    for trial in found.trials:
        assert 0.9 * latency_ms <= trial.metrics["latency_ms@here"] <= latency_ms
    # It goes on by its own copy, although the user's table is another.
    run("search", "--resume", "run", "--trials", "3")
    assert len(Run("run").trials) == 3
