"""How often a confirmation claims that a search beat random on shuffled labels.

Nothing can be better there. Each seed has a search and a confirmation on shuffled digits. "Better"
should be claimed in at most one run of forty. About ten minutes on one core; stopped, it goes on
where it was.

    python experiments/shuffled_labels.py --seeds 10 --out runs/shuffled
"""

import argparse
from pathlib import Path

import numpy as np

from nas.data import load
from nas.run.confirm import confirm
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.run import Run
from nas.run.settings import Search
from nas.statistics import claim

PROXY = "images=512,average=0"


def shuffled(folder: Path, seed: int) -> Path:
    """The digits with their labels in another order, as an archive."""
    path = folder / f"shuffled{seed}.npz"
    if not path.exists():
        digits = load("digits")
        np.savez(
            path,
            images=digits.images,
            labels=np.random.default_rng(seed).permutation(digits.labels),
        )
    return path


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--trials", type=int, default=12)
    options.add_argument("--out", type=Path, default=Path("runs/shuffled"))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    claims = []
    for seed in range(given.seeds):
        folder = given.out / f"seed{seed}"
        settings = Search().changed(
            data=f"npz:{shuffled(given.out, seed)}",
            trials=given.trials,
            proxy=PROXY,
            seed=seed,
            warm="none",
        )
        execute(plan(settings), folder, resume=(folder / "run.json").exists())
        confirmed = confirm(Run(folder), epochs_factor=2, seed=seed, against=())
        claims.append(claim(confirmed.interval))
        print(f"seed {seed}: {len(confirmed.pairs)} pairs: {confirmed.verdict}", flush=True)
    print(
        f"'better' claimed in {claims.count('better')} of {len(claims)} runs, 'worse' in "
        f"{claims.count('worse')}"
    )


if __name__ == "__main__":
    main()
