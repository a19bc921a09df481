"""Reinforcement learning over a network's tokens: a policy writes its genes one after the other.

``rl``: the recurrent controller of MnasNet (Tan et al. 2019, https://arxiv.org/abs/1807.11626,
section 4.3), trained by proximal policy optimisation (Schulman et al. 2017,
https://arxiv.org/abs/1707.06347, equation 7). ``rl:tunas``: independent logits trained by REINFORCE
(Bender et al. 2020, https://arxiv.org/abs/2008.06120).
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.domain import Domain
from nas.errors import UsageError, unknown
from nas.strategies._history import History
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Trial
from nas.units import counted

__all__ = ["PRESETS", "Preset", "ReinforcementLearning", "strategy"]

Masks = NDArray[np.bool_]

HIDDEN = 64
"""Of the LSTM and its embeddings, as in NNI's policy."""
BASELINE = 0.5
"""How much of the moving average of rewards stays after a batch. TuNAS' .95 is for steps of
one network: over batches of 20 it remembers 400 trials."""
CLIP = 0.2
"""Epsilon of PPO's equation 7, as in its section 6.1."""
LARGEST_RATIO = 3.0
"""c of dual-clip PPO. A proposal that was hardly to be expected, as of a settled policy whose draws
are all known, can become e^700 times as likely in a batch: infinity, and then no policy at all."""
DRAWS = 8
"""Policies repeat themselves as they settle: so many draws look for an unseen network."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A policy, and how it is trained."""

    recurrent: bool
    """An LSTM, or independent logits."""
    rate: float
    """Adam's, ours, for hundreds of trials and not thousands: on NK, K = 2, over `mnasnet`, 3
    seeds, 500 evaluations, .002, .006 and .015 leave the controller a regret of 2.7, 2.4 and 2.4;
    .2 and .5 the logits one of 2.1."""
    betas: tuple[float, float]
    """Adam's."""
    epochs: int
    """Gradient steps per batch."""
    clip: float
    """Of the probability ratio; 0 is plain REINFORCE."""
    entropy: float
    """Weight of the policy's entropy beside the gain."""


PRESETS: Mapping[str, Preset] = {
    # Five steps a batch as in NNI's policy; the MnasNet paper does not give these numbers.
    "mnasnet": Preset(
        recurrent=True, rate=6e-3, betas=(0.9, 0.999), epochs=5, clip=CLIP, entropy=1e-3
    ),
    # As in TuNAS, Adam has no momentum, a batch is one step, and entropy has no weight.
    "tunas": Preset(recurrent=False, rate=0.2, betas=(0.0, 0.999), epochs=1, clip=0.0, entropy=0.0),
}


@dataclass(frozen=True)
class _Sample:
    genes: Genes
    log_probability: float | None
    reward: float | None
    """Minus the loss; None where nothing could be measured."""


@dataclass(frozen=True)
class _Average:
    """An exponential moving average without a bias to its start (Adam's, section 3; TuNAS)."""

    total: float = 0.0
    weight: float = 0.0
    """The sum of what the values in the total count."""

    def after(self, value: float) -> "_Average":
        """With one more value."""
        return _Average(
            BASELINE * self.total + (1 - BASELINE) * value,
            BASELINE * self.weight + (1 - BASELINE),
        )

    @property
    def value(self) -> float:
        """The average; of no value there is none."""
        return self.total / self.weight


