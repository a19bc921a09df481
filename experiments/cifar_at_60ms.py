"""The default search on CIFAR-10 at 60 ms, beside what one could have had by name.

    NAS_DATA=folder python experiments/cifar_at_60ms.py --out runs/cifar

One search of `mnasnet` with all defaults and one confirmation: the front against random networks of
its latency, the pick against published ones scaled to it. The images are the training part of
CIFAR-10; the run splits it. About eight minutes of a core; stopped, it goes on where it was.
"""

import argparse
from pathlib import Path

import numpy as np
from supernet_nas_bench_macro import cifar

from nas.benchmarks.nas_bench_macro import _path
from nas.run.confirm import confirm
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.run import Run
from nas.run.settings import Search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    images = given.out / "cifar10.npz"
    if not images.exists():
        data = cifar(_path().parent)
        np.savez(images, images=data.images, labels=data.labels)
    folder = given.out / f"seed{given.seed}"
    settings = Search().changed(
        space="mnasnet", latency_ms=60.0, data=f"npz:{images}", seed=given.seed
    )
    execute(plan(settings), folder, resume=(folder / "run.json").exists())
    found = confirm(Run(folder), seed=given.seed)
    Run(folder).save_reports()
    print(found.contest_verdict)
    print(found.verdict)
    print(f"{folder / 'front.png'}")


if __name__ == "__main__":
    main()
