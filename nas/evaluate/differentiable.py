"""The training behind strategy ``differentiable``: from images to a ranked list of networks.

Weights train on *weights*, theta on *search*; candidates are ranked on *selection* with batch norms
recalibrated on *weights*. A run keeps the training in ``theta.pt`` and what came of it in
``distribution.json``.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch

from nas.compute import USUAL, Compute
from nas.data import Dataset
from nas.domain import Domain
from nas.errors import DataError, RunError, TrainingError, UsageError
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.supernet import SupernetSession
from nas.files import one_line, write_json
from nas.progress import Watch, ignore
from nas.reading import FormError, from_json, to_json
from nas.record.identity import space_digest
from nas.report.probabilities import FILE, PICTURE, save_picture
from nas.space import SearchSpace
from nas.statistics import rng
from nas.strategies._learned import AGAIN, Candidate, Learned, Snapshot, read_learned
from nas.strategies.differentiable import DRAWS, Differentiable
from nas.supernet.distribution import Distribution
from nas.supernet.fbnet import FBNetTraining
from nas.supernet.network import Supernet
from nas.supernet.recipe import Sharing, train
from nas.supernet.scoring import recalibrate, score_path
from nas.supernet.theta import Remembered, ThetaTraining
from nas.train import Augment
from nas.trial import Genes

__all__ = ["learn"]

TRAINING = "theta.pt"
RANDOM_NETWORKS = 256
"""Networks from which the usual share of empty slots is taken."""
ROUNDS = 16
"""Draws from the distribution, of `DRAWS` networks each, before even draws take their place."""
ESTIMATORS = {
    "fbnet": "Gumbel softmax over a mixture of all options: biased for the loss of drawn networks",
    "path": "score function with a leave-one-out baseline: unbiased for the expected loss at the "
    "present weights",
}
LEAST_SEARCH = 16
"""Images of *search* below which a loss says too little of a network."""


def learn(
    strategy: Differentiable,
    dataset: Dataset,
    folder: Path,
    *,
    proxy_text: str = "",
    thread_count: int = 1,
    compute: Compute = USUAL,
    watch: Watch = ignore,
) -> list[str]:
    """Train the strategy's distribution in the run's folder, and hand it to the strategy.

    A killed training goes on, a finished one is read. Returns what is worth saying of it, a line
    each.

    Raises `DataError` for a data set too small for its sets, `TrainingError` for a loss that is not
    finite.
    """
    file = folder / FILE
    if file.exists():
        learned = read_learned(file)
        strategy.learn(learned)
        return _notes(learned, folder)
    settings = strategy.settings
    base = Proxy.parse(proxy_text, preset(dataset)[1])
    # In the paper every block has weights of its own.
    share = "none" if settings.share == "auto" and settings.variant == "fbnet" else settings.share
    sharing = Sharing(share=share, longer=settings.longer, accumulate=settings.accumulate)
    session = SupernetSession(
        dataset, base, "differentiable", thread_count, sharing, compute=compute
    )
    if len(session.splits.search) < LEAST_SEARCH:
        raise DataError(
            f"the search set of '{dataset.name}' has {len(session.splits.search)} images: "
            f"theta needs at least {LEAST_SEARCH}. "
            "Give more images, or another --strategy"
        )
    with session.computing():
        training = _training(strategy, session)
        identity = {
            "space": space_digest(strategy.domain.space),
            "data": dataset.digest,
            "seed": strategy.seed,
            "target": str(strategy.target),
            "recipe": str(session.proxy),
            **dataclasses.asdict(settings),
        }
        if settings.variant == "fbnet" and (settings.prune or settings.two_path):
            # Version 1 judged options at the temperature of the step, not at that of the draws.
            identity["shrinking"] = 2
        train(training, folder / TRAINING, identity, watch=watch)
        learned = _learned(strategy, session, training)
    # On one line, for the history holds the probabilities of every option many times.
    write_json(file, to_json(learned), indent=None)
    strategy.learn(learned)
    return _notes(learned, folder)


def _notes(learned: Learned, folder: Path) -> list[str]:
    """What is worth saying; draws the picture where a kill came before it."""
    try:
        if not (folder / PICTURE).exists():
            save_picture(learned, folder / PICTURE)
        costs = [candidate.cost for candidate in learned.candidates]
        derived = f"{min(costs):.4g} to {max(costs):.4g}" if costs else "none inside all bounds"
        return [
            f"{learned.metric}: {learned.expected:.4g} expected of the distribution, "
            f"derived networks {derived}",
            f"estimator of theta: {learned.estimator}",
            *learned.warnings,
        ]
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{folder / FILE} is damaged: {one_line(repr(error), 120)}. {AGAIN}"
        ) from None


def _training(strategy: Differentiable, session: SupernetSession) -> Remembered:
    domain, target = strategy.domain, strategy.target
    supernet = Supernet(
        domain.space,
        session.slim,
        share=session.sharing.share,
        seed=strategy.seed,
        device=session.device,
    )
    # Aimed at the middle, a distribution may err to either side and stay in the window.
    middle = (target.lower + target.upper) / 2
    reach = (target.lower, target.upper)
    distribution = Distribution(
        domain.compiled, target.metric, middle, depth=strategy.settings.depth, reach=reach
    )
    augment = Augment(pad=session.proxy.shift, flip=session.dataset.flip)
    if strategy.settings.variant == "fbnet":
        # Equation 2 of the paper takes a power of log(LAT); macs or bytes have other magnitudes.
        if not target.metric.startswith("latency_ms"):
            raise UsageError(
                f"variant fbnet has a loss over a latency, not over {target.metric}: give --latency"
            )
        return FBNetTraining(
            supernet,
            distribution,
            session.weights,
            session.search,
            strategy.settings,
            seed=strategy.seed,
            augment=augment,
        )
    return ThetaTraining(
        supernet,
        distribution,
        session.weights,
        session.search,
        session.schedule,
        strategy.settings,
        seed=strategy.seed,
        skip_limit=_skip_limit(strategy, distribution),
        augment=augment,
    )


def _skip_limit(strategy: Differentiable, distribution: Distribution) -> float:
    """The share of empty slots that the guard tolerates.

    One standard deviation above the mean of random networks inside the window.
    """
    domain, target = strategy.domain, strategy.target
    band = Domain(domain.space, domain.compiled, [target])
    drawn = band.sample_many(RANDOM_NETWORKS, rng(strategy.seed, "skips", 0))
    shares = [distribution.skips(tuple(map(int, genes))) for genes in drawn]
    return float(np.mean(shares) + np.std(shares))


def _learned(strategy: Differentiable, session: SupernetSession, training: Remembered) -> Learned:
    """What the training found. Raises `TrainingError` if it diverged."""
    distribution = training.distribution
    if not all(bool(torch.isfinite(theta).all()) for theta in distribution.theta):
        raise _diverged(session)
    # Annealing is over: networks are drawn from softmax(theta), not from that of the last step.
    distribution.temperature = 1.0
    with torch.no_grad():
        log_probs = distribution.drawn_log_probs()
        weights = [logs.exp().tolist() for logs in log_probs]
    candidates, warnings = _ranked(strategy, session, training, weights)
    figures = training.figures()
    return Learned(
        metric=strategy.target.metric,
        window=(strategy.target.lower, strategy.target.upper),
        estimator=ESTIMATORS[strategy.settings.variant],
        expected=figures["expected"],
        entropy=figures["entropy"],
        temperature=figures["temperature"],
        skips=figures["skips"],
        options=_option_labels(strategy.domain.space),
        weights=tuple(map(tuple, weights)),
        candidates=tuple(candidates),
        warnings=(
            *training.warnings,
            *_aside(strategy, figures["expected"]),
            *warnings,
            *_untaught(session, candidates),
        ),
        history=_snapshots(training),
    )


def _snapshots(training: Remembered) -> tuple[Snapshot, ...]:
    try:
        return tuple(from_json(Snapshot, row) for row in training.history)
    except FormError as error:
        raise RunError(
            f"the history in {TRAINING} is damaged: {error}. Remove it to train anew"
        ) from None


def _option_labels(space: SearchSpace) -> dict[str, tuple[str, ...]]:
    labels = {}
    for slot in space.slots:
        for choice in slot.choices:
            labels[f"{slot.name}.{choice.name}"] = tuple(choice.labels)
    return labels


def _aside(strategy: Differentiable, expected: float) -> list[str]:
    """A warning where the distribution does not expect what it aims at."""
    target = strategy.target
    if not strategy.settings.aims or target.lower <= expected <= target.upper:
        return []
    return [
        f"target: the distribution expects {expected:.4g}, outside {target.lower:.4g} to "
        f"{target.upper:.4g}, as near as the options that are left come; networks are drawn inside "
        "all the same"
    ]


def _untaught(session: SupernetSession, candidates: list[Candidate]) -> list[str]:
    """A warning if the supernet's weights do not tell classes apart.

    That is if the median candidate is not better, by two standard errors, than always naming the
    largest class.
    """
    labels = session.selection[1]
    largest = float(torch.bincount(labels).max() / len(labels))
    middle = float(np.median([candidate.accuracy for candidate in candidates]))
    # The standard error of a share p of n images is the root of p (1 - p) / n.
    if middle > largest + 2 * math.sqrt(largest * (1 - largest) / len(labels)):
        return []
    return [
        f"weights: the candidates' median accuracy with the supernet's weights is {middle:.3f}, "
        f"and always naming the largest class gives {largest:.3f}: the supernet was trained too "
        f"little to tell networks apart; raise longer={session.sharing.longer:g}"
    ]


def _diverged(session: SupernetSession) -> TrainingError:
    return TrainingError(
        "the supernet's training diverged: with its weights no loss is finite. "
        "Start anew, with another --out and a learning rate "
        f"below {session.proxy.lr:g} (--proxy lr=..)"
    )


def _ranked(
    strategy: Differentiable,
    session: SupernetSession,
    training: Remembered,
    weights: list[list[float]],
) -> tuple[list[Candidate], list[str]]:
    """Networks of the distribution inside the window, best first, and warnings.

    They differ, and are ranked by their loss on *selection*. Raises `TrainingError` if no loss is
    finite.
    """
    drawn = _drawn(strategy, weights)
    warnings = []
    if not drawn:
        space, count = strategy.domain.space, strategy.settings.candidates
        even = strategy.band.sample_many(count, rng(strategy.seed, "even", 0)).tolist()
        drawn = list(dict.fromkeys(map(space.canonical, even)))
        warnings.append(
            f"bounds: none of {ROUNDS * DRAWS} networks drawn from the distribution is inside "
            f"{strategy.band.bounds_text}; even draws from there are ranked instead"
        )
    candidates = [
        _candidate(strategy, session, training, genes)
        for genes in drawn[: strategy.settings.candidates]
    ]
    finite = [candidate for candidate in candidates if math.isfinite(candidate.loss)]
    if not finite:
        raise _diverged(session)
    # By the loss: on few images of *selection* many candidates tie in accuracy.
    return sorted(finite, key=lambda candidate: candidate.loss), warnings


def _drawn(strategy: Differentiable, weights: list[list[float]]) -> list[Genes]:
    """Different networks of the distribution inside the window, in the order they came."""
    space = strategy.domain.space
    window = strategy.window(weights)
    drawn: dict[Genes, None] = {}
    # A sharp distribution draws the same few networks again and again, so rounds are counted.
    for number in range(ROUNDS):
        for genes in strategy.draw(window, rng(strategy.seed, "derive", number)).tolist():
            drawn[space.canonical(genes)] = None
        if len(drawn) >= strategy.settings.candidates:
            break
    return list(drawn)


def _candidate(
    strategy: Differentiable, session: SupernetSession, training: Remembered, genes: Genes
) -> Candidate:
    path = training.supernet.path(genes)
    # Statistics of shared norms are of whatever networks came last: each network takes its own.
    recalibrate(path, session.weights[0], session.sharing.recalibrate)
    scores = score_path(path, *session.selection)
    compiled = strategy.domain.compiled
    prices = compiled.price(np.array([genes]))
    return Candidate(
        genes=genes,
        cost=float(prices[0, compiled.column(strategy.target.metric)]),
        skips=training.distribution.skips(genes),
        loss=scores["loss"],
        accuracy=scores["accuracy"],
    )
