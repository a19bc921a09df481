"""A build is complete, fitted, resumable, and says under which conditions it was made."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_up import ByName, Killed

from nas import catalog
from nas.cost.costs import space_costs
from nas.domain import Bound, Domain
from nas.errors import TableError
from nas.latency.keys import kernel_from_key, layer_key
from nas.latency.table import Table
from nas.measure import build, timing, verify
from nas.measure.build import build_table, grid, layers_of
from nas.measure.drawing import draw
from nas.measure.journal import Journal
from nas.measure.runners import Reading
from nas.measure.whole import Timed
from nas.report.costs import costs_text
from nas.run.network import named_network
from nas.testing.toys import toy_space

SPACE = toy_space(3)


@pytest.fixture(autouse=True)
def _graphs_are_names(monkeypatch):
    monkeypatch.setattr(build, "subject", lambda key, **_: timing.Subject(key, key.encode))


def test_every_layer_and_kind_of_kernel_gets_a_row_and_any_network_a_price(tmp_path):
    table = build_table("board", [SPACE], ByName(), tmp_path)
    layers = layers_of([SPACE])
    for layer in layers:
        assert layer_key(layer.op, layer.shape) in table.rows
        assert table.layer(layer).measured_ms > 0
    assert {k.kind for k in grid(layers)} == {
        kernel_from_key(key).kind for key in table.rows if "@" not in key
    }
    foreign = table.estimate(named_network("mobilenet_v2", resolution=64))
    assert foreign.predicted_ms > 0
    assert foreign.latency_sd_ms > 0


def test_the_table_says_how_it_was_made(tmp_path):
    info = build_table("board", [SPACE], ByName(), tmp_path).info
    assert info.conditions["runtime"] == "made up"
    assert info.spaces == ("toy 3x8x8",)
    assert info.noisy == ()
    assert any("leave_one_out_conv" in name for name in info.known_error)
    assert any("nas latency verify --correct" in caveat for caveat in info.caveats)
    assert info.audit is None


def test_a_killed_build_goes_on_and_ends_as_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_ROWS", 5)
    whole = build_table("board", [SPACE], ByName(), tmp_path / "whole")
    with pytest.raises(Killed):
        build_table("board", [SPACE], ByName(stop_after=12), tmp_path / "killed")
    assert not (tmp_path / "killed" / "board.csv").exists()
    again = ByName()
    resumed = build_table("board", [SPACE], again, tmp_path / "killed")
    assert resumed.rows == whole.rows
    assert len(again.opened) == len(whole.rows) - 10


def test_a_torn_line_is_cut(tmp_path, monkeypatch):
    whole = build_table("board", [SPACE], ByName(), tmp_path)
    journal = tmp_path / "board.journal"
    text = journal.read_text()
    for end in (len(text) - 3, len(text) // 2, 40, 5):
        journal.write_text(text[:end])
        assert build_table("board", [SPACE], ByName(), tmp_path).rows == whole.rows


def test_another_space_adds_its_rows(tmp_path):
    first = build_table("board", [SPACE], ByName(), tmp_path)
    second = build_table(
        "board", [toy_space(4), catalog.space("nas_bench_macro")], ByName(), tmp_path
    )
    assert set(first.rows) < set(second.rows)


def test_rows_of_other_conditions_do_not_mix(tmp_path):
    build_table("board", [SPACE], ByName(), tmp_path)
    with pytest.raises(
        TableError,
        match=r"was begun with runtime made up, now it is newer.*remove the file to start anew",
    ):
        build_table("board", [SPACE], ByName(runtime="newer"), tmp_path)


def test_a_damaged_journal_is_told_with_its_line(tmp_path):
    build_table("board", [SPACE], ByName(), tmp_path)
    journal = tmp_path / "board.journal"
    lines = journal.read_text().splitlines()
    lines[3] = '{"key": "x"}'
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(TableError, match=r"board\.journal line 4 is damaged"):
        build_table("board", [SPACE], ByName(), tmp_path)


def test_two_builds_do_not_share_a_journal(tmp_path):
    with (
        Journal(tmp_path / "board.journal", {}),
        pytest.raises(TableError, match=r"board\.journal is in use by another build"),
    ):
        Journal(tmp_path / "board.journal", {})


def test_progress_counts_rows_and_ends_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_ROWS", 7)
    seen = []
    table = build_table("board", [SPACE], ByName(), tmp_path, watch=seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[0].eta_seconds is None
    assert seen[-1].done == seen[-1].planned == len(table.rows)
    assert seen[-1].eta_seconds == 0


def test_noisy_rows_are_named(tmp_path):
    class Jumpy(ByName):
        def open(self, model):
            steady, count = super().open(model), iter(range(10**6))
            return lambda: (
                steady() * (1 + 9 * (next(count) % 2)) if b"channels=24" in model else steady()
            )

    info = build_table("board", [SPACE], Jumpy(), tmp_path, seconds_per_row=0.01).info
    assert info.noisy
    assert all("channels=24" in key for key in info.noisy)
    assert json.loads((tmp_path / "board.json").read_text())["noisy"] == list(info.noisy)


def test_the_written_table_loads_to_the_same(tmp_path):
    table = build_table("board", [SPACE], ByName(), tmp_path)
    assert Table.load(tmp_path / "board.json").digest == table.digest


# -- columns --------------------------------------------------------------------------------------


def test_training_steps_are_a_column_and_survive_another_build(tmp_path):
    small = toy_space(1)
    build.time_training("board", [small], tmp_path, batch=2, seconds_per_row=0.001)
    for _ in range(2):
        table = build_table("board", [small], ByName(), tmp_path)
        assert table.columns == ("train_ms",)
        assert table.info.training["batch"] == 2
        network = small.decode([0] * 2)
        step = table.column("train_ms").estimate(network)
        assert step.measured_ms == pytest.approx(
            sum(table.row(x).extra["train_ms"] for x in network.layers)
        )
        costs = space_costs(small, [table]).of((0,) * 2)
        assert costs["train_ms@board"] == pytest.approx(step.latency_ms)
        assert costs["latency_ms@board"] == pytest.approx(table.estimate(network).latency_ms)


def test_energy_is_a_column_where_the_runner_tells_it(tmp_path):
    class Meter(ByName):
        def open(self, model):
            run = super().open(model)

            def once():
                found = Reading(run())
                found.energy_mj = 3 * found
                return found

            return once

    table = build_table("board", [SPACE], Meter(), tmp_path)
    network = SPACE.decode([0] * 6)
    energy = table.column("energy_mj")
    assert energy.estimate(network).latency_ms == pytest.approx(
        3 * table.estimate(network).latency_ms, rel=0.05
    )
    assert energy.estimate(named_network("mobilenet_v2", resolution=64)).predicted_ms > 0
    domain = Domain(SPACE, space_costs(SPACE, [table]), [Bound("energy_mj@board", 0.1)])
    assert (
        domain.compiled.price(domain.sample_many(20, np.random.default_rng(0)))[:, 1] <= 0.1
    ).all()
    assert "board  energy_mj: " in costs_text("one", network, [table])
    with pytest.raises(TableError, match="has no column train_ms: it has energy_mj"):
        table.column("train_ms")


def test_what_most_networks_have_comes_first_and_the_rest_is_said_to_be_predicted(
    tmp_path, monkeypatch
):
    space = toy_space(4)
    keys = build.keys_of([space])
    ordered = build.drawn_by_use(keys, [space])
    uses = build.uses_of(space)
    assert sum(uses.values()) == pytest.approx(
        np.mean([len(space.decode(genes).layers) for genes in drawn_genes(space)]), rel=0.05
    )
    assert sorted(ordered) == sorted(keys)
    kernels = [key for key in keys if "@" not in key]
    assert set(ordered[: len(kernels)]) == set(kernels)
    monkeypatch.setattr(build, "subject", lambda key, **_: timing.Subject(key, key.encode))
    monkeypatch.setattr(timing, "BLOCK_ROWS", 8)
    ticks = iter(range(10**6))
    monkeypatch.setattr(timing.time, "monotonic", lambda: float(next(ticks)))
    table = build.build_table("part", [space], ByName(), tmp_path, minutes=2.0)
    assert 8 < len(table.rows) < len(keys)
    assert any("layers were not timed, for want of time" in text for text in table.info.caveats)
    for layer in space.layers:
        assert table.layer(layer).latency_ms > 0 or not layer.kernels


def test_layers_that_were_not_timed_are_interpolated_when_they_are_asked_for(tmp_path, monkeypatch):
    space = catalog.space("fbnet", resolution=32)
    monkeypatch.setattr(timing, "BLOCK_ROWS", 16)
    ticks = iter(range(10**6))
    monkeypatch.setattr(timing.time, "monotonic", lambda: float(next(ticks)))
    table = build_table("part", [space], ByName(), tmp_path, minutes=4.5)
    untimed = [x for x in space.layers if x.kernels and table.row(x) is None]
    assert 10 < len(untimed) < len(space.layers) - 50
    assert {row.source for row in table.rows.values()} == {"measured"}
    assert table.info.interpolation is not None
    assert next(iter(table.info.known_error)) == "leave_one_out_interpolated_mape"
    assert any("are interpolated between those that were" in text for text in table.info.caveats)
    plain = replace(table, info=replace(table.info, interpolation=None))
    told = [x for x in untimed if x.op.key == "mbconv"]
    assert all(table.layer(x).latency_ms != plain.layer(x).latency_ms for x in told)
    # A correction is stored beside it.
    found = verify.verify(table, timed_networks(space, table), correct=True)
    assert found.table.info.interpolation == table.info.interpolation
    assert found.table.rows == table.rows
    assert found.every.mape < 0.1


def timed_networks(space, table):
    """Some that take a third more than the table says."""
    timed = []
    for network in draw(space, 12, seed=0):
        ms = 1.33 * table.estimate(network).latency_ms
        timed.append(Timed(space="fbnet", network=network, first_ms=ms, second_ms=ms))
    return timed


def drawn_genes(space):
    rng = np.random.default_rng(0)
    return rng.integers(0, space.gene_sizes, (2000, len(space.gene_sizes)))
