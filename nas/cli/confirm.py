"""``nas confirm``: retrain networks of a front beside random ones of the same latency, and score both on test."""

from pathlib import Path
from typing import Any

import click

from nas.cli._options import json_option, print_json, run_argument, seed_option
from nas.cli._progress import Live, duration
from nas.errors import RunError
from nas.run.confirm import EPOCHS_FACTOR, Step, confirm
from nas.run.confirmation import Confirmation
from nas.run.run import Run
from nas.units import text_table

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas confirm
  nas confirm runs/photos --top 5 --random 10 --seeds 3
  nas confirm runs/photos --epochs-factor 10 --json"""
)
@run_argument
@click.option(
    "--top",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="Networks of the front.",
)
@click.option(
    "--random",
    type=click.IntRange(1, 10000),
    default=3,
    show_default=True,
    help="Random networks, in all.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=2,
    show_default=True,
    help="Trainings of each network.",
)
@click.option(
    "--epochs-factor",
    type=float,
    default=EPOCHS_FACTOR,
    show_default=True,
    help="Times the search's schedule.",
)
@click.option("--data", metavar="DATA", help="Where the run's data lies now, if it has moved.")
@seed_option
@json_option
def command(run: Path, as_json: bool, **given: Any) -> None:
    """Ask whether the search in RUN (default: the newest in ./runs) beat random networks of the same latency.

    Members are spread over the front, best first; each is paired with random networks whose latency
    is within 5 % of its own. All are trained anew, longer, by one recipe, and scored once on the
    test set. "Better" is said only if the 95 % interval of the paired difference excludes zero.
    Given again, the command does what is missing.
    """
    live = Live(quiet=as_json)

    def watch(step: Step) -> None:
        score = "failed" if step.score is None else f"{step.score:.4f}"
        live.step(
            f"training {step.done}/{step.planned}  {step.digest}  {score}  {duration(step.eta_seconds)} left"
        )

    try:
        found = confirm(Run(run), say=live.lines, watch=watch, **given)
    except KeyboardInterrupt:
        raise RunError("interrupted; nothing finished is lost. Go on by the same command") from None
    fresh = Run(run)
    fresh.save_reports()
    if as_json:
        print_json({"run": str(run), **document(fresh, found)})
        return
    click.echo(table(fresh, found))
    click.echo(f"\n{found.verdict}\n\n{footer(fresh, found)}")


def document(run: Run, found: Confirmation) -> dict[str, Any]:
    """What ``--json`` prints: the confirmation, with the scores that the search saw."""
    by_number = {pair.trial: pair for pair in found.pairs}
    rows = []
    for member in found.plan["members"]:
        metrics = run.trial(member["trial"]).metrics
        pair = by_number.get(member["trial"])
        rows.append({
            "trial": member["trial"], "digest": member["digest"], "costs": member["costs"], "band": member["band"],
            "search": metrics.get(f"search_{found.metric}"), "selection": metrics.get(found.metric),
            "confirmed": found.score(member["digest"]),
            "seeds": list(found.scores.get(member["digest"], ())),
            "random": [{"digest": e["digest"], "costs": e["costs"], "confirmed": found.score(e["digest"])} for e in member["random"]],
            "difference": None if pair is None else pair.difference,
        })  # fmt: skip
    return {**found.to_json(), "members": rows, "search_core_seconds": run.core_seconds}


def table(run: Run, found: Confirmation) -> str:
    """One line per member: what the search saw, what came out, and what random networks reached."""

    def number(value: float | None, form: str = ".4f") -> str:
        return "" if value is None else format(value, form)

    costs = list(found.plan["members"][0]["costs"])
    header = [
        "trial",
        *costs,
        "search",
        "selection",
        "confirmed",
        "random",
        f"random's {costs[0]}",
        "difference",
    ]
    rows = []
    for member in document(run, found)["members"]:
        done = [entry["confirmed"] for entry in member["random"] if entry["confirmed"] is not None]
        rows.append([
            str(member["trial"]), *(f"{value:.4g}" for value in member["costs"].values()),
            number(member["search"]), number(member["selection"]), number(member["confirmed"]),
            " ".join(f"{score:.4f}" for score in done),
            " ".join(f"{entry['costs'][costs[0]]:.4g}" for entry in member["random"]),
            number(member["difference"], "+.4f"),
        ])  # fmt: skip
    return (
        f"{found.metric} on the search, selection and test (confirmed, random) sets\n"
        + text_table(header, rows)
    )


def footer(run: Run, found: Confirmation) -> str:
    """Counted: openings of the test set, core-seconds of both sides."""
    members, others = found.seconds
    times = "once" if found.openings == 1 else f"{found.openings} times"
    lines = [
        f"test set opened {times}",
        f"core-seconds: search {run.core_seconds:.0f}, confirmation {members:.0f} for its networks and {others:.0f} for "
        "the random ones; latency tables are reusable and not counted",
    ]
    lines += [f"failed: {digest}: {reason}" for digest, reason in found.failed.items()]
    return "\n".join(lines)
