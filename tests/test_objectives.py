"""Objectives, rewards and the hypervolume's reference."""

import pytest

from nas.domain import Bound
from nas.errors import NasError, UsageError
from nas.objectives import (
    Objective,
    Objectives,
    Reward,
    check_shares,
    efficientnetv2,
    mes,
    mnasnet_hard,
    mnasnet_soft,
    parse_objectives,
    reference,
    tunas,
)
from nas.testing.toys import toy_domain
from nas.trial import Trial

COLUMNS = ("latency_ms", "latency_ms@pixel1", "params", "macs", "energy_mj")


def test_quality_is_maximised_and_costs_are_minimised():
    found = parse_objectives(["macro_f1", "latency_ms@pixel1", "energy_mj", "train_ms"], COLUMNS)
    assert [o.direction for o in found] == ["maximize", "minimize", "minimize", "minimize"]


def test_unknown_objectives_are_refused_with_a_suggestion():
    with pytest.raises(
        UsageError, match=r"no objective named 'latency'\. Did you mean 'latency_ms'\?"
    ):
        parse_objectives(["accuracy", "latency"], COLUMNS)
    with pytest.raises(UsageError, match="none twice, not 'params,params'"):
        parse_objectives(["params", "params"], COLUMNS)
    with pytest.raises(UsageError, match="at least one name"):
        parse_objectives([], COLUMNS)


def test_strategies_are_told_the_search_set_and_fronts_read_the_selection_set():
    objectives = Objectives(parse_objectives(["accuracy", "params"], COLUMNS))
    metrics = {"accuracy": 0.75, "search_accuracy": 0.5, "params": 7.0}
    assert objectives.losses(metrics) == (0.25, 7.0)
    assert objectives.told(metrics) == (0.5, 7.0)
    assert objectives.told({"accuracy": 0.75, "params": 7.0}) == (0.25, 7.0)


def test_strategies_are_told_the_likelihood_in_place_of_the_accuracy_if_it_is_there():
    found = Objectives(parse_objectives(["accuracy", "macro_f1"], COLUMNS))
    metrics = {"accuracy": 0.75, "macro_f1": 0.5, "search_accuracy": 0.5}
    metrics |= {"search_macro_f1": 0.25, "search_likelihood": 0.125}
    assert found.told(metrics) == (0.875, 0.75)
    assert found.losses(metrics) == (0.25, 0.5)


def test_a_likelihood_is_a_share():
    with pytest.raises(NasError, match="'search_likelihood' is a share of images, 0 to 1"):
        check_shares({"search_likelihood": 1.5})


def test_a_metric_that_was_not_measured_is_refused():
    with pytest.raises(
        UsageError,
        match=r"no metric named 'macro_f1' was measured\. Known of the network: accuracy",
    ):
        Objective("macro_f1", "maximize").loss({"accuracy": 0.5})


FRONT = Objectives(parse_objectives(["accuracy", "params"], COLUMNS))


def trial(number, digest, accuracy, params, state="complete"):
    metrics = {"accuracy": accuracy, "params": params}
    return Trial(number=number, genes=(), digest=digest, state=state, metrics=metrics)


def front(*trials):
    return [trial.number for trial in FRONT.front(trials)]


def test_front_takes_complete_trials_by_the_last_objective():
    trials = [
        trial(0, "a", 0.6, 9),
        trial(1, "b", 0.5, 5),
        trial(2, "c", 0.9, 1, "failed"),
        trial(3, "d", 0.4, 6),
    ]
    assert front(*trials) == [1, 0]
    assert front() == []


def test_front_takes_one_of_networks_with_equal_losses():
    one, equal = trial(0, "a", 0.5, 5), trial(1, "b", 0.5, 5)
    assert front(one, equal) == [0]
    assert front(one, equal, trial(2, "a", 0.5, 5)) == [1]


def test_front_takes_a_network_by_its_first_evaluation():
    unlucky, lucky = trial(0, "a", 0.5, 5), trial(2, "a", 0.9, 5)
    assert front(unlucky, trial(1, "b", 0.6, 6), lucky) == [0, 1]


def test_a_quality_is_what_is_measured():
    assert (FRONT.quality, FRONT.qualities) == ("accuracy", ("accuracy",))
    costs = Objectives(parse_objectives(["params", "macs"], COLUMNS))
    assert (costs.quality, costs.qualities) == ("params", ())


