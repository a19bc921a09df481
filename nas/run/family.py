"""One network made into a family: by a paper's preset, or by coefficients fitted on your data.

base = open_base("runs/photos:12", device="pixel")
family = fit_family(base, FitSettings(data="folder:photos", step=2), "family", members=3)
family.save("family")
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import catalog, units
from nas.arch import Architecture
from nas.compute import Compute
from nas.cost.costs import latency_metric
from nas.errors import ExistsError
from nas.family import Member, candidates, deviations, family, preset
from nas.family.fitted import Fitted
from nas.family.member import PIXELS
from nas.family.steps import TOLERANCE, Plan
from nas.files import make_folder, write_json
from nas.latency.table import Table
from nas.progress import ignore
from nas.report import plots
from nas.run.network import named_network, run_and_trial
from nas.run.run import Run
from nas.scale import scaled
from nas.size import Size, as_json
from nas.study.trainings import FitWatch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Base",
    "CoefficientFit",
    "Family",
    "FitSettings",
    "check_free",
    "fit_family",
    "open_base",
    "preset_family",
]

FILE = "family.json"


@dataclass(frozen=True, kw_only=True)
class Base:
    """The network that a family is made from, and what its members are priced by."""

    source: str
    """What it was asked for by: a published name, a file, ``RUN`` or ``RUN:TRIAL``."""
    network: Architecture
    tables: tuple[Table, ...] = ()
    """The device's latency table; empty if none was named and the network is of no run."""
    run: Run | None = None
    """The run that it is of."""

    @property
    def name(self) -> str:
        """Begins the members' names: ``runs/fbnet:12`` becomes ``fbnet_12``."""
        if ":" in self.source:
            stem = self.source.rstrip("/").rpartition("/")[2]
        else:
            stem = Path(self.source).name.removesuffix(".json")
        return re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII).strip("_.") or "network"

    @property
    def unit(self) -> str:
        """Of `cost`, in words."""
        return f"ms on {self.tables[0].name}" if self.tables else "macs"

    def cost(self, network: Architecture) -> float:
        """What members are planned by: the latency on the device, or macs without one."""
        if not self.tables:
            return float(network.macs)
        return self.tables[0].estimate(network).latency_ms


def open_base(
    network: str,
    *,
    device: str | None = None,
    resolution: Size | None = None,
    classes: int | None = None,
) -> Base:
    """The network of that name, file or trial; without a ``device``, a run's first one counts.

    Raises a `NasError` for what is not there.
    """
    folder, _ = run_and_trial(network)
    run = Run(folder) if folder.is_dir() else None
    architecture = named_network(network, resolution=resolution, classes=classes)
    tables: tuple[Table, ...] = ()
    if device:
        tables = (catalog.device(device),)
    elif run is not None:
        # Members are of other latencies than the one that the run's table may be calibrated for.
        tables = tuple(table.for_kin(architecture) for table in run.tables[:1])
    return Base(source=network, network=architecture, tables=tables, run=run)


def check_free(out: Path, *, overwrite: bool = False) -> None:
    """Raise `ExistsError` unless a family may be saved in the folder, over another one if asked."""
    if out.exists() and not out.is_dir():
        raise ExistsError(f"{out} is a file: a family needs a folder")
    if (out / FILE).exists() and not overwrite:
        raise ExistsError(
            f"{out} holds a family: choose another --out, or overwrite it with --force"
        )


# -- the two ways to make one ---------------------------------------------------------------------


