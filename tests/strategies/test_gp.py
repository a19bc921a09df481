"""The Gaussian process, its features, and the strategy that proposes by expected improvement."""

import dataclasses

import numpy as np
import pytest

from nas import catalog, networks
from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.errors import UsageError
from nas.networks.membership import membership
from nas.pareto import hypervolume
from nas.strategies import _gp, make
from nas.strategies._features import Features
from nas.strategies._sample import Sample
from nas.strategies._surrogate import Column, _Staircase, expected_improvement
from nas.strategies.gp import GaussianProcess
from nas.testing.strategies import bounded_domain, toy_trial
from nas.testing.toys import toy_domain
from nas.trial import Trial
from search_spaces import fbnet, mnasnet


@pytest.fixture(scope="module")
def domain() -> Domain:
    return bounded_domain(mnasnet.space(32))


def drawn(domain: Domain, count: int, seed: int = 0) -> np.ndarray:
    return domain.sample_many(count, np.random.default_rng(seed))


def test_options_are_near_by_what_they_have_in_common():
    """Kernel 3 is nearer to kernel 5 than to no layer at all."""
    features = Features(bounded_domain(fbnet.space()))
    labels = features.domain.space.choices[5].labels
    rows = {label: features.tables[5][i] for i, label in enumerate(labels)}
    apart = {label: np.square(rows["k3_e6"] - rows[label]).sum() for label in labels}
    assert apart["k3_e6"] == 0
    assert apart["k5_e6"] < apart["k5_e1"] < apart["skip"]


def test_features_are_centred_and_span_one(domain):
    features = Features(domain)
    points = features.points(drawn(domain, 50))
    assert points.features.shape == (50, sum(points.sizes))
    assert np.ptp(points.features, axis=0).max() <= 1
    for table in features.tables:
        assert table.mean(axis=0) == pytest.approx(0, abs=1e-12)


def test_shared_counts_equal_runs_at_the_same_place():
    first, second = np.array([[0, 1, 2, 0, 1]]), np.array([[0, 1, 2, 1, 1], [1, 0, 0, 1, 0]])
    found = _gp.shared(first, second)[:, 0]
    assert found[:, 0].tolist() == [4 / 5, 2 / 4, 1 / 3]  # equal: genes 1 to 3 and 5
    assert not found[:, 1].any()


def test_the_posterior_is_the_textbook_s(domain):
    """With the mean as one more unknown: the block inverse of the bordered system."""
    points, y = Features(domain).points(drawn(domain, 30)), np.random.default_rng(1).normal(size=30)
    groups = len(points.sizes)
    weights = _gp.Weights(
        np.full(groups, 0.05), np.full(_gp.DEGREES, 0.2), 0.1, np.full(groups, 0.3), pairs=0.1
    )
    posterior, new = (
        _gp.Posterior(points, y, weights),
        Features(domain).points(drawn(domain, 5, seed=2)),
    )
    bordered = np.ones((31, 31))
    bordered[:30, :30] = posterior.covariance(points) + (0.1 + _gp.JITTER) * np.eye(30)
    bordered[30, 30] = 0
    right = np.concatenate([posterior.covariance(new), np.ones((1, 5))])
    solved = np.linalg.solve(bordered, right)
    mean, sd = posterior.predict(new)
    assert mean == pytest.approx(solved[:30].T @ y)
    left = posterior.prior(new) - np.einsum("nm,nm->m", right, solved)
    assert sd == pytest.approx(np.sqrt(posterior.variance * left))


def test_the_fit_finds_what_matters_and_the_noise(domain):
    genes = drawn(domain, 200)
    points, normal = Features(domain).points(genes), np.random.default_rng(0).normal(size=200)
    signal = (genes[:, 0] == genes[:, 0].max()) * 2.0 + (genes[:, 3] == 0) * 2.0
    exact, noisy = _gp.fit(points, signal), _gp.fit(points, signal + 0.7 * normal)
    assert exact.noise < 0.02 < noisy.noise


def test_the_gradient_of_the_likelihood_is_its_slope(domain):
    generator = np.random.default_rng(0)
    z = generator.normal(size=(25, 2))
    genes = Features(domain).points(drawn(domain, 25))
    points = dataclasses.replace(genes, covariates=z, doubt=np.zeros_like(z))
    likelihood = _gp._Likelihood(points, generator.normal(size=25))
    theta = likelihood.medians + 0.5 * generator.normal(size=len(likelihood.medians))
    slopes = []
    for step in 1e-5 * np.eye(len(theta)):
        slopes.append((likelihood.loss(theta + step)[0] - likelihood.loss(theta - step)[0]) / 2e-5)
    assert likelihood.loss(theta)[1] == pytest.approx(np.array(slopes), abs=1e-6)


