"""How well a supernet ranks the networks of NAS-Bench-Macro, whose true accuracies are known.

    NAS_DATA=... python experiments/supernet_nas_bench_macro.py OUT [--slice 600]
    NAS_DATA=... python experiments/supernet_nas_bench_macro.py OUT --proxies

One supernet of the space is trained on CIFAR-10 at 16x16 pixels and half width: plain single path,
uniform, an hour of one core. Networks are split in two halves by digest: settings were chosen on
half A, figures are those of half B. Kendall's tau-b against the benchmark's mean accuracy of three
trainings, over random networks and as the mean inside ten deciles of macs, beside macs, params and
the number of blocks; then the best network under three quantiles of macs, named by local search
with the supernet's score. ``--proxies`` trains nothing: the zero-cost proxies and their ensemble on
the same networks of half B; in a folder whose supernet has scored them, also the two together.
``--preset`` takes the training of ``--evaluator supernet:preset=NAME`` instead. OUT holds
everything: the same command goes on after a kill. ``--slice`` ends after so many seconds. Seconds
told are the processor's.
"""

import argparse
import io
import json
import time
from collections.abc import Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.stats import rankdata
from supernet_start import start_at

from nas.benchmarks.nas_bench_macro import _path, _results
from nas.cost.compiled import compile_costs
from nas.data.dataset import Dataset, Sealed
from nas.domain import Domain
from nas.evaluate.proxy import Proxy
from nas.evaluate.supernet import PRESETS, SupernetSession, make
from nas.evaluate.zero_cost import ZeroCost, ZeroCostSession
from nas.evaluate.zero_cost_scores import PROXIES
from nas.progress import Progress, Watch
from nas.record import ledger
from nas.space import SearchSpace
from nas.statistics import kendall_tau, tau_lead_interval
from nas.supernet.recipe import Sharing
from nas.trial import Genes
from search_spaces import nas_bench_macro

QUANTILES = (0.25, 0.5, 0.75)
SEARCH_EVALUATIONS = 120
RESAMPLES = 1000
WITH_PROXIES = 0.5
"""What a rank by the zero-cost ensemble weighs beside one by the supernet, chosen on half A."""

RULES = {"first": slice(1), "last": slice(-1, None), "mean": slice(None)}
"""Which spellings of a network its score is the mean of.

In their order: identities before blocks, identities after them, all.
"""


def cifar(folder: Path) -> Dataset:
    """The training part of CIFAR-10; its own test part stays closed."""

    def refuse() -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("the test part is not opened here")

    with np.load(folder / "cifar10_train_jpegs.npz") as file:
        jpeg, offsets, labels = file["jpeg"], file["offsets"], file["labels"].astype(np.int64)
        classes = tuple(map(str, file["classes"]))
    pairs = pairwise(offsets)
    images = np.stack([np.asarray(Image.open(io.BytesIO(jpeg[a:b].tobytes()))) for a, b in pairs])
    return Dataset(
        name="cifar-10",
        images=images,
        labels=labels,
        classes=classes,
        test_part=Sealed(refuse),
        flip=True,
    )


def half(space: SearchSpace, genes: Genes) -> str:
    return "AB"[int(space.decode(genes).digest, 16) % 2]


def blocks(genes: Genes) -> float:
    return float(sum(gene > 0 for gene in genes))


