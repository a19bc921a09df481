"""What a confirmation found: networks of a front beside random ones of the same latency band, scored on *test*.

``confirm.jsonl`` in the run's folder holds three kinds of lines: a ``plan`` (which networks, which
recipe), an ``opening`` of the test set, and a ``training`` with its test scores. The last plan is
the one that is shown.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nas.errors import RunError
from nas.record import ledger
from nas.statistics import Interval, claim, paired_interval

__all__ = ["FILE", "Confirmation", "Pair", "read"]

FILE = "confirm.jsonl"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A network of the front, and random ones of its latency band. Scores are means over the seeds, on *test*."""

    trial: int
    confirmed: float
    random: tuple[float, ...]

    @property
    def difference(self) -> float:
        """The member's score minus the mean of its random networks."""
        return self.confirmed - fmean(self.random)


class Confirmation:
    """The trainings of a run's last plan; it may be unfinished.

    ``plan`` is the plan's line. ``metric``: what is compared. ``openings`` of the test set so far,
    all plans counted; ``step`` is what one of its images is worth. ``scores``: per digest, the
    score of each finished seed. ``failed``: digest and reason of trainings that diverged; their
    networks enter no pair.
    """

    def __init__(self, found: Sequence[Mapping[str, Any]]) -> None:
        self.plan: Mapping[str, Any] = [row for row in found if row["kind"] == "plan"][-1]
        self.metric: str = self.plan["metric"]
        opened = [row["images"] for row in found if row["kind"] == "opening"]
        self.openings = len(opened)
        self.step = 1 / opened[-1] if opened else 0.0
        self.trainings = {
            key: row for row in found if row["kind"] == "training" and (key := self._key(row))
        }
        self.scores: Mapping[str, list[float]] = defaultdict(list)
        self.failed: dict[str, str] = {}
        for (digest, _), row in sorted(self.trainings.items()):
            if row.get("reason"):
                self.failed[digest] = row["reason"]
            else:
                self.scores[digest].append(row["metrics"][self.metric])

    def _key(self, row: Mapping[str, Any]) -> tuple[str, int] | None:
        """Digest and repeat of a training that belongs to the plan."""
        key = (row["digest"], row["repeat"])
        same = all(row[name] == self.plan[name] for name in ("recipe", "seed"))
        return key if same and key in self.wanted else None

    @property
    def wanted(self) -> list[tuple[str, int]]:
        """Digest and repeat of every training, in order: all networks once, then all again, so a kill leaves pairs."""
        networks = [
            entry for member in self.plan["members"] for entry in (member, *member["random"])
        ]
        return [
            (entry["digest"], repeat) for repeat in range(self.plan["seeds"]) for entry in networks
        ]

    @property
    def missing(self) -> list[tuple[str, int]]:
        """The trainings that are still to be done."""
        return [key for key in self.wanted if key not in self.trainings]

    def score(self, digest: str) -> float | None:
        """Mean over the seeds of a network all of whose trainings are finished, else None."""
        whole = len(self.scores.get(digest, ())) == self.plan["seeds"]
        return fmean(self.scores[digest]) if whole else None

    @property
    def pairs(self) -> list[Pair]:
        """The finished ones, in the plan's order."""
        found = []
        for member in self.plan["members"]:
            own, others = (
                self.score(member["digest"]),
                [self.score(entry["digest"]) for entry in member["random"]],
            )
            done = tuple(score for score in others if score is not None)
            if own is not None and others and len(done) == len(others):
                found.append(Pair(trial=member["trial"], confirmed=own, random=done))
        return found

    @property
    def interval(self) -> Interval | None:
        """The mean difference of the pairs, by `paired_interval`. None while there are fewer than two."""
        return paired_interval([pair.difference for pair in self.pairs], self.step)

    @property
    def seconds(self) -> tuple[float, float]:
        """Core-seconds (wall seconds times threads) of the members' trainings and of the random networks'."""
        members = {member["digest"] for member in self.plan["members"]}
        spent = [0.0, 0.0]
        for (digest, _), row in self.trainings.items():
            spent[digest not in members] += row["seconds"] * self.plan["threads"]
        return spent[0], spent[1]

    @property
    def verdict(self) -> str:
        """One line: what the pairs say, and no more than they say."""
        pairs = self.pairs
        if self.missing:
            return f"unfinished: {len(self.missing)} of {len(self.wanted)} trainings are to be done; confirm again"
        found = self.interval
        if found is None:
            return f"no evidence that the search beat random here: an interval takes two pairs, there {'is' if len(pairs) == 1 else 'are'} {len(pairs) or 'none'}"
        mean = fmean(pair.difference for pair in pairs)
        figures = (
            f"{self.metric} {mean:+.4f}, 95 % interval {found[0]:+.4f} to {found[1]:+.4f} "
            f"(bootstrap over {len(pairs)} pairs, expanded for few)"
        )
        return {
            "better": f"better than random networks of the same latency: {figures}",
            "worse": f"worse than random networks of the same latency: {figures}",
            "no evidence": f"no evidence that the search beat random here: {figures}",
        }[claim(found)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        found, (members, others) = self.interval, self.seconds
        return {
            "metric": self.metric,
            "pairs": [
                {
                    "trial": p.trial,
                    "confirmed": p.confirmed,
                    "random": list(p.random),
                    "difference": p.difference,
                }
                for p in self.pairs
            ],
            "interval": None if found is None else list(found),
            "claim": claim(found) if not self.missing else "unfinished",
            "verdict": self.verdict,
            "test_openings": self.openings,
            "core_seconds": {"members": members, "random": others},
            "failed": dict(self.failed),
            "plan": dict(self.plan),
        }


def read(folder: str | Path) -> Confirmation | None:
    """A run's last confirmation, None where there is none."""
    path = Path(folder) / FILE
    found = ledger.read(path)
    try:
        for row in found:
            _check(row)
        return Confirmation(found) if any(row["kind"] == "plan" for row in found) else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path} is of another version or damaged: no {error}. Remove it to confirm anew"
        ) from None


def _check(row: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError for a row that `nas.run.confirm` did not write."""
    if row["kind"] == "plan":
        _whole(row["seed"], row["seeds"] - 1, row["threads"] - 1)
        _words(row["metric"])
        if not row["members"] or not isinstance(row["recipe"], dict):
            raise ValueError("member or recipe")
        for member in row["members"]:
            _whole(member["trial"])
            _numbers(member["band"])
            for entry in (member, *member["random"]):
                _words(entry["digest"])
                _whole(*entry["genes"])
                _numbers(*entry["costs"].values())
    elif row["kind"] == "opening":
        _whole(row["images"] - 1)
    elif row["kind"] == "training":
        _words(row["digest"], row.get("reason", ""))
        _whole(row["repeat"], row["seed"])
        _numbers(row["seconds"], *row.get("metrics", {}).values())
        if not row.get("reason") and "metrics" not in row:
            raise KeyError("metrics")
    else:
        raise ValueError(f"kind of row '{row['kind'][:40]}'")


def _whole(*values: object) -> None:
    if not all(type(value) is int and value >= 0 for value in values):
        raise TypeError(f"whole numbers in {str(values)[:80]}")


def _numbers(*values: object) -> None:
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):  # type: ignore[arg-type]
        raise TypeError(f"numbers in {str(values)[:80]}")


def _words(*values: object) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"words in {str(values)[:80]}")
