"""``nas scale``: one network made into a family: by published presets, or by coefficients fitted on your data."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nas import catalog, units
from nas.arch import Architecture
from nas.cli._options import groups_option, json_option, print_json, seed_option
from nas.cli._progress import Live, duration
from nas.cost.costs import latency_metric
from nas.errors import ExistsError, RunError, UsageError
from nas.family import Member, candidates, deviations, family, preset
from nas.family.steps import TOLERANCE, Plan
from nas.files import write_text
from nas.latency.table import Table
from nas.report import plots, text
from nas.run.network import named_network
from nas.run.run import Run
from nas.scale import scaled
from nas.units import text_table

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
)


@click.command(
    epilog="""\b
Examples:
  nas scale efficientnet_b0 --preset efficientnet --device pixel
  nas scale runs/photos:12 --preset uninet --members 4 --out family
  nas scale runs/photos --fit --data folder:photos --device pixel --step 2 --members 3 --out family
  nas scale mobilenet_v2 --fit --data fashion-mnist --resolution 28 --step 1.6 --pixels 2 --out family"""
)
@click.argument("network")
@click.option(
    "--preset", "preset_name", metavar="NAME", help="efficientnet, efficientnetv2 or uninet."
)
@click.option(
    "--formula", is_flag=True, help="EfficientNet's formula at phi 1, 2, .. instead of its table."
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
    help="With --fit: cost of a member over the last.",
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
    help="With --fit: parts of a step.",
)
@click.option(
    "--tolerance",
    type=float,
    default=TOLERANCE,
    show_default=True,
    help="With --fit: share a cost may be off.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    help="Trainings of a candidate.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(0, min_open=True),
    default=8.0,
    show_default=True,
    help="Passes.",
)
@click.option(
    "--images",
    type=click.IntRange(0),
    default=0,
    help="Train on so many images.  [default: all of weights]",
)
@click.option(
    "--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Images a step."
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    default=0.05,
    show_default=True,
    help="Peak rate.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads of a training.",
)
@click.option(
    "--divisor",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Channels are multiples of it.",
)
@click.option(
    "--pixels",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Resolutions are multiples.",
)
@click.option(
    "--resolution", type=click.IntRange(8, 4096), help="The base's input size.  [default: its own]"
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
    made = _Scale(network, given, quiet=as_json)
    made.make()
    if as_json:
        print_json(made.document())
        return
    click.echo("\n".join(made.lines()))


class _Scale:
    """One call of the command."""

    def __init__(self, network: str, given: dict[str, Any], *, quiet: bool) -> None:
        self.given, self.network, self.live = given, network, Live(quiet=quiet)
        self.run = _run_of(network)
        self._check()
        self.name = _name(network)
        self.base = named_network(network, resolution=given["resolution"], classes=given["classes"])
        self.tables: tuple[Table, ...] = (
            (catalog.device(given["device"]),) if given["device"] else ()
        )
        if not self.tables and self.run is not None:
            self.tables = self.run.tables[:1]
        self.members: Sequence[Member] = ()
        self.plan: Plan | None = None
        self.fitted: Any = None
        self.dropped: list[str] = []

    def _check(self) -> None:
        given, out = self.given, self.given["out"]
        if bool(given["preset_name"]) == given["fitted"]:
            raise UsageError("give either --preset NAME or --fit")
        source = click.get_current_context().get_parameter_source
        idle = [name for name in FIT_ONLY if source(name) is ParameterSource.COMMANDLINE]
        if idle and not given["fitted"]:
            raise UsageError(
                f"--{idle[0].replace('_', '-')} is of --fit alone: leave it out, or give --fit for --preset"
            )
        if given["fitted"] and not given["data"]:
            raise UsageError("--fit trains candidates: give --data, such as --data fashion-mnist")
        if given["fitted"] and out is None:
            raise UsageError("--fit needs a folder to go on from after a kill: give --out")
        if given["formula"] and given["fitted"]:
            raise UsageError(
                "--formula belongs to --preset efficientnet: a fit finds its own coefficients"
            )
        if out is not None and out.exists() and not out.is_dir():
            raise ExistsError(f"{out} is a file: a family needs a folder")
        if (
            out is not None
            and (out / "family.json").exists()
            and not (given["force"] or given["fitted"])
        ):
            raise ExistsError(
                f"{out} holds a family: choose another --out, or overwrite it with --force"
            )

    def make(self) -> None:
        """Members, and their files where a folder is named."""
        given = self.given
        if given["fitted"]:
            self._fit()
        else:
            self.members = preset(
                given["preset_name"], self.base, base_name=self.name, count=given["members"],
                formula=given["formula"], divisor=given["divisor"], pixels=given["pixels"],
            )  # fmt: skip
        if given["out"] is not None:
            self._save(given["out"])

    def _fit(self) -> None:
        given, fitting = self.given, catalog.fitting()
        dataset = catalog.evaluator("training").open_data(given["data"], groups=given["groups"])
        self.base = _for_data(self.base, len(dataset.classes), dataset.in_channels)
        self.plan = plan = Plan(
            base=self.base, cost=self._cost, unit=self.unit, step=given["step"], divisor=given["divisor"],
            pixels=given["pixels"], tolerance=given["tolerance"],
        )  # fmt: skip
        found, self.dropped = candidates(plan, given["grid"])
        recipe = fitting.Short(
            epochs=given["epochs"],
            images=given["images"],
            batch_size=given["batch_size"],
            lr=given["lr"],
        )
        trainer = fitting.Trainer(dataset, recipe, thread_count=given["threads"])
        fit = fitting.Fit(found, trainer, given["out"], seeds=given["seeds"], seed=given["seed"])
        self.live.lines(
            [
                f"base       {self.base.input}, {units.amount(self._cost(self.base))} {self.unit}",
                *fit.lines(),
            ]
        )
        try:
            self.fitted = fit.run(watch=self._say)
        except KeyboardInterrupt:
            raise RunError(
                "interrupted; nothing finished is lost. Go on by the same command"
            ) from None
        self.members = family(plan, self.fitted.best[0], given["members"] or 3, name=self.name)

    def _say(self, step: Any) -> None:
        score = "failed" if step.accuracy is None else f"{step.accuracy:.4f}"
        self.live.step(
            f"training {step.done}/{step.planned}  {step.name}  {score}  {duration(step.eta_seconds)} left"
        )

    @property
    def unit(self) -> str:
        """Of the cost that is planned by."""
        return f"ms on {self.tables[0].name}" if self.tables else "macs"

    def _cost(self, network: Architecture) -> float:
        return self.tables[0].estimate(network).latency_ms if self.tables else float(network.macs)

    def _costs(self) -> list[float]:
        return [self._cost(member.network) for member in self.members] if self.plan else []

    # -- what is shown --------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            *self._fit_lines(),
            text.family(self.members, self.tables, self._costs(), self.unit),
        ]
        if self.given["preset_name"] == "efficientnet":
            lines += ["", _deviation_text()]
        out = self.given["out"]
        if out is not None:
            lines += ["", f"{len(self.members)} architectures, family.json and family.png in {out}"]
            lines.append(
                f"next: nas train {out}/{self.members[1].name}.json --data DATA --out trained/{self.members[1].name}"
            )
        return lines

    def _fit_lines(self) -> list[str]:
        if self.fitted is None:
            return []
        header = ["depth", "width", "resolution", "input", "accuracy", "by seed"]
        table = [
            [f"{c.depth:.3f}", f"{c.width:.3f}", f"{c.resolution:.3f}", str(m.network.input), f"{mean:.4f}",
             " ".join(f"{score:.4f}" for score in self.fitted.scores[m.network.digest])]
            for c, m, mean in self.fitted.ranked
        ]  # fmt: skip
        return [
            f"candidates at {self.given['step']:g} times the base's {self.unit}, on selection:",
            text_table(header, table),
            *(f"left out: {line}" for line in self.dropped),
            *(f"failed: {digest}: {reason}" for digest, reason in self.fitted.failed.items()),
            f"kept: {self.fitted.best[0]}; {_lead(self.fitted.lead())}",
            f"fitting took {self.fitted.core_seconds:.0f} core-seconds\n",
        ]

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints and ``family.json`` holds."""
        found: dict[str, Any] = {
            "network": self.network,
            "preset": self.given["preset_name"],
            "formula": self.given["formula"],
            "members": [self._member(member) for member in self.members],
        }
        if self.given["preset_name"] == "efficientnet":
            found["deviations"] = [vars(entry) for entry in deviations()]
        if self.fitted is not None:
            lead = self.fitted.lead()
            found["fit"] = {
                "step": self.given["step"], "unit": self.unit, "coefficients": vars(self.fitted.best[0]),
                "core_seconds": self.fitted.core_seconds, "left_out": self.dropped, "failed": dict(self.fitted.failed),
                "lead": None if lead is None else {"over": lead[0], "mean": lead[1], "interval": lead[2]},
                "candidates": [
                    {"coefficients": vars(c), "digest": m.network.digest, "mean": mean,
                     "accuracy": list(self.fitted.scores[m.network.digest])}
                    for c, m, mean in self.fitted.ranked
                ],
            }  # fmt: skip
        return found

    def _member(self, member: Member) -> dict[str, Any]:
        network = member.network
        planned = (
            {} if member.target is None else {"planned": member.target, "cost": self._cost(network)}
        )
        return {
            "name": member.name,
            "digest": network.digest,
            "depth": member.depth, "width": member.width, "resolution": network.input.size,
            "params": network.params, "macs": network.macs, **planned,
            "devices": {table.name: table.estimate(network).to_json() for table in self.tables},
            "rounded": [vars(rounding) for rounding in member.roundings],
            "note": member.note,
        }  # fmt: skip

    # -- files ----------------------------------------------------------------------------------------

    def _save(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        for member in self.members:
            member.network.save(out / f"{member.name}.json")
        write_text(
            out / "family.json", json.dumps(self.document(), indent=1, allow_nan=False) + "\n"
        )
        plots.save(self._figure(), out / "family.png")
        if self.fitted is not None:
            ranked = self.fitted.ranked
            figure = plots.fit_figure(
                [f"d {c.depth:.2f}  w {c.width:.2f}  r {c.resolution:.2f}" for c, _, _ in ranked],
                [self.fitted.scores[m.network.digest] for _, m, _ in ranked],
                [bool(c.pure) for c, _, _ in ranked],
                title=f"{self.name}: candidates at {self.given['step']:g} times its {self.unit}",
            )
            plots.save(figure, out / "fit.png")

    def _figure(self) -> Any:
        estimates = [
            self.tables[0].estimate(m.network) if self.tables else None for m in self.members
        ]
        costs = [
            (float(m.network.macs), 0.0) if e is None else (e.latency_ms, e.latency_sd_ms)
            for m, e in zip(self.members, estimates, strict=True)
        ]
        across = latency_metric(self.tables[0].name) if self.tables else "macs"
        shown: dict[str, Any] = {}
        if self.run is not None and all(across in trial.metrics for trial in self.run.front_trials):
            up = (*self.run.objectives.maximized, "accuracy")[0]
            shown = {"trials": self.run.trials, "front": self.run.front_trials, "up": up}
        return plots.family_figure(
            [m.name for m in self.members], costs, across, params=[m.network.params for m in self.members],
            title=f"{self.name}: {self.given['preset_name'] or 'fitted'} family", **shown,
        )  # fmt: skip


def _run_of(network: str) -> Run | None:
    folder = network.partition(":")[0]
    return Run(folder) if Path(folder).is_dir() else None


def _name(network: str) -> str:
    """Name of the members' files: ``runs/fbnet:12`` becomes ``fbnet_12``."""
    stem = (
        Path(network).name.removesuffix(".json")
        if ":" not in network
        else network.rstrip("/").rpartition("/")[2]
    )
    return re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII).strip("_.") or "network"


