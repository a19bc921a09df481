"""CPU seconds of one proposal after 300 and after 10,000 trials told.

    python experiments/ask_seconds.py [--bounds COUNT] [STRATEGY ...]

The space is FBNet's, and losses are smooth in the genes. By default macs are bounded to half-way
between the least and the most. With ``--bounds 2`` they are held in a band of 5 % about the
median, and params to their median; ``--bounds 1`` is that band alone, ``--bounds 3`` has a latency
on pixel1 of at most its median as well. Printed is the least of three. Optuna's GP is not asked
after 10,000.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from nas import catalog
from nas.cost.costs import space_costs
from nas.domain import Bound, Domain
from nas.strategies import make
from nas.strategies.base import Proposal
from nas.testing.strategies import bounded_domain, toy_trial
from search_spaces import fbnet

STRATEGIES = ("gp", "trust-region", "local-search", "evolution", "rl", "optuna:TPE", "optuna:GP")


def several_bounds(count: int) -> Domain:
    """FBNet's space under so many bounds, 1 to 3."""
    space = fbnet.space()
    costs = space_costs(space, [catalog.device("pixel1")])
    free = Domain(space, costs)
    names = ("macs", "params", "latency_ms@pixel1")
    macs, *medians = (free.quantiles(name, (0.5,))[0] for name in names)
    bounds = [Bound("macs", 1.025 * macs, 0.975 * macs)]
    bounds += map(Bound, names[1:], medians)
    return Domain(space, costs, bounds[:count])


def main(specs: Sequence[str], bounds: int | None) -> None:
    domain = bounded_domain(fbnet.space()) if bounds is None else several_bounds(bounds)
    genes = [tuple(row) for row in domain.sample_many(10_003, np.random.default_rng(0)).tolist()]
    trials = [toy_trial(domain, number, Proposal(row), 1) for number, row in enumerate(genes)]
    for spec in specs:
        strategy = make(spec, domain, seed=0)
        told = 0
        figures = []
        for count in (300, 10_000):
            if spec == "optuna:GP" and count > 300:
                continue
            seconds = []
            # One more is told each time, so that nothing is answered from a cache.
            for after in range(count, count + 3):
                for trial in trials[told:after]:
                    strategy.tell(trial)
                told = after
                start = time.process_time()
                strategy.ask(after)
                seconds.append(time.process_time() - start)
            least, most = min(seconds), max(seconds)
            figures.append(f"{least:8.3f} s after {count}, with a new fit at most {most:.3f} s")
        print(f"{spec:16s}", "; ".join(figures), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bounds", type=int, choices=(1, 2, 3))
    parser.add_argument("strategies", nargs="*", default=STRATEGIES)
    arguments = parser.parse_args()
    main(arguments.strategies, arguments.bounds)
