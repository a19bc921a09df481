"""Whether a network is a point of a search space, and if not, what the nearest point differs in.

A published network need not be a point of the space its paper describes: MnasNet-A1 has a block of
112 channels where the paper's filters allow 72, 96 and 120. Then it is said, and the space stays as
it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import groupby
from typing import Literal

from nas.arch import Architecture
from nas.shape import Op
from nas.space import SearchSpace, SizedSpace, Step
from nas.trial import Genes

__all__ = ["Difference", "Membership", "membership", "point"]

LAYER = 2.0
"""Distance of a layer too few or too many: that of two settings that differ."""
OTHER_OP = 4.0
"""Distance of another kind of op: that of four settings, so that kinds are kept where they can."""

Ops = tuple[Op, ...]


@dataclass(frozen=True)
class Difference:
    """What a network has that its nearest point has not."""

    slot: str
    """Name of the slot where they differ."""
    genes: tuple[str, ...]
    """Names of the genes that decide it; empty if the space does not search it."""
    text: str
    """The difference in words."""


@dataclass(frozen=True)
class Membership:
    """Where a network stands in a space."""

    verdict: Literal["in", "near", "outside"]
    """``in``: it is a point; ``near``: all that differs is searched; ``outside``: not all is."""
    genes: Genes | None = None
    """Genes of the nearest point; None if not even the stages correspond."""
    differences: tuple[Difference, ...] = ()
    """What the network has that the nearest point has not."""

    def __str__(self) -> str:
        texts = [difference.text for difference in self.differences]
        return "; ".join([self.verdict, *texts])


def membership(network: Architecture, space: SearchSpace) -> Membership:
    """Where the network stands in the space, which should have the same input and classes."""
    if isinstance(space, SizedSpace) and network.input.size in space.by_size:
        size = network.input.size
        alone = membership(network, space.by_size[size])
        if alone.genes is None:
            return alone
        return replace(alone, genes=(space.sizes.index(size), *alone.genes))
    if network.input != space.input:
        text = f"input {network.input} instead of {space.input}"
        return _outside(Difference("input", (), text))
    exact = point(network, space)
    if exact is not None:
        return Membership("in", exact)
    parts = _align(network, space)
    if parts is None:
        names = ", ".join(stage.name for stage in network.stages)
        text = f"{len(network.stages)} stages ({names}) instead of {len(_stages(space))}"
        return _outside(Difference("stages", (), text))
    genes: Genes = ()
    differences = []
    for slot, state, option, ops in _nearest(parts, space):
        genes += space.slot_genes(slot, option)
        difference = _difference(space, slot, state, option, ops)
        if difference is not None:
            differences.append(difference)
    searched = all(difference.genes for difference in differences)
    return Membership("near" if searched else "outside", genes, tuple(differences))


def point(network: Architecture, space: SearchSpace) -> Genes | None:
    """The least genes that describe the network; None if it is no point of the space."""
    return space.parse([replace(layer, op=layer.op.at(layer.shape)) for layer in network.layers])


def _outside(difference: Difference) -> Membership:
    return Membership("outside", None, (difference,))


# -- which slots stand for which layers -----------------------------------------------------------


def _stages(space: SearchSpace) -> list[tuple[str, tuple[int, ...]]]:
    """Stage names of a space with the positions of their slots."""
    positions = range(len(space.slots))
    groups = groupby(positions, key=lambda position: space.slots[position].stage)
    return [(name, tuple(slots)) for name, slots in groups]


def _align(network: Architecture, space: SearchSpace) -> list[tuple[tuple[int, ...], Ops]] | None:
    """Each stage's slots with the network's ops: by name if the space has all names, else by place.

    None if the numbers of stages differ too.
    """
    stages = _stages(space)
    ops = {}
    for stage, layers in network.layers_by_stage:
        ops[stage.name] = tuple(layer.op.at(layer.shape) for layer in layers)
    if set(ops) <= {name for name, _ in stages}:
        return [(slots, ops.get(name, ())) for name, slots in stages]
    if len(ops) == len(stages):
        return [(slots, part) for (_, slots), part in zip(stages, ops.values(), strict=True)]
    return None


# -- the nearest point ----------------------------------------------------------------------------

# A way through the chain: its cost, and per slot the option chosen and the ops it stands for.
Path = tuple[float, tuple[tuple[int, Ops], ...]]
# An option, the number of its layers, and the distance of their settings.
Candidate = tuple[int, int, float]
# By a slot's words, which slots may share, and the ops that they are compared with.
Known = dict[tuple[int, Ops], list[Candidate]]


def _nearest(
    parts: Sequence[tuple[tuple[int, ...], Ops]], space: SearchSpace
) -> Iterator[tuple[int, int, int, Ops]]:
    """The cheapest way through the chain: per slot its position, state, option, and the ops.

    Fewest settings differ; then numbers are least apart; of equal ones the first found stays.
    """
    paths: dict[int, Path] = {0: (0.0, ())}
    known: Known = {}
    for slots, ops in parts:
        positions: dict[tuple[int, int], Path] = {(0, state): path for state, path in paths.items()}
        for slot in slots:
            positions = _advance(space.chain[slot], slot == slots[-1], ops, positions, known)
        paths = {state: path for (_, state), path in positions.items()}
    _, way = min(paths.values(), key=lambda path: path[0])
    state = 0
    for slot, (option, ops) in enumerate(way):
        yield slot, state, option, ops
        state = int(space.chain[slot].next[state, option])


def _advance(
    step: Step, last: bool, ops: Ops, positions: dict[tuple[int, int], Path], known: Known
) -> dict[tuple[int, int], Path]:
    """All ways to let a slot stand for the next few ops; a stage's last slot takes what is left."""
    after: dict[tuple[int, int], Path] = {}
    for (start, state), (cost, way) in positions.items():
        ends = [len(ops)] if last else range(start, len(ops) + 1)
        for end in ends:
            segment = ops[start:end]
            for option, length, distance in _candidates(step, state, segment, known):
                total = cost + distance + LAYER * abs(length - len(segment))
                place = end, int(step.next[state, option])
                # The first of equal ones stays, whatever the order of sums did to the last bit.
                if place not in after or total < after[place][0] - 1e-12:
                    after[place] = total, (*way, (option, segment))
    return after


