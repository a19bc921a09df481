"""The command ``nas arena``."""

import json

import pytest
from click.testing import CliRunner

from nas.cli.arena import command
from nas.errors import UsageError


@pytest.fixture
def run(tmp_path):
    def invoke(*args):
        given = [
            "--benchmark",
            "nk:space=nas_bench_macro",
            "--budget",
            "8",
            "--out",
            str(tmp_path),
            *args,
        ]
        return CliRunner().invoke(command, given, catch_exceptions=False)

    return invoke


def test_table_and_files(run, tmp_path):
    done = run("--strategy", "local-search", "--seeds", "2")
    assert "local-search" in done.stdout
    assert "4/4 searches" in done.stderr
    assert {p.name for p in tmp_path.iterdir()} >= {"arena.csv", "arena.json", "arena.png"}


def test_json_is_one_document(run):
    data = json.loads(run("--seeds", "100-101", "--json").stdout)
    assert data["seeds"] == [100, 101]
    assert [row["evaluations"] for row in data["rows"]] == [*range(1, 9), *range(1, 9)]


def test_seeds_are_a_number_or_a_range(run):
    with pytest.raises(
        UsageError, match="--seeds takes a number, or the first and the last as 100-119, not 'few'"
    ):
        run("--seeds", "few")
