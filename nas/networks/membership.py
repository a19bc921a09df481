"""Whether a network is a point of a search space, and if not, which point is nearest and what differs.

A published network need not be a point of the space its paper describes: MnasNet-A1 has a block of
112 channels where the paper's filters allow 72, 96 and 120. Then it is said, and the space stays as
it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Literal

from nas.arch import Architecture
from nas.shape import Op
from nas.space import SearchSpace, Step
from nas.trial import Genes

__all__ = ["Difference", "Membership", "membership"]

LAYER = 2.0

Ops = tuple[Op, ...]


@dataclass(frozen=True)
class Difference:
    """What a network has that its nearest point has not: the slot, the genes that decide it, and in words."""

    slot: str
    genes: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Membership:
    """``in``: a point. ``near``: genes of the nearest point, and what differs, all of it searched.

    ``outside``: something differs that the space does not search at all; ``genes`` None where the
    stages do not even correspond.
    """

    verdict: Literal["in", "near", "outside"]
    genes: Genes | None = None
    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        return "; ".join((self.verdict, *(d.text for d in self.differences)))


def membership(network: Architecture, space: SearchSpace) -> Membership:
    """Where the network stands in the space, which should have the same input and number of classes."""
    exact = space.parse(
        [layer.__class__(layer.op.at(layer.shape), layer.shape) for layer in network.layers]
    )
    if exact is not None and network.input == space.input:
        return Membership("in", exact)
    if network.input != space.input:
        text = f"input {network.input} instead of {space.input}"
        return Membership("outside", None, (Difference("input", (), text),))
    parts = _align(network, space)
    if parts is None:
        counts = len(network.stages), len(list(_stages(space)))
        text = "{} stages ({}) instead of {}".format(
            counts[0], ", ".join(s.name for s in network.stages), counts[1]
        )
        return Membership("outside", None, (Difference("stages", (), text),))
    options, found = _nearest(parts, space)
    genes = tuple(g for slot, option in enumerate(options) for g in space.slot_genes(slot, option))
    differences = tuple(found)
    searched = all(d.genes for d in differences)
    return Membership("near" if searched else "outside", genes, differences)


def _stages(space: SearchSpace) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Stage names of a space with the positions of their slots."""
    for name, slots in groupby(range(len(space.slots)), key=lambda i: space.slots[i].stage):
        yield name, tuple(slots)


def _align(network: Architecture, space: SearchSpace) -> list[tuple[tuple[int, ...], Ops]] | None:
    """Slots and the network's ops, stage by stage: by name where the space has all of them, else by position."""
    stages = list(_stages(space))
    ops = {}
    for stage, layers in network.layers_by_stage:
        ops[stage.name] = tuple(layer.op.at(layer.shape) for layer in layers)
    names = [name for name, _ in stages]
    if set(ops) <= set(names):
        return [(slots, ops.get(name, ())) for name, slots in stages]
    if len(ops) == len(stages):
        return [(slots, part) for (_, slots), part in zip(stages, ops.values(), strict=True)]
    return None


# A way through the chain: its cost, and per slot the option chosen and the ops it stands for.
Path = tuple[float, tuple[tuple[int, Ops], ...]]


def _nearest(
    parts: Sequence[tuple[tuple[int, ...], Ops]], space: SearchSpace
) -> tuple[list[int], list[Difference]]:
    """The cheapest path: least differing settings, then least distance between numbers, then least genes."""
    paths: dict[int, Path] = {0: (0.0, ())}
    for slots, ops in parts:
        positions: dict[tuple[int, int], Path] = {(0, state): path for state, path in paths.items()}
        for slot in slots:
            positions = _advance(space.chain[slot], slot == slots[-1], ops, positions)
        paths = {state: path for (_, state), path in positions.items()}
    _, way = min(paths.values(), key=lambda path: path[0])
    found, state, options = [], 0, []
    for slot, (option, ops) in enumerate(way):
        step = space.chain[slot]
        difference = _difference(space, slot, state, option, ops)
        if difference is not None:
            found.append(difference)
        options.append(option)
        state = int(step.next[state, option])
    return options, found


