"""Benchmarks: truth, noise, exact optima, bad tables."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

from nas import catalog
from nas.benchmarks import known, nk
from nas.benchmarks.csv import benchmark as csv_benchmark
from nas.cost.compiled import compile_costs
from nas.domain import Domain
from nas.errors import DataError, UsageError
from search_spaces import fbnet, mnasnet, nas_bench_macro


def test_benchmarks_are_known_by_file_name():
    assert {"csv", "effects", "nas-bench-macro", "nk"} <= set(known())


def test_a_spec_names_what_is_wrong():
    with pytest.raises(UsageError, match=r"no benchmark named 'nkk'. Did you mean 'nk'\?"):
        catalog.benchmark("nkk")
    with pytest.raises(
        UsageError, match=r"no setting of benchmark 'nk' named 'nois'. Did you mean 'noise'\?"
    ):
        catalog.benchmark("nk:nois=1")
    with pytest.raises(UsageError, match=r"no search space named 'fbnt'. Did you mean 'fbnet'\?"):
        catalog.benchmark("nk:space=fbnt")(0)


# -- NK -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def every_network():
    space = nas_bench_macro.space()
    return sorted({space.canonical(genes) for genes in itertools.product(range(3), repeat=8)})


@pytest.mark.parametrize("irrelevant", [0.0, 0.3])
@pytest.mark.parametrize("k", [0, 2, 5])
def test_the_optimum_of_a_landscape_is_exact(k, irrelevant, every_network):
    space = nas_bench_macro.space()
    domain = Domain(space, compile_costs(space, ("macs",), lambda layer: (layer.macs,)))
    for seed in range(4):
        landscape = nk.Landscape(domain, seed=seed, k=k, irrelevant=irrelevant)
        kept = np.array(every_network)[:, landscape.relevant]
        values = sum(
            landscape.contribution(j, kept[:, window]) for j, window in enumerate(landscape.windows)
        )
        best = every_network[int(np.argmax(values))]
        assert math.isclose(landscape.loss(best), landscape.least_loss(), abs_tol=1e-9)


def test_the_optimum_lies_inside_the_bound(every_network):
    problem = nk.benchmark(seed=0, space=nas_bench_macro.space(), max_macs=45e6)
    inside = [
        genes
        for genes, keep in zip(
            every_network, problem.domain.inside(np.array(every_network)), strict=True
        )
        if keep
    ]
    assert 100 < len(inside) < 3000
    assert math.isclose(
        min(problem.truth(genes)[0] for genes in inside), problem.best, abs_tol=1e-9
    )


@pytest.mark.parametrize("space", [fbnet.space(), mnasnet.space(32)], ids=["fbnet", "mnasnet"])
def test_a_landscape_is_standardised_and_its_optimum_out_of_reach_of_chance(space):
    problem = nk.benchmark(seed=1, space=space, k=2)
    drawn = problem.domain.sample_many(150, np.random.default_rng(0)).tolist()
    losses = [problem.truth(tuple(genes))[0] for genes in drawn]
    assert -1 < np.mean(losses) < 1
    assert 0.6 < np.std(losses) < 1.4
    assert problem.best < min(losses) - 1


def test_equal_networks_are_equally_good_and_noise_is_fixed_per_network():
    problem = nk.benchmark(seed=0, space=nas_bench_macro.space(), noise=0.15)
    first, second = (0, 1, 0, 1, 0, 1, 1, 1), (0, 1, 0, 0, 1, 1, 1, 1)
    assert problem.domain.canonical(first) == problem.domain.canonical(second)
    assert problem.truth(first) == problem.truth(second)
    assert problem.observe(first) == problem.observe(second) != problem.truth(first)
    drawn = [tuple(g) for g in problem.domain.sample_many(400, np.random.default_rng(0)).tolist()]
    noise = {
        problem.domain.canonical(g): problem.observe(g)[0] - problem.truth(g)[0] for g in drawn
    }
    assert 0.13 < np.std(list(noise.values())) < 0.17


def test_irrelevant_genes_are_irrelevant():
    space = fbnet.space()
    domain = Domain(space, compile_costs(space, ("macs",), lambda layer: (layer.macs,)))
    landscape = nk.Landscape(domain, seed=0, k=2, irrelevant=0.5)
    assert len(landscape.relevant) == 11
    genes = [0] * 22
    for position in set(range(22)) - set(landscape.relevant):
        genes[position] = 5
    assert landscape.loss(tuple(genes)) == landscape.loss((0,) * 22)


def test_an_impossible_landscape_is_refused():
    with pytest.raises(
        UsageError, match=r"takes k from 0 to 7 and irrelevant from 0 to below 1, not 8 and 0"
    ):
        nk.benchmark(seed=0, space=nas_bench_macro.space(), k=8)
    with pytest.raises(
        UsageError,
        match="k = 9 has windows of 3486784401 values on space 'fbnet': take a smaller k",
    ):
        nk.benchmark(seed=0, k=9)


# -- main effects ---------------------------------------------------------------------------------


@pytest.mark.parametrize("interactions", [0.0, 0.3])
def test_the_optimum_of_main_effects_is_exact(interactions, every_network):
    make = catalog.benchmark(f"effects:space=nas_bench_macro,interactions={interactions},reach=2")
    for seed in range(3):
        problem = make(seed)
        least = min(problem.truth(genes)[0] for genes in every_network)
        assert math.isclose(least, problem.best, abs_tol=1e-9)


def test_main_effects_have_the_share_of_the_variance_that_was_asked_for():
    problem = catalog.benchmark("effects:interactions=.2,irrelevant=.25,noise=.1")(0)
    domain = problem.domain
    genes = domain.sample_many(3000, np.random.default_rng(0))
    losses = np.array([problem.truth(tuple(row))[0] for row in genes.tolist()])
    noise = losses - [problem.observe(tuple(row))[0] for row in genes.tolist()]
    columns = []
    for place, size in enumerate(domain.space.gene_sizes):
        columns += [genes[:, place] == option for option in range(1, size)]
    design = np.column_stack([np.ones(len(genes)), *columns])
    explained = design @ np.linalg.lstsq(design, losses, rcond=None)[0]
    assert losses.std() == pytest.approx(1, abs=0.05)
    assert noise.std() == pytest.approx(0.1, abs=0.01)
    assert 1 - (losses - explained).var() / losses.var() == pytest.approx(0.8, abs=0.03)


def test_a_share_of_the_genes_has_no_effect():
    problem = catalog.benchmark("effects:grid=8x3o+8x2,irrelevant=.25")(1)
    base = (0,) * 16
    changed = [(*base[:place], 1, *base[place + 1 :]) for place in range(16)]
    moved = [problem.truth(genes) != problem.truth(base) for genes in changed]
    assert sum(moved) == 12


def test_effects_of_real_trainings():
    problem = catalog.benchmark("effects:imagenet,interactions=0,noise=.3")(100)
    assert len(problem.domain.space.choices) == 28
    # Expansion 6 in the last block instead of 1, nothing else: 4.9 of 3.6 points in the mean.
    narrow = [0] * 28
    wide = [0] * 24 + [2, 0, 0, 0]
    gain = problem.truth(tuple(narrow))[0] - problem.truth(tuple(wide))[0]
    assert 1.2 < gain < 1.8
    other = catalog.benchmark("effects:imagenet,interactions=0,noise=.3")(101)
    assert problem.best != other.best


def test_impossible_effects_are_refused():
    make = catalog.benchmark
    with pytest.raises(UsageError, match="a grid is written 14x3o"):
        make("effects:grid=3")(0)
    with pytest.raises(UsageError, match=r"a reach of at least 1, not 0.1 and 0"):
        make("effects:reach=0")(0)
    with pytest.raises(UsageError, match="one of space, grid and the variant"):
        make("effects:imagenet,grid=4x3")(0)
    with pytest.raises(UsageError, match=r"irrelevant from 0 to below 1 .* not 1 and 0\.8"):
        make("effects:irrelevant=1")(0)
    with pytest.raises(UsageError, match="max_macs bounds networks: give a space"):
        make("effects:max_macs=1e6")(0)
    with pytest.raises(UsageError, match="no variant of effects named 'imagnet'"):
        make("effects:imagnet")(0)


# -- NAS-Bench-Macro ------------------------------------------------------------------------------


@pytest.fixture
def macro(nas_data, monkeypatch):
    monkeypatch.setenv("NAS_DATA", str(nas_data))


def test_the_published_best_network(macro):
    problem = catalog.benchmark("nas-bench-macro")(0)
    assert problem.best == pytest.approx(100 - 93.127, abs=1e-3)
    assert problem.truth((2, 2, 2, 1, 2, 2, 2, 0))[0] == pytest.approx(problem.best)


def test_one_noisy_seed_per_network(macro):
    make = catalog.benchmark("nas-bench-macro:noisy")
    problem, other, genes = make(0), make(1), (1, 1, 1, 1, 1, 2, 2, 1)
    seeds = [100 - 92.18000030517578, 100 - 92.22000122070312, 100 - 92.50999450683594]
    assert problem.observe(genes) == problem.observe(genes)
    assert problem.observe(genes)[0] in seeds
    assert problem.truth(genes)[0] == pytest.approx(np.mean(seeds))
    drawn = [tuple(g) for g in problem.domain.sample_many(50, np.random.default_rng(0)).tolist()]
    assert any(problem.observe(g) != other.observe(g) for g in drawn)
    with pytest.raises(
        UsageError, match=r"no variant of nas-bench-macro named 'noise'. Did you mean 'noisy'\?"
    ):
        catalog.benchmark("nas-bench-macro:noise")(0)


def test_the_front_has_a_fixed_reference(macro):
    problem = catalog.benchmark("nas-bench-macro:front=true,max_macs=60e6")(0)
    assert problem.losses == ("error_points", "macs")
    assert problem.reference[0] == 10.0
    assert problem.reference[1] == problem.domain.compiled.extreme("macs", largest=True)[0]
    assert problem.best > 100 - 93.127
    lookup = problem.observe.__self__
    one = dataclasses.replace(lookup, repeats={(2,) * 8: lookup.repeats[(2,) * 8]})
    with pytest.raises(DataError, match="no network inside macs <= "):
        one.inside()


def test_missing_or_foreign_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA", str(tmp_path))
    make = catalog.benchmark("nas-bench-macro")
    with pytest.raises(
        DataError, match=r"reads nas_bench_macro_cifar10.json in the folder that NAS_DATA names"
    ):
        make(0)
    (tmp_path / "nas_bench_macro_cifar10.json").write_text(json.dumps({"22222222": {}}))
    with pytest.raises(DataError, match=r"is not the table of NAS-Bench-Macro: 'test_acc'"):
        make(0)
    (tmp_path / "nas_bench_macro_cifar10.json").write_text("{}")
    with pytest.raises(DataError, match=r"must hold all 3969 networks of NAS-Bench-Macro, not 0"):
        make(0)


# -- CSV ------------------------------------------------------------------------------------------


def table(tmp_path, text: str) -> str:
    path = tmp_path / "table.csv"
    path.write_text(text)
    return str(path)


def test_columns_of_choices(tmp_path):
    file = table(
        tmp_path, "kernel,act,acc,ms\n3,relu,.9,2\n5,relu,.94,4\n5,relu,.92,4\n3,gelu,.7,3\n"
    )
    problem = catalog.benchmark(f"csv:{file},maximize=acc,minimize=ms")(0)
    assert problem.domain.space.gene_names == ("kernel.kernel", "act.act")
    assert problem.domain.space.choices[1].labels == ("gelu", "relu")
    assert problem.truth((1, 1)) == pytest.approx((-0.93, 4.0))
    assert problem.losses == ("minus_acc", "ms")
    assert problem.ideal == pytest.approx((-0.93, 2.0))
    assert problem.reference == pytest.approx((-0.7, 4.0))
    with pytest.raises(DataError, match="the table has no row for"):
        problem.observe((1, 0))
    noisy = {
        csv_benchmark(seed=s, variant=file, maximize="acc", ignore="ms", noisy=True).observe(
            (1, 1)
        )[0]
        for s in range(20)
    }
    assert noisy == {-0.94, -0.92}


def test_a_column_of_genes(tmp_path):
    file = table(tmp_path, 'genes,acc\n"(0, 1)",1\n"(2, 0)",3\n')
    problem = csv_benchmark(seed=0, variant=file, maximize="acc")
    assert problem.domain.space.gene_sizes == (3, 2)
    assert problem.truth((2, 0)) == (-3.0,)


def test_genes_of_a_known_space_are_merged(tmp_path):
    file = table(tmp_path, "genes,error\n0-1-0-1-0-1-1-1,1\n0-1-0-0-1-1-1-1,3\n")
    problem = catalog.benchmark(f"csv:{file},minimize=error,space=nas_bench_macro")(0)
    assert problem.truth((0, 1, 0, 1, 0, 1, 1, 1)) == (2.0,)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("a,acc\nx,1\n", {}, "say which columns of .* count: maximize=NAME or minimize=NAME"),
        ("a,acc\nx,1\n", {"maximize": "ac"}, r"no column of .* named 'ac'. Did you mean 'acc'\?"),
        (
            "a,acc\nx,nan\n",
            {"maximize": "acc"},
            "table.csv line 2: column 'acc' must hold finite numbers, not 'nan'",
        ),
        ("a,acc\nx,good\n", {"maximize": "acc"}, "line 2: acc must be a number, not 'good'"),
        ("a,acc\nx\n", {"maximize": "acc"}, "line 2: 1 columns where 2 are due"),
        ("a,acc\n", {"maximize": "acc"}, "has no row below its header"),
        (
            "acc\n1\n",
            {"maximize": "acc"},
            "needs a column 'genes' with option indices, or columns of choices",
        ),
        (
            "genes,acc\n1-2,1\n1,1\n",
            {"maximize": "acc"},
            "must hold equally many option indices in every row",
        ),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, settings, message):
    with pytest.raises((DataError, UsageError), match=message):
        csv_benchmark(seed=0, variant=table(tmp_path, text), **settings)


def test_a_table_that_is_absent_or_vast_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot read the table"):
        csv_benchmark(seed=0, variant=str(tmp_path / "none.csv"), maximize="acc")
    monkeypatch.setattr("nas.benchmarks.csv.LARGEST_FILE_BYTES", 3)
    with pytest.raises(DataError, match="too large for a benchmark"):
        csv_benchmark(seed=0, variant=table(tmp_path, "a,acc\nx,1\n"), maximize="acc")
