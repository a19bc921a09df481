import json
import math

import numpy as np
import pytest

from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.errors import BoundError, RunError, UsageError
from nas.reading import to_json
from nas.strategies import make
from nas.strategies._learned import Candidate, Learned, read_learned
from nas.strategies._window import Window
from nas.strategies.differentiable import strategy
from nas.testing.strategies import bounded_domain, check_strategy, toy_trial
from search_spaces import nas_bench_macro

SPACE = nas_bench_macro.space()
COSTS = compile_costs(SPACE, ("macs",), lambda layer: (layer.macs,))
LEAST, MOST = COSTS.extreme("macs")[0], COSTS.extreme("macs", largest=True)[0]


def weights(seed: int):
    return [
        np.random.default_rng([seed, i]).random(slot.options) for i, slot in enumerate(SPACE.slots)
    ]


def training_found(rows, genes) -> Learned:
    """What a training found: these weights and candidates."""
    return Learned(
        metric="macs",
        window=(0.0, 1.0),
        estimator="none",
        expected=0.5,
        entropy=1.0,
        temperature=1.0,
        skips=0.0,
        options={},
        weights=tuple(map(tuple, rows)),
        candidates=tuple(
            Candidate(genes=tuple(one), cost=0.5, skips=0.0, loss=1.0, accuracy=0.5)
            for one in genes
        ),
        warnings=(),
        history=(),
    )


def learned(domain: Domain, **settings):
    made = strategy(domain, seed=settings.pop("seed", 5), **settings)
    rows = [row.tolist() for row in weights(0)]
    drawn = made.draw(made.window(rows), np.random.default_rng(0))[:3]
    made.learn(training_found(rows, drawn.tolist()))
    return made


def test_draws_follow_the_distribution_given_the_window() -> None:
    lower, upper, given = LEAST + 0.4 * (MOST - LEAST), LEAST + 0.6 * (MOST - LEAST), weights(1)
    genes = np.stack(np.meshgrid(*[np.arange(3)] * 8, indexing="ij"), axis=-1).reshape(-1, 8)
    macs = COSTS.price(genes)[:, 0]
    mass = np.prod([given[i + 1][genes[:, i]] for i in range(8)], axis=0) * (
        (macs >= lower) & (macs <= upper)
    )
    exact = (
        np.array([[mass[genes[:, i] == option].sum() for option in range(3)] for i in range(8)])
        / mass.sum()
    )
    drawn = Window(COSTS, "macs", lower, upper, given).draw(4000, np.random.default_rng(0))
    inside = COSTS.price(drawn)[:, 0]
    assert lower <= inside.min()
    assert inside.max() <= upper
    found = np.array([[(drawn[:, i] == option).mean() for option in range(3)] for i in range(8)])
    assert np.abs(found - exact).max() < 0.04  # 4000 draws: 5 deviations are 0.04


def test_a_concentrated_distribution_outside_the_window_still_gives_networks_inside() -> None:
    given = [np.array([1.0, 1e-9, 1e-9][: slot.options]) for slot in SPACE.slots]
    drawn = Window(COSTS, "macs", 0.9 * MOST, MOST, given).draw(5, np.random.default_rng(0))
    assert (COSTS.price(drawn)[:, 0] >= 0.9 * MOST).all()


def test_a_window_without_networks_is_refused() -> None:
    with pytest.raises(
        BoundError, match="no network of space 'nas_bench_macro' has macs of 0 to 10: it reaches"
    ):
        Window(COSTS, "macs", 0, 10, weights(0))


def test_it_keeps_the_contract() -> None:
    check_strategy(lambda domain, *, seed, objectives: learned(domain, seed=seed), trials=8)


def test_candidates_come_first_in_their_order_and_all_is_in_the_window() -> None:
    domain = bounded_domain(SPACE)
    made = learned(domain)
    assert made.recommend() == made.ask(0).genes
    for number in range(8):
        proposal = made.ask(number)
        cost = domain.costs(proposal.genes)["macs"]
        assert made.target.lower <= cost <= made.target.upper == domain.bounds[0].upper
        assert (dict(proposal.note) == {"rank": number}) == (number < 3)
        made.tell(toy_trial(domain, number, proposal, 1))


