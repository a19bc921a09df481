"""``nas search``: search a space for a device on your data, for a Pareto front and a run folder."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import click
from click.core import ParameterSource

from nas import units
from nas.cli._options import (
    Sizes,
    compute_options,
    groups_option,
    in_milliseconds,
    in_seconds,
    json_option,
    log_option,
    print_json,
    seed_option,
)
from nas.errors import InterruptError, RunError, UsageError
from nas.files import between_commas
from nas.reading import to_json
from nas.report.live import Live
from nas.run.bounds import AIMS
from nas.run.calibrate import calibrated
from nas.run.evaluation import usual_data
from nas.run.execute import Result, check_free, execute
from nas.run.plan import plan
from nas.run.report import verdict
from nas.run.resume import changes, resumed
from nas.run.run import Run
from nas.run.settings import FLAT, Search
from nas.study.ray import SCHEDULERS

__all__ = ["command"]


def _names(ctx: click.Context, param: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _devices(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> tuple[str, ...]:
    """Every name, whether an option of its own or one of several behind commas."""
    if not texts:
        return ("pixel1",)
    names = ",".join(texts)
    # An empty name is that of an unset variable: it is refused, not replaced by a device.
    return tuple(between_commas(names)) if names else ("",)


def _maxima(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, float]:
    """By cost, the value behind its ``=``."""
    maxima = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(
                f"a bound is written cost=value, such as --max params=5M, not '{text}'"
            )
        read = units.milliseconds if name.startswith("latency_ms") else units.count
        maxima[name.strip()] = read(value)
    return maxima


def _address(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """An empty address stands for no cluster."""
    return text or None


@click.command(
    epilog="""\b
