"""The arena: equal budgets, honest figures, resumption."""

import dataclasses
import functools
import itertools
import json

import numpy as np
import pytest

from nas.benchmarks import Problem, _cell, known, nk
from nas.benchmarks import arena as arena_module
from nas.benchmarks.arena import CONTROL, compare, run_cell
from nas.errors import NasError, RunError, UsageError
from nas.report.arena import arena_figure, arena_table
from nas.strategies import make
from search_spaces import nas_bench_macro


def small(seed: int) -> Problem:
    return nk.benchmark(seed=seed, space=nas_bench_macro.space(), k=2, noise=0.1)


def two_losses(seed: int) -> Problem:
    problem = small(seed)
    macs = functools.partial(problem.domain.compiled.of)
    return dataclasses.replace(
        problem,
        losses=("loss_sd", "macs"),
        observe=lambda genes: (*problem.observe(genes), macs(genes)["macs"]),
        truth=lambda genes: (*problem.truth(genes), macs(genes)["macs"]),
        ideal=(problem.best, 0.0),
        reference=(0.0, 1e8),
    )


def test_the_arena_is_no_benchmark():
    assert sorted(known()) == ["csv", "effects", "nas-bench-macro", "nk"]


def test_only_new_networks_count():
    seen, problem = [], small(0)

    def observe(genes):
        seen.append(problem.domain.canonical(genes))
        return problem.observe(genes)

    cell = run_cell(
        lambda seed: dataclasses.replace(problem, observe=observe), "optuna:Random", 0, 60
    )
    assert len(seen) == len(set(seen)) == 60
    assert cell.asks > 60
    assert [row.evaluations for row in cell.rows] == list(range(1, 61))


def test_regret_is_that_of_the_recommendation_by_the_truth():
    problem, trials = small(0), 12
    cell = run_cell(small, "local-search", 0, trials)
    strategy = make("local-search", problem.domain, seed=0)
    search = _cell.Search(problem, strategy, "local-search", 0)
    for row in cell.rows:
        search.step()
        assert row.regret == problem.truth(strategy.recommend())[0] - problem.best
        assert row.regret >= 0
    assert np.all(np.diff([row.hypervolume for row in cell.rows]) >= 0)
    best = min(problem.truth(genes)[0] for genes in search.known)
    assert cell.rows[-1].hypervolume == pytest.approx(max(0.0, best / problem.best))


def test_what_cannot_be_evaluated_is_free_and_told_infeasible():
    problem, refused = small(0), []

    def observe(genes):
        if genes[0] == 0:
            refused.append(genes)
            raise NasError("no such row")
        return problem.observe(genes)

    cell = run_cell(lambda seed: dataclasses.replace(problem, observe=observe), "random", 0, 30)
    assert cell.asks == 30 + len(refused)
    assert len(refused) > 3


def test_an_exhausted_space_stalls_and_keeps_its_last_figures(monkeypatch):
    monkeypatch.setattr("nas.benchmarks._cell.STALLED", 20)
    problem = small(0)
    allowed = [problem.domain.canonical(genes) for genes in itertools.product(range(2), repeat=8)][
        :9
    ]

    def observe(genes):
        if genes not in allowed:
            raise NasError("no such row")
        return problem.observe(genes)

    cell = run_cell(lambda seed: dataclasses.replace(problem, observe=observe), "random", 0, 30)
    assert cell.stalled
    assert len(cell.rows) == 30
    assert len({row.regret for row in cell.rows[9:]}) == 1


def test_equal_seeds_give_equal_rows_in_one_process_and_in_two():
    one = compare(small, ["local-search"], name="nk", seeds=range(2), budget=10)
    two = compare(small, ["local-search"], name="nk", seeds=range(2), budget=10, workers=2)
    assert [dataclasses.replace(r, ask_seconds=0) for r in one.rows] == [
        dataclasses.replace(r, ask_seconds=0) for r in two.rows
    ]


def test_a_random_control_is_always_in():
    arena = compare(small, ["local-search"], name="nk", seeds=range(2), budget=5)
    assert arena.strategies == ("local-search", CONTROL)
    assert len(arena.rows) == 2 * 2 * 5