def _for_data(base: Architecture, classes: int, in_channels: int) -> Architecture:
    return scaled(base, classes=classes, in_channels=in_channels)


def _lead(lead: tuple[str, float, tuple[float, float] | None] | None) -> str:
    """Said with its interval, or not at all."""
    if lead is None:
        return "it grows one thing only"
    name, mean, bounds = lead
    edges = (
        "no interval from one seed"
        if bounds is None
        else f"95 % {bounds[0]:+.4f} to {bounds[1]:+.4f}"
    )
    sure = "" if bounds is not None and bounds[0] > 0 else ", so no evidence that it is better"
    return f"{mean:+.4f} over {name} alone ({edges}, by the scores that chose it{sure})"


def _deviation_text() -> str:
    """EfficientNet's table beside its formula."""
    rows = [
        [d.name, f"{d.phi:.2f}", *(f"{a:g} ({b:.2f})" for a, b in zip(d.published[:2], d.formula[:2], strict=True)),
         f"{d.published[2]:g} ({d.formula[2]:.0f})"]
        for d in deviations()
    ]  # fmt: skip
    return (
        "the published table, and in brackets its formula 1.2, 1.1, 1.15 to the phi of equal nominal cost:\n"
        + text_table(["", "phi", "depth", "width", "pixels"], rows)
    )
