"""``nas confirm``: retrain networks of a front beside random ones of the same latency."""

from pathlib import Path
from typing import Any

import click

from nas.cli._options import (
    Pixels,
    compute_options,
    json_option,
    print_json,
    run_argument,
    seed_option,
    tell,
)
from nas.errors import InterruptError, UsageError
from nas.reading import to_json
from nas.run.confirm import EPOCHS_FACTOR, FULL_EPOCHS_FACTOR, TOP, confirm
from nas.run.confirmation import Confirmation, Member
from nas.run.contest import AUTO, SEEDS
from nas.run.run import Run
from nas.units import text_table

__all__ = ["command"]


def _opponents(ctx: click.Context, param: click.Parameter, text: str) -> tuple[str, ...]:
    if text == "auto":
        return AUTO
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or "none" in names:
        raise UsageError(
            "--against is auto, none, or names such as mobilenet_v2,fbnet_c (nas networks), "
            f"not '{text}'"
        )
    return names


@click.command(
    epilog="""\b
Examples:
  nas confirm
  nas confirm runs/photos --top 8 --random 16
  nas confirm runs/photos --against mobilenet_v2,fbnet_c --against-seeds 8
  nas confirm runs/photos --epochs-factor 10 --json
  nas confirm runs/photos --full --resolution 96"""
)
@run_argument
@click.option(
    "--top",
    type=click.IntRange(1, 1000),
    default=TOP,
    show_default=True,
    help="Networks of the front.",
)
@click.option(
    "--random",
    type=click.IntRange(1, 10000),
    show_default="12 less --top, at least as many as that",
    help="Random networks, in all.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Trainings of each network; more networks tell more than more seeds.",
)
@click.option(
    "--epochs-factor",
    type=float,
    show_default=f"{EPOCHS_FACTOR:g}, with --full {FULL_EPOCHS_FACTOR:g}",
    help="Times the search's schedule; with --full times that of nas train.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Trains the networks themselves, as nas train does, and not slimmed copies of them.",
)
@click.option(
    "--resolution",
    type=Pixels(1),
    help="Input size of --full, in pixels or as 240x320.  [default: the networks']",
)
@click.option(
    "--against",
    default="auto",
    show_default=", ".join(AUTO),
    metavar="NAME,..",
    callback=_opponents,
    help="Published networks that the pick meets, scaled to its latency: auto, names, or none.",
)
@click.option(
    "--against-seeds",
    type=click.IntRange(2, 1000),
    show_default=str(SEEDS),
    help="Trainings of the pick and of each published network; more tell smaller differences.",
)
@click.option("--data", metavar="DATA", help="Where the run's data lies now, if it has moved.")
@compute_options
@seed_option
@json_option
def command(run: Path, as_json: bool, **settings: Any) -> None:
    """Ask whether the search in RUN beat random and published networks of the same latency.

    RUN is the newest in ./runs by default. Members are spread over the front, best first; each has
    random networks beside it whose latency is within 5 % of its own. All are trained anew, longer,
    by one recipe, and scored once on the test set. "Better" is said only if the 95 % interval of
    the difference excludes zero, by an exact test: if the search told nothing, any network of a
    band could be the member. Then the pick, the member with the best score on the selection set,
    meets published networks that are scaled to its latency. Given again, the command does what is
    missing.
    """
    # By default that of the search, which may have been asked for.
    if settings["precision"] == "auto":
        settings["precision"] = None
    try:
        confirmation = confirm(Run(run), quiet=as_json, **settings)
    except KeyboardInterrupt:
        raise InterruptError(
            "interrupted; nothing finished is lost. Go on by the same command"
        ) from None
    # The run that was opened before knows nothing of what `confirm` has written since.
    fresh = Run(run)
    tell(fresh.save_reports())
    if as_json:
        print_json({"run": str(run), **document(fresh, confirmation)})
        return
    click.echo(table(fresh, confirmation))
    # What published networks win comes first.
    against = confirmation.contest_verdict if settings["against"] else ""
    verdicts = [line for line in (against, confirmation.verdict) if line]
    click.echo("\n" + "\n".join(verdicts) + f"\n\n{footer(fresh, confirmation)}")


def document(run: Run, confirmation: Confirmation) -> dict[str, Any]:
    """What ``--json`` prints: the confirmation, with the scores that the search saw."""
    differences = {pair.trial: pair.difference for pair in confirmation.pairs}
    rows = [
        {**_row(run, confirmation, member), "difference": differences.get(member.trial)}
        for member in confirmation.plan.members
    ]
    return {**confirmation.to_json(), "members": rows, "search_core_seconds": run.core_seconds}


def _row(run: Run, confirmation: Confirmation, member: Member) -> dict[str, Any]:
    metrics = run.trial(member.trial).metrics
    return {
        "trial": member.trial,
        "digest": member.digest,
        "costs": to_json(member.costs),
        "band": member.band,
        # Not every evaluator scores on *search*.
        "search": metrics.get(f"search_{confirmation.metric}"),
        "selection": metrics.get(confirmation.metric),
        "confirmed": confirmation.score(member.digest),
        "confirmed_selection": confirmation.selection_score(member.digest),
        "seeds": list(confirmation.scores.get(member.digest, ())),
        "random": [
            {
                "digest": network.digest,
                "costs": to_json(network.costs),
                "confirmed": confirmation.score(network.digest),
            }
            for network in member.random
        ],
    }


def table(run: Run, confirmation: Confirmation) -> str:
    """One line per member: what the search saw, what came out, what random networks reached."""
    costs = list(confirmation.plan.members[0].costs)
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
    for row in document(run, confirmation)["members"]:
        scores = [network["confirmed"] for network in row["random"]]
        rows.append(
            [
                str(row["trial"]),
                *(f"{value:.4g}" for value in row["costs"].values()),
                _number(row["search"]),
                _number(row["selection"]),
                _number(row["confirmed"]),
                " ".join(_number(score) for score in scores if score is not None),
                " ".join(f"{network['costs'][costs[0]]:.4g}" for network in row["random"]),
                _number(row["difference"], "+.4f"),
            ]
        )
    less = "" if confirmation.plan.sign > 0 else "; less is better"
    title = (
        f"{confirmation.metric} on the search, selection and test (confirmed, random) sets{less}"
    )
    return f"{title}\n{text_table(header, rows)}"


def _number(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else format(value, form)


def footer(run: Run, confirmation: Confirmation) -> str:
    """Counted: openings of the test set, core-seconds of both sides."""
    members, random = confirmation.seconds
    openings = confirmation.openings
    opened = f"test set opened {'once' if openings == 1 else f'{openings} times'}"
    if not confirmation.images:
        opened = "no test set of ours: the function scores on data of its own"
    lines = [
        opened,
        f"core-seconds: search {run.core_seconds:.0f}, confirmation {members:.0f} for its networks "
        f"and {random:.0f} for the random ones, {confirmation.contest_seconds:.0f} against "
        "published networks; latency tables are reusable and not counted",
    ]
    if confirmation.left_out:
        lines.insert(1, confirmation.left_out)
    lines += [f"failed: {digest}: {reason}" for digest, reason in confirmation.failed.items()]
    return "\n".join(lines)