def preset_family(
    base: Base,
    name: str,
    *,
    members: int | None = None,
    formula: bool = False,
    divisor: int = 8,
    pixels: int = PIXELS,
) -> "Family":
    """The base and ``members`` networks made by a paper's rules, see `nas.family.preset`."""
    networks = preset(
        name,
        base.network,
        base_name=base.name,
        count=members,
        formula=formula,
        divisor=divisor,
        pixels=pixels,
    )
    return Family(base=base, members=networks, preset=name, formula=formula)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How coefficients are found: candidates of equal cost are trained, the best is kept."""

    data: str
    """The data set, as for ``nas train``."""
    groups: str | None = None
    """The file that says which images belong together."""
    step: float = 2.0
    """The cost of a member over the last one's, above 1 and up to 64."""
    grid: int = 4
    """Parts that a step's cost is shared out in."""
    tolerance: float = TOLERANCE
    """The share of its target that a cost may be off, 0..1."""
    seeds: int = 2
    """Trainings of each candidate."""
    seed: int = 0
    """The first training's seed."""
    epochs: float = 8.0
    """Passes over the weights set."""
    images: int = 0
    """Images of the weights set that are trained on; 0 for all."""
    batch_size: int = 64
    """Images a step of training."""
    lr: float = 0.05
    """The peak learning rate."""
    threads: int = 1
    """CPU threads of a training."""
    accelerator: str = "auto"
    """What candidates are trained on, see `nas.compute.Compute`."""
    precision: str = "auto"
    """Of their products, see there."""


def fit_family(
    base: Base,
    settings: FitSettings,
    out: str | Path,
    *,
    members: int = 3,
    divisor: int = 8,
    pixels: int = PIXELS,
    say: Callable[[Sequence[str]], None] = lambda lines: None,
    watch: FitWatch = ignore,
) -> "Family":
    """The base and ``members`` networks, each a step of cost above the last.

    Trains what the folder ``out`` does not hold yet, so that a killed fit goes on. ``say`` gets
    what will be done, ``watch`` each training as it ends. Raises `NasError`.
    """
    fitting = catalog.fitting()
    dataset = catalog.evaluator("training").open_data(settings.data, groups=settings.groups)
    # Candidates are priced as they are trained: with the data's classes and channels.
    network = scaled(base.network, classes=len(dataset.classes), in_channels=dataset.in_channels)
    plan = Plan(
        base=network,
        cost=base.cost,
        unit=base.unit,
        step=settings.step,
        divisor=divisor,
        pixels=pixels,
        tolerance=settings.tolerance,
    )
    # Before any training: fewer than two candidates are refused here.
    compared, left_out = candidates(plan, settings.grid)
    fit = fitting(
        compared,
        dataset,
        out,
        epochs=settings.epochs,
        images=settings.images,
        batch_size=settings.batch_size,
        lr=settings.lr,
        threads=settings.threads,
        seeds=settings.seeds,
        seed=settings.seed,
        compute=Compute(accelerator=settings.accelerator, precision=settings.precision),
    )
    price = units.amount(base.cost(network))
    say([f"base       {network.input}, {price} {base.unit}", *fit.lines()])
    results = fit.run(watch=watch)
    networks = family(plan, results.best.coefficients, members, name=base.name)
    found = CoefficientFit(step=settings.step, results=results, left_out=tuple(left_out))
    return Family(base=base, members=networks, fit=found)


# -- what comes out -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CoefficientFit:
    """How a family's coefficients were found."""

    step: float
    """The cost of a candidate over the base's."""
    results: Fitted
    """The trainings."""
    left_out: tuple[str, ...]
    """A line for each direction that has no candidate."""

    def to_json(self, unit: str) -> dict[str, object]:
        """Plain JSON of the fit; ``unit`` of the cost, in words."""
        results = self.results
        lead = results.lead()
        return {
            "step": self.step,
            "unit": unit,
            "coefficients": vars(results.best.coefficients),
            "core_seconds": results.core_seconds,
            "left_out": list(self.left_out),
            "failed": dict(results.failed),
            "lead": None if lead is None else lead._asdict(),
            "candidates": [
                {
                    "coefficients": vars(coefficients),
                    "digest": member.network.digest,
                    "mean": mean,
                    "accuracy": list(results.scores[member.network.digest]),
                }
                for coefficients, member, mean in results.ranked
            ],
        }

    def figure(self, title: str) -> "Figure":
        """Each candidate's accuracy by seed."""
        ranked = self.results.ranked
        return plots.fit_figure(
            [f"d {c.depth:.2f}  w {c.width:.2f}  r {c.resolution:.2f}" for c, _, _ in ranked],
            [self.results.scores[member.network.digest] for _, member, _ in ranked],
            [bool(c.pure) for c, _, _ in ranked],
            title=title,
        )


