"""What a report says of a run, gathered from its folder; nothing in it is changed."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.cost.metric import Metric
from nas.errors import RunError, TableError
from nas.files import UNREADABLE, one_line, read_json
from nas.latency.table import Table
from nas.objectives import QUALITY
from nas.pareto import RunningFront
from nas.programs import GIVEN
from nas.record.journal import is_held
from nas.report.axes import axis_label, robust_range
from nas.report.deviations import share_sd
from nas.report.explain import gene_changes, layer_times
from nas.report.frames import FrontRow
from nas.report.importance import importance
from nas.report.page.content import (
    Axis,
    Confirmed,
    Content,
    Course,
    FamilyMember,
    FrontPoint,
    Pick,
    Rung,
    Searched,
    Spent,
    Verdict,
)
from nas.report.plots import place
from nas.run.earlier import COPY
from nas.run.evaluation import is_function
from nas.run.run import Run
from nas.run.tested import tested
from nas.statistics import claim
from nas.trial import WARM, Trial
from nas.units import counted, uncertain

__all__ = ["content", "verdict"]

LARGEST_FAMILY_BYTES = 16 << 20
MOST_PREDICTED = 0.5
"""Of a latency: from here on it is said that most of it is predicted."""
NOTES = {"log_probability": "surprise of the policy, -log p (its mean is the entropy)"}
"""By key of a strategy's note, what it is; others are told by their key."""


def content(run: Run, family: Path | None = None) -> Content:
    """All that a report says of the run.

    ``family``: the folder of ``nas scale``; by default ``family`` in the run's own, if it is there.
    """
    across, up = _axes(run)
    complete = [trial for trial in run.trials if trial.state == "complete"]
    gathered, remark = importance(
        run.space.gene_names,
        [trial.genes for trial in complete],
        [trial.metrics[run.objectives.each[0].name] for trial in complete],
    )
    return Content(
        name=str(run.folder),
        title=run.title(),
        state=_state(run),
        verdict=verdict(run),
        across=across,
        up=up,
        choices=tuple(_choices(run)),
        trials=tuple(_trials(run, across, up)),
        searched_as=run.searched_as,
        race=run.race_text(),
        other_rungs=tuple(_other_rungs(run, across, up)),
        front=tuple(_front(run, across, up)),
        confirmed=_confirmed(run, across),
        confirmed_as=run.confirmed_as,
        course=tuple(_courses(run)),
        importance=gathered,
        importance_remark=remark,
        pick=_pick(run),
        family=_family(run, family),
        spent=tuple(_spent(run)),
        how=tuple(_how(run)),
        distrust=tuple(_distrust(run)),
    )


def _state(run: Run) -> str:
    counts = [counted(len(run.trials), "trial")]
    for state in ("failed", "stopped", "infeasible"):
        number = sum(trial.state == state for trial in run.trials)
        if number:
            counts.append(f"{number} {state}")
    if run.record.claims:
        counts.append(f"{len(run.record.claims)} claimed and not finished")
    return ", ".join(counts)


# -- the front ------------------------------------------------------------------------------------


def _axes(run: Run) -> tuple[Axis, Axis]:
    """Across: the second objective, or the trial's number; upwards: the first objective."""
    names = run.objectives.names
    up, across = names[0], names[1] if len(names) > 1 else ""
    points = [place(trial, across, up) for trial in run.rung.complete]
    xs, ys = list[float](), list[float]()
    metric = Metric.parse(across) if across else None
    for row in run.front_networks():
        x, y = place(row.trial, across, up)
        sd = _accuracy_sd(row, up) or 0.0
        across_sd = 0.0
        if metric is not None and metric.is_latency:
            across_sd = row.estimates[metric.device].latency_sd_ms
        xs += [x - across_sd, x + across_sd]
        ys += [y - sd, y + sd]
    return (
        _axis(across, [x for x, _ in points], xs),
        _axis(up, [y for _, y in points], ys),
    )


