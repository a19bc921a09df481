"""The networks of a confirmation as pictures and reports show them: cost, score, what they are."""

from collections.abc import Iterator, Sequence

from nas.report.axes import axis_label
from nas.report.deviations import share_sd
from nas.report.page.content import Confirmed
from nas.run.confirmation import Confirmation
from nas.trial import Trial

__all__ = ["tested"]


def tested(
    found: Confirmation, trials: Sequence[Trial], across: str, latency: str
) -> Iterator[Confirmed]:
    """Every network that was trained anew and has a score and a cost.

    ``across``: the metric of the horizontal axis; where the plan holds no such cost of a network,
    it is its trial's. ``latency``: the metric that published networks are scaled to.
    """
    scale = axis_label(across)[1]
    own = {trial.digest: trial for trial in trials}
    for member in found.plan.members:
        for network in (member, *member.random):
            score, cost = found.score(network.digest), network.costs.get(across)
            if cost is None and network.digest in own:
                cost = own[network.digest].metrics.get(across)
            if score is None or cost is None:
                continue
            is_member = network is member
            yield Confirmed(
                kind="front" if is_member else "random",
                name=f"trial {member.trial}" if is_member else "a random network",
                trial=member.trial if is_member else None,
                x=cost / scale,
                score=score,
                sd=share_sd(found.metric, score, found.images),
            )
    if across != latency:
        return
    for outcome in found.outcomes:
        yield Confirmed(
            kind="published",
            name=str(outcome.opponent),
            x=outcome.opponent.latency_ms,
            score=outcome.score,
            sd=share_sd(found.metric, outcome.score, found.images),
            lead=outcome.difference,
            interval=outcome.interval,
            alone=outcome.alone,
        )
