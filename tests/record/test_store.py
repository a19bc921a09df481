"""The record: claims, finishes, kills between any two writes, torn lines, full disks, foreign
folders."""

import errno
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from nas.errors import NasError, RunError
from nas.objectives import Objectives, parse_objectives
from nas.reading import to_json
from nas.record import environment
from nas.record.identity import StrategyIdentity, identity, space_digest
from nas.record.journal import JOURNAL, open_journal
from nas.record.store import Claim, Store, canonical, read
from nas.strategies.base import Proposal
from nas.study.study import Study
from nas.testing.toys import HashEvaluator, toy_domain, toy_space
from tests.climber import Climber

DOMAIN = toy_domain()
OBJECTIVES = Objectives(parse_objectives(["accuracy", "params"], DOMAIN.compiled.names))
IDENTITY = identity(DOMAIN, OBJECTIVES, strategy="climber", seed=5)
METRICS = {"accuracy": 0.5, "params": 9.0}


def create(folder):
    return Store.create(folder, DOMAIN.space, IDENTITY)


def resume(folder):
    return Store.resume(folder, DOMAIN.space, IDENTITY)


def some_claim(number=0, note=None):
    genes = (number % 3, 0, 0, 0, 0, 0, 0, 0)
    return Claim(number=number, proposal=Proposal(genes, note or {}), digest=f"{number:020x}")


def run(store, trials=6, evaluator=None):
    Study(DOMAIN, Climber(DOMAIN, seed=5), evaluator or HashEvaluator(failing=0.2), store).run(
        trials=trials
    )


def test_a_claim_is_one_record_and_comes_back_as_it_was_given(tmp_path):
    with create(tmp_path / "run") as store:
        before = (tmp_path / "run/journal.log").read_bytes().count(b"\n")
        given = store.claim(some_claim(note={"region": (1, 2)}), told=0, pending=[])
        assert (tmp_path / "run/journal.log").read_bytes().count(b"\n") == before + 1
    with resume(tmp_path / "run") as store:
        assert store.opened.claims == (given,)
    assert given.proposal.note == {"region": [1, 2]}


def test_a_finished_trial_comes_back_as_it_was_given(tmp_path):
    with create(tmp_path) as store:
        first = store.finish(store.claim(some_claim(0), told=0), "complete", METRICS, seconds=1.5)
        second = store.finish(
            store.claim(some_claim(1), told=1), "failed", {"params": 3.0}, reason="diverged"
        )
        third = store.answer(some_claim(2), "complete", METRICS, source=0, told=2)
    found = read(tmp_path)
    assert found.trials == (first, second, third)
    assert (found.answered, found.order, found.seconds[0], found.claims) == (
        {2},
        (0, 1, 2),
        1.5,
        (),
    )
    assert canonical(tmp_path).splitlines() == [t.canonical() for t in (first, second, third)]


def test_half_a_character_in_a_reason_is_made_whole(tmp_path):
    with create(tmp_path) as store:
        given = store.finish(
            store.claim(some_claim(0), told=0), "failed", {}, reason="no file caf\udce9.png"
        )
    assert given.reason == "no file caf?.png"
    assert read(tmp_path).trials == (given,)
    journal = tmp_path / "journal.log"
    journal.write_text(journal.read_text().replace("caf?", "\\ud800"))
    assert read(tmp_path).trials[0].reason == "no file ?.png"
    journal.write_text(journal.read_text().replace(given.digest, "\\ud800"))
    with pytest.raises(RunError, match="its claim holds something else than a claim"):
        read(tmp_path)


def test_canonical_holds_no_times_hosts_or_ids(tmp_path):
    with create(tmp_path / "a") as store:
        run(store)
    time.sleep(0.01)
    with create(tmp_path / "b") as store:
        run(store)
    assert canonical(tmp_path / "a") == canonical(tmp_path / "b")
    assert set(json.loads(canonical(tmp_path / "a").splitlines()[0])) == {
        "number",
        "genes",
        "digest",
        "state",
        "metrics",
        "note",
    }


def test_optuna_opens_a_run_with_names_directions_params_and_values(tmp_path):
    with create(tmp_path) as store:
        store.finish(store.claim(some_claim(0), told=0), "complete", METRICS)
        store.finish(store.claim(some_claim(1), told=1), "failed", {})
        store.answer(some_claim(2), "infeasible", {}, told=2)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = optuna.load_study(study_name="nas", storage=storage)
    assert study.metric_names == ["accuracy", "params"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "PRUNED"]
    assert study.trials[0].values == [0.5, 9.0]
    assert study.trials[1].params["layer1.kernel"] == "k3"
    assert study.trials[1].params["layer1.channels"] == 0