class ReinforcementLearning(Strategy):
    """A policy that is updated after every ``batch`` trials told, in the order told.

    Options that no network inside the bounds can follow are masked. The note carries the
    log-probability of the active genes: what no layer depends on was no decision (TuNAS). The
    advantage is the reward minus its moving average, in standard deviations of the rewards told.
    """

    draws_version = 2
    """1 had a baseline that remembered 400 trials, and counted genes that are not active."""

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int,
        objectives: int = 1,
        variant: str = "mnasnet",
        # As many as NNI's policy samples for an update.
        batch: int = 20,
        rate: float | None = None,
        entropy: float | None = None,
    ) -> None:
        if objectives != 1:
            raise UsageError(
                f"strategy 'rl' learns from one reward, not from {objectives} objectives: "
                "name one with --reward"
            )
        if variant not in PRESETS:
            raise unknown("variant of strategy 'rl'", variant, PRESETS)
        if batch < 1:
            raise UsageError(f"strategy 'rl' needs a batch of at least 1 trial, not {batch}")
        if domain.bounds:
            domain.completions(())  # raises now if a band is too narrow to be counted
        self.domain, self.seed, self.batch = domain, seed, batch
        self.preset = PRESETS[variant]
        self.entropy = self.preset.entropy if entropy is None else entropy
        self.history = History(domain)
        self.policy = self._policy()
        rate = self.preset.rate if rate is None else rate
        self.adam = torch.optim.Adam(self.policy.parameters(), rate, self.preset.betas)
        self.samples: list[_Sample] = []
        self.rewards: list[float] = []
        self.baseline = _Average()
        self.updates = 0

    def _policy(self) -> "_Policy":
        """Small weights from our own generator: torch's global one is left as it was."""
        sizes = self.domain.space.gene_sizes
        generator = rng(self.seed, "initialise", 0)
        # Modules draw from the global generator when they are made, whatever is copied after.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            policy: _Policy = _Controller(sizes) if self.preset.recurrent else _Logits(sizes)
            # In doubles a sum in another order hardly ever turns a draw.
            for parameter in policy.double().parameters():
                small = generator.uniform(-0.1, 0.1, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(small))
        policy.start()
        return policy

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        drawn = self._draw(DRAWS, generator)
        # Masks are exact for one additive bound, not for several.
        inside = drawn[self.domain.inside(drawn)]
        genes = self.history.unseen(inside, pending)
        if genes is None and len(inside):
            genes = self.history.unseen_neighbour(tuple(inside[0].tolist()), generator, pending)
        if genes is None:
            genes = self.history.draw(generator, pending)
        with torch.no_grad():
            logged, _ = self._log_probabilities([genes])
        return Proposal(genes, {"log_probability": float(logged[0])})

    def _draw(self, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Genes drawn by the policy: (count, number of choices)."""
        genes = np.zeros((count, len(self.domain.space.gene_sizes)), np.int64)
        state: _State = None
        with torch.no_grad():
            previous = np.full(count, -1)
            for position, size in enumerate(self.domain.space.gene_sizes):
                logits, state = self.policy.step(torch.from_numpy(previous), position, state)
                prefixes = map(tuple, genes[:, :position].tolist())
                allowed = np.array([self._options(prefix) for prefix in prefixes])
                odds = np.where(allowed, np.exp(logits.numpy()[:, :size]), 0).cumsum(axis=1)
                drawn = generator.random((count, 1)) * odds[:, -1:]
                previous = (odds <= drawn).sum(axis=1)
                genes[:, position] = previous
        return genes

    def _options(self, prefix: Genes) -> Masks:
        """Which options of the next gene some network inside the bounds has: (options,)."""
        if not self.domain.bounds:
            return np.ones(self.domain.space.gene_sizes[len(prefix)], bool)
        return self.domain.completions(prefix) > 0

    def _masks(self, genes: NDArray[np.int64]) -> Masks:
        """genes: (n, genes). What could have been chosen: (n, genes, most options).

        What was chosen counts as possible.
        """
        sizes = self.domain.space.gene_sizes
        masks = np.zeros((*genes.shape, max(sizes)), bool)
        completions = [np.ones(1)] * len(sizes)
        if self.domain.bounds:
            completions = self.domain.completions_along(genes)
        for position, size in enumerate(sizes):
            masks[:, position, :size] = completions[position] > 0
        np.put_along_axis(masks, genes[:, :, None], True, axis=2)
        return masks

    def _log_probabilities(
        self, genes: Sequence[Genes], masks: Masks | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of whole networks, and mean entropies of a gene: (n,) each.

        Of active genes only. masks: those of the genes, if they are known.
        """
        chosen = torch.tensor(genes)
        active = torch.from_numpy(self.domain.space.active(chosen.numpy()))
        masks = self._masks(chosen.numpy()) if masks is None else masks
        # Not minus infinity: times a probability of 0, in the entropy, it is NaN.
        logits = self.policy.all_logits(chosen).masked_fill(~torch.from_numpy(masks), -1e9)
        logged = torch.log_softmax(logits, dim=2)
        entropies = -(logged.exp() * logged).sum(dim=2)
        # A network whose genes all say nothing has no entropy, and not 0 / 0.
        entropy = (entropies * active).sum(dim=1) / active.sum(dim=1).clamp(min=1)
        of_genes = logged.gather(2, chosen[:, :, None])[:, :, 0]
        return (of_genes * active).sum(dim=1), entropy

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        self.history.tell(trial)
        reward = -trial.losses[0] if trial.state == "complete" else None
        logged = trial.note.get("log_probability")
        self.samples.append(_Sample(trial.genes, logged, reward))
        if len(self.samples) == self.batch:
            self._update(self.samples)
            self.samples = []
            self.updates += 1

    def snapshot(self) -> bytes:
        """See `Strategy`: telling 10,000 trials again takes most of a minute."""
        out = io.BytesIO()
        state = {
            "policy": self.policy.state_dict(),
            "adam": self.adam.state_dict(),
            "numbers": [self.baseline.total, self.baseline.weight, float(self.updates)],
            "rewards": torch.tensor(self.rewards, dtype=torch.float64),
            "waiting": len(self.samples),
        }
        torch.save(state, out)
        return out.getvalue()

    def restore(self, snapshot: bytes, told: Sequence[Trial]) -> None:
        """See `Strategy`."""
        state = torch.load(io.BytesIO(snapshot), weights_only=True)
        self.policy.load_state_dict(state["policy"])
        self.adam.load_state_dict(state["adam"])
        total, weight, updates = state["numbers"]
        self.baseline, self.updates = _Average(total, weight), int(updates)
        self.rewards = state["rewards"].tolist()
        # The policy has learnt from these; those of the unfinished batch have to wait again.
        learnt = len(told) - state["waiting"]
        for trial in told[:learnt]:
            self.history.tell(trial)
        for trial in told[learnt:]:
            self.tell(trial)

    def _update(self, samples: Sequence[_Sample]) -> None:
        """One batch."""
        self.rewards += [sample.reward for sample in samples if sample.reward is not None]
        if not self.rewards:
            return
        advantage = self._advantage(samples)
        genes = [sample.genes for sample in samples]
        masks = self._masks(np.array(genes))
        with torch.no_grad():
            before, _ = self._log_probabilities(genes, masks)
        # The ratio is to the policy that proposed, which with several workers may be an older one.
        # A trial without the note, another strategy's, is taken as this policy's own.
        for place, sample in enumerate(samples):
            if sample.log_probability is not None:
                before[place] = sample.log_probability
        for _ in range(self.preset.epochs):
            logged, entropy = self._log_probabilities(genes, masks)
            gain = self._gain(logged, before, advantage)
            self.adam.zero_grad()
            (-(gain + self.entropy * entropy).mean()).backward()  # type: ignore[no-untyped-call]
            # One odd batch of twenty must not throw the policy away.
            nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
            self.adam.step()

    def _advantage(self, samples: Sequence[_Sample]) -> Tensor:
        """(n,). What failed is worth as little as the worst told. The baseline moves on."""
        worst = min(self.rewards)
        # The rewards of a first batch may all be equal.
        spread = float(np.std(self.rewards)) or 1.0
        rewards = np.array(
            [worst if sample.reward is None else sample.reward for sample in samples]
        )
        # Before it is used, as in TuNAS: a policy that improves is not ahead of its own past.
        self.baseline = self.baseline.after(float(rewards.mean()))
        return torch.from_numpy((rewards - self.baseline.value) / spread)

    def _gain(self, logged: Tensor, before: Tensor, advantage: Tensor) -> Tensor:
        """What a step shall raise, per sample: equation 7, or REINFORCE's."""
        clip = self.preset.clip
        if not clip:
            return logged * advantage
        # As in equation 6, and cut as in Ye et al. 2020, https://arxiv.org/abs/1912.09729, eq. 5.
        ratio = (logged - before).clamp(max=math.log(LARGEST_RATIO)).exp()
        return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)

    def doing(self) -> str:
        """See `Strategy`."""
        waiting = f"{len(self.samples)} of {self.batch} rewards towards the next"
        return f"samples its policy after {counted(self.updates, 'update')}, {waiting}"

    def recommend(self) -> Genes:
        """See `History.recommend`."""
        return self.history.recommend(self.seed)