Examples:
  nas search --space fbnet --device pixel
  nas search --space mnasnet --device raspi4 --data fashion-mnist --latency 30ms --trials 20
  nas search --space fbnet --device pixel,pixel3 --data folder:photos --time 1h --out runs/photos
  nas search --space fbnet --device ./my_cpu.csv --latency 60ms --confidence 0.95
  nas search --space mnasnet --device pixel --strategy rl --reward mnasnet_soft --target 60ms \\
      --trials 500
  nas search --space mnasnet --device pixel --warm mnasnet_a1,mnasnet_b1
  nas search --space mnasnet --device pixel --latency 60ms --time 2h --race
  nas search --space mnasnet --device pixel --trials 64 --race eta=2,rungs=4
  nas search --space fbnet --device pixel3 --data folder:photos --learn-from runs/photos
  nas search --resume runs/photos --time 2h
  nas search --resume runs/photos --race
  nas search --space fbnet --device pixel --workers 8 --trial-timeout 10m --trials 500
  nas search --space fbnet --device pixel --ray 10.0.0.1:6379 --workers 64 --gpus 1 \\
      --scheduler asha --time 8h
  nas search --space fbnet --device pixel --strategy differentiable --latency 60ms
  nas search --space fbnet --device pixel --evaluator supernet --trials 500
  nas search --space mnasnet --device pixel --evaluator ./mine.py:evaluate \\
      --objective dice:max,latency_ms
  nas search --space ./my_space.py --device ./my_board.csv --objective accuracy,params \\
      --max macs=300M"""
)
@click.option(
    "--space",
    default="fbnet",
    show_default=True,
    help="Search space: a name (nas spaces) or a .py file.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    callback=_devices,
    help="Device (nas devices) or table file; several by commas or repetition.  [default: pixel1]",
)
@click.option(
    "--data",
    help="Images to learn: digits, fashion-mnist[:DIR], npz:FILE, folder:DIR, hf:NAME or "
    "FILE.py:FUNCTION.  [default: digits; none beside a function that evaluates]",
)
@click.option(
    "--strategy",
    default="gp",
    show_default=True,
    help="Search strategy, with settings: name:key=value,...",
)
@click.option(
    "--warm",
    default="auto",
    show_default=True,
    metavar="NAMES",
    help="Published networks to begin with: NAME,..., none, or a handful of the space's.",
)
@click.option(
    "--learn-from",
    multiple=True,
    metavar="RUN",
    help="Earlier run of the same space, on any images, whose trainings the search learns from; "
    "repeatable.",
)
@click.option(
    "--evaluator",
    default="training",
    show_default=True,
    help="What scores a network: its training, a supernet, a zero_cost figure, or a function of "
    "yours, FILE.py:FUNCTION (docs/your_training.md).",
)
@click.option(
    "--objective",
    "objectives",
    default="accuracy,latency_ms",
    show_default=True,
    callback=_names,
    help="Metrics of the front, separated by commas; one of your own as NAME:max or NAME:min.",
)
@click.option(
    "--reward",
    default="",
    metavar="NAME",
    help="Scalar to learn from instead: mnasnet_soft, tunas, ...; `rl` needs one.",
)
@click.option(
    "--target",
    "target_ms",
    metavar="MS",
    callback=in_milliseconds,
    help="Latency that the reward aims at.  [default: --latency]",
)
@click.option(
    "--latency",
    "latency_ms",
    metavar="MS",
    callback=in_milliseconds,
    help="Upper bound on the first device's latency, such as 60ms.",
)
@click.option(
    "--confidence",
    type=float,
    metavar="P",
    help="Probability with which latency bounds are kept, such as 0.95.  [default: in the mean]",
)
@click.option(
    "--latency-min",
    "latency_min_ms",
    metavar="MS",
    callback=in_milliseconds,
    help="Lower bound on the first device's latency, to search a band.",
)
@click.option(
    "--aim",
    type=click.Choice(AIMS),
    default="budget",
    show_default=True,
    help="With --latency: the best network of its last tenth, or a front of all that is faster.",
)
@click.option(
    "--max",
    "maxima",
    multiple=True,
    metavar="COST=VALUE",
    callback=_maxima,
    help="Upper bound on a cost, such as params=5M, or on a metric that is measured; repeatable.",
)
@click.option(
    "--min",
    "minima",
    multiple=True,
    metavar="METRIC=VALUE",
    callback=_maxima,
    help="Lower bound on a metric that is measured, such as recall=0.9; repeatable.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Networks to evaluate.  [default: 32; differentiable: 6, and the warm start]",
)
@click.option(
    "--time",
    "seconds",
    metavar="TIME",
    callback=in_seconds,
    help="Time to end the trials within, such as 5m; a supernet is trained before them.",
)
@click.option(
    "--race",
    is_flag=False,
    flag_value="3",
    default="",
    metavar="[ETA]",
    help="Train one network in ETA (3) for ETA times as long, and again; or eta=3,rungs=3. "
    "--trials is of the first rung, --time of all.",
)
@click.option(
    "--resolution",
    type=Sizes(),
    help="Input size, in pixels, of the network to ship: a side, or height x width as in 240x320; "
    "of several, such as 160,192,224, the search chooses.  [default: the space's]",
)
@click.option(
    "--classes",
    type=click.IntRange(1, 65536),
    help="Classes, or other outputs, of the network to ship.  [default: the data's]",
)
@click.option(
    "--in-channels",
    type=click.IntRange(1, 1024),
    help="Input channels of the network to ship.  [default: the data's]",
)
@click.option(
    "--proxy",
    default="",
    metavar="KEY=VALUE,..",
    help="Changes to the short training: resolution, width, epochs, images (the most that are "
    "seen, over all epochs), batch_size, lr, ...  [default: the preset]",
)
@click.option(
    "--teacher",
    metavar="NETWORK",
    help="Network, or ONNX file, that short trainings learn from too.",
)
@click.option("--teacher-weights", metavar="FILE", help="Weights of the teacher.")
@click.option(
    "--teacher-temperature",
    type=float,
    default=4.0,
    show_default=True,
    help="Softens the teacher's classes.",
)
@click.option(
    "--teacher-weight",
    type=float,
    default=0.5,
    show_default=True,
    help="The teacher's share of the loss.",
)
@groups_option
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse a data set with a corrupt image instead of leaving the image out.",
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
    help="Networks trained at a time; spread over the GPUs of this machine, if it has some.",
)
@click.option(
    "--trial-timeout",
    "trial_timeout_seconds",
    metavar="TIME",
    callback=in_seconds,
    help="Time after which a training fails, such as 10m.",
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
    callback=_address,
    help="Ray cluster to train on: local, auto or HOST:PORT (extra 'ray'); '' for none.",
)
@click.option(
    "--scheduler",
    type=click.Choice(SCHEDULERS),
    help="How Ray ends the worse trainings early.",
)
@click.option(
    "--gpus",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="GPUs that Ray reserves for a trial.",
)
@compute_options
@log_option
@click.option(
    "--calibrate/--no-calibrate",
    default=None,
    help="Time networks of the budget first, and correct the table by them.  [default: if "
    "the table is of this machine]",
)
@click.option(
    "--time-front/--no-time-front",
    default=None,
    help="Time the front as whole networks at the end.  [default: if the table is of this machine]",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Database that several searches of one study share: sqlite:///FILE, ...",
)
@click.option(
    "--study",
    default="nas",
    show_default=True,
    help="Name of the study in that database.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder, new or empty.  [default: runs/SPACE-DEVICE-TIME]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run to go on with; its settings apply.",
)
@seed_option
@click.option("--quiet", is_flag=True, help="Tell nothing on the way: no plan, no progress.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    out: Path | None,
    resume: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: object,
) -> None:
    """Train networks of a space, price them on a device, and print the Pareto front.

    Every trial is trained for a short while on a slimmed network; costs are those of the full one.
    The run folder holds run.json, the record (an Optuna journal), front.csv and front.png, and
    survives a kill. A terminal shows where the search stands, redrawn in place (nas watch shows it
    elsewhere); anything else gets a line now and then.
    """
    if resume is not None:
        if out is not None:
            raise UsageError(
                "--resume goes on in the run's own folder, so --out has no meaning beside it"
            )
        search = _resumed(ctx, resume, settings)
    else:
        if settings["data"] is None:
            settings["data"] = usual_data(str(settings["evaluator"]))
        search = Search().changed(**settings)
        if out is not None:
            # Before the data is read, which may take minutes.
            check_free(out)
    live = Live(quiet=as_json or quiet)
    ready = calibrated(plan(search, live.read), live.step, live.read)
    folder = resume or out or ready.default_folder()
    changed = [] if resume is None else changes(resume, ready.identity)
    live.lines(
        [*ready.lines(), f"run        {folder}", *(f"changed    {change}" for change in changed)]
    )
    try:
        with live.about(ready.identity.title, folder):
            result = execute(
                ready,
                folder,
                resume=resume is not None,
                watch=live.watch,
                preparing=live.prepare,
            )
    except KeyboardInterrupt:
        raise InterruptError(
            f"interrupted; nothing finished is lost. Go on with: nas search --resume {folder}"
        ) from None
    if not result.run.front_trials:
        raise RunError(
            f"no network finished ({result.outcome.reason}){result.run.failures_text()}; "
            f"the record is in {folder}"
        )
    if as_json:
        print_json(_document(result))
    else:
        click.echo(_summary(result))


def _resumed(ctx: click.Context, folder: Path, asked: dict[str, object]) -> Search:
    """The run's own settings, and on top those given on the command line."""
    explicit = {}
    for name in FLAT:
        # By source, not by value: a default that was typed is asked for, too.
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            explicit[name] = asked[name]
    return resumed(folder, explicit)