def _advance(
    step: Step, last: bool, ops: Ops, positions: dict[tuple[int, int], Path]
) -> dict[tuple[int, int], Path]:
    """All ways to let a slot stand for the next few ops; the last slot of a stage takes what is left."""
    after: dict[tuple[int, int], Path] = {}
    for (start, state), (cost, way) in positions.items():
        words = _words(step, state)
        for end in (len(ops),) if last else range(start, len(ops) + 1):
            segment = ops[start:end]
            for option, word in enumerate(words):
                total = cost + _distance(word, segment)
                place = end, int(step.next[state, option])
                if place not in after or total < after[place][0] - 1e-12:
                    after[place] = total, (*way, (option, segment))
    return after


@cache
def _words(step: Step, state: int) -> tuple[Ops, ...]:
    return tuple(tuple(layer.op for layer in word) for word in step.words[state])


def _distance(word: Ops, ops: Ops) -> float:
    """Number of settings that differ anywhere, a little for how far, and `LAYER` for each layer too few or too many."""
    if word == ops:
        return 0.0
    aspects: dict[str, float] = {}
    for ours, theirs in zip(word, ops, strict=False):
        for aspect, far in _settings_apart(ours, theirs):
            aspects[aspect] = max(far, aspects.get(aspect, 0.0))
    return len(aspects) + sum(aspects.values()) / 1000 + LAYER * abs(len(word) - len(ops))


@cache
def _settings_apart(ours: Op, theirs: Op) -> tuple[tuple[str, float], ...]:
    """Names of differing settings with how far they are apart; another op differs in ``op`` alone."""
    if type(ours) is not type(theirs):
        return (("op", 1.0),)
    return tuple((name, _apart(a, b)) for name, a, b in _pairs(ours, theirs) if a != b)


def _apart(a: object, b: object) -> float:
    if isinstance(a, bool) or isinstance(b, bool):
        return 0.0
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) / max(abs(a), abs(b))
    return 1.0


def _pairs(ours: Op, theirs: Op) -> Iterator[tuple[str, object, object]]:
    for name in ours.__dataclass_fields__:
        yield name, getattr(ours, name), getattr(theirs, name)


def _aspects(word: Ops, ops: Ops) -> dict[str, str]:
    """What differs, by setting, in words: the first place of each."""
    found: dict[str, str] = {}
    for ours, theirs in zip(word, ops, strict=False):
        if type(ours) is not type(theirs):
            found.setdefault("op", f"{theirs.key} instead of {ours.key}")
            continue
        for name, a, b in _pairs(ours, theirs):
            if a != b:
                found.setdefault(name, f"{name} {b} instead of {a}")
    if len(word) != len(ops):
        found["layers"] = f"{len(ops)} layers instead of {len(word)}"
    return found


def _difference(
    space: SearchSpace, slot: int, state: int, option: int, ops: Ops
) -> Difference | None:
    words = _words(space.chain[slot], state)
    aspects = _aspects(words[option], ops)
    if not aspects:
        return None
    genes = space.slot_genes(slot, option)
    names = tuple(
        f"{space.slots[slot].name}.{choice.name}"
        for position, choice in enumerate(space.slots[slot].choices)
        if any(
            _decides(aspects, words[option], words[other])
            for other in _variants(space, slot, genes, position)
        )
    )
    return Difference(
        space.slots[slot].name, names, f"{space.slots[slot].name}: {', '.join(aspects.values())}"
    )


def _variants(space: SearchSpace, slot: int, genes: Genes, position: int) -> Iterable[int]:
    """Option indices that differ in one gene of the slot."""
    weight = space.radix[slot][2][position]
    base = (
        sum(g * w for g, w in zip(genes, space.radix[slot][2], strict=True))
        - genes[position] * weight
    )
    size = len(space.slots[slot].choices[position])
    return (base + gene * weight for gene in range(size) if gene != genes[position])


def _decides(aspects: Iterable[str], word: Ops, other: Ops) -> bool:
    """Whether two options of a slot differ in one of the aspects."""
    return not set(aspects).isdisjoint(_aspects(other, word))
