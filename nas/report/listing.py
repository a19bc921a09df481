"""What is installed: spaces, devices and published networks, for the terminal and as JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nas.arch import Architecture
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.networks.membership import Membership
from nas.networks.published import Published
from nas.report.costs import latency_text
from nas.size import as_json
from nas.space import SearchSpace
from nas.units import large, text_table

__all__ = [
    "Device",
    "PublishedNetwork",
    "choices_text",
    "devices_text",
    "nearest_first",
    "networks_text",
    "space_json",
    "spaces_text",
]

LEAST_SHARE = 0.005
"""A space of which a table covers less is not named."""


# -- spaces ---------------------------------------------------------------------------------------


def spaces_text(spaces: Sequence[SearchSpace]) -> str:
    """One line per space."""
    header = ["space", "input", "choices", "gene tuples", "distinct networks", "paper"]
    rows = []
    for space in spaces:
        sizes = [str(len(space.choices)), f"{space.cardinality:.3g}", large(space.distinct)]
        rows.append([space.name, space.input_text, *sizes, space.paper])
    return text_table(header, rows)


def choices_text(space: SearchSpace) -> str:
    """One line per choice of a space."""
    rows = []
    for name, choice in zip(space.gene_names, space.choices, strict=True):
        rows.append([name, "ordinal" if choice.ordinal else "", ", ".join(choice.labels)])
    return text_table([f"choice of {space.name}", "", "options"], rows)


def space_json(space: SearchSpace, devices: Mapping[str, object]) -> dict[str, object]:
    """One space as plain JSON; ``devices``: how latency is spread, by device."""
    return {
        "name": space.name,
        "paper": space.paper,
        "input": [space.input.channels, *space.input.sides],
        "gene_tuples": space.cardinality,
        "distinct_networks": space.distinct,
        "choices": [
            {"name": name, "options": list(choice.labels), "ordinal": choice.ordinal}
            for name, choice in zip(space.gene_names, space.choices, strict=True)
        ],
        "devices": devices,
    }


# -- devices --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Device:
    """A latency table, and what it covers of the spaces."""

    table: Table
    coverage: Mapping[str, Mapping[str, float]]
    """By space and resolution: the share of distinct layers with a row of their own, 0 to 1."""

    @classmethod
    def of(cls, table: Table, spaces: Iterable[SearchSpace]) -> "Device":
        """The table, with its coverage of these spaces."""
        coverage: dict[str, dict[str, float]] = {}
        for space in spaces:
            rows = sum(table.row(layer) is not None for layer in space.layers)
            # A space may come at several resolutions.
            shares = coverage.setdefault(space.name, {})
            shares[str(space.input.size)] = rows / len(space.layers)
        return cls(table=table, coverage=coverage)

    def to_json(self) -> dict[str, object]:
        """Plain JSON: the table's provenance, its digest, its coverage."""
        return {**self.table.to_json(), "digest": self.table.digest, "coverage": self.coverage}

    def text(self) -> str:
        """A few lines: kind, conditions, coverage if it was counted, the two first known errors."""
        info = self.table.info
        aliases = f" ({', '.join(info.aliases)})" if info.aliases else ""
        errors = list(info.known_error.items())[:2]
        error = ", ".join(f"{name} {100 * value:.1f} %" for name, value in errors)
        lines = [
            f"{info.name}{aliases}: {info.title or info.name}",
            *self._kind_lines(),
        ]
        if self.coverage:
            lines.append(f"  rows for    {self._coverage_text()}")
        lines.append(f"  error       {error or 'not known'}")
        return "\n".join(lines)

    def page(self) -> str:
        """Everything known of the table."""
        info = self.table.info
        lines = [f"{info.name}: {info.title or info.kind}", *self._kind_lines()]
        for source in info.sources:
            lines.append("  source      " + ", ".join(map(str, source.values())))
        lines.append(f"  fitted      {info.fitted or 'nothing'}")
        lines += [f"  error       {name}: {value}" for name, value in info.known_error.items()]
        lines += [f"  caveat      {caveat}" for caveat in info.caveats]
        lines.append(f"  rows for    {self._coverage_text()}")
        return "\n".join(lines)

    def _kind_lines(self) -> list[str]:
        info = self.table.info
        conditions = [f"{name} {value}" for name, value in info.conditions.items()]
        return [f"  kind        {info.kind}", f"  conditions  {', '.join(conditions)}"]

    def _coverage_text(self) -> str:
        covered = []
        for name, shares in self.coverage.items():
            for resolution, share in shares.items():
                if share >= LEAST_SHARE:
                    covered.append(f"{100 * share:.0f} % of {name}'s layers at {resolution}")
        if not covered:
            return "nothing here: all predicted"
        return f"{', '.join(covered)}; the rest is predicted"


