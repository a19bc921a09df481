# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

import numpy as np

from nas.cost.compiled import compile_costs
from nas.errors import UsageError
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from nas.supernet.distribution import Distribution
from nas.supernet.shrinking import Pair, Shrinking
from nas.supernet.theta import reinforce
from search_spaces import nas_bench_macro


def widths(count: int = 64) -> SearchSpace:
    """One layer of so many widths."""
    choice = Choice("width", tuple(range(1, count + 1)), ordinal=True)
    slot = Slot(
        name="one",
        stage="one",
        choices=(choice,),
        make=lambda picked, shape: [Conv(channels=8 * picked["width"])],
    )
    return SearchSpace(
        name="widths", input=Shape(1, 4), slots=(slot, fixed("head", Classifier(classes=2)))
    )


def over(space: SearchSpace, share: float = 0.5) -> Distribution:
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    low, high = costs.extreme("macs")[0], costs.extreme("macs", largest=True)[0]
    return Distribution(costs, "macs", low + share * (high - low))


@pytest.mark.parametrize("options", [3, 4, 7, 64])
def test_pairs_find_the_best_of_any_single_peaked_order(options: int) -> None:
    for best in range(options):
        pair, moves = Pair.first(options), 0
        while isinstance(pair, Pair):
            low, high = pair.both
            assert 0 <= low < high < options
            pair, moves = pair.after(abs(high - best) < abs(low - best), options), moves + 1
        # Where both are as far off, either may win, and the best lies between them or beside.
        assert abs(pair - best) <= 1
        assert moves < 30


def found_width(seed: int, planted: int) -> int:
    """Theta steps on losses with a planted width and as much noise as an eighth of the range is
    worth."""
    distribution = over(widths())
    shrinking = Shrinking(distribution, two_path=True)
    adam = torch.optim.Adam(distribution.theta, 0.2, (0.5, 0.999))
    draw = np.random.default_rng(seed)
    for _ in range(400):
        if not shrinking.pairs:
            break
        logs = distribution.log_probs()
        networks = [distribution.sample(logs, draw) for _ in range(4)]
        losses = torch.tensor(
            [abs(width - planted) / 64 + draw.normal() / 8 for (width,) in networks]
        )
        adam.zero_grad()
        reinforce(
            losses / losses.std(), torch.stack([distribution.log_prob(logs, g) for g in networks])
        ).backward()
        adam.step()
        shrinking.after(0.0, adam)
    [allowed] = distribution.allowed
    return int(allowed.nonzero().float().mean())


def test_a_planted_width_is_found_in_nine_of_ten_seeds() -> None:
    planted = np.random.default_rng(7).integers(64, size=10)
    assert (
        sum(abs(found_width(seed, int(width)) - width) <= 6 for seed, width in enumerate(planted))
        >= 9
    )


def test_options_fall_away_as_the_threshold_rises_but_not_the_target() -> None:
    distribution = over(nas_bench_macro.space(), 0.9)
    shrinking, adam = Shrinking(distribution, prune=1.0), torch.optim.Adam(distribution.theta)
    with torch.no_grad():
        distribution.theta[0].copy_(torch.tensor([-9.0, 0.0, 9.0]))
        for theta in distribution.theta[1:]:
            theta.copy_(torch.tensor([0.0, 0.0, -9.0]))
    shrinking.after(0.0, adam)
    assert all(mask.all() for mask in distribution.allowed)
    shrinking.after(1.0, adam)
    assert distribution.allowed[0].tolist() == [False, False, True]
    assert distribution.reaches()
    assert (
        sum(int(mask[2]) for mask in distribution.allowed) > 5
    )  # 0.9 of the range needs the large blocks


def test_options_are_judged_by_what_is_drawn_and_not_by_the_annealed_softmax() -> None:
    """At a temperature of 1 no option has less than a quarter; at FBNet's last, .004."""
    distribution = over(nas_bench_macro.space())
    shrinking, adam = Shrinking(distribution, prune=0.3), torch.optim.Adam(distribution.theta)
    distribution.temperature = 0.09
    with torch.no_grad():
        distribution.theta[0][1] = 0.5
    shrinking.after(1.0, adam)
    assert distribution.allowed[0].all()
    assert distribution.temperature == 0.09
    with torch.no_grad():
        distribution.theta[0][1] = 9.0
    shrinking.after(1.0, adam)
    assert distribution.allowed[0].tolist() == [False, True, False]


def test_two_paths_need_an_ordered_choice() -> None:
    with pytest.raises(
        UsageError,
        match="two_path compares two of at least three ordered options, and no choice of",
    ):
        Shrinking(over(nas_bench_macro.space()), two_path=True)


def test_a_state_is_taken_up() -> None:
    first, again = (Shrinking(over(widths()), two_path=True) for _ in range(2))
    first.pairs[0] = Pair(40, 4, -1)
    again.load(first.state())
    assert again.pairs == {0: Pair(40, 4, -1)}
