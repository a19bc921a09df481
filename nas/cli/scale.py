"""``nas scale``: one network made into a family."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nas.cli._options import (
    Pixels,
    compute_options,
    groups_option,
    json_option,
    print_json,
    seed_option,
    tell,
)
from nas.errors import InterruptError, UsageError
from nas.family import deviations
from nas.family.fitted import Lead
from nas.family.steps import TOLERANCE
from nas.progress import Progress
from nas.report import text
from nas.report.live import Live
from nas.run.family import (
    Base,
    CoefficientFit,
    Family,
    FitSettings,
    check_free,
    fit_family,
    open_base,
    preset_family,
)
from nas.units import duration, text_table

__all__ = ["command"]

FIT_ONLY = (
    "data",
    "groups",
    "step",
    "grid",
    "tolerance",
    "seeds",
    "epochs",
    "images",
    "batch_size",
    "lr",
    "threads",
    "accelerator",
    "precision",
)


@click.command(
    epilog="""\b
Examples:
  nas scale efficientnet_b0 --preset efficientnet --device pixel
  nas scale runs/photos:12 --preset uninet --members 4 --out family
  nas scale runs/photos --fit --data folder:photos --device pixel --step 2 --members 3 --out family
  nas scale mobilenet_v2 --fit --data fashion-mnist --resolution 28 --step 1.6 --out family"""
)
@click.argument("network")
@click.option(
    "--preset", "preset_name", metavar="NAME", help="efficientnet, efficientnetv2 or uninet."
)
@click.option(
    "--formula",
    is_flag=True,
    help="Take EfficientNet's formula at phi 1, 2, ... instead of its table.",
)
@click.option(
    "--fit", "fitted", is_flag=True, help="Find the coefficients by training candidates on --data."
)
@click.option("--data", help="digits, fashion-mnist[:DIR], npz:FILE, folder:DIR, hf:NAME.")
@groups_option
@click.option(
    "--device",
    metavar="NAME",
    help="Device or table file: latencies are shown, and --fit plans by them.",
)
@click.option(
    "--step",
    type=float,
    default=2.0,
    show_default=True,
    help="With --fit: cost of a member over the last one's.",
)
@click.option(
    "--members",
    type=click.IntRange(1, 32),
    help="Networks beside the base.  [default: as published, or 3]",
)
@click.option(
    "--grid",
    type=click.IntRange(1, 12),
    default=4,
    show_default=True,
    help="With --fit: parts that a step is shared out in.",
)
@click.option(
    "--tolerance",
    type=float,
    default=TOLERANCE,
    show_default=True,
    help="With --fit: share of its target that a cost may be off.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    help="Trainings of each candidate.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(0, min_open=True),
    default=8.0,
    show_default=True,
    help="Passes over the weights set.",
)
@click.option(
    "--images",
    type=click.IntRange(0),
    default=0,
    help="Images to train on.  [default: all of weights]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(2),
    default=64,
    show_default=True,
    help="Images in a step of training.",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    default=0.05,
    show_default=True,
    help="Peak learning rate.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads of a training.",
)
@compute_options
@click.option(
    "--divisor",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Round channels to multiples of this.",
)
@click.option(
    "--pixels",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Round resolutions to multiples of this.",
)
@click.option(
    "--resolution",
    type=Pixels(),
    help="The base's input size, such as 224 or 240x320.  [default: its own]",
)
@click.option(
    "--classes",
    type=click.IntRange(1, 65536),
    help="Output classes.  [default: its own, or the data's]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for architectures, family.json and pictures.",
)
@click.option("--force", is_flag=True, help="Overwrite a family that is there.")
@seed_option
@json_option
def command(network: str, as_json: bool, **given: Any) -> None:
    """Scale NETWORK into a family, and print what each member is, costs, and was rounded to.

    NETWORK is a published name (nas networks), an architecture.json, or RUN[:TRIAL]. A preset
    scales by a paper's own table. --fit does what the papers did: networks of equal cost, grown in
    depth, width and resolution by different shares, are trained on weights and compared on
    selection; the best shares are kept. The cost is the latency on --device, or macs without one.
    Given again, a fit goes on where it was.
    """
    out: Path | None = given["out"]
    _check(given)
    base = open_base(
        network,
        device=given["device"],
        resolution=given["resolution"],
        classes=given["classes"],
    )
    family = _fitted(base, given, Live(quiet=as_json)) if given["fitted"] else _preset(base, given)
    if out is not None:
        tell(family.save(out))
    if as_json:
        print_json(family.to_json())
        return
    click.echo("\n".join(_lines(family, out)))


def _check(given: Mapping[str, Any]) -> None:
    """Raise for options that do not go together, or for a folder that is taken."""
    fitted, out = given["fitted"], given["out"]
    if bool(given["preset_name"]) == fitted:
        raise UsageError("give either --preset NAME or --fit")
    source = click.get_current_context().get_parameter_source
    # By source: every option has a default, and only one that was typed is a mistake.
    idle = [name for name in FIT_ONLY if source(name) is ParameterSource.COMMANDLINE]
    if idle and not fitted:
        option = idle[0].replace("_", "-")
        raise UsageError(f"--{option} is of --fit alone: leave it out, or give --fit for --preset")
    if fitted and not given["data"]:
        raise UsageError("--fit trains candidates: give --data, such as --data fashion-mnist")
    if fitted and out is None:
        raise UsageError("--fit needs a folder to go on from after a kill: give --out")
    if given["formula"] and fitted:
        raise UsageError(
            "--formula belongs to --preset efficientnet: a fit finds its own coefficients"
        )
    if out is not None:
        # A fit goes on in its own folder, so it finds its own family there.
        check_free(out, overwrite=given["force"] or fitted)


def _preset(base: Base, given: Mapping[str, Any]) -> Family:
    return preset_family(
        base,
        given["preset_name"],
        members=given["members"],
        formula=given["formula"],
        divisor=given["divisor"],
        pixels=given["pixels"],
    )


def _fitted(base: Base, given: Mapping[str, Any], live: Live) -> Family:
    def say(progress: Progress[str]) -> None:
        accuracy = progress.figures.get("accuracy")
        score = "failed" if accuracy is None else f"{accuracy:.4f}"
        done = f"{progress.done}/{progress.planned}"
        left = duration(progress.eta_seconds or 0.0)
        live.step(f"training {done}  {progress.last}  {score}  {left} left")

    # Fields and options have the same names.
    settings = FitSettings(**{name: given[name] for name in FIT_ONLY}, seed=given["seed"])
    try:
        return fit_family(
            base,
            settings,
            given["out"],
            members=given["members"] or 3,
            divisor=given["divisor"],
            pixels=given["pixels"],
            say=live.lines,
            watch=say,
        )
    except KeyboardInterrupt:
        raise InterruptError(
            "interrupted; nothing finished is lost. Go on by the same command"
        ) from None


# -- what is shown --------------------------------------------------------------------------------


def _lines(family: Family, out: Path | None) -> list[str]:
    """The family, for people."""
    base, members = family.base, family.members
    lines = [] if family.fit is None else _fit_lines(family.fit, base.unit)
    lines.append(text.family(members, base.tables, family.costs, base.unit))
    if family.preset == "efficientnet":
        lines += ["", _deviation_text()]
    if out is not None:
        first = members[1].name
        lines += [
            "",
            f"{len(members)} architectures, family.json and family.png in {out}",
            f"next: nas train {out}/{first}.json --data DATA --out trained/{first}",
        ]
    return lines


def _fit_lines(fit: CoefficientFit, unit: str) -> list[str]:
    results = fit.results
    header = ["depth", "width", "resolution", "input", "accuracy", "by seed"]
    rows = []
    for coefficients, member, mean in results.ranked:
        factors = (coefficients.depth, coefficients.width, coefficients.resolution)
        scores = results.scores[member.network.digest]
        rows.append(
            [
                *(f"{factor:.3f}" for factor in factors),
                str(member.network.input),
                f"{mean:.4f}",
                " ".join(f"{score:.4f}" for score in scores),
            ]
        )
    return [
        f"candidates at {fit.step:g} times the base's {unit}, on selection:",
        text_table(header, rows),
        *(f"left out: {line}" for line in fit.left_out),
        *(f"failed: {digest}: {reason}" for digest, reason in results.failed.items()),
        f"kept: {results.best.coefficients}; {_lead(results.lead())}",
        f"fitting took {results.core_seconds:.0f} core-seconds\n",
    ]


def _lead(lead: Lead | None) -> str:
    """The best candidate's lead with its interval, or nothing."""
    if lead is None:
        return "it grows one thing only"
    name, mean, bounds = lead
    if bounds is None:
        interval = "no interval from one seed"
    else:
        interval = f"95 % {bounds[0]:+.4f} to {bounds[1]:+.4f}"
    shown = bounds is not None and bounds[0] > 0
    doubt = "" if shown else ", so no evidence that it is better"
    return f"{mean:+.4f} over {name} alone ({interval}, by the scores that chose it{doubt})"


def _deviation_text() -> str:
    """EfficientNet's table beside its formula."""
    rows = []
    for deviation in deviations():
        depth, width, pixels = deviation.published
        by_depth, by_width, by_pixels = deviation.formula
        rows.append(
            [
                deviation.name,
                f"{deviation.phi:.2f}",
                f"{depth:g} ({by_depth:.2f})",
                f"{width:g} ({by_width:.2f})",
                f"{pixels:g} ({by_pixels:.0f})",
            ]
        )
    title = (
        "the published table, and in brackets its formula 1.2, 1.1, 1.15 to the phi "
        "of equal nominal cost:\n"
    )
    return title + text_table(["", "phi", "depth", "width", "pixels"], rows)
