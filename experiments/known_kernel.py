"""What no fitted model can beat: the Gaussian process that knows its landscape's covariance.

    python experiments/known_kernel.py [--space fbnet] [--seeds 3] [--budget 200]

An NK landscape with adjacent genes is a sum of random numbers, one per run of k + 1 genes, so the
covariance of two networks is the share of these runs that they have in common
(`nas.strategies._gp`, the highest degree alone). ``gp`` fits its kernel; the others know this one
and the noise, and propose by expected improvement or by the mean less so many standard deviations.
What they leave, at seeds that are held back (`nas.benchmarks.nk`), is what knowledge of the
landscape is worth at that budget. Prints the mean regret of the recommended network and its
standard error.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nas import catalog
from nas.benchmarks import Problem
from nas.benchmarks.nk import benchmark
from nas.domain import Domain
from nas.strategies import _gp, gp
from nas.strategies._surrogate import Value
from nas.strategies.base import Proposal, Strategy
from nas.trial import Genes, Trial

K = _gp.DEGREES - 1
NOISE = 0.15
FIRST_SEED = 100
APART = 1e3
"""The share of runs beside that of the part which falls off with distance.

That part is left next to nothing.
"""


def true_weights(groups: int) -> _gp.Weights:
    """Shares of runs of the highest degree, and the noise."""
    shares = np.zeros(_gp.DEGREES)
    shares[-1] = APART
    return _gp.Weights(np.full(groups, 1e2), shares, APART * NOISE**2, np.zeros(groups))


class Known(gp.GaussianProcess):
    """`gp` with a kernel that is given instead of fitted.

    ``spreads`` is how many standard deviations the confidence bound takes off; None for `gp`'s own
    way, expected improvement.
    """

    def __init__(self, domain: Domain, *, seed: int, spreads: float | None) -> None:
        super().__init__(domain, seed=seed)
        self.spreads = spreads

    def _weights(self, keys: list[Genes]) -> list[_gp.Weights]:
        return [true_weights(len(self.features.sizes))]

    def best_unseen(
        self,
        value: Value,
        within: gp.Within,
        generator: np.random.Generator,
        pending: Sequence[Proposal],
    ) -> Genes | None:
        """See `gp.GaussianProcess`."""
        spreads = self.spreads
        if spreads is not None:
            value._improvement = lambda mean, sd: spreads * sd[:, 0] - mean[:, 0]  # type: ignore[method-assign]
        return super().best_unseen(value, within, generator, pending)


STRATEGIES: Mapping[str, Callable[[Domain, int], gp.GaussianProcess]] = {
    "gp": lambda domain, seed: gp.GaussianProcess(domain, seed=seed),
    "kernel known": lambda domain, seed: Known(domain, seed=seed, spreads=None),
    "kernel known, mean - 2 sd": lambda domain, seed: Known(domain, seed=seed, spreads=2.0),
    "kernel known, mean - 3 sd": lambda domain, seed: Known(domain, seed=seed, spreads=3.0),
}


def likelihoods(strategy: gp.GaussianProcess) -> str:
    """Log likelihoods of what was told, by the fitted kernel and by the true one.

    Mean and variance are profiled out in both.
    """
    losses = strategy.history.losses
    points = strategy.features.points(np.array(list(losses)))
    y = _gp.squash(np.array([loss[0] for loss in losses.values()]))

    def likelihood(weights: _gp.Weights) -> float:
        process = _gp.Posterior(points, y, weights)
        determinant = np.log(process.lower.diagonal()).sum()
        return float(-0.5 * len(y) * np.log(process.variance) - determinant)

    fitted = likelihood(_gp.fit(points, y))
    true = likelihood(true_weights(len(points.sizes)))
    return f"log likelihood {fitted:.1f} by the fitted kernel, {true:.1f} by the true one"


def regret(strategy: Strategy, problem: Problem, budget: int) -> float:
    """Regret of the network recommended after so many evaluations."""
    for number in range(budget):
        asked = strategy.ask(number)
        losses = problem.observe(asked.genes)
        strategy.tell(
            Trial(number=number, genes=asked.genes, digest="", state="complete", losses=losses)
        )
    return problem.truth(strategy.recommend())[0] - problem.best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", default="fbnet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=200)
    given = parser.parse_args()
    print(
        f"NK over {given.space}, k = {K}, noise {NOISE}, {given.budget} networks, {given.seeds} "
        f"seeds"
    )
    for name, make in STRATEGIES.items():
        regrets = []
        for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
            problem = benchmark(seed=seed, space=catalog.space(given.space), k=K, noise=NOISE)
            strategy = make(problem.domain, seed)
            regrets.append(regret(strategy, problem, given.budget))
            if name == "gp":
                print(f"seed {seed}: {likelihoods(strategy)}", flush=True)
        error = np.std(regrets, ddof=1) / len(regrets) ** 0.5 if len(regrets) > 1 else float("nan")
        print(f"{name:28s} {np.mean(regrets):.2f} +- {error:.2f}", flush=True)


if __name__ == "__main__":
    main()