_State = tuple[Tensor, Tensor] | None


class _Policy(nn.Module):
    def start(self) -> None:
        """Before training: nothing by default."""

    def step(self, previous: Tensor, position: int, state: _State) -> tuple[Tensor, _State]:
        """Logits of the gene at a position: (n, most options).

        previous: (n,), the gene before or -1.
        """
        raise NotImplementedError

    def all_logits(self, genes: Tensor) -> Tensor:
        """genes: (n, genes). Logits of each gene, given those before: (n, genes, most options)."""
        raise NotImplementedError


class _Controller(_Policy):
    """One LSTM layer reads the token before, embedded by place and option; then a linear one."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.options = max(sizes)
        self.tokens = nn.Embedding(1 + len(sizes) * self.options, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, self.options)

    def _embed(self, previous: Tensor, position: Tensor) -> Tensor:
        # Token 0 begins every network. An option has an embedding of its own at each position.
        token = torch.where(position > 0, 1 + (position - 1) * self.options + previous, 0)
        return self.tokens(token)  # type: ignore[no-any-return]

    def step(self, previous: Tensor, position: int, state: _State) -> tuple[Tensor, _State]:
        embedded = self._embed(previous, torch.full_like(previous, position))
        hidden, after = self.lstm(embedded[:, None], state)
        return self.head(hidden[:, 0]), after

    def all_logits(self, genes: Tensor) -> Tensor:
        previous = torch.cat([torch.full_like(genes[:, :1], -1), genes[:, :-1]], dim=1)
        hidden, _ = self.lstm(self._embed(previous, torch.arange(genes.shape[1]).expand_as(genes)))
        return self.head(hidden)  # type: ignore[no-any-return]


class _Logits(_Policy):
    """One logit per option of each gene, zero at first."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(len(sizes), max(sizes)))

    def start(self) -> None:
        # TuNAS begins with even odds, so the small random weights of `_policy` are undone.
        nn.init.zeros_(self.logits)

    def step(self, previous: Tensor, position: int, state: _State) -> tuple[Tensor, _State]:
        return self.logits[position].expand(len(previous), -1), None

    def all_logits(self, genes: Tensor) -> Tensor:
        return self.logits.expand(len(genes), -1, -1)


strategy = ReinforcementLearning
