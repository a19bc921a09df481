"""``nas search``: search a space for a device on your data; ends in a Pareto front and a run folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nas import units
from nas.cli._options import groups_option, json_option, print_json, seed_option
from nas.cli._progress import Live
from nas.errors import RunError, UsageError
from nas.record.identity import environment_changes, read_capsule
from nas.run.search import Plan, Result, Search, check_free
from nas.study.ray import SCHEDULERS

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas search --space fbnet --device pixel
  nas search --space mnasnet --device raspi4 --data fashion-mnist --latency 30ms --trials 20
  nas search --space fbnet --device pixel,pixel3 --data folder:photos --time 1h --out runs/photos
  nas search --space fbnet --device ./my_cpu.csv --latency 60ms --confidence 0.95
  nas search --space mnasnet --device pixel --strategy rl --reward mnasnet_soft --target 60ms --trials 500
  nas search --resume runs/photos --time 2h
  nas search --space fbnet --device pixel --workers 8 --trial-timeout 10m --trials 500
  nas search --space fbnet --device pixel --ray 10.0.0.1:6379 --workers 64 --gpus 1 --scheduler asha --time 8h
  nas search --space fbnet --device pixel --strategy differentiable --latency 60ms
  nas search --space fbnet --device pixel --evaluator supernet --trials 500
  nas search --space ./my_space.py --device ./my_board.csv --objective accuracy,params --max macs=300M"""
)
@click.option(
    "--space",
    default="fbnet",
    show_default=True,
    help="Search space: a name (nas spaces), or a .py file.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Device or table file (nas devices); repeatable, or separated by commas.  [default: pixel1]",
)
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits, fashion-mnist[:DIR], npz:FILE, folder:DIR, hf:NAME.",
)
@click.option(
    "--strategy",
    default="gp",
    show_default=True,
    help="Search strategy, with settings: name:key=value,...",
)
@click.option(
    "--evaluator",
    default="training",
    show_default=True,
    help="training; supernet: one training, shared weights; zero_cost: no training.",
)
@click.option(
    "--objective",
    "objectives",
    default="accuracy,latency_ms",
    show_default=True,
    help="Metrics, separated by commas.",
)
@click.option(
    "--reward",
    default="",
    metavar="NAME",
    help="Scalar to learn from: mnasnet_soft, tunas, ...; `rl` needs one.",
)
@click.option(
    "--target", metavar="MS", help="Latency that the reward aims at.  [default: --latency]"
)
@click.option(
    "--latency", metavar="MS", help="Upper bound on the first device's latency, such as 60ms."
)
@click.option(
    "--confidence",
    type=float,
    metavar="P",
    help="Keep latency bounds with this probability, such as 0.95, not just in the mean.",
)
@click.option("--latency-min", metavar="MS", help="Lower bound, to search a band.")
@click.option(
    "--max",
    "maxima",
    multiple=True,
    metavar="COST=VALUE",
    help="Upper bound on a cost, such as params=5M; repeatable.",
)
@click.option(
    "--trials", type=click.IntRange(1), help="Networks to train.  [default: 32; differentiable: 6]"
)
@click.option(
    "--time",
    "time_",
    metavar="TIME",
    help="Time to end the trials within, such as 5m; a supernet is trained before them.",
)
@click.option(
    "--resolution",
    type=click.IntRange(8, 4096),
    help="Input size of the network to ship.  [default: the space's]",
)
@click.option(
    "--classes",
    type=click.IntRange(2, 65536),
    help="Classes of the network to ship.  [default: the data's]",
)
@click.option(
    "--in-channels",
    type=click.IntRange(1, 1024),
    help="Channels of its input.  [default: the data's]",
)
@click.option(
    "--proxy",
    default="",
    metavar="KEY=VALUE,..",
    help="Short training: resolution, width, epochs, images (seen in all at most, whatever the epochs), batch_size, lr, ...  "
    "[default: the preset]",
)
@click.option(
    "--teacher",
    metavar="NETWORK",
    help="Network, or ONNX file, that short trainings learn from too.",
)
@click.option("--teacher-weights", metavar="FILE", help="State dict of the teacher.")
@click.option(
    "--teacher-temperature", type=float, default=4.0, show_default=True, help="Softens its classes."
)
@click.option(
    "--teacher-weight", type=float, default=0.5, show_default=True, help="Its share of the loss."
)
@groups_option
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse a data set with a corrupt image instead of leaving it out.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads of a training.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Networks trained at a time.",
)
@click.option(
    "--trial-timeout", metavar="TIME", help="A training that takes longer fails, such as 10m."
)
@click.option(
    "--stop-hopeless",
    "hopeless",
    is_flag=True,
    help="End trainings that seem unable to reach the front.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Train on a Ray cluster: local, auto, HOST:PORT (extra 'ray'); '' for none.",
)
@click.option(
    "--scheduler", type=click.Choice(SCHEDULERS), help="Let Ray stop the worse trainings early."
)
@click.option(
    "--gpus", type=click.FloatRange(0), default=0.0, show_default=True, help="GPUs a trial, on Ray."
)
@click.option(
    "--storage",
    metavar="URL",
    help="Database that several drivers of a study share: sqlite:///FILE, ...",
)
@click.option(
    "--study", default="nas", show_default=True, help="Name of the study in that database."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/SPACE-DEVICE-TIME]"
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with a run; its settings apply.",
)
@seed_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, out: Path | None, resume: Path | None, as_json: bool, **given: Any
) -> None:
    """Train networks of a space, price them on a device, and print the Pareto front.

    Every trial is trained for a short while on a slimmed network; costs are those of the full one.
    The run folder holds run.json, the record (an Optuna journal), front.csv and front.png, and
    survives a kill.
    """
    settings = _settings(given)
    if resume is not None:
        if out is not None:
            raise UsageError(
                "--resume goes on in the run's own folder, so --out has no meaning beside it"
            )
        settings = _resumed(ctx, resume, settings)
    if resume is None and out is not None:
        check_free(out)
    live = Live(quiet=as_json)
    plan = Plan(settings)
    folder = resume or out or plan.default_folder()
    changes = [] if resume is None else environment_changes(read_capsule(resume))
    live.lines(
        [*plan.lines(), f"run        {folder}", *(f"changed    {change}" for change in changes)]
    )
    try:
        with live:
            result = plan.run(
                folder, resume=resume is not None, watch=live.watch, preparing=live.prepare
            )
    except KeyboardInterrupt:
        raise RunError(
            f"interrupted; nothing finished is lost. Go on with: nas search --resume {folder}"
        ) from None
    if not result.run.front_trials:
        raise RunError(
            f"no network finished ({result.outcome.reason}){result.run.failures_text()}; the record is in {folder}"
        )
    if as_json:
        print_json(document(result))
    else:
        click.echo(_summary(result))


