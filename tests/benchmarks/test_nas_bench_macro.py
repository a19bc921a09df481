"""The space of NAS-Bench-Macro against the published data."""

import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from nas.cost.compiled import compile_costs
from search_spaces.nas_bench_macro import space


def test_distinct_networks():
    assert space().cardinality == 6561
    assert space().distinct == 3969


def test_canonical_merges_as_many_as_are_counted():
    made = space()
    assert len({made.canonical(genes) for genes in product(range(3), repeat=8)}) == 3969


def test_params_and_macs_are_the_published_ones():
    path = Path(os.environ.get("NAS_DATA", "../shared/data")) / "nas_bench_macro_cifar10.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent: set NAS_DATA")
    table = json.loads(path.read_text())
    costs = compile_costs(space(), ("params", "macs"), lambda layer: (layer.params, layer.macs))
    priced = costs.price(np.array([list(map(int, name)) for name in table]))
    published = np.array([[row["params"], row["flops"]] for row in table.values()])
    np.testing.assert_array_equal(priced, published)
