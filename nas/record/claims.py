"""What the journal holds of a trial: its claim, and what became of it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast, get_args

from nas.errors import NasError, RunError
from nas.objectives import Objectives, check_shares
from nas.strategies.base import Proposal
from nas.trial import Metrics, State, Trial, check_metrics

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = [
    "Claim",
    "Result",
    "attributes",
    "contradiction",
    "new_result",
    "printable",
    "read_claim",
    "read_result",
    "trial_of",
]


class Result(TypedDict):
    """The journal's JSON of what became of a claim."""

    state: State
    metrics: Metrics
    reason: str
    seconds: float
    order: int
    """How many trials were finished before it."""
    elapsed: NotRequired[float]
    """Seconds that the run had taken; of an evaluation."""
    curve: NotRequired[list[dict[str, float]]]
    """Scores after each part, of a training that was followed."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A network taken on for evaluation."""

    number: int
    """The trial's."""
    proposal: Proposal
    digest: str
    """The network's."""
    repeat: int = 0
    """How often the digest was evaluated before."""
    told: int = 0
    """So many trials, the first of the record's order, were known to the strategy."""
    pending: tuple[int, ...] = ()
    """Numbers of the trials that were running."""
    foreign: tuple[Proposal, ...] = ()
    """What other drivers of the study had running."""


# -- writing --------------------------------------------------------------------------------------


def attributes(claim: Claim) -> dict[str, object]:
    """The claim as the journal holds it: user attributes of an Optuna trial."""
    proposal = claim.proposal
    entry: dict[str, object] = {
        "genes": list(proposal.genes),
        "digest": claim.digest,
        "note": proposal.note,
        "repeat": claim.repeat,
        "pending": list(claim.pending),
        "told": claim.told,
    }
    # Left out if empty, as in journals from before there were boards.
    if claim.foreign:
        entry["foreign"] = [[list(other.genes), dict(other.note)] for other in claim.foreign]
    return entry


def new_result(
    state: State, metrics: Metrics, *, reason: str, seconds: float, order: int
) -> Result:
    """The JSON of a result; ``order``: how many trials were finished before it.

    Raises a `NasError` for metrics that are not finite.
    """
    return {
        "state": state,
        "metrics": check_metrics(metrics),
        "reason": printable(reason),
        "seconds": round(seconds, 6),
        "order": order,
    }


def printable(text: str) -> str:
    """The text with '?' for half a character, which no table can print.

    A file's name may bring one into an error.
    """
    return text.encode(errors="replace").decode()


# -- reading --------------------------------------------------------------------------------------


def read_claim(frozen: "FrozenTrial") -> Claim:
    """The claim of an Optuna trial. Raises `RunError` for one that is not ours, or was edited."""
    entry, number = frozen.user_attrs, frozen.number
    try:
        claim = Claim(
            number=number,
            proposal=Proposal(tuple(entry["genes"]), entry["note"]),
            digest=entry["digest"],
            repeat=entry["repeat"],
            told=entry["told"],
            pending=tuple(entry["pending"]),
            foreign=tuple(
                Proposal(tuple(genes), dict(note)) for genes, note in entry.get("foreign", ())
            ),
        )
        sound = _is_claim(claim)
    except KeyError as error:
        raise RunError(
            f"trial {number} of the record has no {error}: another program wrote it"
        ) from None
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise RunError(
            f"trial {number} of the record was edited: its claim holds something else than a claim"
        )
    return claim


def _is_claim(claim: Claim) -> bool:
    """Whether what was read has the types of a claim."""
    # By type: to isinstance, and as an index, true is 1.
    counts = (*claim.proposal.genes, *claim.pending, claim.repeat, claim.told)
    if not all(type(count) is int and count >= 0 for count in counts):
        return False
    if type(claim.proposal.note) is not dict:
        return False
    # Half a character would fail wherever it is printed.
    return type(claim.digest) is str and claim.digest.isascii()


def read_result(number: int, result: Any) -> Result:
    """A result as `new_result` made it; anything else raises `RunError`."""
    try:
        sound = _is_result(result)
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError, NasError):
        sound = False
    if not sound:
        raise RunError(
            f"trial {number} of the record was edited: "
            "its result holds something else than a result"
        )
    # An edited journal may hold half a character.
    return cast("Result", {**result, "reason": printable(result["reason"])})


def _is_result(result: Any) -> bool:
    """Whether it has the form of a result; what has another may raise instead."""
    if result["state"] not in get_args(State) or type(result["reason"]) is not str:
        return False
    for value in (result["seconds"], result["order"], result.get("elapsed", 0.0)):
        if not _is_finite(value) or value < 0:
            return False
    for scores in (result["metrics"], *result.get("curve", ())):
        if not all(map(_is_finite, scores.values())):
            return False
        # An accuracy above 1 is an edit: no such trial is ever recorded.
        check_shares(scores)
    "".join(result["metrics"]).encode()  # a name with half a character raises
    return True


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(cast("float", value))


def trial_of(claim: Claim, result: Result, objectives: Objectives) -> Trial:
    """The trial that a claim and its result make."""
    state, metrics = result["state"], result["metrics"]
    return Trial(
        number=claim.number,
        genes=claim.proposal.genes,
        digest=claim.digest,
        state=state,
        losses=objectives.told(metrics) if state == "complete" else (),
        metrics=metrics,
        note=claim.proposal.note,
        reason=result["reason"],
    )


def contradiction(frozen: "FrozenTrial", objectives: Objectives) -> str:
    """What an edit of one of the two places of a value leaves; empty if both agree."""
    result = frozen.user_attrs.get("result")
    if result is None or not frozen.state.is_finished() or frozen.values is None:
        return ""
    if result["state"] != "complete":
        return f"its state is {result['state']}, yet it has values"
    # An edited trial may have fewer values than there are objectives.
    for name, value in zip(objectives.names, frozen.values, strict=False):
        recorded = result["metrics"].get(name)
        if recorded != value:
            return f"{name} is {recorded} in its result and {value} among its values"
    return ""