def test_trials_that_another_program_added_are_refused(tmp_path):
    create(tmp_path).close()
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    optuna.load_study(study_name="nas", storage=storage).ask()
    with pytest.raises(
        RunError, match="trial 0 of the record has no 'genes': another program wrote it"
    ):
        read(tmp_path)


def test_nan_never_gets_in(tmp_path):
    with create(tmp_path) as store:
        claim = store.claim(some_claim(), told=0)
        with pytest.raises(NasError, match="metric 'accuracy' must be finite, not nan"):
            store.finish(claim, "complete", {"accuracy": float("nan"), "params": 1.0})
    assert read(tmp_path).trials == ()


# -- kills ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nobody catches this, as nobody catches SIGKILL."""


def dies_at(monkeypatch, write, written):
    """Die in the ``write``-th append, when the share ``written`` of its bytes is on the disk."""
    count = iter(range(10**9))
    append = JournalFileBackend.append_logs

    def dying(self, logs):
        if next(count) != write:
            return append(self, logs)
        data = ("\n".join(json.dumps(log, separators=(",", ":")) for log in logs) + "\n").encode()
        with Path(self._file_path).open("ab") as file:
            file.write(data[: int(len(data) * written)])
        raise Killed

    monkeypatch.setattr(JournalFileBackend, "append_logs", dying)


@pytest.mark.parametrize("written", [0.0, 0.5, 1.0])
def test_a_kill_in_any_write_changes_nothing(tmp_path, monkeypatch, written):
    with create(tmp_path / "unbroken") as store:
        run(store)
    expected = canonical(tmp_path / "unbroken")
    writes = (tmp_path / "unbroken/journal.log").read_bytes().count(b"\n")
    assert writes > 6 * 3
    for write in range(writes):
        folder = tmp_path / f"{write}"
        evaluator = HashEvaluator(failing=0.2)
        with monkeypatch.context() as patch:
            dies_at(patch, write, written)
            with pytest.raises(Killed), create(folder) as store:
                run(store, evaluator=evaluator)
        finished = canonical(folder)
        known = {json.loads(line)["digest"] for line in finished.splitlines()}
        assert expected.startswith(finished)
        again = HashEvaluator(failing=0.2)
        with resume(folder) as store:
            run(store, evaluator=again)
        assert canonical(folder) == expected
        assert not known & set(again.calls)


def test_a_torn_line_is_read_past_and_cut_when_opened(tmp_path):
    with create(tmp_path) as store:
        run(store)
    whole = (tmp_path / "journal.log").read_bytes()
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_' + b"x" * 200_000)
    assert len(read(tmp_path).trials) >= 6
    resume(tmp_path).close()
    assert (tmp_path / "journal.log").read_bytes() == whole


def test_a_journal_damaged_in_the_middle_is_refused(tmp_path):
    with create(tmp_path) as store:
        run(store)
    lines = (tmp_path / "journal.log").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][:30] + b"\n"
    (tmp_path / "journal.log").write_bytes(b"".join(lines))
    with pytest.raises(RunError, match=r"journal\.log is damaged"):
        resume(tmp_path)


