"""CPU seconds of one proposal after 300 and after 10,000 trials told.

    python experiments/ask_seconds.py [STRATEGY ...]

The space is FBNet's, and losses are smooth in the genes. Printed is the least of three. Optuna's GP
is not asked after 10,000.
"""

import sys
import time
from collections.abc import Sequence

import numpy as np

from nas.strategies import make
from nas.strategies.base import Proposal
from nas.testing.strategies import bounded_domain, toy_trial
from search_spaces import fbnet

STRATEGIES = ("gp", "trust-region", "local-search", "evolution", "rl", "optuna:TPE", "optuna:GP")


def main(specs: Sequence[str]) -> None:
    domain = bounded_domain(fbnet.space())
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
    main(sys.argv[1:] or STRATEGIES)
