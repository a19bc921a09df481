"""The contract of an evaluator, as a check that ours and other people's evaluators pass alike."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nas.arch import Architecture
from nas.domain import Domain
from nas.errors import RunError
from nas.objectives import SEARCH, check_shares
from nas.progress import Progress
from nas.statistics import rng
from nas.study.evaluator import Evaluator
from nas.testing.strategies import bounded_domain
from nas.trial import Metrics, check_metrics
from search_spaces import nas_bench_macro

__all__ = ["check_evaluator"]

Make = Callable[[], Evaluator]
"""Makes the same evaluator every time it is called."""
SEED = 5
FLAGS = ("noisy", "trains", "followable", "lengthens", "prepares")


def check_evaluator(make: Make, domain: Domain | None = None) -> None:
    """Raise AssertionError unless the evaluator keeps the contract of `Evaluator`, on two networks.

    All members are there and describe themselves as plain JSON; two evaluators made alike agree,
    whatever order the networks come in; a longer one has the same metrics; an evaluation in parts
    ends as one without, and what is raised in between ends it; nothing is scored before a
    preparation that the evaluator asks for, and a finished one is read again; random and numpy's
    global generators stay as they were. Without a domain: NAS-Bench-Macro's space under a bound on
    macs.
    """
    domain = bounded_domain(nas_bench_macro.space()) if domain is None else domain
    networks = [domain.space.decode(domain.sample(rng(SEED, "check", i))) for i in range(2)]
    _check_members(make())
    _check_descriptions(make(), make())
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        evaluator = _ready(make, domain, Path(first), networks[0])
        scores = [_scored(evaluator, network) for network in networks]
        again = _ready(make, domain, Path(second), networks[0])
        # Another order, for a score must not depend on the networks scored before it.
        _check_same(again, networks[::-1], scores[::-1], "made anew, in another order")
        if evaluator.prepares:
            read = _ready(make, domain, Path(first), networks[0])
            _check_same(read, networks, scores, "prepared from what the folder holds")
        _check_parts(evaluator, networks[0], scores[0])
        _check_longer(evaluator, networks[0], scores[0])
        _check_descriptions(evaluator, make())


def _check_members(evaluator: Evaluator) -> None:
    for name in FLAGS:
        flag = getattr(evaluator, name, None)
        assert isinstance(flag, bool), f"{name} must be True or False, not {flag!r}"
    threads = getattr(evaluator, "thread_count", None)
    assert isinstance(threads, int), f"thread_count must be a whole number, not {threads!r}"
    assert threads >= 1, f"thread_count must be at least 1, not {threads}"
    assert evaluator.qualities, "qualities must name a metric that can be an objective"
    for name in evaluator.qualities:
        assert not name.startswith(SEARCH), f"quality {name} must be named as on selection"
    for line in (*evaluator.lines(), *evaluator.remarks):
        assert isinstance(line, str), f"a line for people must be text, not {line!r}"
        assert "\n" not in line, f"a line for people must be one line, not {line!r}"


def _check_descriptions(one: Evaluator, other: Evaluator) -> None:
    for name in ("describe_data", "describe_training"):
        described = getattr(one, name)()
        text = json.dumps(described, allow_nan=False)
        assert json.loads(text) == described, f"{name} must be plain JSON, not {described}"
        assert getattr(other, name)() == described, f"{name} differs between two made alike"
    threads = one.describe_training().get("threads")
    assert threads == one.thread_count, (
        f"describe_training gives {threads} threads, and thread_count is {one.thread_count}"
    )


def _ready(make: Make, domain: Domain, folder: Path, network: Architecture) -> Evaluator:
    """An evaluator that is prepared in the folder, if it asks for that."""
    evaluator = make()
    if not evaluator.prepares:
        return evaluator
    try:
        evaluator.evaluate(network, SEED)
    except RunError:
        pass
    else:
        raise AssertionError("evaluate must raise RunError before prepare, and gave metrics")
    steps: list[Progress[object]] = []
    evaluator.prepare(domain, folder, seed=SEED, watch=steps.append)
    for step in steps:
        # Without a plan no remaining time could be told.
        inside = step.planned is not None and 0 <= step.done <= step.planned
        assert inside, f"the preparation said {step.done} of {step.planned} steps are done"
    return evaluator


def _scored(evaluator: Evaluator, network: Architecture) -> Metrics:
    # A draw from a global generator would make scores depend on what ran before.
    before = _global_generators()
    metrics = check_shares(check_metrics(evaluator.evaluate(network, SEED)))
    assert _global_generators() == before, "evaluate draws from a global random generator"
    for name in evaluator.qualities:
        assert name in metrics, f"evaluate gives no {name}, and qualities names it"
    return metrics


def _global_generators() -> tuple[object, str]:
    return random.getstate(), repr(np.random.get_state(legacy=False))  # noqa: NPY002 - it is looked at, not drawn from


def _check_same(
    evaluator: Evaluator,
    networks: Sequence[Architecture],
    scores: Sequence[Metrics],
    how: str,
) -> None:
    for network, expected in zip(networks, scores, strict=True):
        metrics = _scored(evaluator, network)
        assert metrics == expected, f"{how}, it gives {metrics}, not {expected}"


class _StoppedError(Exception):
    """Raised between two parts."""


def _check_parts(evaluator: Evaluator, network: Architecture, expected: Metrics) -> None:
    parts: list[Mapping[str, float]] = []
    metrics = check_metrics(evaluator.evaluate_in_parts(network, SEED, parts.append))
    assert metrics == expected, f"in parts, it gives {metrics}, not {expected}"
    assert bool(parts) == evaluator.followable, (
        f"followable is {evaluator.followable}, and evaluate_in_parts told {len(parts)} parts"
    )
    for part in parts:
        for name in check_shares(check_metrics(part)):
            assert name.startswith(SEARCH), f"a part gives {name}: only {SEARCH} metrics steer"
    if evaluator.followable:
        _check_stop(evaluator, network)


def _check_longer(evaluator: Evaluator, network: Architecture, expected: Metrics) -> None:
    """A longer training tells what the short one does, and leaves that as it is."""
    if not evaluator.lengthens:
        return
    longer = _scored(evaluator.longer(2), network)
    assert set(longer) == set(expected), f"longer(2) gives {set(longer)}, not {set(expected)}"
    _check_same(evaluator.longer(2), [network], [longer], "made longer again")
    _check_same(evaluator, [network], [expected], "after a longer training")


def _check_stop(evaluator: Evaluator, network: Architecture) -> None:
    def stop(scores: Metrics) -> None:
        raise _StoppedError

    try:
        evaluator.evaluate_in_parts(network, SEED, stop)
    except _StoppedError:
        return
    raise AssertionError("what on_part raises must end the evaluation, and it went on")
