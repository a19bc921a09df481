"""Draws under one, two and three bounds against all networks of spaces that are cut down."""

import numpy as np
import pytest

from nas import catalog
from nas.cost.costs import space_costs
from nas.domain import Bound, Domain
from nas.errors import BoundError
from nas.space import SearchSpace
from search_spaces import fbnet, fused_mbconv, mnasnet, nas_bench_macro

MS = "latency_ms@pixel1"
DRAWS = 4000


def cut(module, slots):
    """The space's first slots and its head."""
    whole = module.space(resolution=32)
    return SearchSpace("cut", whole.input, (*whole.slots[:slots], whole.slots[-1]))


def every(space):
    return np.indices(space.gene_sizes).reshape(len(space.gene_sizes), -1).T


def z_statistics(drawn, inside, sizes):
    """Of each option's frequency among the draws, where it is neither always nor never taken."""
    z = []
    for gene, size in enumerate(sizes):
        share = np.bincount(inside[:, gene], minlength=size) / len(inside)
        count = np.bincount(drawn[:, gene], minlength=size)
        assert not count[share == 0].any()
        varies = (share > 0) & (share < 1)
        expected, sd = len(drawn) * share, np.sqrt(len(drawn) * share * (1 - share))
        z += list((count[varies] - expected[varies]) / sd[varies])
    return np.array(z)


@pytest.fixture(scope="module", params=[(fbnet, 6), (mnasnet, 3)], ids=["fbnet", "mnasnet"])
def small(request):
    """A space, its costs, all its gene tuples and their medians."""
    space = cut(*request.param)
    costs = space_costs(space, [catalog.device("pixel1")])
    genes = every(space)
    medians = dict(zip(costs.names, np.median(costs.price(genes), axis=0).tolist(), strict=True))
    return space, costs, genes, medians


@pytest.mark.parametrize("count", [1, 2, 3])
def test_marginals_are_those_of_all_networks_inside(small, count):
    """A z beyond 4.5 or an rms of 1.5 comes by chance less than once in 1,000."""
    space, costs, genes, medians = small
    bounds = [
        Bound("macs", 1.025 * medians["macs"], 0.975 * medians["macs"]),
        Bound("params", medians["params"]),
        Bound(MS, medians[MS], 0.95 * medians[MS]),
    ]
    domain = Domain(space, costs, bounds[:count])
    inside = genes[domain.inside(genes)]
    drawn = domain.sample_many(DRAWS, np.random.default_rng(1))
    assert domain.inside(drawn).all()
    z = z_statistics(drawn, inside, space.gene_sizes)
    assert np.abs(z).max() < 4.5
    assert np.sqrt(np.square(z).mean()) < 1.5
    # Four standard errors of the trial draws.
    assert domain.share == pytest.approx(len(inside) / len(genes), rel=0.15)


def test_bounds_that_few_draws_meet_still_give_varied_networks():
    space = fbnet.space()
    costs = space_costs(space, [catalog.device("pixel1")])
    middle = costs.of(Domain(space, costs).sample(np.random.default_rng(3)))
    names = (MS, "macs", "params")
    bounds = [Bound(name, 1.002 * middle[name], 0.998 * middle[name]) for name in names]
    domain = Domain(space, costs, bounds)
    assert domain.share is None
    drawn = domain.sample_many(64, np.random.default_rng(0))
    assert domain.inside(drawn).all()
    assert len(np.unique(drawn, axis=0)) > 56
    # Sweeps of so narrow bands leave most genes as they were at the start.
    commonest = [np.bincount(column).max() / 64 for column in drawn.T]
    assert np.mean(commonest) < 0.5
    assert (drawn == domain.sample_many(64, np.random.default_rng(0))).all()


def test_a_band_at_the_largest_of_1e21_networks_is_counted():
    space = fbnet.space()
    costs = space_costs(space, ())
    largest, genes = costs.extreme("macs", largest=True)
    domain = Domain(space, costs, [Bound("macs", largest, largest)])
    assert domain.share == 1 / space.cardinality
    assert domain.sample(np.random.default_rng(0)) == genes


@pytest.mark.parametrize("upper_ms", [0.57, 0.17])
def test_ticks_are_fine_enough_for_fast_devices(upper_ms):
    """A band of 5 % at the median, where microseconds would lose most or all of its networks."""
    space = fbnet.space(resolution=32)
    slow = space_costs(space, [catalog.device("pixel1")])
    median_ms = Domain(space, slow).quantiles(MS, (0.5,))[0]
    column = slow.column(MS)
    values = [table[:, :, column : column + 1] * (upper_ms / median_ms) for table in slow.values]
    fast = type(slow)(space, ("ms",), tuple(values), (False,))
    domain = Domain(space, fast, [Bound("ms", upper_ms, 0.95 * upper_ms)])
    drawn = Domain(space, fast).sample_many(40_000, np.random.default_rng(0))
    share = domain.inside(drawn).mean()
    assert share > 0.05
    assert domain.share == pytest.approx(share, rel=0.08)
    # What strategies are told that build networks gene by gene.
    told = domain.completions(()).sum() / space.cardinality
    assert told == pytest.approx(share, rel=0.08)


def test_a_band_narrower_than_its_ticks_is_drawn_from_but_not_counted():
    space = fbnet.space(resolution=32)
    costs = space_costs(space, [catalog.device("pixel1")])
    middle_ms = Domain(space, costs).quantiles(MS, (0.5,))[0]
    domain = Domain(space, costs, [Bound(MS, middle_ms + 1e-4, middle_ms)])
    drawn = domain.sample_many(50, np.random.default_rng(0))
    assert domain.inside(drawn).all()
    assert len(np.unique(drawn, axis=0)) == 50
    with pytest.raises(BoundError, match="narrower than what rounding to ticks"):
        domain.completions(())


def test_a_bound_on_a_maximum_from_below_is_kept():
    space = cut(mnasnet, 2)
    costs = space_costs(space, ())
    memory = costs.price(every(space))[:, costs.column("peak_memory_bytes")]
    domain = Domain(space, costs, [Bound("peak_memory_bytes", lower=float(memory.max()))])
    assert domain.inside(domain.sample_many(200, np.random.default_rng(0))).all()
    assert domain.share == pytest.approx((memory == memory.max()).mean(), rel=0.1)


@pytest.mark.parametrize("device", ["pixel1", "raspi4"])
@pytest.mark.parametrize("module", [fbnet, fused_mbconv, nas_bench_macro])
def test_a_bound_at_the_extreme_itself_leaves_its_networks(module, device):
    """Sums of floats differ in the last bit by their order."""
    space = module.space()
    costs = space_costs(space, [catalog.device(device)])
    ms = f"latency_ms@{device}"
    least, _ = costs.extreme(ms)
    most, genes = costs.extreme(ms, largest=True)
    rng = np.random.default_rng(0)
    assert Domain(space, costs, [Bound(ms, lower=most)]).sample(rng) == genes
    fastest = Domain(space, costs, [Bound(ms, least)]).sample(rng)
    assert costs.of(fastest)[ms] == pytest.approx(least, rel=1e-12)
