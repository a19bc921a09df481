"""Whether the search beats random networks of the same latency on Fashion-MNIST.

Five searches give one confirmed interval.

Each search seed gets its own search and confirmation: front members against random networks of
their latency bands, one recipe for both, fresh seeds, scored on test. The unit of the pooled
interval is the search seed, so what pairs of one search share cannot pass for evidence; the
interval over all pairs is printed beside it. Both are bootstraps.

Each confirmation is of three pairs of two seeds, the default when this was measured; bands were
then cut at the bound, so that random networks had 2.6 % fewer macs than members. Three pairs are
too few for the exact test that gives a single search its verdict now.

Needs the Debian package dataset-fashion-mnist. About forty minutes on two idle cores for fbnet,
half of it for mnasnet; stopped, it goes on where it was.

    python experiments/confirm_fashion.py --out runs/fashion
    python experiments/confirm_fashion.py --space mnasnet --trials 40 --out runs/fashion-mnasnet
    # half an hour on one core
    python experiments/confirm_fashion.py --out runs/fashion-gp --seeds 3 --trials 40 --strategy gp
    # a few minutes, to see that it works
    python experiments/confirm_fashion.py --slice --out runs/fashion-slice
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean

from nas.run.confirm import confirm
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.run import Run
from nas.run.settings import Search
from nas.statistics import claim, paired_interval


def search_and_confirm(seed: int, given: argparse.Namespace) -> Path:
    """Search and confirm with one seed, or finish what was begun."""
    folder: Path = given.out / f"seed{seed}"
    settings = Search().changed(
        data="fashion-mnist",
        space=given.space,
        seed=seed,
        trials=given.trials,
        proxy=given.proxy,
        latency_ms=given.latency,
        # As the figures of the docs were measured.
        aim="front",
        strategy=given.strategy,
        reward=given.reward,
        # What a strategy finds by itself.
        warm="none",
    )
    execute(plan(settings), folder, resume=(folder / "run.json").exists())
    confirm(
        Run(folder),
        top=given.top,
        random=given.top,
        seeds=given.repeats,
        epochs_factor=given.factor,
        seed=seed,
        against=(),
    )
    return folder


def report(folders: Sequence[Path]) -> None:
    means, differences, spent = [], [], [0.0, 0.0, 0.0]
    for folder in folders:
        run = Run(folder)
        confirmed = run.confirmed
        assert confirmed is not None
        own = [pair.difference for pair in confirmed.pairs]
        means.append(fmean(own))
        differences += own
        spent = [a + b for a, b in zip(spent, (run.core_seconds, *confirmed.seconds), strict=True)]
        print(f"{folder.name}: {confirmed.verdict}")
    for unit, values in (("search seeds", means), ("pairs", differences)):
        bounds = paired_interval(values)
        edges = "no interval" if bounds is None else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
        print(
            f"pooled over {len(values)} {unit}: {fmean(values):+.4f}, 95 % {edges}: {claim(bounds)}"
        )
    print(
        "core-seconds: search {:.0f}, confirmation {:.0f} and {:.0f} for random networks".format(
            *spent
        )
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, default=Path("runs/fashion"))
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--space", default="fbnet")
    options.add_argument("--trials", type=int, default=64)
    options.add_argument("--top", type=int, default=3)
    options.add_argument("--repeats", type=int, default=2)
    options.add_argument("--factor", type=float, default=3.0)
    options.add_argument("--latency", type=float, default=60.0, help="upper bound on pixel1, ms")
    options.add_argument("--strategy", default="local-search")
    options.add_argument(
        "--reward", default="", help="for rl: mnasnet_soft, tunas, ..., aimed at --latency"
    )
    options.add_argument("--proxy", default="")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--slice", action="store_true", help="two seeds of a few small trainings")
    given = options.parse_args()
    if given.slice:
        given.seeds, given.trials, given.repeats = 2, 5, 1
        given.factor, given.proxy = 2.0, "images=512"
    with ProcessPoolExecutor(given.workers) as pool:
        report(list(pool.map(search_and_confirm, range(given.seeds), [given] * given.seeds)))


if __name__ == "__main__":
    main()
