"""Confirmation: which networks, what is recorded, what is claimed. No torch."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import nas
from nas.errors import BoundError, DataError, RunError, UsageError
from nas.run import confirmation, pairing
from nas.run.confirm import confirm
from nas.run.execute import execute
from nas.run.network import metadata_of, named_network
from nas.run.pairing import members, usual_random
from nas.run.plan import plan
from nas.run.run import Run, newest
from nas.run.settings import Search
from nas.statistics import arrangements, claim

ROOT = Path(nas.__file__).parent.parent
KILL = Path(__file__).parent.parent / "kill"


@pytest.fixture(scope="module")
def instant():
    sys.path.insert(0, str(KILL))
    import instant

    yield instant
    sys.path.remove(str(KILL))


@pytest.fixture
def run(instant, tmp_path):
    return instant.searched(tmp_path / "run")


# -- which networks -------------------------------------------------------------------------------


def test_members_are_spread_over_the_front_best_first(run):
    ordered = sorted(run.front_trials, key=lambda trial: -trial.metrics["accuracy"])
    assert len(ordered) >= 4
    assert members(run, 1) == ordered[:1]
    chosen = members(run, 3)
    assert chosen[0] == ordered[0]
    assert [ordered.index(trial) for trial in chosen] == [i * len(ordered) // 3 for i in range(3)]
    assert members(run, 99) == ordered


def test_random_networks_are_of_the_same_band_and_new(run):
    found = confirm(run, top=3, random=7, seeds=1)
    front = {trial.digest for trial in run.front_trials}
    seen = set()
    assert [len(member.random) for member in found.plan.members] == [3, 2, 2]
    for member in found.plan.members:
        own = run.trial(member.trial).metrics["latency_ms@pixel1"]
        for other in member.random:
            assert abs(other.costs["latency_ms@pixel1"] / own - 1) <= member.band + 1e-9
            assert other.digest not in front | seen
            seen.add(other.digest)


def test_bands_reach_as_far_above_a_member_as_below_also_at_the_bound(instant, tmp_path):
    upper = 330_000
    run = instant.searched(
        tmp_path / "run", objectives=("accuracy", "macs"), maxima={"macs": upper}, trials=60
    )
    found = confirm(run, top=1, random=40)
    beyond, ratios = 0, []
    for member in found.plan.members:
        for other in member.random:
            ratio = other.costs["macs"] / member.costs["macs"]
            assert abs(ratio - 1) <= member.band + 1e-9
            beyond += other.costs["macs"] > upper
            ratios.append(ratio)
    assert beyond
    assert 0.25 < sum(ratio > 1 for ratio in ratios) / len(ratios) < 0.75


def test_random_networks_keep_the_runs_other_bounds(instant, tmp_path):
    run = instant.searched(tmp_path / "run", maxima={"params": 15_000})
    found = confirm(run, top=2, random=4, seeds=1)
    for member in found.plan.members:
        for other in member.random:
            assert run.space.decode(tuple(other.genes)).params <= 15_000


def test_at_an_end_of_the_space_a_member_without_partners_is_left_out(run, monkeypatch):
    [best, second] = members(run, 2)
    domains = pairing._band

    def few(of, member, share):
        """The band of the best is empty; that of the second holds less than is asked for."""
        if member.number == best.number:
            raise BoundError("no network inside")
        return domains(of, member, 0.001)

    monkeypatch.setattr(pairing, "_band", few)
    said = []
    found = confirm(run, top=2, random=80, against=(), say=said.extend)
    [member] = found.plan.members
    assert member.trial == second.number
    assert 0 < len(member.random) < 40
    assert any(f"trial {best.number}: no other network costs" in line for line in said)


def test_fewer_partners_than_members_are_refused(run):
    with pytest.raises(UsageError, match="at least 1, not 0"):
        confirm(run, top=0)
    with pytest.raises(UsageError, match="leaves members without a partner"):
        confirm(run, top=3, random=2)


@pytest.mark.parametrize("members", range(1, 9))
def test_by_default_members_get_the_random_networks_that_the_test_needs(members):
    random = usual_random(members)
    assert random + members == (14 if members == 2 else max(12, 2 * members))
    others = [random // members + (place < random % members) for place in range(members)]
    assert (arrangements(others) >= confirmation.LEAST_ARRANGEMENTS) == (members > 1)


def test_by_default_twelve_networks_are_trained_once(run):
    found = confirm(run)
    assert len(run.front_trials) == 4  # fewer than the six that are asked for
    assert [len(member.random) for member in found.plan.members] == [2, 2, 2, 2]
    assert len(found.plan.wanted) == len(set(found.plan.wanted)) == 12


def test_networks_that_can_show_nothing_are_told_before_they_are_trained(run):
    said = []
    found = confirm(run, top=3, random=3, say=said.extend)
    assert any("they can show nothing: the exact test needs 40 ways" in line for line in said)
    assert found.interval is None
    assert "3 with 1, 1, 1 random networks make 8; --random 9 makes enough" in found.verdict
    said.clear()
    assert confirm(run, top=3, random=9, say=said.extend).interval
    assert not any("show nothing" in line for line in said)


def test_the_verdict_says_by_which_test_what_was_trained_and_for_whom_it_cannot_speak(run):
    found = confirm(run)
    assert (claim(found.interval) == "better") == (found.interval[0] > 0)
    assert (
        "(exact permutation test, 4 of the front, 8 random, 1 training each); "
        "one search cannot speak for other seeds"
    ) in found.verdict
    slimmed = {"epochs": 36, "resolution": 16, "width": 0.25}
    told = {
        "slimmed copies, 16 pixels, a quarter of the width": slimmed,
        "slimmed copies, 16 pixels, 0.3 of the width": {**slimmed, "width": 0.3},
        "the networks themselves, at their own size": {"full": True, "resolution": None},
        "the networks themselves, at 96 pixels": {"full": True, "resolution": 96},
    }
    for words, recipe in told.items():
        plan = replace(found.plan, recipe=recipe)
        assert f"; trained were {words}; one search" in replace(found, plan=plan).verdict


def test_better_is_said_of_members_that_are(run, instant, monkeypatch):
    front = {trial.digest for trial in run.front_trials}

    def evaluate(self, architecture, seed):
        return {"accuracy": 0.5 + (architecture.digest in front) / 4 + seed / 2**36}

    monkeypatch.setattr(instant.Evaluator, "evaluate", evaluate)
    found = confirm(run)
    assert found.verdict.startswith("better than random networks of the same latency: accuracy +0.")
    low, high = found.interval
    assert 0.2 < low <= high < 0.3


def test_a_resolution_is_that_of_full_trainings(run):
    with pytest.raises(UsageError, match="--resolution is that of full trainings: add --full"):
        confirm(run, resolution=32)


def test_a_run_knows_its_class_names_and_an_older_one_none(run):
    names = tuple(map(str, range(10)))
    assert run.metadata.classes == run.pick().metadata.classes == names
    run.pick().save(run.folder / "best.json")
    assert (
        metadata_of(str(run.folder / "best.json")).classes
        == metadata_of(str(run.folder)).classes
        == names
    )
    document = json.loads((run.folder / "run.json").read_text())
    del document["notes"]
    (run.folder / "run.json").write_text(json.dumps(document))
    assert Run(run.folder).metadata.classes == metadata_of(f"{run.folder}:0").classes == ()


def test_a_front_smaller_than_top_is_told(run):
    said = []
    confirm(run, top=99, random=99, seeds=1, say=said.extend)
    assert any("--top is 99, but the front has no more" in line for line in said)
    assert any("1 seed a network" in line for line in said)


def test_the_picture_tells_a_confirmed_score_from_a_searched_one(run):
    assert len(run.figure().axes) == 1
    confirm(run)
    confirmed = Run(run.folder)
    searched, below = confirmed.figure().axes
    assert below.get_title(loc="left") == "confirmed: on test, trained 3 times as long"
    assert below.get_ylabel() == "accuracy on test"
    assert searched.get_ylabel() == "accuracy"
    assert "30 networks, as searched" in _legend(confirmed)


def _legend(run):
    return [text.get_text() for legend in run.figure().legends for text in legend.get_texts()]


def test_run_json_of_another_run_is_noticed(run):
    document = json.loads((run.folder / "run.json").read_text())
    document["identity"]["space"]["arguments"] = {"spec": "nas_bench_macro"}
    (run.folder / "run.json").write_text(json.dumps(document))
    for read in (lambda: Run(run.folder), lambda: named_network(str(run.folder))):
        with pytest.raises(
            RunError,
            match=r"trial \d+ of .* no network of its space .*: run.json is another run's than",
        ):
            read()


# -- the record -----------------------------------------------------------------------------------


def test_both_sides_get_fresh_seeds_one_recipe_and_are_scored_once(run, instant, monkeypatch):
    made = []
    monkeypatch.setattr(
        instant, "retraining", lambda *a: made.append(instant.Evaluator(a[0], a[2])) or made[-1]
    )
    found = confirm(run, top=3, random=3, seeds=2, against=())
    assert len(made[0].seeds) == len(set(made[0].seeds)) == 12
    assert made[0].opened == found.openings == 1
    assert found.plan.recipe["epochs"] == 6
    assert found.missing == []
    assert len(found.pairs) == 3
    assert not set(made[0].seeds) & set(instant.Evaluator(None).seeds)


def test_a_retraining_that_does_not_count_its_opening_is_refused(run, instant, monkeypatch):
    class Uncounted(instant.Evaluator):
        def open_test(self, ledger):
            return 100

    monkeypatch.setattr(instant, "retraining", lambda data, recipe, factor: Uncounted(data, factor))
    with pytest.raises(RunError, match=r"the test set was opened, and .*has no row of that"):
        confirm(run, top=3, random=3, seeds=2)
    assert len(Run(run.folder).confirmed.missing) == 12


def test_again_with_equal_arguments_nothing_is_done(run):
    confirm(run)
    before = (run.folder / confirmation.FILE).read_bytes()
    again = confirm(run)
    assert (run.folder / confirmation.FILE).read_bytes() == before
    assert again.openings == 1


def test_more_seeds_train_only_what_is_missing_and_the_opening_counts(run):
    confirm(run, top=3, random=3, against=())
    steps = []
    found = confirm(run, top=3, random=3, seeds=3, against=(), watch=steps.append)
    assert len(steps) == 12
    assert (steps[0].done, steps[-1].done, steps[0].planned) == (7, 18, 18)
    assert found.openings == 2


def test_another_seed_trains_all_anew(run):
    confirm(run, seeds=1, against=())
    steps = []
    confirm(run, seeds=1, seed=1, against=(), watch=steps.append)
    assert len(steps) == 12


def test_a_torn_last_line_is_cut(run):
    path = run.folder / confirmation.FILE
    whole = confirm(run, against=())
    path.write_bytes(path.read_bytes()[:-7])
    assert len(confirmation.read(run.folder).missing) == 1
    assert confirm(run).to_json()["pairs"] == whole.to_json()["pairs"]


def test_foreign_content_is_one_line(run):
    path = run.folder / confirmation.FILE
    path.write_text("{}\n")
    with pytest.raises(RunError, match="is damaged"):
        confirmation.read(run.folder)
    path.write_text('{"kind": "plan"}\n')
    with pytest.raises(RunError, match="of another version or damaged"):
        confirmation.read(run.folder)


def test_killed_anywhere_it_ends_as_if_it_had_not_been(instant, tmp_path):
    whole = instant.searched(tmp_path / "whole")
    killed = instant.searched(tmp_path / "killed")
    expected = confirm(whole, top=4, random=4, seeds=4)
    draw, path, finished = random.Random(0), killed.folder / confirmation.FILE, []
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, str(KILL / "instant.py"), str(killed.folder)], cwd=ROOT, env=_env()
        )
        count, deadline = len(finished) + draw.randint(1, 6), time.monotonic() + 60
        while (
            process.poll() is None and time.monotonic() < deadline and len(_trainings(path)) < count
        ):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = _trainings(path)
        assert now[: len(finished)] == finished
        finished = now
    found = confirm(killed, top=4, random=4, seeds=4)
    assert found.to_json()["pairs"] == expected.to_json()["pairs"]
    assert found.interval == expected.interval
    assert found.outcomes == expected.outcomes
    wanted = len(found.plan.wanted) + len(found.contest.wanted)
    assert wanted > len(found.plan.wanted) == 32
    keys = {(row["digest"], row["repeat"]) for row in _trainings(path)}
    assert len(_trainings(path)) == len(keys) == wanted


def _trainings(path):
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [row for row in map(json.loads, lines) if row["kind"] == "training"]


def _env():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


# -- what can go wrong ----------------------------------------------------------------------------


def test_a_corrupt_test_set_lets_the_search_complete_and_is_named(instant, tmp_path):
    run = instant.searched(tmp_path / "run", data="corrupt")
    assert run.front_trials
    with pytest.raises(DataError, match=r"cannot read /data/t10k.gz"):
        confirm(run)
    assert confirmation.read(run.folder).openings == 0


def test_failed_trainings_are_told_and_enter_no_pair(instant, tmp_path):
    found = confirm(instant.searched(tmp_path / "run", data="broken"), top=4, random=8)
    assert found.failed
    assert found.missing == []
    for pair in found.pairs:
        assert pair.confirmed >= 0.3


def test_other_data_is_refused(run):
    with pytest.raises(RunError, match="was begun with another data"):
        confirm(run, data="other")


def test_a_run_without_finished_trials_is_refused(run):
    (run.folder / "journal.log").unlink()
    with pytest.raises(
        RunError, match=r"the record of .* is gone: front.csv is there, journal.log holds no trial"
    ):
        confirm(Run(run.folder))
    (run.folder / "front.csv").unlink()
    with pytest.raises(RunError, match="has no finished trial"):
        confirm(Run(run.folder))


def test_an_unfinished_confirmation_claims_nothing(run):
    class StoppedError(Exception):
        pass

    def stop(step):
        if step.done == 9:
            raise StoppedError

    with pytest.raises(StoppedError):
        confirm(run, watch=stop)
    found = confirmation.read(run.folder)
    assert found.verdict.startswith("unfinished: 3 of 12")
    assert found.to_json()["claim"] == "unfinished"
    # Nor do front and pick keep silent of it.
    assert "3 trainings to do; go on with: nas confirm" in Run(run.folder).unfinished_text
    confirm(run, against=())
    assert Run(run.folder).unfinished_text == ""


# -- front, pick ----------------------------------------------------------------------------------


def test_the_front_marks_what_is_confirmed(run):
    assert "confirmed" not in run.front_text()
    found = confirm(run)
    fresh = Run(run.folder)
    scores = fresh.confirmed_scores
    assert len(scores) == 4
    assert "confirmed" in fresh.front_text()
    assert fresh.front()["confirmed"].notna().sum() == 4
    for member in found.plan.members:
        assert scores[member.digest] == found.score(member.digest)
    fresh.save_reports()


def test_pick_takes_confirmed_scores_first_and_says_so(run):
    best = run.pick()
    assert best.trial == members(run, 1)[0]
    assert not best.confirmed
    assert "none of them is confirmed" in str(best)
    confirm(run)
    fresh = Run(run.folder)
    pick = fresh.pick()
    assert pick.confirmed
    # The instant evaluator's scores on selection are 1 less those on test.
    assert pick.score == max(fresh.confirmed_selection_scores.values())
    assert pick.test == 1 - pick.score == min(fresh.confirmed_scores.values())
    assert "trained anew by nas confirm, among 4 confirmed" in str(pick)
    assert str(pick).endswith(f"on the test set {pick.test:.4f}")


def test_a_confirmation_of_before_selection_scores_is_told_by_a_pick(run):
    before = run.pick()
    confirm(run)
    path = run.folder / confirmation.FILE
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["kind"] == "training":
            del row["metrics"]["selection_accuracy"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pick = Run(run.folder).pick()
    assert (pick.trial, pick.score, pick.confirmed) == (before.trial, before.score, False)
    assert pick.test == Run(run.folder).confirmed_scores[pick.trial.digest]
    assert "an earlier version confirmed some on the test set alone" in str(pick)
    assert Run(run.folder).confirmed.missing == []


def test_pick_keeps_the_latency_and_falls_back_to_selection(run):
    confirm(run)
    fresh = Run(run.folder)
    fastest = min(trial.metrics["latency_ms@pixel1"] for trial in fresh.front_trials)
    pick = fresh.pick(latency_ms=fastest)
    assert pick.trial.metrics["latency_ms@pixel1"] == fastest
    assert pick.confirmed == (pick.trial.digest in fresh.confirmed_scores)
    with pytest.raises(RunError, match="no network of the front meets"):
        fresh.pick(latency_ms=fastest / 2)


def test_a_confirmed_network_that_has_left_the_front_may_still_be_picked(run):
    confirm(run, against=())
    before = Run(run.folder).pick()
    settings = Search.from_json(run.record.run_file.settings)
    execute(plan(settings.changed(trials=200)), run.folder, resume=True)
    later = Run(run.folder)
    members = {member.digest for member in later.confirmed.plan.members}
    assert members - {trial.digest for trial in later.front_trials}
    assert later.pick().trial.digest == before.trial.digest
    assert (later.pick().score, later.pick().test) == (before.score, before.test)


def test_pick_keeps_the_latency_with_a_confidence(run):
    table, latencies = (
        run.tables[0],
        sorted(t.metrics["latency_ms@pixel1"] for t in run.front_trials),
    )
    sure = run.pick(latency_ms=latencies[-1], confidence=0.95)
    estimate = table.estimate(sure.network)
    assert estimate.latency_ms + 1.6449 * estimate.latency_sd_ms <= latencies[-1]
    with pytest.raises(RunError, match="with that confidence"):
        run.pick(latency_ms=latencies[0], confidence=0.95)
    with pytest.raises(UsageError, match="so it needs --latency"):
        run.pick(confidence=0.95)
    with pytest.raises(UsageError, match="priced on pixel1 alone"):
        run.pick(all_devices=True)


def test_preferences_choose_between_the_ends(run):
    by = {
        weight: run.pick(preferences={"accuracy": 1, "latency_ms": weight}).trial
        for weight in (0, 1000)
    }
    assert by[0] == members(run, 1)[0]
    assert by[1000] == min(run.front_trials, key=lambda trial: trial.metrics["latency_ms@pixel1"])
    assert run.pick(knee=True).trial == run.pick(preferences={"accuracy": 1, "latency_ms": 1}).trial


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preferences": {"acuracy": 1}}, "Did you mean 'accuracy'"),
        ({"preferences": {"accuracy": -1}}, "must be at least 0"),
        ({"preferences": {"accuracy": 0}}, "all 0 choose nothing"),
        ({"preferences": {"accuracy": 1}, "knee": True}, "give one"),
    ],
)
def test_bad_picks_are_refused(run, arguments, message):
    with pytest.raises(UsageError, match=message):
        run.pick(**arguments)


def test_the_newest_run_is_the_one_written_last(instant, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    with pytest.raises(RunError, match="no run in"):
        newest(runs)
    instant.searched(runs / "b", trials=2)
    instant.searched(runs / "a", trials=2)
    assert newest(runs) == runs / "a"


def test_balanced_accuracy_is_what_a_confirmation_compares(instant, tmp_path, monkeypatch):
    def evaluate(self, architecture, seed):
        value = instant.quality(architecture.digest, seed)
        return {"accuracy": value, "balanced_accuracy": 1 - value}

    monkeypatch.setattr(instant.Evaluator, "evaluate", evaluate)
    run = instant.searched(tmp_path / "run", objectives=("balanced_accuracy", "params"))
    found = confirm(run)
    assert found.metric == "balanced_accuracy"
    assert list(found.plan.members[0].costs) == ["params"]


def test_equal_images_may_lie_in_another_folder(instant, run, monkeypatch):
    monkeypatch.setattr(
        instant.Evaluator,
        "describe_data",
        lambda self: {"name": self.data.name, "digest": run.identity.data["digest"]},
    )
    assert confirm(run, data="moved").missing == []
