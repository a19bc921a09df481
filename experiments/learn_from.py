"""What trainings of `mobile` on some images say of others.

    NAS_DATA=folder python experiments/learn_from.py train --out OUT [--share 1/2]
    python experiments/learn_from.py write --out OUT
    python experiments/learn_from.py draw --out OUT --table here32.csv [--latency 2]
    python experiments/learn_from.py judge --out OUT [--share 1/2]
    python experiments/learn_from.py report --out OUT
    python experiments/learn_from.py simulate --out OUT

``train`` draws networks of `mobile` at 32 pixels, as many about each of five latencies of
`x86_server`, and trains slimmed copies of them on CIFAR-10 for three times the preset's schedule:
about 40 s of a core for each. ``write`` makes of all that are done a table, as ``nas search
--learn-from`` takes it, and says what latency is worth; ``experiments/mobile_trainings.csv`` holds
92 networks.

The others ask what it is worth on images that it has never seen, Fashion-MNIST. ``draw`` takes
eight random networks of a latency, the eight of 4,000 that are most promising by the table alone,
no two of them nearer than a quarter of their genes, and six published networks scaled to that
latency, and times them all. ``judge`` trains slimmed copies of them for nine times the preset's
schedule and scores them on *test*. ``report`` compares them. ``simulate`` makes ten searches with a
race on landscapes of main effects, with and without 225 earlier trainings of another landscape,
whose correlation with the search's own is .7. Stopped, steps go on where they were; several
processes may share ``train`` and ``judge``.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import linregress, ttest_1samp, ttest_ind
from scipy.stats import t as student
from supernet_nas_bench_macro import cifar
from truth_sets import PUBLISHED

from nas import catalog, strategies
from nas.arch import Architecture
from nas.benchmarks._grid import grid, unpriced
from nas.benchmarks._windows import relevant
from nas.benchmarks.effects import Effects, drawn_effects, grid_choices
from nas.benchmarks.nas_bench_macro import _path
from nas.cost.costs import latency_metric, space_costs
from nas.data import load, split
from nas.domain import Bound, Domain
from nas.evaluate import TrainingEvaluator, preset
from nas.evaluate.retraining import Retraining
from nas.progress import ignore
from nas.record import ledger
from nas.run.confirm import training_seed
from nas.run.earlier import read_table
from nas.run.opponents import opponent_network, scaled_to
from nas.space import SearchSpace
from nas.strategies._earlier import Earlier, Expectation, Training
from nas.strategies._features import Features
from nas.trial import Genes, Trial
from nas.units import text_table

DEVICE = "x86_server"
LATENCIES_MS = (1.0, 1.4, 2.0, 2.8, 4.0)
NARROWEST = 0.9
"""Of each latency: networks take so much of it at least."""
TIMES = 3
MOST = 1000
SEED = 7
SOURCE = f"CIFAR-10, slimmed copies, {TIMES} times the preset 'large' (experiments/learn_from.py)"

JUDGED_BY = 9
EACH = 8
CANDIDATES = 4000
APART = 0.25
PICKED = ("promising", "random")
OPENED = "opened.jsonl"
TABLE = Path(__file__).parent / "mobile_trainings.csv"


def space() -> SearchSpace:
    """For images of 32 pixels."""
    return catalog.space("mobile", resolution=32, classes=10, in_channels=3)


def at_latency(space: SearchSpace, table_name: str, latency_ms: float) -> Domain:
    """The space's networks of one latency."""
    table = catalog.device(table_name)
    name = latency_metric(table.name)
    bound = Bound(name, latency_ms, NARROWEST * latency_ms)
    return Domain(space, space_costs(space, [table]), [bound])


# -- what is learnt from --------------------------------------------------------------------------