def test_finished_cells_are_not_run_again(tmp_path, monkeypatch):
    compare(small, ["local-search"], name="nk", seeds=range(2), budget=5, out=tmp_path)
    ran, done = [], []
    real = arena_module.run_cell
    monkeypatch.setattr(
        "nas.benchmarks.arena.run_cell", lambda *given: ran.append(given[1:3]) or real(*given)
    )
    arena = compare(
        small,
        ["local-search", "evolution"],
        name="nk",
        seeds=range(3),
        budget=5,
        out=tmp_path,
        watch=done.append,
    )
    assert ran == [
        ("evolution", 0),
        ("evolution", 1),
        ("local-search", 2),
        ("evolution", 2),
        ("random", 2),
    ]
    assert [(state.done, state.planned) for state in done] == [(n, 9) for n in range(5, 10)]
    assert done[-1].eta_seconds == 0
    assert (
        arena.rows
        == compare(
            small, ["local-search", "evolution"], name="nk", seeds=range(3), budget=5, out=tmp_path
        ).rows
    )


def test_another_comparison_in_the_folder_is_refused(tmp_path):
    compare(small, [], name="nk", seeds=[0], budget=5, out=tmp_path)
    with pytest.raises(
        RunError,
        match=r"holds an arena of nk with budget 5, not of nk with 6: choose another folder",
    ):
        compare(small, [], name="nk", seeds=[0], budget=6, out=tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(RunError, match=r"is not the settings of an arena"):
        compare(small, [], name="nk", seeds=[0], budget=5, out=tmp_path)


@pytest.mark.parametrize("content", ['{"strategy": ', '{"rows": 3}', "[]"])
def test_a_broken_cell_is_refused(tmp_path, content):
    compare(small, [], name="nk", seeds=[0], budget=5, out=tmp_path)
    (cell,) = (tmp_path / "cells").iterdir()
    cell.write_text(content)
    with pytest.raises(RunError, match=r"random-.*-0.json is not a finished cell .* Delete it"):
        compare(small, [], name="nk", seeds=[0], budget=5, out=tmp_path)


def test_bad_requests_are_refused_before_anything_runs():
    with pytest.raises(UsageError, match="no strategy named 'randon'"):
        compare(small, ["randon"], name="nk", seeds=[0], budget=5)
    with pytest.raises(UsageError, match="a budget of at least 1 and a seed, not 0 and 1 seeds"):
        compare(small, [], name="nk", seeds=[0], budget=0)


def test_files_and_json(tmp_path):
    arena = compare(small, ["local-search"], name="nk", seeds=range(3), budget=6, out=tmp_path)
    data = json.loads((tmp_path / "arena.json").read_text())
    assert data["rows"] == [dataclasses.asdict(row) for row in arena.rows]
    assert set(data["rows"][0]) == {
        "strategy",
        "seed",
        "evaluations",
        "regret",
        "hypervolume",
        "ask_seconds",
    }
    assert len((tmp_path / "arena.csv").read_text().splitlines()) == 1 + len(arena.rows)
    figure = arena_figure(arena)
    assert len(figure.axes) == 2
    table = arena_table(arena, (3,))
    assert "regret@3" in table
    assert "regret@6" in table
    assert len(table.splitlines()) == 3


def test_several_objectives_are_compared_by_hypervolume():
    arena = compare(two_losses, ["local-search"], name="front", seeds=range(3), budget=20)
    assert all(row.regret is None for row in arena.rows)
    assert 0 < arena.score("local-search").hypervolume[0] < 1
    assert len(arena_figure(arena).axes) == 1
    assert "regret" not in arena_table(arena)


def test_better_is_said_only_where_the_interval_excludes_zero():
    arena = compare(small, ["local-search"], name="nk", seeds=range(6), budget=40)
    score = arena.score("local-search", (20,))
    assert score.verdict == "better"
    assert score.over_control[2] < 0
    assert set(score.regret) == {20, 40}
    assert arena.score(CONTROL).verdict == ""
    assert arena.score(CONTROL).over_control == (0.0, 0.0, 0.0)