def _settings(given: dict[str, Any]) -> Search:
    time, timeout = given.pop("time_"), given.pop("trial_timeout")
    latency, latency_min, target = (
        given.pop("latency"),
        given.pop("latency_min"),
        given.pop("target"),
    )
    return Search(
        **{
            **given,
            "devices": tuple(name for part in given["devices"] for name in part.split(","))
            or ("pixel1",),
            "objectives": tuple(name.strip() for name in given["objectives"].split(",")),
            "maxima": dict(_maximum(text) for text in given["maxima"]),
        },
        seconds=units.seconds(time) if time else None,
        trial_timeout_seconds=units.seconds(timeout) if timeout else None,
        target_ms=units.milliseconds(target) if target is not None else None,
        latency_ms=units.milliseconds(latency) if latency is not None else None,
        latency_min_ms=units.milliseconds(latency_min) if latency_min is not None else None,
    )


def _maximum(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"a bound is written cost=value, such as --max params=5M, not '{text}'")
    read = units.milliseconds if name.startswith("latency_ms") else units.count
    return name.strip(), read(value)


# The setting that each option gives, where their names differ.
_FIELDS = {
    "latency": "latency_ms",
    "latency_min": "latency_min_ms",
    "target": "target_ms",
    "time_": "seconds",
    "trial_timeout": "trial_timeout_seconds",
}
_BUDGET = ("trials", "seconds")
_CLUSTER = ("ray", "scheduler", "gpus")


def _resumed(ctx: click.Context, folder: Path, asked: Search) -> Search:
    """The run's own settings, with what was asked for explicitly on top; a new budget replaces the old one."""
    recorded = Search.from_json(read_capsule(folder)["settings"])
    explicit = {
        _FIELDS.get(name, name)
        for name in ctx.params
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        and name not in ("resume", "as_json", "out")
    }
    if explicit & set(_BUDGET):
        explicit |= set(_BUDGET)
    if "workers" in explicit and not explicit & set(_CLUSTER):
        explicit |= set(_CLUSTER)  # so many workers here, whatever cluster the run was on
    return replace(recorded, **{name: getattr(asked, name) for name in explicit})


def document(result: Result) -> dict[str, Any]:
    """What ``--json`` prints."""
    run, outcome = result.run, result.outcome
    return {
        "run": str(run.folder),
        "seconds": outcome.seconds,
        "trials": outcome.evaluated,
        "ended": outcome.reason,
        "remarks": list(result.remarks),
        "front": run.front_rows(),
    }


def _summary(result: Result) -> str:
    run, outcome = result.run, result.outcome
    remarks = "".join(f"{line}\n" for line in result.remarks)
    return (
        f"{run.front_text()}\n\n{remarks}{units.counted(outcome.evaluated - len(run.failed), 'network')} trained in {outcome.seconds:.0f} s "
        f"({outcome.reason}); {len(run.front_trials)} on the front{run.failures_text()}\n"
        f"{run.folder}/front.png   nas front {run.folder}   nas confirm {run.folder}   nas cost {run.folder}:{run.best().number}"
    )