def test_bayesian_linear_regression_is_a_special_case(domain):
    """Main effects alone are regression on centred features, whose mean is free."""
    points, y = Features(domain).points(drawn(domain, 30)), np.random.default_rng(1).normal(size=30)
    groups = len(points.sizes)
    none = np.zeros(_gp.DEGREES)
    weights = _gp.Weights(np.ones(groups), none, 0.1, np.full(groups, 0.5), near=0.0)
    design = np.column_stack([np.ones(30), points.features])
    penalty = np.diag([0.0, *np.full(points.features.shape[1], 0.1 / 0.5)])
    slopes = np.linalg.solve(design.T @ design + penalty, design.T @ y)
    new = Features(domain).points(drawn(domain, 5, seed=2))
    expected = np.column_stack([np.ones(5), new.features]) @ slopes
    assert _gp.Posterior(points, y, weights).predict(new)[0] == pytest.approx(expected, abs=1e-5)


def linear_regression(told: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Bayesian, on centred columns, with the penalty of the largest marginal likelihood."""
    centre, mean = told.mean(axis=0), y.mean()
    columns, y = told - centre, y - mean
    best, prediction = -np.inf, y
    for penalty in np.geomspace(0.1, 30, 12):
        matrix = columns @ columns.T / penalty + np.eye(len(y))
        pull = np.linalg.solve(matrix, y)
        likelihood = -0.5 * len(y) * np.log(y @ pull) - 0.5 * np.linalg.slogdet(matrix)[1]
        if likelihood > best:
            best, prediction = likelihood, mean + (new - centre) @ (columns.T @ pull) / penalty
    return prediction


def test_it_predicts_as_well_as_linear_regression_where_that_is_the_truth():
    """Main effects and noise alone, 80 networks."""
    errors = []
    for seed in range(4):
        problem = catalog.benchmark("effects:imagenet,interactions=0,noise=.3")(seed)
        genes = problem.domain.sample_many(280, np.random.default_rng(seed))
        truth = np.array([problem.truth(tuple(row))[0] for row in genes[80:].tolist()])
        y = np.array([problem.observe(tuple(row))[0] for row in genes[:80].tolist()])
        features = Features(problem.domain)
        told, new = features.points(genes[:80]), features.points(genes[80:])
        ours = _gp.Posterior(told, y, _gp.fit(told, y)).predict(new)[0]
        linear = linear_regression(told.features, y, new.features)
        errors.append([np.square(ours - truth).mean(), np.square(linear - truth).mean()])
    ours, linear = np.mean(errors, axis=0)
    assert ours < 1.05 * linear, (ours, linear)


def test_functions_are_drawn_from_the_posterior(domain):
    points, y = Features(domain).points(drawn(domain, 30)), np.random.default_rng(1).normal(size=30)
    groups = len(points.sizes)
    weights = _gp.Weights(
        np.full(groups, 0.05), np.full(_gp.DEGREES, 0.3), 0.1, np.full(groups, 0.3), pairs=0.1
    )
    process = _gp.Posterior(points, y, weights)
    new = Features(domain).points(drawn(domain, 6, seed=2))
    mean, sd = process.predict(new)
    functions = [Sample(process, np.random.default_rng(seed)) for seed in range(200)]
    values = np.array([function(new) for function in functions])
    # Deviations of 200 draws have errors of 5 %, means of 7 % of a deviation.
    assert np.abs(values.mean(axis=0) - mean).max() < 0.3 * sd.max()
    assert values.std(axis=0) == pytest.approx(sd, rel=0.25)


@pytest.mark.parametrize("acquisition", ["both", "ei", "ts"])
def test_what_a_proposal_is_to_have_most_of_is_an_option(acquisition):
    domain, kinds = toy_domain(), []
    strategy = make(f"gp:initial=4,acquisition={acquisition}", domain, seed=0)
    for number in range(8):
        strategy.tell(toy_trial(domain, number, strategy.ask(number), 1))
        if number >= 4:
            kinds.append(type(strategy.acquire(number, (), np.random.default_rng(0))).__name__)
    expected = {"both": ["Value", "Drawn"] * 2, "ei": ["Value"] * 4, "ts": ["Drawn"] * 4}
    assert kinds == expected[acquisition]


def test_an_unknown_acquisition_is_refused():
    with pytest.raises(UsageError, match=r"no acquisition named 'tss'. Did you mean 'ts'"):
        make("gp:acquisition=tss", toy_domain(), seed=0)


def test_squash_keeps_the_order_and_shortens_the_bad_tail():
    losses = np.random.default_rng(0).exponential(size=200) ** 3
    squashed = _gp.squash(losses)
    assert (np.argsort(squashed) == np.argsort(losses)).all()
    assert np.median(squashed) == pytest.approx(0, abs=1e-9)
    assert np.ptp(squashed) < 12
    assert np.isfinite(_gp.squash(np.ones(5))).all()


def test_expected_improvement_is_an_expectation():
    gap, sd = np.array([-1.0, 0.0, 0.5]), np.array([0.5, 1.0, 0.1])
    sampled = np.maximum(gap + sd * np.random.default_rng(0).normal(size=(400_000, 3)), 0).mean(
        axis=0
    )
    assert expected_improvement(gap, sd) == pytest.approx(sampled, abs=5e-3)


@pytest.mark.parametrize("name", ["gp", "trust-region"])
@pytest.mark.parametrize("objectives", [1, 2])
def test_it_learns(name, objectives):
    """Its proposals 20 to 30 are far better than its 10 random ones."""
    domain = toy_domain()
    strategy, losses = make(name, domain, seed=0, objectives=objectives), []
    for number in range(30):
        trial = toy_trial(domain, number, strategy.ask(number), objectives)
        strategy.tell(trial)
        losses.append(sum(trial.losses))
    assert np.mean(losses[20:]) < 0.75 * np.mean(losses[:10])


def noisy_search(domain: Domain, *, covariates: bool) -> GaussianProcess:
    """Told 40 networks, whose losses are half macs and half noise.

    The covariate, if there is one, is macs with little noise.
    """
    strategy = GaussianProcess(domain, seed=0)
    generator = np.random.default_rng(0)
    genes = drawn(domain, 40)
    macs = domain.compiled.price(genes)[:, 0]
    signal = (macs - macs.mean()) / macs.std()
    for number, (row, value) in enumerate(zip(genes.tolist(), signal, strict=True)):
        metrics = {"untrained_naswot": value + 0.1 * generator.normal()} if covariates else {}
        loss = 10 - value + generator.normal()
        strategy.tell(
            Trial(
                number=number,
                genes=tuple(row),
                digest="",
                state="complete",
                losses=(loss,),
                metrics=metrics,
            )
        )
    return strategy


def test_what_a_score_of_untrained_networks_is_worth_is_learned(domain):
    [process] = noisy_search(domain, covariates=True).model().processes
    assert process.slopes[0] < -0.2


def test_scores_that_some_trials_lack_are_no_covariates(domain):
    strategy = noisy_search(domain, covariates=True)
    assert strategy.model().covariates.z.shape == (40, 1)
    genes = tuple(drawn(domain, 1, seed=9)[0].tolist())
    strategy.tell(Trial(number=40, genes=genes, digest="", state="complete", losses=(9.0,)))
    assert strategy.model().covariates.z.shape == (41, 0)


def test_a_covariate_that_is_not_known_blurs_the_prediction(domain):
    model = noisy_search(domain, covariates=True).model()
    points = model.covariates.points(drawn(domain, 5, seed=3))
    known = dataclasses.replace(points, doubt=np.zeros_like(points.doubt))
    means, sds = model.predict(model.processes, points)
    means_if_known, sds_if_known = model.predict(model.processes, known)
    assert means == pytest.approx(means_if_known)
    slope = model.processes[0].slopes[0]
    blur = sds[:, 0] ** 2 - sds_if_known[:, 0] ** 2
    assert blur == pytest.approx((slope * points.doubt[:, 0]) ** 2)


def test_too_few_initial_networks():
    with pytest.raises(UsageError, match="needs at least 2 initial networks, not 1"):
        make("gp:initial=1", toy_domain(), seed=0)


def told_pairs(strategy, losses, metrics=None):
    """Random networks with two losses; macs as the second where it is None."""
    generator = np.random.default_rng(0)
    for number, (first, second) in enumerate(losses):
        genes = strategy.domain.sample(generator)
        pair = (first, strategy.domain.costs(genes)["macs"] if second is None else second)
        strategy.tell(Trial(number=number, genes=genes, digest="", state="complete", losses=pair))
    return strategy


def test_an_objective_that_equals_a_cost_is_priced(domain):
    strategy = make("gp:initial=3", domain, seed=0, objectives=2)
    model = told_pairs(strategy, [(0.3, None), (0.2, None), (0.5, None), (0.4, None)]).model()
    assert [column.cost for column in model.columns] == [None, 0]
    genes = drawn(domain, 5)
    mean, sd = model.predict(model.processes, model.covariates.points(genes))
    prices = domain.compiled.price(genes)[:, 0]
    assert mean[:, 1] == pytest.approx(
        (prices - strategy.features.low[0]) / strategy.features.span[0]
    )
    assert not sd[:, 1].any()
    told_pairs(strategy, [(0.1, 7.0)])
    assert [column.cost for column in strategy.model().columns] == [None, None]


@pytest.mark.parametrize("priced", [True, False])
def test_hypervolume_improvement_is_the_expectation_of_what_a_network_adds(domain, priced):
    weights = _gp.Weights(np.ones(1), np.ones(_gp.DEGREES), 0.1, np.zeros(1))
    second = Column(np.zeros(1), cost=0) if priced else Column(np.zeros(1), weights)
    kept = np.array([[0.1, 0.8], [0.3, 0.5], [0.6, 0.2], [0.7, 0.6]])
    steps = _Staircase(kept, [Column(np.zeros(1), weights), second])
    corner = [steps.best[0], steps.upper[-1]]
    generator = np.random.default_rng(0)
    mean, sd = np.array([0.25, 0.35]), np.array([0.2, 0.0 if priced else 0.1])
    values = mean + sd * generator.normal(size=(4000, 2))
    gains = [hypervolume(np.concatenate([kept, value[None]]), corner) for value in values]
    expected = np.mean(gains) - hypervolume(kept, corner)
    normals = generator.normal(size=(2000, 1, 2))
    assert steps.improvement(mean[None], sd[None], normals)[0] == pytest.approx(expected, rel=0.1)


def test_a_limit_on_what_is_known_only_afterwards_is_learned():
    """A metric that no cost predicts forbids the best networks; it proposes and names others."""
    domain, kept = toy_domain(layers=8), []
    strategy = make("gp:limit=train_ms<=2", domain, seed=0)
    for number in range(40):
        trial = toy_trial(domain, number, strategy.ask(number), 1)
        ms = float(sum(gene == 0 for gene in domain.canonical(trial.genes)))
        strategy.tell(dataclasses.replace(trial, metrics={"train_ms": ms}))
        kept.append(ms <= 2)
    assert np.mean(kept[20:]) > max(0.6, np.mean(kept[:10]))
    assert sum(gene == 0 for gene in domain.canonical(strategy.recommend())) <= 2


@pytest.mark.parametrize("name", ["gp", "trust-region"])
def test_two_objectives_may_be_under_a_limit(name):
    domain = toy_domain()
    strategy = make(f"{name}:initial=4,limit=train_ms<=3", domain, seed=0, objectives=2)
    for number in range(8):
        trial = toy_trial(domain, number, strategy.ask(number), 2)
        strategy.tell(dataclasses.replace(trial, metrics={"train_ms": float(trial.genes[0])}))
    assert domain.contains(strategy.recommend())


def test_a_warm_start_begins_at_the_published_networks(domain):
    strategy, proposals = make("gp:warm=mnasnet_a1+mnasnet_b1", domain, seed=0), []
    for number, name in enumerate(("mnasnet_a1", "mnasnet_b1")):
        proposals.append(strategy.ask(number, proposals))
        assert (
            proposals[-1].genes == membership(networks.get(name, resolution=32), domain.space).genes
        )
    assert strategy.ask(2, proposals).genes not in [proposal.genes for proposal in proposals]


def test_a_warm_start_outside_the_bounds_begins_inside_and_near():
    space = mnasnet.space(32)
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    point = membership(networks.get("mnasnet_a1", resolution=32), space).genes
    tight = Domain(space, costs, [Bound("macs", upper=0.9 * costs.of(point)["macs"])])
    genes = make("gp:warm=mnasnet_a1", tight, seed=0).ask(0).genes
    assert tight.contains(genes)
    assert 0 < sum(a != b for a, b in zip(genes, point, strict=True)) < len(point) / 2


def test_what_a_warm_start_and_a_limit_refuse(domain):
    with pytest.raises(UsageError, match="no published network named 'mnasnet_a9'"):
        make("gp:warm=mnasnet_a9", domain, seed=0)
    with pytest.raises(
        UsageError, match="no search of space 'mnasnet' can start from 'uninet_b0': outside"
    ):
        make("gp:warm=uninet_b0", domain, seed=0)
    with pytest.raises(
        UsageError, match=r"a limit is written metric<=value, .*, not 'train_ms=200'"
    ):
        make("gp:limit=train_ms=200", domain, seed=0)
    strategy = make("gp:limit=train_ms<=200", domain, seed=0)
    with pytest.raises(
        UsageError, match="a limit on 'train_ms' needs that metric of every trial; trial 0 has none"
    ):
        strategy.tell(toy_trial(domain, 0, strategy.ask(0), 1))