def test_without_a_target_or_a_training_it_says_so() -> None:
    with pytest.raises(UsageError, match="aims at a cost: give it one, such as --latency 60ms"):
        strategy(Domain(SPACE, COSTS), seed=0)
    with pytest.raises(
        UsageError, match="proposes what a supernet has learned: it works in nas search only"
    ):
        strategy(bounded_domain(SPACE), seed=0).ask(0)


def test_a_spec_names_its_variant() -> None:
    assert (
        make("differentiable:fbnet,epochs=3", bounded_domain(SPACE), seed=0).settings.variant
        == "fbnet"
    )


def test_a_target_beyond_the_space_is_refused() -> None:
    with pytest.raises(
        BoundError,
        match=r"aims at macs of .*, and space 'nas_bench_macro' reaches .*: ask for at most",
    ):
        strategy(Domain(SPACE, COSTS, [Bound("macs", upper=2 * MOST)]), seed=0)


def test_the_distribution_of_another_space_is_refused() -> None:
    with pytest.raises(
        RunError, match="the distribution is not one over space 'nas_bench_macro': its slots differ"
    ):
        strategy(bounded_domain(SPACE), seed=0).learn(training_found([[1.0]], []))


@pytest.mark.parametrize(("rows", "genes"), [([[1.0, -0.1]], []), ([[1.0]], [[9] * 8])])
def test_a_damaged_distribution_is_refused(rows, genes) -> None:
    with pytest.raises(RunError, match="the distribution is damaged: it must hold weights"):
        strategy(bounded_domain(SPACE), seed=0).learn(training_found(rows, genes))


SOUND = to_json(training_found([[1.0]], [[0] * 8]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: Expecting"),
        ("[]", "is damaged: must be an object, not"),
        (json.dumps(SOUND | {"weights": [["x"]]}), r"is damaged: weights\[0\]\[0\] must be int or"),
        (json.dumps(SOUND | {"weights": [[math.nan]]}), "is damaged: NaN is no number"),
        (json.dumps({"candidates": []}), "is missing. Remove distribution.json: nas search --res"),
        (None, "cannot read .*: No such file"),
    ],
)
def test_a_file_that_is_no_distribution_is_refused(tmp_path, text, message: str) -> None:
    file = tmp_path / "distribution.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RunError, match=message):
        read_learned(file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"windw": 1},
            "no setting of strategy 'differentiable' named 'windw'. Did you mean 'window'",
        ),
        ({"window": 0.9}, "window of strategy 'differentiable' must be 0.001 to 0.5, not 0.9"),
        ({"samples": 1}, "samples of strategy 'differentiable' must be 2 to 64, not 1"),
        ({"guard": 1}, "guard of strategy 'differentiable' must be true or false, not '1'"),
        (
            {"samples": 2.5},
            "samples of strategy 'differentiable' must be a whole number, not '2.5'",
        ),
        ({"share": 3}, "share of strategy 'differentiable' must be text, not '3'"),
        ({"epochs": 5}, "variant path of strategy 'differentiable' has no epochs: leave it out"),
        (
            {"variant": "fbnet", "samples": 8},
            "variant fbnet of strategy 'differentiable' has no samples",
        ),
        ({"variant": "fbnet", "window": 0.1}, "give window together with loss=absolute"),
        ({"variant": "darts"}, "no variant of strategy 'differentiable' named 'darts'"),
        ({"loss": "square"}, "no loss of strategy 'differentiable' named 'square'"),
        ({"prune": 2}, "prune of strategy 'differentiable' must be 0 to 1, not 2"),
        ({"two_path": 1}, "two_path of strategy 'differentiable' must be true or false, not '1'"),
    ],
)
def test_settings_that_break_a_rule(settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        strategy(bounded_domain(SPACE), seed=0, **settings)