def test_the_lock_of_a_dead_writer_is_cleared(tmp_path):
    create(tmp_path).close()
    for name in ("journal.log.lock", "journal.log.lock1234.rename"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    with resume(tmp_path) as store:
        store.claim(some_claim(), told=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["journal.log", "run.json", "run.lock"]


# -- full disks -----------------------------------------------------------------------------------


@contextmanager
def file_size_limit(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_loses_nothing_and_the_run_goes_on_later(tmp_path):
    """A file size limit stops the write in the middle of a line, as a full disk does."""
    with create(tmp_path / "unbroken") as store:
        run(store, trials=12)
    size = (tmp_path / "unbroken/journal.log").stat().st_size
    with (
        file_size_limit(size // 2),
        pytest.raises(RunError, match="lost: mend that, then go on with --resume"),
    ):
        run(create(tmp_path / "full"), trials=12)
    assert (tmp_path / "full/journal.log").stat().st_size == size // 2
    assert canonical(tmp_path / "unbroken").startswith(canonical(tmp_path / "full"))
    with resume(tmp_path / "full") as store:
        assert len(store.opened.trials) >= 3
        run(store, trials=12)
    assert canonical(tmp_path / "full") == canonical(tmp_path / "unbroken")


def test_a_store_that_failed_to_write_is_closed(tmp_path, monkeypatch):
    def full(self, logs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = create(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", full)
        with pytest.raises(
            RunError, match=r"cannot write the record in .* No space left on device"
        ):
            store.claim(some_claim(), told=0)
    with pytest.raises(RunError, match=f"is closed: go on with --resume {tmp_path}"):
        store.claim(some_claim(), told=0)
    resume(tmp_path).close()


# -- folders --------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_the_first(tmp_path):
    with create(tmp_path):
        with pytest.raises(
            RunError, match=f"in use by process {os.getpid()}: wait for it, or stop it"
        ):
            resume(tmp_path)
        assert read(tmp_path).trials == ()
    resume(tmp_path).close()


def test_a_worker_that_outlives_its_killed_parent_does_not_keep_the_run(tmp_path):
    code = """
import os, sys, time
from tests.record.test_store import create
store = create(sys.argv[1])
if os.fork() == 0:
    print("forked", flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    ) as p:
        try:
            assert p.stdout.readline() == b"forked\n"
            p.kill()
            p.wait()
            resume(tmp_path).close()
        finally:
            os.killpg(p.pid, 9)


def test_a_record_that_is_gone_is_told_from_a_run_that_never_began(tmp_path):
    create(tmp_path).close()
    (tmp_path / "journal.log").write_text("")
    assert read(tmp_path).trials == ()
    (tmp_path / "front.csv").write_text("trial\n")
    with pytest.raises(RunError, match=r"is gone: front.csv is there, journal.log holds no trial"):
        read(tmp_path)
    with pytest.raises(RunError, match="is gone"):
        resume(tmp_path)


def test_an_accuracy_above_one_is_an_edit(tmp_path):
    with create(tmp_path) as store:
        store.finish(store.claim(some_claim(0), told=0), "complete", METRICS)
    journal = tmp_path / "journal.log"
    text = journal.read_text()
    assert '"accuracy":' in text
    journal.write_text(text.replace('"accuracy":', '"accuracy":9'))
    with pytest.raises(RunError, match="trial 0 of the record was edited"):
        read(tmp_path)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    create(tmp_path).close()
    with pytest.raises(RunError, match="holds a run already: go on with --resume"):
        create(tmp_path)


def test_a_folder_that_cannot_be_made_or_holds_no_run_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot make run folder"):
        create(tmp_path / "file/run")
    with pytest.raises(RunError, match=r"no run in folder .*: it has no run\.json"):
        resume(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"cannot read .*run\.json"):
        read(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(RunError, match=r"run\.json is not a run of format 1"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"space": replace(IDENTITY.space, name="fbnet")},
            r'was begun with another space: space.name is "toy" there and "fbnet" here',
        ),
        (
            {"tables": {"pixel1": "ab"}},
            r'another tables: tables.pixel1 is null there and "ab" here',
        ),
        ({"data": {"digest": "ab"}}, r"another data: data.digest is null there"),
        (
            {"strategy": StrategyIdentity(name="random", settings={})},
            r'another strategy: strategy.name is "climber" there and "random" here',
        ),
        ({"seed": 6}, r"another seed: seed is 5 there and 6 here"),
    ],
)
def test_a_run_made_under_other_conditions_is_refused(tmp_path, change, message):
    create(tmp_path).close()
    with pytest.raises(RunError, match=message):
        Store.resume(tmp_path, DOMAIN.space, replace(IDENTITY, **change))


def test_the_space_digest_sees_genes_and_networks():
    assert space_digest(toy_space()) == space_digest(toy_space())
    assert space_digest(toy_space()) != space_digest(toy_space(layers=5))


def test_a_resume_elsewhere_is_told_what_changed(tmp_path):
    create(tmp_path).close()
    here = read(tmp_path).run_file.environment
    assert environment.changes(here) == []
    there = replace(here, python="3.9.1", packages={**here.packages, "torch": "1.0"})
    assert environment.changes(there) == [
        f"python was 3.9.1 and is {here.python}",
        f"torch was 1.0 and is {here.packages['torch']}",
    ]


def test_run_json_names_conditions_versions_and_machine(tmp_path):
    create(tmp_path).close()
    found = json.loads((tmp_path / "run.json").read_text())
    assert set(found["environment"]) >= {"python", "packages", "cpu", "cores"}
    assert found["identity"] == to_json(IDENTITY)


def test_a_folder_in_the_journals_place_is_one_line(tmp_path):
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(RunError, match=r"journal\.log is a folder, not a run's record"):
        open_journal(tmp_path / JOURNAL)