KINDS = {
    "measured": "layers timed one by one",
    "published": "published timings of layers",
    "learnt": "learnt from whole networks that were timed",
}
"""How a table's rows came about, by the first word of its kind."""
OTHER_KIND = "made otherwise"


def devices_text(devices: Sequence[Device]) -> str:
    """A few lines per device, those whose rows came about in one way together."""
    groups: dict[str, list[Device]] = {heading: [] for heading in (*KINDS.values(), OTHER_KIND)}
    for device in devices:
        first = device.table.info.kind.partition(" ")[0]
        groups[KINDS.get(first, OTHER_KIND)].append(device)
    lines = []
    for heading, members in groups.items():
        if members:
            lines.append(f"-- {heading}\n")
            lines += [f"{device.text()}\n" for device in members]
    hint = (
        "More of one, and the layers it has: nas devices NAME. "
        "A table file of yours: --device my_board.csv"
    )
    return "\n".join([*lines, hint])


# -- published networks ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PublishedNetwork:
    """A published network, and its place in the space it came from."""

    published: Published
    network: Architecture
    place: Membership | None = None
    """None if the toolkit has no such space, or if nobody has looked."""

    estimate: Estimate | None = None
    """Its latency on the device asked for; None without one, or if its table cannot price it."""

    @property
    def differences(self) -> tuple[str, ...]:
        """What tells it from the nearest network of the space."""
        return () if self.place is None else tuple(found.text for found in self.place.differences)

    def to_json(self) -> dict[str, object]:
        """Plain JSON; counts as the network's authors count, and all of them."""
        return {
            "name": self.published.name,
            "resolution": as_json(self.network.input.size),
            **self.published.counts(self.network),
            "all_params": self.network.params,
            "all_macs": self.network.macs,
            **({} if self.estimate is None else self.estimate.to_json()),
            "space": self.published.space,
            "membership": {
                "verdict": self._verdict,
                "genes": None if self.place is None else self.place.genes,
                "differences": list(self.differences),
            },
            "digest": self.network.digest,
            "source": self.published.source,
        }

    def row(self, device: str = "", *, placed: bool = True) -> list[str]:
        """Its line in `networks_text`."""
        counts = self.published.counts(self.network)
        latency = "not priced" if self.estimate is None else latency_text(self.estimate)
        return [
            self.published.name,
            str(self.network.input.size),
            f"{counts['params']:,}",
            f"{counts['macs'] / 1e6:,.1f}",
            *([latency] if device else []),
            counts["macs_rule"],
            self.published.space,
            *([self._verdict] if placed else []),
        ]

    def text(self) -> str:
        """Where its configuration was read, and what it differs in from its space."""
        lines = [f"{self.published.name}: {self.published.source}"]
        for difference in self.differences:
            lines.append(f"  differs from {self.published.space} in {difference}")
        return "\n".join(lines)

    @property
    def _verdict(self) -> str:
        return "no space" if self.place is None else self.place.verdict


def nearest_first(rows: Iterable[PublishedNetwork], latency_ms: float) -> list[PublishedNetwork]:
    """Sorted by how far their latencies are from this one; those without a latency come last."""

    def distance(row: PublishedNetwork) -> float:
        if row.estimate is None:
            return math.inf
        return abs(row.estimate.latency_ms - latency_ms)

    return sorted(rows, key=distance)


def networks_text(
    rows: Sequence[PublishedNetwork], device: str = "", *, placed: bool = True
) -> str:
    """One line per published network; counts as its authors count.

    ``device``: where the estimates are of; adds a column. ``placed``: whether it is known where
    they stand in their spaces.
    """
    latency = [device] if device else []
    counts = ["network", "input", "params", "macs (M)", *latency, "counted as"]
    places = ["space", "membership"] if placed else ["space"]
    return text_table([*counts, *places], [row.row(device, placed=placed) for row in rows])