@dataclass(frozen=True, kw_only=True)
class Family:
    """A base with the networks made from it, and how."""

    base: Base
    members: tuple[Member, ...]
    """The base first."""
    preset: str | None = None
    """The paper's preset; None for a fit."""
    formula: bool = False
    """Whether EfficientNet's formula was taken instead of its table."""
    fit: CoefficientFit | None = None

    @property
    def costs(self) -> list[float]:
        """What each member costs, in the base's unit; empty if none was planned for a cost."""
        if self.fit is None:
            return []
        return [self.base.cost(member.network) for member in self.members]

    def to_json(self) -> dict[str, object]:
        """Plain JSON: the content of ``family.json``."""
        document: dict[str, object] = {
            "network": self.base.source,
            "preset": self.preset,
            "formula": self.formula,
            "members": [self._member_json(member) for member in self.members],
        }
        # Its authors' table is not what their formula gives.
        if self.preset == "efficientnet":
            document["deviations"] = [vars(deviation) for deviation in deviations()]
        if self.fit is not None:
            document["fit"] = self.fit.to_json(self.base.unit)
        return document

    def _member_json(self, member: Member) -> dict[str, object]:
        network = member.network
        planned = {}
        if member.target is not None:
            planned = {"planned": member.target, "cost": self.base.cost(network)}
        return {
            "name": member.name,
            "digest": network.digest,
            "depth": member.depth,
            "width": member.width,
            "resolution": as_json(network.input.size),
            "params": network.params,
            "macs": network.macs,
            **planned,
            "devices": {
                table.name: table.estimate(network).to_json() for table in self.base.tables
            },
            "rounded": [vars(rounding) for rounding in member.roundings],
            "note": member.note,
        }

    def save(self, out: str | Path) -> tuple[str, ...]:
        """Write the members' architectures, ``family.json`` and pictures.

        Files of these names are overwritten. Returns why a picture could not be drawn, a line
        each. Raises `RunError` for a folder that cannot be made.
        """
        out = Path(out)
        make_folder(out)
        for member in self.members:
            member.network.save(out / f"{member.name}.json")
        # After the members: by this file `check_free` knows a family.
        write_json(out / FILE, self.to_json())
        remarks = [plots.draw(self.figure, out / "family.png")]
        if self.fit is not None:
            title = f"{self.base.name}: candidates at {self.fit.step:g} times its {self.base.unit}"
            remarks.append(plots.draw(partial(self.fit.figure, title), out / "fit.png"))
        return tuple(filter(None, remarks))

    def figure(self) -> "Figure":
        """The members' costs beside the front that the base is of, or else their params."""
        base = self.base
        metric = latency_metric(base.tables[0].name) if base.tables else "macs"
        return plots.family_figure(
            [member.name for member in self.members],
            [self._drawn_cost(member.network) for member in self.members],
            metric,
            params=[member.network.params for member in self.members],
            title=f"{base.name}: {self.preset or 'fitted'} family",
            **self._drawn_front(metric),
        )

    def _drawn_cost(self, network: Architecture) -> tuple[float, float]:
        """The cost with its standard deviation."""
        if not self.base.tables:
            return float(network.macs), 0.0
        estimate = self.base.tables[0].estimate(network)
        return estimate.latency_ms, estimate.latency_sd_ms

    def _drawn_front(self, metric: str) -> dict[str, Any]:
        run = self.base.run
        # --device may name one that the run was not priced on.
        if run is None or not all(metric in trial.metrics for trial in run.front_trials):
            return {}
        up = (*run.objectives.qualities, "accuracy")[0]
        return {"trials": run.rung.trials, "front": run.front_trials, "up": up}
