import math
from collections import Counter

import numpy as np
import pytest

from nas.cost.compiled import compile_costs
from nas.cost.costs import space_costs
from nas.domain import Bound, Domain
from nas.errors import BoundError, SpaceError
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from nas.testing.toys import toy_domain
from search_spaces import fbnet, mnasnet


def toy() -> SearchSpace:
    """Three slots whose channels are handed on, so that a slot's cost depends on the one before."""

    def slot(name):
        choice = Choice("channels", (4, 8, 12), ordinal=True)
        return Slot(
            name=name,
            stage=name,
            choices=(choice,),
            make=lambda p, s: [Conv(channels=p["channels"])],
        )

    return SearchSpace(
        "toy", Shape(3, 4), (slot("a"), slot("b"), slot("c"), fixed("head", Classifier(classes=2)))
    )


def domain(space, *bounds):
    return Domain(space, space_costs(space, ()), bounds)


def every(space):
    return np.stack(np.meshgrid(*map(np.arange, space.gene_sizes), indexing="ij"), -1).reshape(
        -1, len(space.gene_sizes)
    )


@pytest.mark.parametrize(
    "bounds",
    [
        (),
        (Bound("params", 200),),
        (Bound("params", 260, 150),),
        (Bound("peak_memory_bytes", 1100),),
        (Bound("params", 260, 150), Bound("peak_memory_bytes", 1100)),
        (Bound("params", 230), Bound("macs", 2500)),
    ],
)
def test_samples_are_uniform_over_what_is_inside(bounds):
    """Chi-squared against the enumerated set; fails by chance once in 10,000."""
    space, draws = toy(), 1000
    dom = domain(space, *bounds)
    inside = set(map(tuple, every(space)[dom.inside(every(space))].tolist()))
    drawn = Counter(map(tuple, dom.sample_many(draws, np.random.default_rng(1)).tolist()))
    assert set(drawn) == inside
    expected = draws / len(inside)
    chi2 = sum((drawn[g] - expected) ** 2 / expected for g in inside)
    assert chi2 < len(inside) - 1 + 4 * math.sqrt(2 * len(inside)) + 10


def test_count_is_exact():
    space = toy()
    for upper in (120, 150, 200, 260):
        dom = domain(space, Bound("params", upper))
        count = dom.inside(every(space)).sum()
        assert dom.completions(()).sum() == count
        assert dom.share == count / space.cardinality


@pytest.mark.parametrize("module", [fbnet, mnasnet])
def test_everything_handed_out_is_inside(module):
    space = module.space()
    dom = domain(space, Bound("macs", 3.0e8, 2.8e8), Bound("params", 6e6))
    rng = np.random.default_rng(0)
    first, second = dom.sample(rng), dom.sample(rng)
    assert dom.inside(dom.sample_many(20, rng)).all()
    assert dom.contains(dom.crossover(first, second, rng))
    near = dom.neighbours(first)
    assert dom.inside(near).all()
    assert ((near != np.array(first)).sum(axis=1) == 1).all()


def test_neighbours_without_bounds_are_all_of_them():
    space = toy()
    assert len(domain(space).neighbours((0, 1, 2))) == 6


def test_features_put_ordinal_options_on_a_line_and_others_at_distance_one():
    space = mnasnet.space()
    features = domain(space).features(np.zeros((1, 42), int))
    assert features.shape[0] == 1
    a, b = np.zeros(42, int), np.zeros(42, int)
    b[0] = 2
    assert np.linalg.norm(np.subtract(*domain(space).features(np.array([a, b])))) == pytest.approx(
        1
    )
    kernel = np.zeros(42, int)
    kernel[1] = 1
    assert np.linalg.norm(
        np.subtract(*domain(space).features(np.array([a, kernel])))
    ) == pytest.approx(1)


