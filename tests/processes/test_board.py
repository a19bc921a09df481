"""Drivers that share a study: none proposes what another has, all are told what any finished."""

import threading
from dataclasses import replace

import pytest

from nas.errors import RunError, UsageError
from nas.objectives import Objectives, parse_objectives
from nas.record.identity import identity
from nas.record.store import Claim, Store, read
from nas.strategies import make
from nas.strategies.base import Proposal
from nas.study.board import Board
from nas.study.study import Study
from nas.testing.toys import HashEvaluator, toy_domain

DOMAIN = toy_domain()
OBJECTIVES = Objectives(parse_objectives(["accuracy", "params"], DOMAIN.compiled.names))
IDENTITY = identity(DOMAIN, OBJECTIVES, strategy="local-search", seed=1)


def url(folder):
    return f"sqlite:///{folder}/shared.db"


def board(folder, name, conditions=IDENTITY):
    return Board(url(folder), conditions, name)


def drive(folder, name, trials):
    run = folder / name
    opened = (Store.resume if (run / "run.json").exists() else Store.create)(
        run, DOMAIN.space, IDENTITY
    )
    evaluator = HashEvaluator(sleep_seconds=0.01)
    with opened as store:
        strategy = make("local-search", DOMAIN, seed=1, objectives=2)
        Study(DOMAIN, strategy, evaluator, store, board=board(folder, name)).run(trials=trials)
    return evaluator.calls


def test_two_drivers_with_one_seed_share_a_study_and_repeat_nothing(tmp_path):
    board(tmp_path, "first")  # the study exists before they race
    paid = {}
    crew = [
        threading.Thread(target=lambda n=n: paid.update({n: drive(tmp_path, n, 8)}))
        for n in ("a", "b")
    ]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    every = paid["a"] + paid["b"]
    assert len(every) == len(set(every)) == 16
    again = drive(tmp_path, "a", 9)  # resumed: it hears what the other one finished since
    assert len(again) == 1
    assert not set(again) & set(every)
    record = read(tmp_path / "a")
    assert set(paid["b"]) <= {trial.digest for trial in record.trials}
    assert len(record.heard) == 8


def test_of_two_claims_for_one_network_the_earlier_counts(tmp_path):
    first, second = board(tmp_path, "a"), board(tmp_path, "b")
    claim = Claim(number=0, proposal=Proposal((0,) * 8, {"n": 1}), digest="ab")
    assert first.claim(claim)
    assert not second.claim(claim)
    assert [other.proposal for other in second.hear()[1]] == [claim.proposal]
    assert first.hear() == ([], [])


def test_a_claim_that_a_kill_kept_out_of_the_record_is_let_go(tmp_path):
    claim = Claim(number=0, proposal=Proposal((0,) * 8), digest="ab")
    assert board(tmp_path, "a").claim(claim)
    board(tmp_path, "a").settle({}, {})
    assert board(tmp_path, "b").claim(claim)


def test_drivers_of_another_problem_and_urls_that_are_none_are_refused(tmp_path):
    board(tmp_path, "a")
    other = replace(IDENTITY, proxy={"epochs": 3})
    with pytest.raises(RunError, match="was begun with another proxy"):
        board(tmp_path, "b", other)
    board(tmp_path, "c", replace(IDENTITY, seed=2))
    with pytest.raises(UsageError, match="--storage takes a database URL such as"):
        Board("nonsense", IDENTITY, "a")
    with pytest.raises(RunError, match="the sqlite storage cannot be used"):
        Board("sqlite:////no/such/folder/x.db", IDENTITY, "a")