def _axis(metric: str, values: Sequence[float], always: Sequence[float]) -> Axis:
    """``always``: what no outlier may be, the front with its bars."""
    label = axis_label(metric)[0] if metric else "trial"
    low, high = robust_range(values, always)
    return Axis(metric=metric, label=label, low=low, high=high)


def _choices(run: Run) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, choice in zip(run.space.gene_names, run.space.choices, strict=True):
        yield name, choice.labels


def _trials(run: Run, across: Axis, up: Axis) -> Iterator[Searched]:
    """Every trial, with the scores of the front's rung if it has any there."""
    shown = {trial.number: trial for trial in run.rung.trials}
    for trial in run.trials:
        found = shown.get(trial.number)
        if found is None or found.state != "complete":
            yield _searched(run, trial, None, None)
            continue
        yield _searched(run, found, *place(found, across.metric, up.metric))


def _other_rungs(run: Run, across: Axis, up: Axis) -> Iterator[Rung]:
    for rung in run.rungs:
        if rung is not run.rung and rung.complete:
            points = [place(trial, across.metric, up.metric) for trial in rung.complete]
            yield Rung(number=rung.number, factor=rung.factor, points=tuple(points))


def _accuracy_sd(row: FrontRow, metric: str) -> float | None:
    return row.accuracy_sd if metric == "accuracy" else None


def _searched(run: Run, trial: Trial, x: float | None, y: float | None) -> Searched:
    told = [*run.objectives.names, *(f"latency_ms@{name}" for name in run.devices)]
    figures = {}
    for name in (*told, "params", "macs"):
        if name in trial.metrics:
            figures[name] = trial.metrics[name]
    return Searched(
        trial=trial.number,
        digest=trial.digest,
        state=trial.state,
        x=x,
        y=y,
        began_with=run.began_with(trial),
        reason=trial.reason,
        genes=trial.genes,
        figures=figures,
    )


def _front(run: Run, across: Axis, up: Axis) -> Iterator[FrontPoint]:
    metric = Metric.parse(across.metric)
    for row in run.front_networks():
        x, y = place(row.trial, across.metric, up.metric)
        latencies, predicted = {}, {}
        timed = {
            device: (found.latency_ms, found.latency_sd_ms)
            for device, found in row.measured.items()
        }
        for device, estimate in row.estimates.items():
            latencies[device] = (estimate.latency_ms, estimate.latency_sd_ms)
            predicted[device] = estimate.to_json()["predicted"]
        yield FrontPoint(
            trial=row.trial.number,
            x=x,
            x_sd=latencies[metric.device][1] if metric.is_latency else None,
            y=y,
            y_sd=_accuracy_sd(row, up.metric),
            latencies=latencies,
            predicted=predicted,
            timed=timed,
            confirmed=row.confirmed,
        )


def _selection_images(run: Run) -> int:
    """On how many images the search's accuracies were read; 0 if the evaluator does not say."""
    images = run.identity.data.get("selection", 0)
    most = run.identity.proxy.get("score_images", images)
    if not isinstance(images, int) or not isinstance(most, int):
        return 0
    return min(images, most * run.rung.factor)


def _confirmed(run: Run, across: Axis) -> tuple[Confirmed, ...]:
    """The networks that were trained anew; none over an axis without costs."""
    if run.confirmed is None or not across.metric:
        return ()
    return tuple(tested(run.confirmed, run.trials, across.metric, run.latency))


# -- the verdict ----------------------------------------------------------------------------------


