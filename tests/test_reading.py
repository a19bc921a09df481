"""Reading: a dataclass is the form of a document, and what breaks it is told in one line."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, TypedDict

import pytest

from nas.errors import UsageError
from nas.objectives import Objectives, parse_objectives
from nas.reading import LEFT_OUT, FormError, from_json, key, short, to_json

FileName = Annotated[str, re.compile("[a-z]+")]


class Arguments(TypedDict, total=False):
    spec: str
    classes: int | None


@dataclass(frozen=True, kw_only=True)
class Leaf:
    share: float
    kind: Literal["low", "high"] = "low"

    def __post_init__(self):
        if self.share > 1:
            raise UsageError(f"a share is at most 1, not {self.share}")


@dataclass(frozen=True, kw_only=True)
class Tree:
    name: str
    count: int
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[float | None, float | None] = (None, None)
    best: Leaf | None = None
    tables: Mapping[FileName, str] = field(default_factory=dict)
    arguments: Arguments = field(default_factory=Arguments)
    anything: object = None
    mixed: str | float = ""
    sure: bool = True
    remarks: tuple[str, ...] = field(default=(), metadata=key("notes"))
    margins: Mapping[str, Leaf] = field(default_factory=dict, metadata=LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class Open:
    OPEN: ClassVar[bool] = True
    name: str


DOCUMENT = {
    "name": "a",
    "count": 3,
    "leaves": [{"share": 0.5, "kind": "high"}, {"share": 1, "kind": "low"}],
    "pair": [None, 60.0],
    "best": {"share": 0.25, "kind": "low"},
    "tables": {"pixel": "ab"},
    "arguments": {"classes": None},
    "anything": [{"x": [1, None]}],
    "mixed": 2,
    "sure": False,
    "notes": ["n"],
}


def test_a_document_becomes_the_record_and_is_written_as_it_was():
    tree = from_json(Tree, json.loads(json.dumps(DOCUMENT)))
    assert tree.leaves == (Leaf(share=0.5, kind="high"), Leaf(share=1))
    assert (tree.pair, tree.best, tree.remarks) == ((None, 60.0), Leaf(share=0.25), ("n",))
    assert json.dumps(to_json(tree)) == json.dumps(DOCUMENT)


def test_what_may_be_missing_has_its_default_and_is_written_unless_left_out():
    tree = from_json(Tree, {"name": "a", "count": 1})
    assert tree == Tree(name="a", count=1)
    assert to_json(tree)["notes"] == []
    assert "margins" not in to_json(tree)
    assert "margins" in to_json(Tree(name="a", count=1, margins={"pixel": Leaf(share=0)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "3"}, 'count must be int, not "3"'),
        ({"count": True}, "count must be int, not true"),
        ({"count": 3.0}, "count must be int, not 3.0"),
        ({"name": None}, "name must be str, not null"),
        ({"leaves": {}}, "leaves must be a list, not {}"),
        ({"leaves": [{}]}, "leaves[0].share is missing"),
        ({"leaves": [{"share": "x"}]}, 'leaves[0].share must be int or float, not "x"'),
        ({"leaves": [{"share": 1e999}]}, "leaves[0].share must be int or float, not Infinity"),
        ({"leaves": [{"share": 10**400}]}, "leaves[0].share must be int or float, not 1000"),
        ({"leaves": [{"share": 2}]}, "leaves[0]: a share is at most 1, not 2"),
        ({"leaves": [{"share": 0, "kind": 1}]}, 'leaves[0].kind must be "low" or "high", not 1'),
        ({"leaves": [{"share": 0, "of": 1}]}, "leaves[0].of is none of ours"),
        ({"pair": [1]}, "pair must hold 2 values, not 1"),
        ({"pair": ["a", 1]}, 'pair[0] must be int or float or null, not "a"'),
        ({"best": []}, "best must be an object or null, not []"),
        ({"best": {"share": []}}, "best.share must be int or float, not []"),
        ({"tables": {"../up": "ab"}}, 'tables has the name "../up", which is none of ours'),
        ({"tables": {"up": 1}}, "tables.up must be str, not 1"),
        ({"arguments": {"spec": 1}}, "arguments.spec must be str, not 1"),
        ({"arguments": {"size": 1}}, "arguments.size is none of ours"),
        ({"arguments": []}, "arguments must be an object, not []"),
        ({"mixed": []}, "mixed must be str or int or float, not []"),
        ({"sure": 1}, "sure must be bool, not 1"),
        ({"more": 1}, "more is none of ours"),
    ],
)
def test_what_breaks_the_form_is_told_with_its_place(change, message):
    with pytest.raises(FormError, match=re.escape(message)):
        from_json(Tree, DOCUMENT | change)


def test_a_document_that_is_no_object_is_told():
    with pytest.raises(FormError, match=r"^must be an object, not \[\]"):
        from_json(Tree, [])
    with pytest.raises(FormError, match=r"^tree must be an object, not null"):
        from_json(Tree, None, "tree")


def test_an_open_record_drops_what_it_does_not_know():
    assert from_json(Open, {"name": "a", "more": 1}) == Open(name="a")


def test_a_class_with_a_form_of_its_own_reads_itself():
    @dataclass(frozen=True, kw_only=True)
    class Goal:
        objectives: Objectives

    goal = Goal(objectives=Objectives(parse_objectives(["accuracy", "params"], ("params",))))
    assert from_json(Goal, to_json(goal)) == goal
    with pytest.raises(FormError, match=r"^objectives: not a run's objectives"):
        from_json(Goal, {"objectives": {}})


def test_long_values_are_shortened():
    assert short("x" * 100) == '"' + "x" * 56 + "..."
