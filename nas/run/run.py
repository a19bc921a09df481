"""A finished or running search: its trials, its front, its networks."""

import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from nas.arch import Architecture
from nas.cost.confidence import Margin, check_confidence, sure_latency_ms
from nas.cost.costs import latency_metric, space_costs
from nas.cost.metric import Metric
from nas.domain import Domain
from nas.errors import NasError, RunError, UsageError
from nas.files import write_text
from nas.latency.measured import Measured
from nas.latency.table import Table
from nas.metadata import Metadata
from nas.objectives import Objective
from nas.programs import NOTHING_GIVEN, Given
from nas.record import race, store
from nas.record.identity import Identity
from nas.record.journal import JOURNAL
from nas.record.race import Standing
from nas.report import devices as report_devices
from nas.report import frames, plots, text
from nas.report.deviations import accuracy_deviations
from nas.report.frames import FrontRow
from nas.report.front_picture import front_figure
from nas.report.front_shown import FrontShown
from nas.report.interactive import interactive_front
from nas.report.page.content import Confirmed
from nas.run import confirmation, timings
from nas.run.confirmation import Confirmation
from nas.run.copies import read_space, read_tables
from nas.run.pick import Limit, Pick, choose
from nas.run.tested import tested
from nas.space import SearchSpace
from nas.strategies._warm import as_input
from nas.trial import Trial
from nas.units import counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Plot

__all__ = ["Run", "load", "newest"]


TABLE, PICTURE = "front.csv", "front.png"