def test_rounding_to_ticks_never_passes_the_bound():
    space = fbnet.space()
    costs = compile_costs(space, ("ms",), lambda layer: (layer.macs * 1.7e-7 + 0.01,))
    dom = Domain(space, costs, (Bound("ms", 40.0, 39.0),))
    priced = costs.price(dom.sample_many(2000, np.random.default_rng(0)))[:, 0]
    assert priced.max() <= 40.0
    assert priced.min() >= 39.0


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            (Bound("params", 10),),
            r"no network of space 'toy' meets params <= 10: it reaches 78 to 422. Try params of 78",
        ),
        ((Bound("params", lower=1e9),), "no network of space 'toy' meets 1e\\+09 <= params"),
        ((Bound("params", 120.5, 120.4),), "no network of space 'toy' meets"),
        (
            (Bound("params", 100), Bound("macs", lower=4000)),
            "found no network of space 'toy' that meets params <= 100 and",
        ),
    ],
)
def test_impossible_bounds_are_refused_at_once(bounds, message):
    with pytest.raises(BoundError, match=message):
        domain(toy(), *bounds)


def test_a_bound_must_make_sense():
    with pytest.raises(BoundError, match="lower 3 must not exceed upper 2"):
        Bound("params", 2, 3)
    with pytest.raises(BoundError, match="must not exceed"):
        Bound("params", math.nan)


def test_completions_count_what_is_inside():
    free = toy_domain(layers=2)
    whole = every(free.space)
    middle = float(np.median(free.compiled.price(whole)[:, 1]))
    for bounds in ([], [Bound("macs", upper=middle)]):
        dom = toy_domain(bounds, layers=2)
        inside = whole[dom.inside(whole)]
        for prefix in [
            (),
            *(tuple(row[:length]) for length in (1, 2, 3) for row in whole[::17].tolist()),
        ]:
            begun = inside[(inside[:, : len(prefix)] == prefix).all(axis=1)]
            expected = np.bincount(
                begun[:, len(prefix)], minlength=dom.space.gene_sizes[len(prefix)]
            )
            assert dom.completions(prefix).tolist() == expected.tolist()
        along = dom.completions_along(inside[::17])
        for row, genes in enumerate(map(tuple, inside[::17].tolist())):
            assert [counts[row].tolist() for counts in along] == [
                dom.completions(genes[:i]).tolist() for i in range(4)
            ]
    with pytest.raises(
        SpaceError, match="a prefix must be shorter than the 4 genes of space 'toy'"
    ):
        free.completions(tuple(whole[0].tolist()))


def test_a_suggested_bound_can_be_typed_back():
    space = fbnet.space()
    costs = space_costs(space, ())
    with pytest.raises(BoundError) as refused:
        Domain(space, costs, (Bound("macs", 1),))
    Domain(space, costs, (Bound("macs", float(str(refused.value).rsplit(" ", 1)[1])),))
    fractions = compile_costs(space, ("ms",), lambda layer: (layer.macs * 1.7e-7 + 0.0123,))
    with pytest.raises(BoundError) as refused:
        Domain(space, fractions, (Bound("ms", 1),))
    Domain(space, fractions, (Bound("ms", float(str(refused.value).rsplit(" ", 1)[1])),))


# -- how costs are spread -------------------------------------------------------------------------


def test_quantiles_and_shares_are_those_of_all_gene_tuples():
    domain = toy_domain(layers=3)
    every = np.array(list(np.ndindex(*domain.space.gene_sizes)))
    macs = np.sort(domain.compiled.price(every)[:, domain.compiled.column("macs")])
    for share, found in zip(
        (0.05, 0.5, 0.95), domain.quantiles("macs", (0.05, 0.5, 0.95)), strict=True
    ):
        assert found == pytest.approx(np.quantile(macs, share), rel=0.01)
        assert domain.share_within("macs", found) == pytest.approx(
            (macs <= found).mean(), abs=0.005
        )
    assert domain.share_within("macs", macs[0] / 2) == 0
    assert domain.share_within("macs", 2 * macs[-1]) == 1


def test_the_share_inside_the_bounds():
    assert toy_domain(layers=3).share == 1
    middle = toy_domain(layers=3).quantiles("macs", (0.3,))[0]
    assert toy_domain([Bound("macs", middle)], layers=3).share == pytest.approx(0.3, abs=0.01)
    both = toy_domain([Bound("macs", middle), Bound("params", 1e6)], layers=3)
    assert both.share == pytest.approx(0.3, abs=0.01)
