import numpy as np
import pytest

from nas.cost.compiled import compile_costs
from nas.cost.costs import space_costs
from search_spaces import fbnet, mnasnet


def random_genes(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=count) for size in space.gene_sizes], axis=1)


@pytest.mark.parametrize("module", [fbnet, mnasnet])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_compiled_costs_equal_the_layer_by_layer_sum(module, dtype):
    space = module.space()
    compiled = space_costs(space, ())
    genes = random_genes(space, 200)
    priced = compiled.price(genes.astype(dtype))
    for row, one in zip(priced, genes, strict=True):
        network = space.decode(one)
        expected = [getattr(network, name) for name in compiled.names]
        np.testing.assert_allclose(row, expected, rtol=1e-12)
    assert compiled.of(tuple(genes[0])) == dict(zip(compiled.names, priced[0], strict=True))


def test_chunks_do_not_show():
    space = fbnet.space()
    compiled = space_costs(space, ())
    genes = random_genes(space, 40_000)
    np.testing.assert_array_equal(compiled.price(genes)[-5:], compiled.price(genes[-5:]))


@pytest.mark.parametrize("module", [fbnet, mnasnet])
@pytest.mark.parametrize("name", ["params", "macs", "peak_memory_bytes"])
def test_extremes_are_reached_and_never_passed(module, name):
    space = module.space()
    compiled = space_costs(space, ())
    priced = compiled.price(random_genes(space, 5000))[:, compiled.column(name)]
    for largest in (False, True):
        value, genes = compiled.extreme(name, largest=largest)
        assert compiled.of(genes)[name] == pytest.approx(value)
        assert (priced <= value).all() if largest else (priced >= value).all()


def test_extremes_by_enumeration():
    space = fbnet.space(resolution=32)
    compiled = compile_costs(
        space, ("cost", "worst"), lambda layer: (layer.macs % 97, layer.params % 89), ("worst",)
    )
    genes = random_genes(space, 1)[0]
    near = np.array([np.concatenate([[a, b], genes[2:]]) for a in range(9) for b in range(9)])
    assert compiled.extreme("cost")[0] <= compiled.price(near)[:, 0].min()
    assert compiled.extreme("worst", largest=True)[0] >= compiled.price(near)[:, 1].max()
