"""An Optuna study written by hand whose sampler is our local search.

    python experiments/arena_optuna_study.py

Prints its first value, its best, and the optimum of the landscape.
"""

import optuna

from nas import catalog
from nas.strategies.optuna import StrategySampler, suggest


def main(trials: int = 60) -> None:
    problem = catalog.benchmark("nk:space=mnasnet,k=2")(0)
    sampler = StrategySampler("local-search", problem.domain, seed=0)
    study = optuna.create_study(sampler=sampler, study_name="by hand")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study.optimize(lambda trial: problem.truth(suggest(trial, problem.domain))[0], n_trials=trials)
    start, best = study.trials[0].value, study.best_value
    print(
        f"first {start:.3f}, best of {trials} {best:.3f}, optimum {problem.best:.3f} (standard "
        f"deviations)"
    )


if __name__ == "__main__":
    main()