def drawn(space: SearchSpace) -> list[Genes]:
    """`MOST` networks, one of each latency in turn."""
    rows = []
    for place, latency_ms in enumerate(LATENCIES_MS):
        domain = at_latency(space, DEVICE, latency_ms)
        generator = np.random.default_rng((SEED, place))
        rows.append(domain.sample_many(MOST // len(LATENCIES_MS), generator))
    networks = np.stack(rows, axis=1).reshape(-1, len(space.choices))
    return [tuple(genes) for genes in networks.tolist()]


def train(given: argparse.Namespace) -> None:
    """One network after another, until it is stopped or all are done."""
    here = space()
    networks = drawn(here)
    data = cifar(_path().parent)
    evaluator = TrainingEvaluator(split(data), preset(data)[1], thread_count=1).longer(TIMES)
    place, places = map(int, given.share.split("/"))
    file = given.out / f"trained-{place}of{places}.jsonl"

    def step(number: int) -> ledger.Row:
        metrics = evaluator.evaluate(here.decode(networks[number]), number)
        print(f"{number}: {metrics['search_accuracy']:.3f}", flush=True)
        return {
            "kind": "trained",
            "number": number,
            "genes": list(networks[number]),
            "metrics": dict(metrics),
        }

    done = {row["number"] for row in ledger.read(file)}
    ledger.complete(file, "trained", range(place - 1, MOST, places), done, step)


def write(given: argparse.Namespace) -> None:
    """The table, networks in the order in which they were drawn."""
    here = space()
    rows = [row for file in given.out.glob("trained-*.jsonl") for row in ledger.read(file)]
    trainings = []
    for row in sorted(rows, key=lambda row: row["number"]):
        # Images of both sets: none of them was trained on.
        loss = (row["metrics"]["search_loss"] + row["metrics"]["loss"]) / 2
        trainings.append(Training(here.canonical(row["genes"]), round(loss, 4), SOURCE))
    given.to.write_text(Earlier(tuple(trainings)).to_csv(here))
    print(f"{len(trainings)} networks: {given.to}")
    places = np.array([row["number"] % len(LATENCIES_MS) for row in rows])
    scores = np.array([row["metrics"]["search_accuracy"] for row in rows])
    for place, latency_ms in enumerate(LATENCIES_MS):
        print(f"{latency_ms:g} ms: mean accuracy {scores[places == place].mean():.3f}")
    doublings = np.log2(np.array(LATENCIES_MS)[places])
    line = linregress(doublings, scores)
    half = float(student.ppf(0.975, len(rows) - 2)) * line.stderr
    low, high = line.slope - half, line.slope + half
    print(f"twice the latency: {line.slope:+.4f} ({low:+.4f} to {high:+.4f})")


# -- what it is worth elsewhere -------------------------------------------------------------------


def draw(given: argparse.Namespace) -> None:
    """Write ``entries.json``: whom ``judge`` trains."""
    here = space()
    table = catalog.device(str(given.table))
    domain = at_latency(here, str(given.table), given.latency)
    generator = np.random.default_rng(SEED + 1)
    candidates = domain.sample_many(CANDIDATES, generator)
    earlier = read_table(given.to, here)
    features = Features(domain)
    expected = Expectation(features, earlier)(features.points(candidates))
    ranked = candidates[np.argsort(expected[:, 0], kind="stable")]
    groups = {
        "promising": [here.decode(genes) for genes in far_apart(ranked)],
        "random": [here.decode(genes) for genes in candidates[:EACH].tolist()],
    }

    def timed(networks: Sequence[Architecture]) -> list[float]:
        measured = catalog.time_here(table, networks, ignore)
        for line in measured.unreliable:
            print(f"unreliable: {line}")
        return [one.latency_ms for one in measured.measured]

    rows: list[dict[str, Any]] = []
    for group, networks in groups.items():
        for network, ms in zip(networks, timed(networks), strict=True):
            rows.append({"group": group, "latency_ms": ms, "network": network.to_json()})
    promising = [row["latency_ms"] for row in rows if row["group"] == "promising"]
    slowest = groups["promising"][int(np.argmax(promising))]
    met = scaled_to(PUBLISHED, slowest, table.estimate(slowest).latency_ms, table, timed)
    for one in met.opponents:
        network = opponent_network(one.name, slowest.input, 10, width=one.width)
        name = f"{one.name}, {one.width:g}"
        rows.append({"group": name, "latency_ms": one.latency_ms, "network": network.to_json()})
    (given.out / "entries.json").write_text(json.dumps(rows))
    for row in rows:
        print(f"{row['group']:30s} {row['latency_ms']:.3f} ms")


def far_apart(ranked: np.ndarray[Any, np.dtype[np.int64]]) -> list[Genes]:
    """The first `EACH` of which no two agree in more than the rest of `APART` of their genes."""
    kept: list[Genes] = []
    for genes in map(tuple, ranked.tolist()):
        differing = [np.mean(np.array(genes) != np.array(other)) for other in kept]
        if all(share >= APART for share in differing):
            kept.append(genes)
        if len(kept) == EACH:
            break
    return kept


def judge(given: argparse.Namespace) -> None:
    """A training of each, scored on *test*."""
    data = load("fashion-mnist")
    recipe = TrainingEvaluator(split(data), preset(data)[1], thread_count=1).describe_training()
    trainer = Retraining(data, recipe, JUDGED_BY)
    trainer.open_test(given.out / OPENED)
    rows = json.loads((given.out / "entries.json").read_text())
    place, places = map(int, given.share.split("/"))
    file = given.out / f"judged-{place}of{places}.jsonl"

    def step(number: int) -> ledger.Row:
        network = Architecture.from_json(rows[number]["network"])
        metrics = trainer.evaluate(network, training_seed(0, network.digest, 0))
        print(f"{rows[number]['group']:30s} {metrics['accuracy']:.4f}", flush=True)
        return {"kind": "judged", "number": number, "metrics": dict(metrics)}

    done = {row["number"] for row in ledger.read(file)}
    ledger.complete(file, "judged", range(place - 1, len(rows), places), done, step)


def report(given: argparse.Namespace) -> None:
    """The groups, and the lead of the promising ones."""
    entries = json.loads((given.out / "entries.json").read_text())
    groups: dict[str, list[float]] = {}
    times: dict[str, list[float]] = {}
    for file in given.out.glob("judged-*.jsonl"):
        for row in ledger.read(file):
            entry = entries[row["number"]]
            groups.setdefault(entry["group"], []).append(row["metrics"]["accuracy"])
            times.setdefault(entry["group"], []).append(entry["latency_ms"])
    rows = []
    for name, values in sorted(groups.items(), key=lambda pair: -np.mean(pair[1])):
        spread = f"{np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        mean_ms = f"{np.mean(times[name]):.3f}"
        rows.append([name, f"{np.mean(values):.4f}", spread, mean_ms, str(len(values))])
    print(text_table(["networks", "accuracy", "deviation", "ms", "number"], rows))
    published = [values[0] for name, values in groups.items() if name not in PICKED]
    for name, others in (("random", groups["random"]), ("published", published)):
        found = ttest_ind(groups["promising"], others, equal_var=False)
        low, high = found.confidence_interval(0.95)
        lead = np.mean(groups["promising"]) - np.mean(others)
        print(f"promising less {name}: {lead:+.4f} ({low:+.4f} to {high:+.4f}, Welch)")


# -- where the truth is known ---------------------------------------------------------------------

CHOICES = grid_choices("27x3o+26x2")
"""As many as `mobile` has."""
SEARCHES, TRIALS, EARLIER = 10, 45, 225
RELATED = 0.7
"""Correlation of the earlier landscape with that of the search's short trainings."""
# Of a training with 1, 3 and 9 times the schedule: what it has of the truth, what of a landscape of
# its own, and its noise, in standard deviations of the truth. Guessed for `mobile`.
RUNGS = ((0.84, 0.54, 0.38), (0.95, 0.31, 0.42), (1.0, 0.0, 0.48))


def landscape(domain: Domain, seed: int) -> Effects:
    """Main effects of three quarters of the genes, and few interactions."""
    places = relevant(len(CHOICES), 0.25, seed)
    effects = drawn_effects([CHOICES[place] for place in places], 0.93, seed)
    return Effects(domain, places, effects, seed=seed, interactions=0.15, reach=2)


def simulated(domain: Domain, seed: int, *, learns: bool) -> float:
    """The true value of what a search with a race of three rungs picks."""
    truth, own, other = (landscape(domain, 1000 * place + seed) for place in (1, 2, 3))
    generator = np.random.default_rng(seed)

    def short(genes: Genes) -> float:
        share_of_truth, share_of_own, _ = RUNGS[0]
        return share_of_truth * truth.loss(genes) + share_of_own * own.loss(genes)

    trainings = []
    for genes in map(tuple, domain.sample_many(EARLIER, generator).tolist()):
        loss = RELATED * short(genes) + (1 - RELATED**2) ** 0.5 * other.loss(genes)
        loss += RUNGS[0][2] * generator.standard_normal()
        trainings.append(Training(genes, float(loss), "earlier"))
    earlier = Earlier(tuple(trainings)) if learns else None
    strategy = strategies.make("gp", domain, seed=seed, earlier=earlier)

    def trained(genes: Genes, rung: int) -> float:
        of_truth, of_own, noise = RUNGS[rung]
        luck = np.random.default_rng((seed, rung, *genes)).standard_normal()
        return float(of_truth * truth.loss(genes) + of_own * own.loss(genes) + noise * luck)

    told = {}
    for number in range(TRIALS):
        genes = strategy.ask(number).genes
        told[genes] = trained(genes, 0)
        strategy.tell(
            Trial(number=number, genes=genes, digest="", state="complete", losses=(told[genes],))
        )
    promoted = sorted(told, key=lambda genes: told[genes])[: TRIALS // 3]
    last = sorted(promoted, key=lambda genes: trained(genes, 1))[: TRIALS // 9]
    return -truth.loss(min(last, key=lambda genes: trained(genes, 2)))


def simulate(given: argparse.Namespace) -> None:
    """What picks are truly worth, in standard deviations of the landscape."""
    domain = unpriced(grid("effects", CHOICES))
    values = {}
    for learns in (False, True):
        found = [simulated(domain, seed, learns=learns) for seed in range(SEARCHES)]
        values[learns] = np.array(found)
        error = values[learns].std(ddof=1) / SEARCHES**0.5
        print(f"{'with' if learns else 'without'}: {values[learns].mean():.2f} (error {error:.2f})")
    found = ttest_1samp(values[True] - values[False], 0)
    low, high = found.confidence_interval(0.95)
    print(f"gain {np.mean(values[True] - values[False]):+.2f} ({low:+.2f} to {high:+.2f})")


STEPS = {
    "train": train,
    "write": write,
    "draw": draw,
    "judge": judge,
    "report": report,
    "simulate": simulate,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=[*STEPS])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--to", type=Path, default=TABLE, help="the table")
    parser.add_argument("--table", type=Path, help="of this machine")
    parser.add_argument("--latency", type=float, default=2.0, help="milliseconds")
    parser.add_argument("--share", default="1/1", help="which part of the trainings, such as 1/2")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    STEPS[given.step](given)


if __name__ == "__main__":
    main()