def test_a_metric_of_ones_own_comes_with_its_direction():
    found = Objectives(parse_objectives(["rmse:min", "psnr:max", "params"], COLUMNS))
    assert (found.quality, found.qualities, found.costs) == (
        "rmse",
        ("rmse", "psnr"),
        ("params",),
    )
    assert found.losses({"rmse": 2.5, "psnr": 30.0, "params": 9.0}) == (2.5, -29.0, 9.0)
    assert Objectives.from_json(found.to_json()) == found
    assert (found.direction("rmse"), found.direction("macro_f1")) == ("minimize", "maximize")
    # Neither has a worst value from which a volume could be measured.
    assert reference(found, toy_domain()) == ()
    assert parse_objectives(["accuracy:max"], COLUMNS) == parse_objectives(["accuracy"], COLUMNS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dice", "no objective named 'dice'.* your own is written dice:max or dice:min"),
        ("dice:up", "written NAME:max or NAME:min, not 'dice:up'"),
        ("search_dice:max", "does not begin with search_"),
        ("accuracy:min", "more accuracy is better: write accuracy"),
        ("params:min", "'params' is a cost, and less of it is better: write params"),
    ],
)
def test_an_objective_that_is_none_is_refused(name, message):
    with pytest.raises(UsageError, match=message):
        parse_objectives([name], COLUMNS)


def test_rewards_follow_their_papers():
    assert mnasnet_soft(0.75, 60, 60) == 0.75
    # MnasNet, section 3: twice the latency is worth about 5 % of accuracy.
    assert mnasnet_soft(0.75 * 1.05, 120, 60) == pytest.approx(0.75, rel=2e-3)
    assert mnasnet_hard(0.75, 30, 60) == 0.75
    assert mnasnet_hard(0.75, 120, 60) == 0.375
    assert tunas(0.75, 66, 60) == pytest.approx(0.74)
    assert efficientnetv2(0.8, 2.0, 1.0) == pytest.approx(0.8 * 2**-0.07)


@pytest.mark.parametrize(
    ("params", "latency_ms", "score"),
    [(3.5e6, 0.9, 97.6), (6.1e6, 1.1, 66.9), (12.6e6, 1.6, 38.6), (26.1e6, 2.7, 20.6)],
)
def test_mes_gives_the_scores_of_the_published_networks(params, latency_ms, score):
    assert mes(params, latency_ms) == pytest.approx(score, abs=0.06)


def test_a_reward_replaces_what_strategies_are_told():
    reward = Reward(name="tunas", cost="latency_ms", target=60.0)
    objectives = Objectives(parse_objectives(["accuracy", "latency_ms"], COLUMNS), reward)
    metrics = {"accuracy": 0.75, "search_accuracy": 0.5, "latency_ms": 66.0}
    assert objectives.told(metrics) == pytest.approx((1 - 0.49,))
    # The formula is one of accuracies, so nothing stands in for them.
    assert objectives.told({**metrics, "search_likelihood": 0.1}) == objectives.told(metrics)
    assert objectives.losses(metrics) == (0.25, 66.0)
    assert str(reward) == "tunas = accuracy - 0.10 * |latency_ms / 60 - 1|"
    assert Objectives.from_json(objectives.to_json()) == objectives


def test_where_all_networks_cost_as_much_strategies_are_told_the_quality_alone():
    each = parse_objectives(["latency_ms", "accuracy"], COLUMNS)
    objectives = Objectives(each, quality_alone=True)
    metrics = {"accuracy": 0.75, "search_accuracy": 0.5, "search_likelihood": 0.2, "latency_ms": 66}
    assert objectives.told(metrics) == (0.8,)
    assert objectives.told_count == 1
    assert objectives.losses(metrics) == (66.0, 0.25)
    assert Objectives.from_json(objectives.to_json()) == objectives


@pytest.mark.parametrize("name", ["mnasnet_soft", "mnasnet_hard", "tunas", "efficientnetv2", "mes"])
def test_every_reward_prefers_accuracy_or_less_cost(name):
    reward = Reward(name=name, target=50.0)
    metrics = {"accuracy": 0.7, "latency_ms": 80.0, "params": 4e6}
    assert reward.value(metrics | {"latency_ms": 60.0}) > reward.value(metrics)
    assert reward.value(metrics | {"accuracy": 0.8}) >= reward.value(metrics)


def test_a_reward_needs_a_known_name_and_a_target():
    with pytest.raises(UsageError, match=r"no reward named 'tuna'\. Did you mean 'tunas'\?"):
        Reward(name="tuna", target=1.0)
    with pytest.raises(
        UsageError, match="'tunas' needs a target above 0 in latency_ms, none was given"
    ):
        Reward(name="tunas")


def test_reference_is_the_bound_or_the_largest_value():
    domain = toy_domain([Bound("params", upper=20_000)])
    objectives = Objectives(parse_objectives(["accuracy", "params", "macs"], domain.compiled.names))
    largest = domain.compiled.extreme("macs", largest=True)[0]
    assert reference(objectives, domain) == (1.0, 20_000.0, largest)
    with pytest.raises(UsageError, match="'train_ms' has no largest value"):
        reference(Objectives((Objective("train_ms", "minimize"),)), domain)
