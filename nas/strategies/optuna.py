"""Optuna's samplers as strategies (``optuna:TPE``), and any strategy as an Optuna sampler.

Akiba et al. 2019, Optuna, https://arxiv.org/abs/1907.10902. A gene is a categorical parameter, or
an integer where its options are ordered; its value is the option's index, its name the gene's.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.domain import Domain
from nas.errors import unknown
from nas.settings import check_kind
from nas.space import Choice
from nas.strategies import make
from nas.strategies._history import History
from nas.strategies._starts import inside
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, State, Trial

__all__ = ["OptunaStrategy", "StrategySampler", "distributions", "strategy", "suggest"]

EPOCH = datetime(1970, 1, 1)  # naive, as all of Optuna's times are
ATTRS, NOTE, GENERATION = "system_attrs", "nas:proposal", ":generation"


class _Shared(dict[str, BaseDistribution]):
    """Distributions that all trials have in common; a copy of a trial keeps them."""

    def __deepcopy__(self, memo: dict[int, object]) -> "_Shared":
        return self


class _Told(FrozenTrial):
    """Made for the shadow study, which would copy it: a tenth of a millisecond, 10,000 times."""

    def __deepcopy__(self, memo: dict[int, object]) -> "_Told":
        return self


class _NumberedQMC(QMCSampler):
    """Optuna counts the points drawn in the study; here the trial's number is the count."""

    def __init__(self, *, number: int, seed: int, scramble: bool = True, **settings: Any) -> None:
        super().__init__(seed=seed, scramble=scramble, **settings)
        self.number = number

    def _find_sample_id(
        self, study: optuna.Study, search_space: Mapping[str, BaseDistribution]
    ) -> int:
        return self.number


SAMPLERS: Mapping[str, type[BaseSampler]] = {
    "GP": GPSampler,
    "NSGA-II": NSGAIISampler,
    "NSGA-III": NSGAIIISampler,
    "QMC": _NumberedQMC,
    "Random": RandomSampler,
    "TPE": TPESampler,
}


def distributions(domain: Domain) -> dict[str, BaseDistribution]:
    """Optuna's view of the genes, by name."""
    space = domain.space
    of_genes = map(_distribution, space.choices)
    return dict(zip(space.gene_names, of_genes, strict=True))


def _distribution(choice: Choice) -> BaseDistribution:
    if choice.ordinal:
        return IntDistribution(0, len(choice) - 1)
    return CategoricalDistribution(range(len(choice)))


def suggest(trial: optuna.Trial, domain: Domain) -> Genes:
    """The genes of an Optuna trial, suggested one by one.

    For the objective of a study with a `StrategySampler`.
    """
    genes = []
    for name, choice in zip(domain.space.gene_names, domain.space.choices, strict=True):
        if choice.ordinal:
            genes.append(trial.suggest_int(name, 0, len(choice) - 1))
        else:
            genes.append(trial.suggest_categorical(name, range(len(choice))))
    return tuple(genes)


