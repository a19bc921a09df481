"""A finished or running search: its trials, its front, its networks."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from nas.arch import Architecture
from nas.cost.confidence import Margin, sure_latency_ms
from nas.cost.costs import latency_metric, space_costs
from nas.cost.metric import Metric
from nas.domain import Domain
from nas.errors import RunError, UsageError
from nas.files import write_text
from nas.latency.table import Table
from nas.metadata import Metadata
from nas.objectives import SEARCH, Objective
from nas.record import store
from nas.record.identity import Identity
from nas.record.journal import JOURNAL
from nas.report import devices, frames, plots, text
from nas.report.frames import FrontRow
from nas.report.interactive import interactive_front
from nas.run import confirmation
from nas.run.confirmation import Confirmation
from nas.run.copies import read_space, read_tables
from nas.run.pick import Limit, Pick, choose
from nas.space import SearchSpace
from nas.trial import Trial
from nas.units import counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Plot

__all__ = ["Run", "load", "newest"]


class Run:
    """A run folder, read afresh when built. It is self-contained: its latency tables lie in it.

    ``trials``: the finished trials in number order.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.record = store.read(self.folder)
        self.trials = self.record.trials
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

    @property
    def front_trials(self) -> list[Trial]:
        """The trials that no other dominates on the selection set, by the last objective."""
        return self.objectives.front(self.trials)

    @property
    def failed(self) -> list[Trial]:
        """The trials whose evaluation failed; not those answered by an earlier one."""
        failed = [trial for trial in self.trials if trial.state == "failed"]
        return [trial for trial in failed if trial.number not in self.record.answered]

    def failures_text(self) -> str:
        """How many evaluations failed, and why the last of them did; empty if none did."""
        failed = self.failed
        if not failed:
            return ""
        return f", {len(failed)} failed (the last one: {failed[-1].reason})"

    @property
    def core_seconds(self) -> float:
        """What the search's evaluations took: wall seconds times threads, failed ones included."""
        return sum(self.record.seconds.values()) * self.identity.threads

    def frame(self) -> "pd.DataFrame":
        """All trials: number, state, digest, whether on the front, every metric, genes."""
        return frames.trials_frame(self.trials, self.objectives)

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
        return [row.to_json() for row in self._front_rows()]

    def _front_rows(self) -> list[FrontRow]:
        """The front's networks, with their latency per device and their confirmed score."""
        scores = self.confirmed_scores
        rows = []
        for trial in self.front_trials:
            network = self.network_of(trial)
            estimates = {table.name: table.estimate(network) for table in self.tables}
            score = scores.get(trial.digest)
            row = FrontRow(trial=trial, network=network, estimates=estimates, confirmed=score)
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
        chosen = choose(
            self._front_over_devices() if all_devices else self._candidates(),
            self.objectives,
            self.confirmed_selection_scores,
            self.confirmed_scores,
            limit=self._limit(latency_ms, confidence),
            preferences=self._on_first_device(preferences or {}),
            knee=knee,
            devices=[latency_metric(device) for device in self.devices] if all_devices else (),
        )
        network = self.network_of(chosen.trial)
        return Pick(**vars(chosen), network=network, metadata=self.metadata.fitting(network))

    def _candidates(self) -> list[Trial]:
        """The front, and members of the confirmation that have left it since.

        A search that goes on may put others on the front. What a longer training has shown of the
        networks before them still holds.
        """
        front = self.front_trials
        if self.confirmed is None:
            return front
        known = {trial.digest for trial in front}
        members = [self.trial(member.trial) for member in self.confirmed.plan.members]
        scores = self.confirmed_selection_scores
        left = [trial for trial in members if trial.digest in scores and trial.digest not in known]
        return [*front, *left]

    def _front_over_devices(self) -> list[Trial]:
        return devices.front_over(self.trials, self.objectives, self.devices)

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
            device: devices.front_on(self.trials, self.objectives, device)
            for device in self.devices
        }

    def devices_text(self) -> str:
        """A front per device and the devices' rank correlation; empty for a single device."""
        if len(self.devices) < 2:
            return ""
        pairs = devices.rank_correlations(self.domain, self.devices)
        return devices.summary(self.device_fronts(), self.objectives, pairs)

    def front(self) -> "pd.DataFrame":
        """The front: a row per network, with latency, its deviation and shares per device."""
        return frames.front_frame(self._front_rows())

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
        return min(self.front_trials, key=lambda trial: self.objectives.losses(trial.metrics))

    def _nothing_finished(self) -> RunError:
        return RunError(
            f"run '{self.folder}' has no finished trial yet. "
            f"Go on with nas search --resume {self.folder}"
        )

    def figure(self) -> "Figure":
        """All trials and the front, as a matplotlib figure."""
        # A picture has two axes.
        shown = self.objectives.each[:2]
        return plots.front_figure(
            self.trials,
            self.front_trials,
            shown,
            title=self.title(),
            spread=self._spread(shown),
            confirmed=self.confirmed_scores,
            confirmed_as=self._confirmed_as,
            published=self._published_scores(shown),
        )

    def _published_scores(self, shown: Sequence[Objective]) -> dict[str, tuple[float, float]]:
        """By name, latency and mean score on *test* of the networks that the pick has met.

        Empty in a picture that does not show that score over the first device's latency.
        """
        found = self.confirmed
        if found is None or [each.name for each in shown] != [found.metric, self.latency]:
            return {}
        return {
            outcome.opponent.name: (outcome.opponent.latency_ms, outcome.score)
            for outcome in found.outcomes
        }

    def plot(self) -> "Plot":
        """The same, interactive: point at a network to see its trial, digest and costs (plotly)."""
        return interactive_front(
            self.trials,
            self.front_trials,
            self.objectives.each[:2],
            title=self.title(),
            confirmed=self.confirmed_scores,
            confirmed_as=self._confirmed_as,
        )

    @property
    def _confirmed_as(self) -> str:
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
        return f"confirmed: on test, trained {longer / own:g} times as long"

    def _repr_html_(self) -> str:
        """The front as a notebook shows it."""
        # The folder's name is the user's, and may hold anything.
        title, frame = f"<p><b>{escape(repr(self))}</b></p>", self.front()
        if not len(frame):
            return title
        shown = [name for name in frame.columns if _is_told(name)]
        return title + str(frame[shown].to_html(index=False))

    def _spread(self, shown: tuple[Objective, ...]) -> list[float]:
        """The front's deviations in ms, if the last objective shown is a latency."""
        metric = Metric.parse(shown[-1].name)
        if not metric.is_latency or not self.front_trials:
            return []
        table = self.tables[self.devices.index(metric.device)]
        networks = map(self.network_of, self.front_trials)
        return [table.estimate(network).latency_sd_ms for network in networks]

    def title(self) -> str:
        """One line: space, device, data, strategy."""
        identity = self.identity
        parts = [
            identity.space.name,
            *identity.tables,
            str(identity.data.get("name", "")),
            identity.strategy.name,
        ]
        return "  ·  ".join(filter(None, parts))

    def front_text(self) -> str:
        """The front as a table for the terminal."""
        return text.front(self._front_rows(), self.devices, self.objectives)

    def save_reports(self) -> None:
        """Write ``front.csv`` and ``front.png`` into the run's folder, if anything has finished."""
        # A report says that there were trials, see `nas.record.record.check_kept`.
        if not self.front_trials:
            return
        write_text(self.folder / "front.csv", self.front().to_csv(index=False))
        plots.save(self.figure(), self.folder / "front.png")

    def __repr__(self) -> str:
        sizes = f"{counted(len(self.trials), 'trial')}, {len(self.front_trials)} on the front"
        return f"Run('{self.folder}': {sizes})"


def _is_told(column: str) -> bool:
    """Whether a notebook shows a column of the front: neither genes nor what has a twin."""
    return column != "genes" and "@" not in column and not column.startswith(SEARCH)


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
