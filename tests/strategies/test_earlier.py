"""What earlier trainings say of a space, and what a search makes of it."""

import numpy as np
import pytest

from nas.benchmarks.effects import benchmark
from nas.errors import UsageError
from nas.strategies import learns_from_earlier, make
from nas.strategies._earlier import Earlier, Expectation, Training
from nas.strategies._features import Features
from nas.trial import Trial
from search_spaces import fbnet, mnasnet


@pytest.fixture(scope="module")
def problem():
    return benchmark(seed=3, grid="12x3o+12x2", noise=0.3)


def trainings(problem, count=60, seed=0, loss=None, source="runs/before"):
    rows = problem.domain.sample_many(count, np.random.default_rng(seed)).tolist()
    found = []
    for row in rows:
        genes = problem.domain.canonical(row)
        value = problem.observe(genes)[0] if loss is None else loss()
        found.append(Training(genes, value, source))
    return tuple(found)


def test_a_table_is_read_as_it_was_written(problem):
    space = problem.domain.space
    earlier = Earlier(trainings(problem))
    text = earlier.to_csv(space)
    assert text.splitlines()[0] == "".join(f"{name}," for name in space.gene_names) + "loss,source"
    again = Earlier.from_csv(text, space)
    assert again == earlier
    assert again.digest(space) == earlier.digest(space)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("loss,", "score,", 1), "other columns"),
        (lambda text: text.replace("option1", "option9", 1), "is 'option9', which is none of its"),
        (lambda text: text + text.splitlines()[1].rsplit(",", 2)[0] + ",low,here\n", "a number"),
        (lambda text: text + text.splitlines()[1].rsplit(",", 2)[0] + ",nan,here\n", "finite"),
        (lambda text: text + "1,2\n", "no table of earlier trainings"),
        (lambda text: "\n".join(text.splitlines()[:6]), "has 5 trained networks"),
    ],
)
def test_what_is_no_such_table_is_told_in_a_line(problem, change, told):
    space = problem.domain.space
    text = change(Earlier(trainings(problem)).to_csv(space))
    with pytest.raises(UsageError, match=told) as caught:
        Earlier.from_csv(text, space)
    assert "\n" not in str(caught.value)


def test_a_table_is_of_one_space():
    space = mnasnet.space(32)
    genes = [tuple(np.random.default_rng(i).integers(space.gene_sizes).tolist()) for i in range(10)]
    text = Earlier(tuple(Training(row, 1.0, "a") for row in genes)).to_csv(space)
    with pytest.raises(UsageError, match="no table of trainings of space 'fbnet'"):
        Earlier.from_csv(text, fbnet.space())


def test_losses_are_of_their_source(problem):
    """A run in per cent and one in nats say the same."""
    low = trainings(problem, source="a")
    high = tuple(Training(one.genes, 100 + 50 * one.loss, "b") for one in low)
    losses = Earlier((*low, *high)).losses
    assert losses[:60] == pytest.approx(losses[60:])
    assert np.median(losses[:60]) == pytest.approx(0, abs=1e-9)


def test_without_trainings_nothing_is_expected(problem):
    features = Features(problem.domain)
    points = features.points(problem.domain.sample_many(5, np.random.default_rng(0)))
    assert Expectation(features, None)(points).shape == (5, 0)


def test_expectations_are_those_of_the_losses(problem):
    features = Features(problem.domain)
    expected = Expectation(features, Earlier(trainings(problem, count=150)))
    rows = problem.domain.sample_many(200, np.random.default_rng(9))
    truth = [problem.truth(problem.domain.canonical(row))[0] for row in rows.tolist()]
    column = expected(features.points(rows))[:, 0]
    assert np.corrcoef(column, truth)[0, 1] > 0.7
    assert abs(column.mean()) < 0.3
    assert 0.7 < column.std() < 1.3


def searched(problem, earlier, trials=14, spec="gp:initial=4", seed=0):
    """The strategy after so many trials, and what it proposed."""
    strategy = make(spec, problem.domain, seed=seed, earlier=earlier)
    proposed = []
    for number in range(trials):
        proposal = strategy.ask(number)
        proposed.append(proposal.genes)
        strategy.tell(
            Trial(
                number=number,
                genes=proposal.genes,
                digest="",
                state="complete",
                losses=problem.observe(proposal.genes),
                note=proposal.note,
            )
        )
    return strategy, proposed


def mean_truth(problem, proposed):
    return np.mean([problem.truth(genes)[0] for genes in proposed])


@pytest.mark.parametrize("spec", ["gp:initial=4", "trust-region:initial=4"])
def test_a_search_that_learns_from_trainings_proposes_better_networks(problem, spec):
    earlier = Earlier(trainings(problem))
    strategy, with_them = searched(problem, earlier, spec=spec)
    _, without = searched(problem, None, spec=spec)
    assert mean_truth(problem, with_them) < mean_truth(problem, without) - 0.3
    [process] = strategy.model().processes
    assert process.slopes[-1] > 0.3


def test_trainings_that_say_nothing_are_hardly_believed(problem):
    chance = np.random.default_rng(5)
    strategy, _ = searched(
        problem, Earlier(trainings(problem, loss=lambda: float(chance.normal()))), trials=25
    )
    [process] = strategy.model().processes
    assert abs(process.slopes[-1]) < 0.2


def test_a_resumed_strategy_proposes_the_same(problem):
    earlier = Earlier(trainings(problem))
    strategy, proposed = searched(problem, earlier)
    again = make("gp:initial=4", problem.domain, seed=0, earlier=earlier)
    for number, genes in enumerate(proposed):
        again.tell(
            Trial(
                number=number,
                genes=genes,
                digest="",
                state="complete",
                losses=problem.observe(genes),
            )
        )
    assert again.ask(14) == strategy.ask(14)


def test_which_strategies_learn_from_them(problem):
    assert learns_from_earlier("gp")
    assert learns_from_earlier("trust-region:regions=2")
    assert not learns_from_earlier("random")
    with pytest.raises(UsageError, match="setting of strategy 'gp'"):
        make("gp:earlier=runs", problem.domain, seed=0)