class OptunaStrategy(Strategy):
    """One of Optuna's samplers over a shadow study in memory.

    The shadow holds what was told. To ask, pending proposals are added as running trials and a
    sampler is made with a seed of the trial's number; afterwards these trials are marked failed,
    which samplers ignore. The system attributes that a sampler leaves on a trial (NSGA-II's
    generation) travel in the note.

    A sampler knows no bounds: a proposal outside is moved towards a random network inside, gene by
    gene, until it fits. One whose network is pending is replaced by a neighbour. One told before
    stands: the record answers it.
    """

    def __init__(
        self, domain: Domain, *, seed: int, objectives: int, sampler: partial[BaseSampler]
    ) -> None:
        self.domain, self.seed, self.sampler = domain, seed, sampler
        self.history = History(domain)
        self.distributions = _Shared(distributions(domain))
        self.storage = optuna.storages.InMemoryStorage()
        self.study = _quiet_study(self.storage, objectives)
        self.generation, self.members = 0, 0
        first = self._sampler("update", 0)
        self.population = getattr(first, "population_size", 0)
        self.relative = self._relative_space(first, objectives)

    def _relative_space(self, sampler: BaseSampler, objectives: int) -> dict[str, BaseDistribution]:
        """The parameters that the sampler draws jointly, as inferred from a study of one trial.

        All trials have the same parameters, so this holds for every study; a new sampler would
        infer it at each ask from all trials, which takes a second at 10,000.
        """
        study = _quiet_study(optuna.storages.InMemoryStorage(), objectives)
        # Values are of no matter: the parameters alone decide what is drawn jointly.
        trial = create_trial(
            params=dict.fromkeys(self.distributions, 0),
            distributions=self.distributions,
            values=[0.0] * objectives,
        )
        study.add_trial(trial)
        inferred: dict[str, BaseDistribution] = sampler.infer_relative_search_space(study, trial)
        return inferred

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        genes, attrs = self._propose("ask", number, pending)
        generator = rng(self.seed, "repair", number)
        genes = inside(genes, self.domain, generator)
        if self.history.canonical(genes) in self.history.taken(pending):
            unseen = self.history.unseen_neighbour(genes, generator, pending)
            genes = unseen or self.history.draw(generator, pending)
        return Proposal(genes, {ATTRS: attrs} if attrs else {})

    def adopt(
        self, genes: Genes, number: int, pending: Sequence[Proposal] = ()
    ) -> Mapping[str, Any]:
        """See `Strategy`: without a generation, NSGA-II would not count it among the parents."""
        _, attrs = self._propose("ask", number, pending)
        return {ATTRS: attrs} if attrs else {}

    def _propose(
        self, stream: str, number: int, pending: Sequence[Proposal] = ()
    ) -> tuple[Genes, dict[str, object]]:
        """The sampler's genes, and the system attributes of its trial.

        No trace of them remains in the study.
        """
        first = len(self.study.get_trials(deepcopy=False))
        for proposal in pending:
            self._add(TrialState.RUNNING, proposal.genes, proposal.note)
        self.study.sampler = self._sampler(stream, number)
        asked = self.study.ask(fixed_distributions=self.distributions)
        for trial in self.study.get_trials(deepcopy=False)[first:]:
            self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        params = asked.params
        attrs = dict(self.storage.get_trial(asked._trial_id).system_attrs)
        return tuple(params[name] for name in self.distributions), attrs

    def _sampler(self, stream: str, number: int) -> BaseSampler:
        """A new sampler, whose state is its seed."""
        counted = {"seed": self._seed(stream, number)}
        if self.sampler.func is _NumberedQMC:
            # One sequence for the whole run: its seed has no number.
            counted = {"seed": self._seed("sequence", 0), "number": max(number - 1, 0)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = self.sampler(**counted)
        if self.history.losses:
            sampler.infer_relative_search_space = lambda study, trial: self.relative  # type: ignore[method-assign]
        return sampler

    def _seed(self, stream: str, number: int) -> int:
        return int(rng(self.seed, stream, number).integers(1 << 31))

    def _add(
        self,
        state: TrialState,
        genes: Genes,
        note: Mapping[str, Any],
        losses: Sequence[float] | None = None,
    ) -> None:
        # `Study.add_trial` would validate and copy every distribution of every trial: a resume of
        # 10,000 took 12 s.
        trial = _Told(
            number=-1,
            trial_id=-1,
            state=state,
            params=dict(zip(self.distributions, genes, strict=True)),
            distributions=self.distributions,
            user_attrs={},
            system_attrs=dict(note.get(ATTRS, {})),
            intermediate_values={},
            value=None,
            values=None if losses is None else list(losses),
            datetime_start=EPOCH,
            datetime_complete=EPOCH if state.is_finished() else None,
        )
        self.storage.create_new_trial(self.study._study_id, template_trial=trial)

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        self.history.tell(trial)
        complete = trial.state == "complete"
        state = TrialState.COMPLETE if complete else TrialState.FAIL
        self._add(state, trial.genes, trial.note, trial.losses if complete else None)
        if not complete:
            return
        for key, generation in trial.note.get(ATTRS, {}).items():
            if key.endswith(GENERATION):
                self._count_generation(generation)

    def _count_generation(self, generation: int) -> None:
        """Have the next generation's parents chosen and kept as soon as this one is complete.

        Left to the first ask after it, the choice would depend on when that ask comes.
        """
        if generation > self.generation:
            self.generation, self.members = generation, 0
        self.members += generation == self.generation
        if generation == self.generation and self.members == self.population:
            self._propose("update", generation)

    def recommend(self) -> Genes:
        """See `History.recommend`."""
        return self.history.recommend(self.seed)


def _quiet_study(storage: optuna.storages.BaseStorage, objectives: int) -> optuna.Study:
    """A study to minimize; Optuna would log a line for each."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, directions=["minimize"] * objectives)
    optuna.logging.set_verbosity(verbosity)
    return study


def strategy(
    domain: Domain, *, seed: int, objectives: int = 1, variant: str = "TPE", **settings: Any
) -> OptunaStrategy:
    """``optuna:NAME`` for Optuna's samplers.

    Settings go to the sampler: ``optuna:NSGA-II,population_size=20``.
    """
    short = {_plain(name): sampler for name, sampler in SAMPLERS.items()}
    if _plain(variant) not in short:
        raise unknown("Optuna sampler", variant, SAMPLERS)
    sampler = short[_plain(variant)]
    takes = dict(inspect.signature(sampler.__init__).parameters)
    # These are ours to give: proposals must depend on the run's seed and the trial's number alone.
    for own in ("self", "seed", "number"):
        takes.pop(own, None)
    for key, value in settings.items():
        if key not in takes:
            raise unknown(f"setting of {sampler.__name__}", key, takes)
        check_kind(f"setting {key} of {sampler.__name__}", value, takes[key].annotation)
    return OptunaStrategy(
        domain, seed=seed, objectives=objectives, sampler=partial(sampler, **settings)
    )


def _plain(name: str) -> str:
    return name.lower().removesuffix("sampler").replace("-", "")


class StrategySampler(BaseSampler):
    """A strategy of ours as the sampler of anybody's Optuna study.

    The objective takes its genes by `suggest`. ``spec`` and ``settings`` are those of
    `nas.strategies.make`. Parameters that are no genes are sampled at random. Running trials are
    pending. Failed and pruned ones count as failed, those that violate a constraint as infeasible.
    Objectives to maximize are told negated.
    """

    def __init__(self, spec: str, domain: Domain, *, seed: int, **settings: Any) -> None:
        self.domain = domain
        self.make = partial(make, spec, domain, seed=seed, **settings)
        self.others = RandomSampler(seed=seed)
        self.distributions = distributions(domain)
        self.study_name = ""
        self.told: set[int] = set()

    def reseed_rng(self) -> None:
        """Reseed what samples parameters that are no genes.

        A strategy depends on the numbers of trials alone.
        """
        self.others.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The genes."""
        return dict(self.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The strategy's proposal, after it was told what has finished since."""
        # One sampler may be handed to a second study, whose trials are other ones.
        if study.study_name != self.study_name:
            self.study_name, self.told = study.study_name, set()
            self.strategy: Strategy = self.make(objectives=len(study.directions))
        trials = study.get_trials(deepcopy=False)
        for other in trials:
            if other.state.is_finished() and other.number not in self.told:
                self.told.add(other.number)
                self._tell(study, other)
        running = [self._proposal(other) for other in trials if other.state == TrialState.RUNNING]
        pending = [proposal for proposal in running if proposal is not None]
        proposal = self.strategy.ask(trial.number, pending)
        study._storage.set_trial_system_attr(
            trial._trial_id, NOTE, {"genes": list(proposal.genes), "note": dict(proposal.note)}
        )
        return dict(zip(self.distributions, proposal.genes, strict=True))

    def _proposal(self, trial: FrozenTrial) -> Proposal | None:
        """What was proposed for a trial, by this sampler or, by its parameters, another.

        None if it has no genes.
        """
        if NOTE in trial.system_attrs:
            kept = trial.system_attrs[NOTE]
            return Proposal(tuple(kept["genes"]), kept["note"])
        if all(trial.distributions.get(name) == spec for name, spec in self.distributions.items()):
            return Proposal(tuple(trial.params[name] for name in self.distributions))
        return None

    def _tell(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the strategy of a trial that has finished, if it has genes."""
        proposal = self._proposal(trial)
        if proposal is None:
            return
        state: State = "failed"
        losses: list[float] = []
        if trial.state == TrialState.COMPLETE:
            violated = any(value > 0 for value in trial.constraints.values())
            state = "infeasible" if violated else "complete"
        if state == "complete":
            for direction, value in zip(study.directions, trial.values, strict=True):
                losses.append(value if direction == StudyDirection.MINIMIZE else -value)
        self.strategy.tell(
            Trial(
                number=trial.number,
                genes=proposal.genes,
                digest=self.domain.space.decode(proposal.genes).digest,
                state=state,
                losses=tuple(losses),
                note=proposal.note,
            )
        )

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter that is no gene."""
        return self.others.sample_independent(study, trial, param_name, param_distribution)
