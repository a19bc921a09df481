"""What a short training can see: which changes of a network leave its slimmed copy as it was.

Slimming scales channels and maps. Two widths may round to one, and on a map of 2x2 pixels a kernel
of 5 is the function that a kernel of 3 is. A search cannot learn what such a change is worth,
though its latency is charged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nas.arch import Architecture
from nas.evaluate.proxy import PRESETS, Proxy, slim
from nas.shape import Op, Shape
from nas.size import longer
from nas.space import SearchSpace, SizedSpace
from nas.statistics import rng
from nas.trial import Genes

__all__ = ["PRESETS", "Visibility", "hidden_changes", "trained_function"]

NETWORKS = 20
"""Random networks whose changes are looked at: they have thousands."""
IMAGE_CHANNELS, CLASSES = 3, 10
KERNELS = ("kernel", "first")
"""Settings of ops that are pixels along a side of a convolution's kernel."""


@dataclass(frozen=True)
class Visibility:
    """Of all changes of one gene that give another network, how many the short training misses."""

    changes: Mapping[str, int]
    """By the choice's name."""
    hidden: Mapping[str, int]
    """Those that leave the trained network what it was, by the choice's name."""

    @property
    def share(self) -> float:
        """Of the hidden ones, 0..1."""
        return sum(self.hidden.values()) / max(1, sum(self.changes.values()))

    def __str__(self) -> str:
        total, missed = sum(self.changes.values()), sum(self.hidden.values())
        text = f"{missed} of {total} one-gene changes leave the trained network as it was"
        parts = [
            f"{name} {count / self.changes[name]:.0%}"
            for name, count in self.hidden.items()
            if count
        ]
        return f"{text} ({', '.join(parts)})" if parts else text

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        return {
            "changes": dict(self.changes),
            "hidden": dict(self.hidden),
            "share": self.share,
        }


def trained_function(slimmed: Architecture) -> tuple[tuple[Op, Shape], ...]:
    """The slimmed network's layers, with settings of equal effect at their shapes made equal.

    A kernel of k reaches k // 2 pixels, and a map of s has s - 1 of them beside the first: what is
    larger than 2 s - 1 has weights that meet padding alone, s being a rectangle's longer side.
    """
    layers = []
    for layer in slimmed.layers:
        op = layer.op
        for name in KERNELS:
            kernel = getattr(op, name, 0)
            if kernel:
                op = op.replace(**{name: min(kernel, 2 * longer(layer.shape.size) - 1)})
        layers.append((op.at(layer.shape), layer.shape))
    return tuple(layers)


def hidden_changes(
    space: SearchSpace, proxy: Proxy, *, networks: int = NETWORKS, seed: int = 0
) -> Visibility:
    """Change each gene of random networks to each other option, and slim both.

    Only changes that give another network count. The networks are uniform over gene tuples.
    """
    if isinstance(space, SizedSpace):
        proxy = replace(proxy, input=space.input.size)
    changes = {choice.name: 0 for choice in space.choices}
    hidden = dict(changes)
    for number in range(networks):
        generator = rng(seed, "visibility", number)
        genes = tuple(int(generator.integers(size)) for size in space.gene_sizes)
        network = space.decode(genes)
        before = _trained(network, proxy)
        for choice, changed in _one_gene_changes(space, genes):
            other = space.decode(changed)
            if other.digest == network.digest:
                continue
            changes[choice] += 1
            hidden[choice] += _trained(other, proxy) == before
    return Visibility(changes, hidden)


def _trained(network: Architecture, proxy: Proxy) -> tuple[tuple[Op, Shape], ...]:
    return trained_function(slim(network, proxy, IMAGE_CHANNELS, CLASSES))


def _one_gene_changes(space: SearchSpace, genes: Genes) -> list[tuple[str, Genes]]:
    """All gene tuples that differ in one place, each with the name of the choice."""
    changed = []
    for place, choice in enumerate(space.choices):
        for option in range(len(choice)):
            if option != genes[place]:
                other = (*genes[:place], option, *genes[place + 1 :])
                changed.append((choice.name, other))
    return changed