def verdict(run: Run) -> Verdict:
    """What may be said of a search, its pick, and what to do next."""
    folder = str(run.folder)
    if not run.front_trials:
        resume = ("go on", _shell("nas", "search", "--resume", folder))
        return Verdict(
            claim="nothing yet",
            headline="No network has finished yet",
            details=(f"There is no front{run.failures_text()}.",),
            pick="",
            # A search that works on it is not to be started again.
            commands=() if is_held(run.folder) else (resume,),
        )
    pick = run.pick()
    number = f"{folder}:{pick.trial.number}"
    train = ("train it", _shell("nas", "train", number, "--data", _data(run), "--out", "trained"))
    after = (
        ("keep the pick", _shell("nas", "pick", folder, "--out", "best.json")),
        # A task of the user's own is not one that nas train knows.
        *([] if _is_own(run) else [train]),
        ("see where its time goes", _shell("nas", "explain", number)),
    )
    confirm = ("ask whether the search was worth it", _shell("nas", "confirm", folder))
    found = run.confirmed
    if found is None:
        return Verdict(
            claim="not confirmed",
            headline="Not confirmed: these are scores of short trainings",
            details=(
                "The best of many noisy scores flatters its network. Only nas confirm trains the "
                "front anew beside random and published networks of the same latency, and says "
                "what the search was worth.",
            ),
            pick=_pick_text(run),
            commands=(confirm, *after),
        )
    # What stands before the colon is the headline already.
    reason = found.verdict if found.missing else found.verdict.partition(": ")[2]
    contest = found.contest_verdict
    if found.outcomes:
        # The figures stand beside the chart of these scores.
        contest = contest.partition(": ")[0]
    details = [_sentence(reason), _sentence(contest)]
    said = claim(found.interval)
    if found.missing:
        said = "unfinished"
    elif any(claim(each.interval) == "worse" for each in found.outcomes):
        # What an opponent wins is said first.
        said, details = "worse", details[::-1]
    again = (confirm,) if found.missing or found.contest_missing else ()
    return Verdict(
        claim=said,  # type: ignore[arg-type]
        headline=found.headline,
        details=tuple(filter(None, details)),
        pick=_pick_text(run),
        commands=(*again, *after),
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _shell(*words: str) -> str:
    return shlex.join(words)


def _is_own(run: Run) -> bool:
    """Whether the run was evaluated by a function of the user's, or on data without a name."""
    settings = run.record.run_file.settings
    data = str(settings.get("data", ""))
    return data.startswith(GIVEN) or is_function(str(settings.get("evaluator", "")))


def _data(run: Run) -> str:
    # What was asked for: the identity holds a file's name without its folder.
    asked = run.record.run_file.settings.get("data")
    return str(asked or run.identity.data.get("name", ""))


def _pick_text(run: Run) -> str:
    """The pick in one line, each figure with what it may be off by."""
    pick = run.pick()
    estimate = run.tables[0].estimate(pick.network)
    images = _selection_images(run)
    score = uncertain(pick.score, share_sd(pick.metric, pick.score, images))
    device = run.devices[0]
    latency = f"{uncertain(estimate.latency_ms, estimate.latency_sd_ms)} ms on {device}"
    timed = run.timed.get(device, {}).get(pick.trial.digest)
    if timed is not None:
        latency += f" by its table, {uncertain(timed.latency_ms, timed.latency_sd_ms)} ms as timed"
        over = timed.latency_ms / run.limits_ms.get(device, math.inf) - 1
        if over > 0:
            latency += f", {100 * over:.1f} % over the bound"
    where = "trained anew" if pick.confirmed else "as searched"
    on = f"on {images} selection images" if images else "on selection"
    began = ""
    if pick.trial.warm:
        began = f"; the search began with it, {run.began_with(pick.trial)}"
    return f"trial {pick.trial.number}: {pick.metric} {score} {on}, {where}; {latency}{began}"


# -- the search -----------------------------------------------------------------------------------


def _courses(run: Run) -> Iterator[Course]:
    """Hypervolume and best score after each trial, and what the strategy noted of itself."""
    trials = {trial.number: trial for trial in run.trials}
    ordered = [trials[number] for number in run.record.order if number in trials]
    if not ordered:
        return
    first = run.objectives.each[0]
    ones = [1.0] * len(run.objectives.each)
    # As while it ran: losses divided by the reference, so that the hypervolume is a share.
    worst = run.identity.reference or ones
    running = RunningFront(ones)
    volumes: list[tuple[int, float]] = []
    bests: list[tuple[int, float]] = []
    for done, trial in enumerate(ordered, 1):
        if trial.state != "complete":
            continue
        losses = run.objectives.losses(trial.metrics)
        if running.add([loss / most for loss, most in zip(losses, worst, strict=True)]):
            volumes.append((done, running.hypervolume))
        value = trial.metrics[first.name]
        if not bests or first.better(value, bests[-1][1]):
            bests.append((done, value))
    if len(run.objectives.each) > 1 and run.identity.reference:
        yield Course(name="hypervolume, a share of all", steps=tuple(volumes), end=len(ordered))
    yield Course(name=f"best {first.name}", steps=tuple(bests), end=len(ordered))
    for key, steps in _noted(ordered).items():
        yield Course(name=NOTES.get(key, key), steps=tuple(steps), end=len(ordered))


def _noted(ordered: Sequence[Trial]) -> dict[str, list[tuple[int, float]]]:
    """By key of the notes, the numbers that a strategy recorded with its proposals."""
    noted: dict[str, list[tuple[int, float]]] = {}
    for done, trial in enumerate(ordered, 1):
        for key, value in trial.note.items():
            if key == WARM or type(value) not in (int, float) or not math.isfinite(value):
                continue
            shown = -value if key == "log_probability" else value
            noted.setdefault(key, []).append((done, float(shown)))
    return {key: steps for key, steps in noted.items() if len({value for _, value in steps}) > 1}


def _pick(run: Run) -> Pick | None:
    if not run.front_trials:
        return None
    pick, table = run.pick(), run.tables[0]
    estimate = table.estimate(pick.network)
    try:
        changes = gene_changes(run.space, pick.trial.genes, table)
    except TableError:
        # A table without a model may lack the rows of a network next to it.
        changes = ()
    return Pick(
        trial=pick.trial.number,
        digest=pick.trial.digest,
        reason=str(pick),
        device=table.name,
        latency_ms=estimate.latency_ms,
        latency_sd_ms=estimate.latency_sd_ms,
        beyond_layers_ms=table.constant_ms,
        params=pick.network.params,
        macs=pick.network.macs,
        layers=layer_times(pick.network, table),
        changes=tuple(change for change in changes if not change.same),
        genes=run.space.describe(pick.trial.genes),
    )


def _family(run: Run, folder: Path | None) -> tuple[FamilyMember, ...]:
    file = (folder or run.folder / "family") / "family.json"
    if folder is None and not file.is_file():
        return ()
    try:
        document = read_json(file, LARGEST_FAMILY_BYTES, "not a family")
        members = []
        for member in document["members"]:
            latencies = {}
            for device, estimate in member["devices"].items():
                latencies[str(device)] = (
                    float(estimate["latency_ms"]),
                    float(estimate["latency_sd_ms"]),
                )
            members.append(
                FamilyMember(
                    name=str(member["name"]),
                    resolution=str(member["resolution"]),
                    params=int(member["params"]),
                    macs=int(member["macs"]),
                    latencies=latencies,
                )
            )
    except UNREADABLE as error:
        raise RunError(f"cannot read {file}: {one_line(error)}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError(f"{file} is no family of nas scale") from None
    return tuple(members)


# -- how it was done, and what to be careful with -------------------------------------------------


def _spent(run: Run) -> Iterator[Spent]:
    trained = sum(seconds > 0 for seconds in run.record.seconds.values())
    trained += len(run.race.promotions)
    yield Spent(what="the search", core_seconds=run.core_seconds, trainings=trained)
    found = run.confirmed
    if found is None:
        return
    digests = {member.digest for member in found.plan.members}
    members = sum(key[0] in digests for key in found.trainings)
    own, others = found.seconds
    yield Spent(what="confirming the front", core_seconds=own, trainings=members)
    yield Spent(
        what="random networks beside it",
        core_seconds=others,
        trainings=len(found.trainings) - members,
    )
    if found.contest_trainings:
        yield Spent(
            what="published networks, and the pick again",
            core_seconds=found.contest_seconds,
            trainings=len(found.contest_trainings),
        )


def _how(run: Run) -> Iterator[tuple[str, str]]:
    identity, made = run.identity, run.record.run_file
    if made.command:
        yield "command", _shell("nas", *made.command[1:])
    yield "begun", made.started
    yield "space", str(run.space)
    for table in run.tables:
        info = table.info
        yield "device", f"{table.name}: {info.kind}; table {table.digest}"
        yield "audit", f"{table.name}: {info.reliability(_relied_on_ms(run, table))}"
        if info.calibration is not None:
            yield "calibrated", f"{table.name}: {info.calibration}"
    yield "data", _settings(identity.data)
    yield "training", _settings(identity.proxy)
    yield "objectives", ", ".join(f"{o.direction} {o.name}" for o in run.objectives.each)
    bounds = " and ".join(map(str, identity.domain_bounds))
    yield "bounds", bounds or "none"
    yield "strategy", f"{identity.strategy.name}, seed {identity.seed}"
    if identity.warm:
        yield "begun with", ", ".join(start.name for start in identity.warm)
    if identity.earlier:
        yield "learnt from", f"earlier trainings, {identity.earlier} ({COPY})"
    here = made.environment
    yield "machine", f"{here.cpu}, {counted(here.cores or 0, 'core')}, {here.platform}"
    versions = {"python": here.python, **here.packages}
    yield "versions", _settings(versions)


def _settings(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _distrust(run: Run) -> Iterator[str]:
    """What to be careful with, the gravest first."""
    if not run.front_trials:
        return
    found = run.confirmed
    if found is None:
        yield (
            "No score is confirmed. The front is chosen from noisy scores, so its scores are "
            "too high in the mean."
        )
    elif found.openings > 1:
        yield f"The test set was opened {found.openings} times: each look makes it less of a test."
    yield from _noise(run)
    for table in run.tables:
        # Where a run relies on a calibrated table, other networks tell than those of its audit.
        if table.info.calibration is None:
            yield from _doubtful_audit(run, table)
        shares = [
            table.estimate(run.network_of(trial)).to_json()["predicted"]
            for trial in run.front_trials
        ]
        if max(shares) > MOST_PREDICTED:
            yield (
                f"On {table.name} up to {100 * max(shares):.0f} % of a front latency is predicted "
                "by the device's model, and not measured."
            )
    proxy = run.identity.proxy
    if "epochs" in proxy and "width" in proxy:
        yield (
            f"Networks were trained for {proxy['epochs']} epochs at {proxy.get('resolution')} "
            f"pixels and {proxy['width']:g} of their width: such scores rank networks roughly. "
            "How roughly is not known for these data."
        )
    if run.failed:
        yield (
            f"{counted(len(run.failed), 'training')} failed, the last one for: "
            f"{run.failed[-1].reason}."
        )
    if run.record.claims:
        unfinished = counted(len(run.record.claims), "trial")
        yield f"{unfinished} are not finished: the search goes on, or was interrupted."
    yield "It is one search: another seed would have ended with other networks."


def _doubtful_audit(run: Run, table: Table) -> Iterator[str]:
    """A sentence if a table's audit is missing, poor or doubtful."""
    audit, phrase = table.info.audit, table.info.reliability(_relied_on_ms(run, table))
    if audit is None:
        yield f"The table of {table.name} was not held against whole networks, audit: {phrase}."
    elif audit.every.is_poor or audit.unreliable:
        yield f"The audit of {table.name}: {phrase}."


def _relied_on_ms(run: Run, table: Table) -> float | None:
    """Where a device's latencies are relied on: at the pick; None while there is none."""
    if not run.front_trials:
        return None
    return table.estimate(run.pick().network).latency_ms


def _noise(run: Run) -> Iterator[str]:
    """How many networks of the front the selection images cannot tell from its best."""
    images, metric = _selection_images(run), run.objectives.each[0].name
    front = [trial.metrics[metric] for trial in run.front_trials]
    if metric not in QUALITY or not images:
        return
    best = max(front)
    sd = share_sd("accuracy", best, images)
    near = sum(best - value <= 2 * (sd or 0.0) for value in front) - 1
    yield (
        f"{images} selection images tell an accuracy to ± {sd:.2g} (one standard deviation): "
        f"{near} of the {len(front) - 1} other networks of the front are within twice that of the "
        "best."
    )
