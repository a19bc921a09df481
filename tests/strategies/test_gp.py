"""The Gaussian process, its features, and the strategy that proposes by expected improvement."""

import numpy as np
import pytest

from nas.domain import Domain
from nas.errors import UsageError
from nas.strategies import _gp, make
from nas.strategies._features import Features
from nas.strategies.gp import expected_improvement
from nas.testing.strategies import bounded_domain, toy_trial
from nas.testing.toys import toy_domain
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


def test_features_span_zero_to_one(domain):
    points = Features(domain).points(drawn(domain, 50))
    assert points.features.shape == (50, sum(points.sizes))
    assert points.features.min() >= 0
    assert points.features.max() <= 1


def test_shared_counts_equal_runs_at_the_same_place():
    first, second = np.array([[0, 1, 2, 0, 1]]), np.array([[0, 1, 2, 1, 1], [1, 0, 0, 1, 0]])
    found = _gp.shared(first, second)[:, 0]
    assert found[:, 0].tolist() == [4 / 5, 2 / 4, 1 / 3]  # equal: genes 1 to 3 and 5
    assert not found[:, 1].any()


def test_the_posterior_is_the_textbook_s(domain):
    """With the mean as one more unknown: the block inverse of the bordered system."""
    points, y = Features(domain).points(drawn(domain, 30)), np.random.default_rng(1).normal(size=30)
    weights = _gp.Weights(np.full(len(points.sizes), 0.05), np.full(_gp.DEGREES, 0.2), 0.1)
    posterior, new = _gp.Posterior(points, y, weights), Features(domain).points(drawn(domain, 5, seed=2))
    bordered = np.ones((31, 31))
    bordered[:30, :30] = posterior.covariance(points) + (0.1 + _gp.JITTER) * np.eye(30)
    bordered[30, 30] = 0
    right = np.concatenate([posterior.covariance(new), np.ones((1, 5))])
    solved = np.linalg.solve(bordered, right)
    mean, sd = posterior.predict(new)
    assert mean == pytest.approx(solved[:30].T @ y)
    left = posterior.prior - np.einsum("nm,nm->m", right, solved)
    assert sd == pytest.approx(np.sqrt(posterior.variance * left))


def test_the_fit_finds_what_matters_and_the_noise(domain):
    genes = drawn(domain, 200)
    points, normal = Features(domain).points(genes), np.random.default_rng(0).normal(size=200)
    signal = (genes[:, 0] == genes[:, 0].max()) * 2.0 + (genes[:, 3] == 0) * 2.0
    exact, noisy = _gp.fit(points, signal), _gp.fit(points, signal + 0.7 * normal)
    assert exact.noise < 0.02 < noisy.noise


def test_squash_keeps_the_order_and_shortens_the_bad_tail():
    losses = np.random.default_rng(0).exponential(size=200) ** 3
    squashed = _gp.squash(losses)
    assert (np.argsort(squashed) == np.argsort(losses)).all()
    assert np.median(squashed) == pytest.approx(0, abs=1e-9)
    assert np.ptp(squashed) < 12
    assert np.isfinite(_gp.squash(np.ones(5))).all()


def test_expected_improvement_is_an_expectation():
    gap, sd = np.array([-1.0, 0.0, 0.5]), np.array([0.5, 1.0, 0.1])
    sampled = np.maximum(gap + sd * np.random.default_rng(0).normal(size=(400_000, 3)), 0).mean(axis=0)
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


def test_too_few_initial_networks():
    with pytest.raises(UsageError, match="needs at least 2 initial networks, not 1"):
        make("gp:initial=1", toy_domain(), seed=0)
