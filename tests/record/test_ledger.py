"""Ledgers: lines that only grow, and jobs that go on where they were killed."""

import pytest

from nas.errors import RunError
from nas.record import ledger

JOBS = ("a", "b", "c", "d")


def row(key):
    return {"kind": "letter", "key": key}


def done(path):
    return {row["key"] for row in ledger.read(path)}


def complete(path, step=row, **settings):
    return ledger.complete(path, "letters", JOBS, done(path), step, **settings)


def test_lines_are_read_as_they_were_added(tmp_path):
    path = tmp_path / "a.jsonl"
    assert ledger.read(path) == []
    for key in "ba":
        ledger.append(path, row(key))
    assert ledger.read(path) == [row("b"), row("a")]


def test_a_torn_line_counts_for_nothing_and_is_cut(tmp_path):
    path = tmp_path / "a.jsonl"
    ledger.append(path, row("a"))
    with path.open("a") as file:
        file.write('{"kind": "let')
    assert ledger.read(path) == [row("a")]
    ledger.append(path, row("b"))
    assert ledger.read(path) == [row("a"), row("b")]


@pytest.mark.parametrize(
    ("line", "told"),
    [("{", "Expecting"), ('{"kind": "a", "x": NaN}', "NaN is no number"), ("[]", "without a kind")],
)
def test_foreign_lines_are_refused(tmp_path, line, told):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(RunError, match=f"is damaged: .*{told}.* Remove it to make it anew"):
        ledger.read(tmp_path / "a.jsonl")


def test_a_line_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(
        RunError, match=r"No such file or directory\. Mend that, then give the same"
    ):
        ledger.append(tmp_path / "gone" / "a.jsonl", row("a"))


def test_a_killed_job_goes_on_with_the_step_it_was_at(tmp_path):
    path, steps = tmp_path / "a.jsonl", []

    def killed(key):
        steps.append(key)
        if key == "c":
            raise KeyboardInterrupt
        return row(key)

    with pytest.raises(KeyboardInterrupt):
        complete(path, killed)
    assert steps == ["a", "b", "c"]
    assert complete(path) == [row("c"), row("d")]
    assert ledger.read(path) == [row(key) for key in JOBS]
    assert complete(path, killed) == []


def test_only_what_is_missing_is_done_in_order(tmp_path):
    path = tmp_path / "a.jsonl"
    for key in "dxb":
        ledger.append(path, row(key))
    assert complete(path) == [row("a"), row("c")]


def test_progress_counts_earlier_sessions_and_weighs_the_steps(tmp_path, monkeypatch):
    path, seen, clock = tmp_path / "a.jsonl", [], iter(range(0, 100, 10))
    monkeypatch.setattr(ledger, "Pace", lambda *a, **k: pace(*a, **k, clock=lambda: next(clock)))
    ledger.append(path, row("a"))
    complete(path, watch=seen.append, work={"a": 5, "b": 1, "c": 1, "d": 3}.get)
    assert [(p.what, p.done, p.planned, p.last["key"]) for p in seen] == [
        ("letters", 2, 4, "b"),
        ("letters", 3, 4, "c"),
        ("letters", 4, 4, "d"),
    ]
    # One unit of work takes 10 seconds here, then the same again; three units are left of five.
    assert [p.seconds for p in seen] == [10, 20, 30]
    assert [p.eta_seconds for p in seen] == [40, 30, 0]


pace = ledger.Pace
