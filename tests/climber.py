"""A strategy for tests of the loop, which depends on all that it was told."""

from nas.statistics import rng
from nas.strategies.base import Proposal, Strategy


class Climber(Strategy):
    """Mutates the best network told, or samples. The note names the parent."""

    def __init__(self, domain, *, seed=0):
        self.domain, self.seed = domain, seed
        self.best = None

    def ask(self, number, pending=()):
        draw = rng(self.seed, "ask", number)
        if self.best is None or draw.random() < 1 / 3:
            return Proposal(self.domain.sample(draw), {"parent": None})
        near = self.domain.neighbours(self.best.genes)
        return Proposal(tuple(map(int, draw.choice(near))), {"parent": self.best.number})

    def tell(self, trial):
        if trial.state == "complete" and (self.best is None or trial.losses < self.best.losses):
            self.best = trial

    def recommend(self):
        if self.best is None:
            return self.domain.sample(rng(self.seed, "recommend", 0))
        return self.best.genes