def _candidates(step: Step, state: int, segment: Ops, known: Known) -> list[Candidate]:
    """Of the options that make as many layers and hand over one shape, the nearest to the segment.

    They come in the order of options.
    """
    words = step.words[state]
    # What stands behind the longest word changes no setting.
    seen = segment[: max(map(len, words))]
    key = id(words), seen
    if key not in known:
        nearest: dict[tuple[int, int], Candidate] = {}
        for option, word in enumerate(_words(step, state)):
            alike = len(word), int(step.next[state, option])
            distance = _settings_distance(word, seen)
            if alike not in nearest or distance < nearest[alike][2] - 1e-12:
                nearest[alike] = option, len(word), distance
        known[key] = sorted(nearest.values())
    return known[key]


@cache
def _words(step: Step, state: int) -> tuple[Ops, ...]:
    return tuple(tuple(layer.op for layer in word) for word in step.words[state])


# -- how far two words are apart ------------------------------------------------------------------


def _settings_distance(word: Ops, ops: Ops) -> float:
    """The number of settings that differ anywhere, and a little for how far; layers by place."""
    aspects: dict[str, float] = {}
    for ours, theirs in zip(word, ops, strict=False):
        for aspect, far in _settings_apart(ours, theirs):
            aspects[aspect] = max(far, aspects.get(aspect, 0.0))
    settings = len(aspects) + (OTHER_OP - 1 if "op" in aspects else 0)
    # Far by a thousandth: it decides between points of equally many differing settings only.
    return settings + sum(aspects.values()) / 1000


@cache
def _settings_apart(ours: Op, theirs: Op) -> tuple[tuple[str, float], ...]:
    """Differing settings and how far apart they are, 0..1; another kind of op differs in ``op``."""
    if type(ours) is not type(theirs):
        return (("op", 1.0),)
    return tuple((name, _apart(a, b)) for name, a, b in _differing(ours, theirs))


def _apart(a: object, b: object) -> float:
    if isinstance(a, bool) or isinstance(b, bool):
        return 0.0
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) / max(abs(a), abs(b))
    return 1.0


def _differing(ours: Op, theirs: Op) -> list[tuple[str, object, object]]:
    """Settings of two ops of one kind that differ: name, our value, theirs."""
    differing = []
    for field in fields(ours):
        a = getattr(ours, field.name)
        b = getattr(theirs, field.name)
        if a != b:
            differing.append((field.name, a, b))
    return differing


def _aspects(word: Ops, ops: Ops) -> dict[str, str]:
    """What differs, by setting, in words: the first place of each."""
    texts: dict[str, str] = {}
    for ours, theirs in zip(word, ops, strict=False):
        if type(ours) is not type(theirs):
            texts.setdefault("op", f"{theirs.key} instead of {ours.key}")
            continue
        for name, a, b in _differing(ours, theirs):
            texts.setdefault(name, f"{name} {b} instead of {a}")
    if len(word) != len(ops):
        texts["layers"] = f"{len(ops)} layers instead of {len(word)}"
    return texts


def _difference(
    space: SearchSpace, slot: int, state: int, option: int, ops: Ops
) -> Difference | None:
    """What a slot's option has otherwise than the ops it stands for; None if nothing."""
    words = _words(space.chain[slot], state)
    aspects = _aspects(words[option], ops)
    if not aspects:
        return None
    name = space.slots[slot].name
    genes = []
    for position, choice in enumerate(space.slots[slot].choices):
        # A gene decides a difference if changing it alone changes that setting.
        others = [words[other] for other in _variants(space, slot, option, position)]
        if any(aspects.keys() & _aspects(other, words[option]).keys() for other in others):
            genes.append(f"{name}.{choice.name}")
    return Difference(name, tuple(genes), f"{name}: {', '.join(aspects.values())}")


def _variants(space: SearchSpace, slot: int, option: int, position: int) -> list[int]:
    """The slot's options that differ from one of them in the gene at a position alone."""
    weight = space.radix[slot][2][position]
    own = space.slot_genes(slot, option)[position]
    genes = range(len(space.slots[slot].choices[position]))
    return [option + (gene - own) * weight for gene in genes if gene != own]
