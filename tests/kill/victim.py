"""A study to kill: ``python -m tests.kill.victim FOLDER TRIALS``.

Appends the digest of every network it evaluates to FOLDER.calls.
"""

import sys
from pathlib import Path

from nas.objectives import Objectives, parse_objectives
from nas.record.identity import identity
from nas.record.store import Store
from nas.study.race import Racing
from nas.study.study import Study
from nas.testing.toys import HashEvaluator, toy_domain
from tests.climber import Climber


def main(folder: Path, trials: int) -> None:
    domain = toy_domain()
    objectives = Objectives(parse_objectives(["accuracy", "params"], domain.compiled.names))
    conditions = identity(domain, objectives, strategy="climber", seed=11)
    evaluator = HashEvaluator(failing=0.15, sleep_seconds=0.003)
    print("opening", flush=True)
    found = (folder / "run.json").exists()
    store = (
        Store.resume(folder, domain.space, conditions)
        if found
        else Store.create(folder, domain.space, conditions)
    )
    print("open", flush=True)
    with store:
        strategy = Climber(domain, seed=11)
        Study(domain, strategy, evaluator, store, racing=Racing()).run(trials=trials)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
