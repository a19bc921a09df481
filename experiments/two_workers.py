"""Trials an hour of one worker and of two, on two idle cores.

    python experiments/two_workers.py OUT [--trials 16]

Both train the same networks, on one thread each. The steady rate counts: from when each worker has
ended its first trial, so that loading torch and the data is not counted.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)


def rate(run: Path, workers: int) -> float:
    """Trials an hour after as many ends as there are workers."""
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(run / "journal.log"))
    )
    trials = optuna.load_study(study_name="nas", storage=storage).trials
    ends = sorted(
        trial.datetime_complete for trial in trials if trial.datetime_complete is not None
    )
    return 3600 * (len(ends) - workers) / (ends[-1] - ends[workers - 1]).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, default=16)
    options = parser.parse_args()
    rates = {}
    for workers in (1, 2):
        run = options.out / f"workers-{workers}"
        command = [sys.executable, "-m", "nas", "search", "--strategy", "random", "--json"]
        command += ["--trials", str(options.trials), "--workers", str(workers), "--out", str(run)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rates[workers] = rate(run, workers)
        seconds = json.loads(done.stdout)["seconds"]
        print(
            f"{workers} worker(s): {rates[workers]:.0f} trials an hour; whole run {seconds:.0f} s",
            flush=True,
        )
    print(f"two workers: {rates[2] / rates[1]:.2f} times one")


if __name__ == "__main__":
    main()