class _Document(TypedDict):
    run: str
    seconds: float
    trials: int
    ended: str
    calibrations: dict[str, object]
    remarks: list[str]
    rungs: list[dict[str, object]]
    front: list[dict[str, object]]


def _document(result: Result) -> _Document:
    """What ``--json`` prints."""
    outcome = result.outcome
    return {
        "run": str(result.run.folder),
        "seconds": outcome.seconds,
        "trials": outcome.evaluated,
        "ended": outcome.reason,
        "calibrations": _calibrations(result.run),
        "remarks": list(result.remarks),
        "rungs": result.run.rungs_json(),
        "front": result.run.front_rows(),
    }


def _calibrations(run: Run) -> dict[str, object]:
    """By device, how the run has corrected its table near the budget."""
    found: dict[str, object] = {}
    for table in run.tables:
        if table.info.calibration is not None:
            found[table.name] = to_json(table.info.calibration)
    return found


def _end(run: Run) -> list[str]:
    """What may be said of the search, the network to take, and commands to paste."""
    said = verdict(run)
    page = shlex.join(["nas", "report", str(run.folder), "-o", "report.html"])
    commands = [*said.commands[:1], ("see all of it", page), *said.commands[1:]]
    lines = [f"verdict    {said.headline}", f"pick       {said.pick}"]
    lines += [f"next       {words}    # {what}" for what, words in commands]
    return lines


def _summary(result: Result) -> str:
    run, outcome = result.run, result.outcome
    # A failed network was evaluated, but nobody should count it as trained.
    networks = units.counted(outcome.evaluated - len(run.failed), "network")
    # A supernet, a zero-cost figure or a function scores what nobody has trained.
    evaluator = str(run.record.run_file.settings.get("evaluator", "training"))
    done = "trained" if evaluator == "training" else "scored"
    lines = [
        run.front_text(),
        "",
        *filter(None, [run.race_text()]),
        *result.remarks,
        f"{networks} {done} in {outcome.seconds:.0f} s ({outcome.reason}); "
        f"{len(run.front_trials)} on the front{run.failures_text()}",
        f"picture    {run.folder}/front.png",
        *_end(run),
    ]
    return "\n".join(lines)
