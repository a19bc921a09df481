"""``nas arena``: compare strategies at equal budgets on a benchmark whose truth is known."""

import re
import sys
from pathlib import Path

import click

from nas import catalog
from nas.benchmarks.arena import compare
from nas.cli._options import json_option, print_json, tell
from nas.errors import UsageError
from nas.progress import Progress, ignore
from nas.report.arena import arena_figure, arena_table
from nas.report.plots import draw
from nas.units import counted, duration

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas arena --benchmark nas-bench-macro --strategy local-search --strategy optuna:TPE
  nas arena --benchmark nas-bench-macro:noisy --strategy evolution:population=20,sample=5
  nas arena --benchmark nk:space=mnasnet,k=5,noise=0.15 --strategy local-search --seeds 100-119
  nas arena --benchmark effects:imagenet,noise=.2 --strategy gp
  nas arena --benchmark csv:results.csv,maximize=accuracy --strategy local-search"""
)
@click.option(
    "--benchmark",
    required=True,
    help="NAME[:VARIANT][,KEY=VALUE...]: nas-bench-macro, nk, effects, csv:FILE, ...",
)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    help="NAME[:VARIANT][,KEY=VALUE...]; may be given again.",
)
@click.option(
    "--seeds",
    default="30",
    show_default=True,
    help="Number of seeds, or the first and the last: 100-119.",
)
@click.option(
    "--budget",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="New networks in each search.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that search at a time.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of results, whose finished searches are kept.",
)
@json_option
def command(
    benchmark: str,
    strategies: tuple[str, ...],
    seeds: str,
    budget: int,
    workers: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare each --strategy with random search by regret and hypervolume, at equal budgets.

    Means over the seeds come with 95 % intervals.
    """
    # With the budget, as a folder holds one comparison alone.
    out = out or Path("runs") / f"arena-{re.sub('[^A-Za-z0-9.]+', '-', benchmark)}-{budget}"
    arena = compare(
        catalog.benchmark(benchmark),
        strategies,
        name=benchmark,
        seeds=_seeds(seeds),
        budget=budget,
        out=out,
        workers=workers,
        watch=ignore if as_json else _progress,
    )
    missing = draw(lambda: arena_figure(arena), out / "arena.png")
    tell([missing] if missing else [])
    if as_json:
        print_json(arena.to_json())
        return
    click.echo(arena_table(arena))
    count = counted(len(arena.of(arena.strategies[0])), "seed")
    picture = "" if missing else f"{out}/arena.png, "
    click.echo(f"\n{count}; {picture}{out}/arena.csv, {out}/arena.json")


def _seeds(text: str) -> range:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise UsageError(
            f"--seeds takes a number, or the first and the last as 100-119, not '{text}'"
        )
    return range(int(match[1])) if match[2] is None else range(int(match[1]), int(match[2]) + 1)


def _progress(progress: Progress[object]) -> None:
    left = duration(progress.eta_seconds or 0.0)
    is_last = progress.done == progress.planned
    end = "\n" if is_last or not sys.stderr.isatty() else "\r"
    # Blanks at the end, over what is left of a longer line before.
    text = f"{progress.done}/{progress.planned} searches, {left} left    "
    click.echo(text + end, nl=False, err=True)