class Run:
    """A run folder, read afresh when built. It is self-contained: its latency tables lie in it.

    ``trials``: the finished trials in number order, as they were first trained. ``race``: the
    longer trainings of the better ones, if there were any.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.given: Given = NOTHING_GIVEN
        """Functions and data that the search was given from Python, where it was this process."""
        self.record = store.read(self.folder)
        self.trials = self.record.trials
        self.race = race.read(self.folder)
        self.objectives = self.record.objectives
        # At once: what is another run's is told before anything is made of it.
        store.check_space(self.folder, self.space, self.trials)

    @property
    def identity(self) -> Identity:
        """What the run's result depends on."""
        return self.record.run_file.identity

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, built as the run built it."""
        return read_space(self.folder, self.identity.space.arguments)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The latency tables the run was priced with, first device first."""
        return read_tables(self.folder, self.identity.tables)

    @property
    def margins(self) -> Mapping[str, Margin]:
        """By device, what the run's confidence adds to a latency; empty without one."""
        return self.identity.margins

    @cached_property
    def domain(self) -> Domain:
        """The space with its costs, inside the run's own bounds."""
        costs = space_costs(self.space, self.tables, self.margins)
        return Domain(self.space, costs, self.identity.domain_bounds)

    @cached_property
    def confirmed(self) -> Confirmation | None:
        """The last confirmation, finished or not; None where there is none."""
        return confirmation.read(self.folder)

    @property
    def metadata(self) -> Metadata:
        """Class names of the run's data; a run of an older version knows none."""
        return self.record.run_file.metadata

    @cached_property
    def rungs(self) -> list[Standing]:
        """The rungs of the race, the trials' own first; that alone without a race.

        Scores of two rungs are of trainings of different lengths, and not to be compared.
        """
        standings = self.race.standings(self.trials, self.objectives)
        # Latencies that were timed stand for their estimates.
        return [
            replace(standing, trials=tuple(map(self._as_timed, standing.trials)))
            for standing in standings
        ]

    @property
    def rung(self) -> Standing:
        """The highest rung that has enough networks: what the front is made of."""
        return next((rung for rung in self.rungs[::-1] if rung.shown), self.rungs[0])

    @cached_property
    def timed(self) -> Mapping[str, Mapping[str, Measured]]:
        """By device and digest, latencies of networks that were timed as wholes; often none."""
        return timings.read(self.folder)

    def _as_timed(self, trial: Trial) -> Trial:
        """The trial with the latencies that were timed in place of the estimates."""
        metrics = dict(trial.metrics)
        for device, by_digest in self.timed.items():
            if trial.digest in by_digest and latency_metric(device) in metrics:
                metrics[latency_metric(device)] = by_digest[trial.digest].latency_ms
        return trial if metrics == trial.metrics else replace(trial, metrics=metrics)

    @property
    def front_trials(self) -> list[Trial]:
        """The trials that no other dominates on the selection set, by the last objective.

        In a race they are those of one rung, `rung`, with the scores of its trainings. A latency
        that was timed counts in place of its estimate.
        """
        return self.objectives.front(self.rung.trials)

    def rungs_json(self) -> list[dict[str, object]]:
        """The rungs as ``--json`` prints them; ``front`` is that of the front's rung."""
        return [
            {
                "rung": rung.number,
                "times_as_long": rung.factor,
                "planned": rung.planned,
                "finished": len(rung.trials),
                "complete": len(race.first_of_each(rung.trials)),
                "front": rung is self.rung,
            }
            for rung in self.rungs
        ]

    def began_with(self, trial: Trial) -> str:
        """The published network that the search began with by a trial: ``fbnet_a``.

        ``near fbnet_a``, if the trial is its nearest point inside the bounds; empty for any other.
        """
        name = trial.warm
        if not name or name in self._exact_starts:
            return name
        return f"near {name}"

    @cached_property
    def _exact_starts(self) -> Collection[str]:
        """The published networks that are trials themselves."""
        exact = set()
        for trial in self.trials:
            # Another version may know other names.
            with suppress(NasError):
                if trial.warm and as_input(trial.warm, self.space).digest == trial.digest:
                    exact.add(trial.warm)
        return exact

    def race_text(self) -> str:
        """Which rung the front is made of, in a line; empty without a race."""
        if len(self.rungs) == 1:
            return ""
        counts = [str(len(race.first_of_each(rung.trials))) for rung in self.rungs]
        rung = self.rung
        return (
            f"rung {rung.number} of {len(self.rungs)} ({', '.join(counts)} networks), trained "
            f"{rung.factor} times as long as the first; scores of other rungs are not shown"
        )

    @property
    def limits_ms(self) -> dict[str, float]:
        """By device, the run's own upper bound on its latency."""
        limits = {}
        for bound in self.identity.domain_bounds:
            metric = Metric.parse(bound.metric).plain
            if metric.is_latency and bound.upper < math.inf:
                limits[metric.device] = bound.upper
        return limits

    def untimed(self, device: str) -> list[Architecture]:
        """The front's networks that were not timed on a device."""
        known = self.timed.get(device, {})
        return [self.network_of(each) for each in self.front_trials if each.digest not in known]

    def timing_lines(self, device: str) -> list[str]:
        """What the front's timings on a device say of its table, a line each."""
        table = self.tables[self.devices.index(device)]
        known = self.timed.get(device, {})
        limit_ms = self.limits_ms.get(device, math.inf)
        errors = []
        over = 0
        for trial in self.front_trials:
            if trial.digest in known:
                timed_ms = known[trial.digest].latency_ms
                errors.append(table.estimate(self.network_of(trial)).latency_ms / timed_ms - 1)
                over += timed_ms > limit_ms
        if not errors:
            return []
        worst = max(errors, key=abs)
        mean = sum(map(abs, errors)) / len(errors)
        text = (
            f"timed on {device}: {counted(len(errors), 'network')} of the front; the table is off "
            f"by {100 * mean:.1f} % in the mean, {100 * worst:+.1f} % at worst"
        )
        if over:
            text += f"; {counted(over, 'network')} took longer than {limit_ms:g} ms"
        return [text]

    def _within_limits(self, front: Sequence[Trial]) -> list[Trial]:
        """The networks that took no longer than the run allows when timed; all, if none did."""
        kept = []
        for trial in front:
            over = False
            for device, limit_ms in self.limits_ms.items():
                timed = self.timed.get(device, {}).get(trial.digest)
                over = over or (timed is not None and timed.latency_ms > limit_ms)
            if not over:
                kept.append(trial)
        return kept or list(front)

    @property
    def failed(self) -> list[Trial]:
        """The trials whose evaluation failed; not those answered by an earlier one."""
        failed = [trial for trial in self.trials if trial.state == "failed"]
        return [trial for trial in failed if trial.number not in self.record.answered]

    def failures_text(self) -> str:
        """How many networks failed or are outside the bounds, and why the last ones; or empty."""
        parts = []
        outside = [trial for trial in self.trials if trial.state == "infeasible"]
        for trials, what in ((self.failed, "failed"), (outside, "outside the bounds")):
            if trials:
                parts.append(f", {len(trials)} {what} (the last one: {trials[-1].reason})")
        return "".join(parts)

    @property
    def core_seconds(self) -> float:
        """What the search's evaluations took: wall seconds times threads, failed ones included."""
        longer = sum(promotion.seconds for promotion in self.race.promotions.values())
        return (sum(self.record.seconds.values()) + longer) * self.identity.threads

    def frame(self) -> "pd.DataFrame":
        """All trials: number, state, digest, whether on the front, every metric, genes.

        After a race there is a row for each training, with its ``rung``; a front is one rung's.
        """
        on_front = {trial.number for trial in self.front_trials}
        if len(self.rungs) == 1:
            return frames.trials_frame(self.trials, on_front)
        return frames.race_frame(self.rungs, self.rung.number, on_front)

    @property
    def unfinished_text(self) -> str:
        """What is missing of the confirmation, and how to go on; empty if nothing is."""
        if self.confirmed is None:
            return ""
        missing = len(self.confirmed.missing) + len(self.confirmed.contest_missing)
        if not missing:
            return ""
        return (
            f"the confirmation is unfinished, {counted(missing, 'training')} to do; go on with: "
            f"nas confirm {shlex.quote(str(self.folder))}"
        )

    @property
    def confirmed_scores(self) -> dict[str, float]:
        """Mean score on *test*, by digest, of the trials' networks that are confirmed."""
        if self.confirmed is None:
            return {}
        scores = {trial.digest: self.confirmed.score(trial.digest) for trial in self.trials}
        return {digest: score for digest, score in scores.items() if score is not None}

    @property
    def confirmed_selection_scores(self) -> dict[str, float]:
        """The same on *selection*; a confirmation of an earlier version has none."""
        if self.confirmed is None:
            return {}
        confirmed = self.confirmed
        scores = {trial.digest: confirmed.selection_score(trial.digest) for trial in self.trials}
        return {digest: score for digest, score in scores.items() if score is not None}

    def front_rows(self) -> list[dict[str, object]]:
        """The front as ``--json`` prints it; ``confirmed`` is a score on *test*, or None."""
        return [row.to_json() for row in self.front_networks()]

    def front_networks(self) -> list[FrontRow]:
        """The front's networks, with their latency per device and their confirmed score."""
        scores = self.confirmed_scores
        deviations = self._accuracy_deviations()
        rows = []
        for trial in self.front_trials:
            network = self.network_of(trial)
            estimates = {table.name: table.estimate(network) for table in self.tables}
            score = scores.get(trial.digest)
            measured = {}
            for device, by_digest in self.timed.items():
                if trial.digest in by_digest:
                    measured[device] = by_digest[trial.digest]
            row = FrontRow(
                trial=trial,
                network=network,
                estimates=estimates,
                confirmed=score,
                accuracy_sd=deviations.get(trial.digest),
                rung=self.rung.number if len(self.rungs) > 1 else None,
                measured=measured,
                began_with=self.began_with(trial),
            )
            rows.append(row)
        return rows

    def pick(
        self,
        *,
        latency_ms: float | None = None,
        confidence: float | None = None,
        knee: bool = False,
        preferences: Mapping[str, float] | None = None,
        all_devices: bool = False,
    ) -> Pick:
        """One network of the front, confirmed ones first, by scores on *selection*.

        Without a rule it is the best in the first objective. Its score on *test* is told beside.
        ``latency_ms``: upper bound on the first device.
        ``confidence``: the probability, 0 to 1, with which the bound is kept; None for the mean.
        ``knee``: all objectives preferred alike.
        ``preferences``: weights by metric of losses scaled to 0..1; ``latency_ms`` is the first
        device's.
        ``all_devices``: the network that is least behind the best on its worst device.
        Raises `UsageError` or `RunError`, as `nas.run.pick.choose` does.
        """
        if all_devices and len(self.devices) < 2:
            raise UsageError(
                f"the run was priced on {self.devices[0]} alone: "
                "--all-devices needs a run with several --device"
            )
        limit = self._limit(latency_ms, confidence)
        rung = self._rung_within(limit)
        devices = self.devices if all_devices else ()
        front = self._front_of(rung, devices)
        former = () if all_devices else self._former_members(front)
        chosen = choose(
            self._within_limits(front) if limit is None else front,
            self.objectives,
            self.confirmed_selection_scores,
            self.confirmed_scores,
            former=former,
            limit=limit,
            preferences=self._on_first_device(preferences or {}),
            knee=knee,
            devices=[latency_metric(device) for device in devices],
        )
        if rung is not self.rung:
            lower = f"of rung {rung.number}: no network of a higher one is so fast; {chosen.reason}"
            chosen = replace(chosen, reason=lower)
        network = self.network_of(chosen.trial)
        return Pick(
            **vars(chosen),
            network=network,
            metadata=self.metadata.fitting(network),
            tables=self.tables,
            data=self._data,
        )

    @property
    def _data(self) -> object:
        """What was searched on: what was given from Python, or its name."""
        recorded = self.record.run_file.settings.get("data")
        return recorded if self.given.data is None else self.given.data

    def _rung_within(self, limit: Limit | None) -> Standing:
        """The rung of the front; one below it, if a limit leaves nothing of that."""
        shown = [rung for rung in self.rungs[::-1] if rung.shown]
        for rung in shown:
            if limit is None or limit.fits(self._front_of(rung)):
                return rung
        # None is so fast: the front's own rung, which says so.
        return self.rung

    def _front_of(self, rung: Standing, devices: Sequence[str] = ()) -> list[Trial]:
        """A rung's front, over several devices if they are named."""
        if devices:
            return report_devices.front_over(rung.trials, self.objectives, devices)
        return self.objectives.front(rung.trials)

    def _former_members(self, front: Sequence[Trial]) -> list[Trial]:
        """Members of the confirmation that have left the front since.

        A search that goes on may put others on the front. What a longer training has shown of the
        networks before them still holds.
        """
        if self.confirmed is None:
            return []
        known = {trial.digest for trial in front}
        members = [
            self._as_timed(self.trial(member.trial)) for member in self.confirmed.plan.members
        ]
        scores = self.confirmed_selection_scores
        return [trial for trial in members if trial.digest in scores and trial.digest not in known]

    def _on_first_device(self, preferences: Mapping[str, float]) -> dict[str, float]:
        """Preferences whose plain ``latency_ms`` is the first device's."""
        return {
            self.latency if name == "latency_ms" else name: weight
            for name, weight in preferences.items()
        }

    def _limit(self, latency_ms: float | None, confidence: float | None) -> Limit | None:
        if latency_ms is None:
            if confidence is not None:
                raise UsageError(
                    "--confidence says how surely a latency is kept, so it needs --latency"
                )
            return None
        kept_ms = None if confidence is None else partial(self._kept_ms, confidence)
        return Limit(metric=self.latency, upper_ms=latency_ms, kept_ms=kept_ms)

    def _kept_ms(self, confidence: float, trial: Trial) -> float:
        timed = self.timed.get(self.devices[0], {}).get(trial.digest)
        if timed is not None:
            return timed.sure_ms(check_confidence(confidence))
        return sure_latency_ms(self.tables[0].estimate(self.network_of(trial)), confidence)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices every network was priced on, the first one first."""
        return tuple(table.name for table in self.tables)

    @property
    def latency(self) -> str:
        """The metric that is the latency on the first device."""
        return latency_metric(self.tables[0].name)

    def device_fronts(self) -> dict[str, list[Trial]]:
        """The front on each device, whose own latency stands for all among the objectives."""
        return {
            device: report_devices.front_on(self.rung.trials, self.objectives, device)
            for device in self.devices
        }

    def devices_text(self) -> str:
        """A front per device and the devices' rank correlation; empty for a single device."""
        if len(self.devices) < 2:
            return ""
        pairs = report_devices.rank_correlations(self.domain, self.devices)
        return report_devices.summary(self.device_fronts(), self.objectives, pairs)

    def front(self, *, full: bool = False) -> "pd.DataFrame":
        """The front, a row per network: its qualities and latencies, then its other costs.

        ``full``: also digest, genes, every metric, and per device the latency's deviation and how
        much of it was measured.
        """
        frame = frames.front_frame(self.front_networks())
        if full or not len(frame):
            return frame
        return frames.narrow(frame, self.objectives, self.devices)

    def trial(self, number: int) -> Trial:
        """A finished trial by number."""
        for trial in self.trials:
            if trial.number == number:
                return trial
        if not self.trials:
            raise self._nothing_finished()
        raise RunError(
            f"run '{self.folder}' has no finished trial '{number}': "
            f"its trials are 0 to {self.trials[-1].number}"
        )

    def network(self, number: int) -> Architecture:
        """The network of a finished trial, by the trial's number."""
        return self.network_of(self.trial(number))

    def network_of(self, trial: Trial) -> Architecture:
        """The network that a trial's genes describe."""
        return self.space.decode(trial.genes)

    def best(self) -> Trial:
        """The front's trial that is best in the first objective."""
        if not self.front_trials:
            raise self._nothing_finished()
        return min(
            self._within_limits(self.front_trials),
            key=lambda trial: self.objectives.losses(trial.metrics),
        )

    def _nothing_finished(self) -> RunError:
        return RunError(
            f"run '{self.folder}' has no finished trial yet. "
            f"Go on with nas search --resume {self.folder}"
        )

    def figure(self) -> "Figure":
        """All trials and the front, as a matplotlib figure."""
        return front_figure(self._shown())

    def plot(self) -> "Plot":
        """The same, interactive: point at a network to see its trial, digest and costs (plotly)."""
        return interactive_front(self._shown())

    def _shown(self) -> FrontShown:
        """What a picture of the front shows."""
        # A picture has two axes.
        shown = self.objectives.each[:2]
        deviations = self._accuracy_deviations() if shown[0].name == "accuracy" else {}
        found, confirmed = self.confirmed, list[Confirmed]()
        # Only where it is the score that the picture shows, over a cost.
        if found is not None and len(shown) > 1 and shown[0].name == found.metric:
            confirmed = [*tested(found, self.trials, shown[1].name, self.latency)]
        return FrontShown(
            trials=self.rung.trials,
            front=self.front_trials,
            objectives=shown,
            title=self.title(),
            searched_as=self.searched_as,
            spread=self._spread(shown),
            deviations=deviations,
            began={trial.number: self.began_with(trial) for trial in self.trials if trial.warm},
            confirmed=confirmed,
            confirmed_as=self.confirmed_as,
            verdict="" if found is None else found.headline,
        )

    @property
    def searched_as(self) -> str:
        """What the search's scores are, for legends."""
        if len(self.rungs) == 1:
            return "as searched"
        return f"rung {self.rung.number} of {len(self.rungs)}"

    def _accuracy_deviations(self) -> dict[str, float]:
        """By digest, the deviation of the front's accuracies; empty if it is not known.

        See `nas.report.deviations.accuracy_deviations`.
        """
        scored = self.identity.proxy.get("score_images")
        selection = self.identity.data.get("selection")
        # Another evaluator may tell neither.
        if type(scored) is not int or type(selection) is not int:
            return {}
        images = min(scored * self.rung.factor, selection)
        answered = self.record.answered if self.rung.number == 1 else frozenset[int]()
        trained = [trial for trial in self.rung.trials if trial.number not in answered]
        return accuracy_deviations(trained, self.front_trials, images)

    @property
    def confirmed_as(self) -> str:
        """What a confirmed score is beside a search's, for legends.

        It is of another set of images, and of a longer training.
        """
        if self.confirmed is None:
            return ""
        # The recipe of another evaluator may know no epochs.
        longer = self.confirmed.plan.recipe.get("epochs")
        own = self.identity.proxy.get("epochs")
        if not isinstance(longer, int | float) or not isinstance(own, int | float) or not own:
            return "confirmed: on test"
        times = longer / (own * self.rung.factor)
        if times == 1:
            return "confirmed: on test, trained as long"
        return f"confirmed: on test, trained {times:g} times as long"

    def _repr_html_(self) -> str:
        """The front as a notebook shows it."""
        # The folder's name is the user's, and may hold anything.
        title, frame = f"<p><b>{escape(repr(self))}</b></p>", self.front()
        if not len(frame):
            return title
        return title + str(frame.to_html(index=False))

    def _spread(self, shown: tuple[Objective, ...]) -> list[float]:
        """The front's deviations in ms, if the last objective shown is a latency."""
        metric = Metric.parse(shown[-1].name)
        if not metric.is_latency or not self.front_trials:
            return []
        table = self.tables[self.devices.index(metric.device)]
        networks = map(self.network_of, self.front_trials)
        return [table.estimate(network).latency_sd_ms for network in networks]

    def title(self) -> str:
        """One line: space, devices, data, strategy."""
        return self.identity.title

    def front_text(self) -> str:
        """The front as a table for the terminal."""
        return text.front(self.front_networks(), self.devices, self.objectives, self.limits_ms)

    def save_reports(self) -> tuple[str, ...]:
        """Write ``front.csv`` and ``front.png`` into the run's folder, if anything has finished.

        Returns what could not be written and why, a line each: a run may lie on a disk that is full
        or can only be read, and its results are told all the same.
        """
        # A report says that there were trials, see `nas.record.record.check_kept`.
        if not self.front_trials:
            return ()
        table = self.front(full=True).to_csv(index=False)
        remarks = [plots.draw(self.figure, self.folder / PICTURE)]
        try:
            write_text(self.folder / TABLE, table)
        except OSError as error:
            remarks.append(f"no {TABLE}: {error.strerror}")
        return tuple(filter(None, remarks))

    def __repr__(self) -> str:
        sizes = f"{counted(len(self.trials), 'trial')}, {len(self.front_trials)} on the front"
        return f"Run('{self.folder}': {sizes})"


def load(folder: str | Path) -> Run:
    """Open a run folder, finished or still going; nothing in it is changed."""
    return Run(folder)


def newest(parent: str | Path = "runs") -> Path:
    """The run in a folder of runs whose record changed last."""
    # By the record: `nas front` writes an old run's reports anew.
    found = sorted(Path(parent).glob(f"*/{JOURNAL}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError(f"no run in {parent}/: name one, or make one with nas search")
    return found[-1].parent