def tau(scores: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b, 0 where it is unknown."""
    return kendall_tau(scores, truth) or 0.0


def in_deciles(scores: np.ndarray, truth: np.ndarray, macs: np.ndarray) -> float:
    order = np.argsort(macs, kind="stable")
    return float(np.mean([tau(scores[part], truth[part]) for part in np.array_split(order, 10)]))


def session(options: argparse.Namespace) -> SupernetSession:
    """The evaluator that the options describe, on CIFAR-10."""
    if options.preset:
        return make(cifar(_path().parent), threads=options.threads, preset=options.preset, check=0)
    sharing = Sharing(
        paths=options.paths,
        longer=1,
        ramp=options.ramp,
        recalibrate=512,
        check=0,
    )
    proxy = Proxy(
        resolution=16,
        width=options.width,
        final=options.final,
        epochs=1e4,
        images=options.steps * options.batch,
        batch_size=options.batch,
        lr=options.lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        average=options.average,
        shift=options.shift,
        score_images=options.score_images,
    )
    return SupernetSession(cifar(_path().parent), proxy, "as above", options.threads, sharing)


def teller() -> Watch:
    """Prints a line every half minute."""
    told = [time.monotonic()]

    def watch(now: Progress[object]) -> None:
        if time.monotonic() - told[0] > 30 or now.done == now.planned:
            told[0] = time.monotonic()
            loss = "".join(f" {name} {value:.3f}" for name, value in now.figures.items())
            print(
                f"{now.what} {now.done}/{now.planned}{loss} {now.eta_seconds or 0:.0f} s left",
                flush=True,
            )

    return watch


class Experiment:
    """One folder: the supernet, and a row per scored network."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.end = time.monotonic() + options.slice
        self.out: Path = options.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.space = nas_bench_macro.space()
        self.domain = Domain(
            self.space, compile_costs(self.space, ("macs",), lambda layer: (layer.macs,))
        )
        results = _results(_path())
        self.truth = {genes: 100 - float(rows[:, 0].mean()) for genes, rows in results.items()}
        self.macs = {genes: float(rows[0, 1]) for genes, rows in results.items()}
        self.session = session(options)
        self.file = self.out / "scores.jsonl"
        self.known = {tuple(row["genes"]): row for row in ledger.read(self.file)}
        self.spelled: dict[Genes, list[Genes]] = {}
        for genes in product(range(3), repeat=len(self.space.choices)):
            self.spelled.setdefault(self.space.canonical(genes), []).append(genes)
        self.rule = RULES[options.spelling]

    def train(self, seed: int) -> bool:
        """Whether the supernet is trained."""
        return self.session.train_supernet(
            self.domain, self.out, seed=seed, watch=teller(), stop_after=self.end - time.monotonic()
        )

    def loss(self, genes: Genes) -> float:
        """The supernet's loss on *search*. Raises TimeoutError at the end of the slice."""
        return self.scored(genes, self.rule)[0]

    def scored(self, genes: Genes, rule: slice) -> NDArray[np.float64]:
        """Loss and accuracy on *search*: means over those spellings of the network."""
        rows = [self._row(genes) for genes in self.spelled[self.space.canonical(genes)][rule]]
        return np.mean([(row["loss"], row["accuracy"]) for row in rows], axis=0)

    def _row(self, genes: Genes) -> dict[str, Any]:
        if genes not in self.known:
            if time.monotonic() > self.end:
                raise TimeoutError
            metrics = self.session.scores_of(genes, search=True, selection=False)
            scores = {"loss": metrics["search_loss"], "accuracy": metrics["search_accuracy"]}
            self.known[genes] = {"kind": "score", "genes": list(genes), **scores}
            ledger.append(self.file, self.known[genes])
        return self.known[genes]

    def sample(self, which: str, count: int) -> list[Genes]:
        """Random networks of one half."""
        pool = [genes for genes in sorted(self.truth) if half(self.space, genes) == which]
        draw = np.random.default_rng(0).permutation(len(pool))[:count]
        return [pool[i] for i in draw]

    def fidelity(self, which: str, count: int) -> dict[str, dict[str, float]]:
        """Kendall's tau of every score over one half; over half A by all rules."""
        networks, scores = self.sample(which, count), {}
        for name, rule in RULES.items() if which == "A" else [("", self.rule)]:
            both = np.array([self.scored(genes, rule) for genes in networks])
            scores |= {
                f"supernet, -loss {name}": -both[:, 0],
                f"supernet, accuracy {name}": both[:, 1],
            }
        return self.taus(networks, scores)

    def taus(
        self, networks: list[Genes], scores: Mapping[str, ArrayLike]
    ) -> dict[str, dict[str, float]]:
        """Those of the scores and of what costs nothing."""
        truth = np.array([self.truth[genes] for genes in networks])
        macs = np.array([self.macs[genes] for genes in networks])
        trivial = {
            "macs": macs,
            "params": [self.space.decode(genes).params for genes in networks],
            "blocks": [blocks(genes) for genes in networks],
        }
        rows = {}
        for name, values in {**scores, **trivial}.items():
            own = np.array(values)
            rows[name] = {"tau": tau(own, truth), "in deciles": in_deciles(own, truth, macs)}
        first, best = next(iter(scores)), max(trivial, key=lambda name: rows[name]["tau"])
        low, high = tau_lead_interval(
            np.array(scores[first]), np.array(trivial[best]), truth, resamples=RESAMPLES
        )
        return {**rows, f"{first} ahead of {best}, 95 %": {"low": low, "high": high}}

    def proxies(self, count: int) -> dict[str, dict[str, float]]:
        """The zero-cost proxies and the default ensemble over half B."""
        given = self.session
        session = ZeroCostSession(
            given.dataset, given.base, given.recipe, given.thread_count, ZeroCost(check=0)
        )
        session.prepare(self.domain, self.out, seed=0)
        file, networks = self.out / "proxy_scores.jsonl", self.sample("B", count)
        known = {tuple(row["genes"]): row["scores"] for row in ledger.read(file)}
        for genes in networks:
            if genes not in known:
                if time.monotonic() > self.end:
                    raise TimeoutError
                known[genes] = session.proxies(self.space.decode(genes), 0)
                ledger.append(file, {"kind": "score", "genes": list(genes), "scores": known[genes]})
        scores = {"ensemble": [session.score(known[g]) for g in networks]}
        if all(genes in self.known for genes in networks):
            trained = rankdata([-self.scored(genes, self.rule)[0] for genes in networks])
            scores = {
                "supernet's and ensemble's ranks": trained
                + WITH_PROXIES * rankdata(scores["ensemble"]),
                **scores,
            }
        for name in (*PROXIES, "depth"):
            scores[name] = [known[genes][name] for genes in networks]
        return self.taus(networks, scores)

    def named(self, quantile: float) -> dict[str, float]:
        """True accuracy of what a local search by the supernet's loss names.

        Networks are bounded by a quantile of macs.
        """
        limit = float(np.quantile(list(self.macs.values()), quantile))
        inside = {genes for genes, macs in self.macs.items() if macs <= limit}
        draw = np.random.default_rng(1)
        pool = sorted(inside)
        tried: dict[Genes, float] = {}
        for index in draw.permutation(len(pool))[:20]:
            tried[pool[index]] = self.loss(pool[index])
        expanded: set[Genes] = set()
        while len(tried) < SEARCH_EVALUATIONS and set(tried) - expanded:
            now = min(set(tried) - expanded, key=lambda genes: tried[genes])
            expanded.add(now)
            for near in self._near(now, inside):
                tried.setdefault(near, self.loss(near))
        best = min(tried, key=lambda genes: tried[genes])
        top = max(self.truth[genes] for genes in inside)
        return {
            "true best": top,
            "named": self.truth[best],
            "behind": top - self.truth[best],
            "scored": len(tried),
        }

    def _near(self, genes: Genes, inside: set[Genes]) -> list[Genes]:
        changed = set()
        for place in range(len(genes)):
            for option in range(3):
                spelled = (*genes[:place], option, *genes[place + 1 :])
                changed.add(self.space.canonical(spelled))
        return sorted((changed - {genes}) & inside)


def arguments() -> argparse.ArgumentParser:
    """The command line, with the settings as chosen on half A."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="train by this preset, whatever steps, batch and so on are given",
    )
    parser.add_argument("--start", type=float, help="of the last norms of residual blocks")
    parser.add_argument("--steps", type=int, default=54000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--final", type=int, default=1, help="least side of the last map")
    parser.add_argument("--paths", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=4e-5)
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--average", type=float, default=0.2)
    parser.add_argument(
        "--ramp",
        type=float,
        default=0.0,
        help="share of the steps on which networks depart from the largest",
    )
    parser.add_argument("--shift", type=int, default=1)
    parser.add_argument(
        "--spelling", choices=RULES, default="first", help="which a network is scored by"
    )
    parser.add_argument("--score-images", type=int, default=3000)
    parser.add_argument("--networks", type=int, default=400, help="networks of half B")
    parser.add_argument(
        "--tuning", type=int, default=0, help="networks of half A, to choose settings by"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-search", action="store_true", help="tau alone, no local search")
    parser.add_argument(
        "--proxies", action="store_true", help="zero-cost proxies instead of a supernet"
    )
    parser.add_argument("--slice", type=float, default=1e9, help="seconds")
    return parser


def main() -> None:
    options = arguments().parse_args()
    if options.start is not None:
        start_at(options.start)
    experiment = Experiment(options)
    report: dict[str, object] = {
        "options": {k: str(v) for k, v in vars(options).items() if k != "slice"}
    }
    try:
        if options.proxies:
            print(json.dumps(experiment.proxies(options.networks), indent=1))
            return
        began = time.process_time()
        if not experiment.train(options.seed):
            raise TimeoutError
        report["core seconds of the training"] = round(time.process_time() - began)
        print(report["core seconds of the training"], "core seconds", flush=True)
        for which, count in (("A", options.tuning), ("B", options.networks)):
            if count:
                report[f"half {which}"] = experiment.fidelity(which, count)
                print(which, json.dumps(report[f"half {which}"], indent=1), flush=True)
        if options.networks and not options.no_search:
            report["named"] = {str(q): experiment.named(q) for q in QUANTILES}
    except TimeoutError:
        print("the slice is over: give the same command again")
        return
    (options.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
