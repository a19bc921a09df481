"""The pick of a search against published networks of its latency. No torch."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nas import catalog, networks
from nas.errors import UsageError
from nas.report.page.content import Confirmed
from nas.report.page.html import _met
from nas.run import contest
from nas.run.confirm import confirm
from nas.run.contest import Contest, Opponent, outcomes, verdict, winner
from nas.run.opponents import ROUNDS, WITHIN, scaled_to
from nas.run.run import Run
from nas.statistics import many_to_one_intervals

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


def test_the_pick_meets_networks_of_its_latency_trained_anew_like_it(run):
    said = []
    found = confirm(run, top=2, random=12, against=("mobilenet_v4_conv_small",), say=said.extend)
    met = found.contest
    # The best on *selection*, whatever it reached on *test*.
    scores = {m.trial: found.selection_score(m.digest) for m in found.plan.members}
    assert met.trial == max(scores, key=scores.get)
    [opponent] = met.opponents
    assert 0.9 * met.latency_ms < opponent.latency_ms <= met.latency_ms
    # Its training that decided is not among those that are compared.
    assert {repeat for digest, repeat in met.wanted if digest == met.digest} == {1, 2, 3}
    assert found.contest_missing == []
    [outcome] = found.outcomes
    own = [found.contest_trainings[key].score("accuracy") for key in met.keys[met.digest]]
    assert outcome.difference == pytest.approx(np.mean(own) - outcome.score)
    assert f"against    mobilenet_v4_conv_small at width {opponent.width:g}" in "\n".join(said)
    assert found.openings == 1
    assert found.to_json()["against"]["verdict"] == found.contest_verdict
    assert Run(run.folder).confirmed.outcomes == found.outcomes


def test_again_nothing_is_trained_and_other_opponents_only_what_is_missing(run):
    confirm(run, top=2, random=12, against=("mobilenet_v4_conv_small",))
    steps = []
    confirm(run, top=2, random=12, against=("mobilenet_v4_conv_small",), watch=steps.append)
    assert steps == []
    found = confirm(
        run,
        top=2,
        random=12,
        against=("mobilenet_v4_conv_small", "ghostnet_100"),
        watch=steps.append,
    )
    assert len(found.contest.opponents) == 2
    assert len(steps) == contest.SEEDS


def test_whom_the_pick_has_met_stays_met(run):
    confirm(run, top=2, random=12, against=("ghostnet_100",))
    again = ("mobilenet_v4_conv_small", "mobilenet_v4_conv_small")
    found = confirm(run, top=2, random=12, against=again)
    names = [opponent.name for opponent in found.contest.opponents]
    assert names == ["ghostnet_100", "mobilenet_v4_conv_small"]
    assert len(found.outcomes) == 2


def test_where_networks_can_be_timed_opponents_take_what_the_pick_takes():
    """The table has MobileNetV4 a quarter too low, and GhostNet a tenth too high."""
    table = catalog.device("pixel1")
    pick = networks.get("mobilenet_v2", width=0.5, classes=10)
    wrong = {"mobilenet_v4_conv_small": 1.25, "ghostnet_100": 0.9}
    of_op = {"uib": 1.25, "ghost": 0.9}
    rounds = []

    def time_whole(architectures):
        rounds.append(len(architectures))
        found = []
        for one in architectures:
            ops = {layer.op.key for layer in one.layers}
            factor = max((of_op[key] for key in ops if key in of_op), default=1.0)
            found.append(1.1 * factor * table.estimate(one).latency_ms)
        return found

    latency_ms = table.estimate(pick).latency_ms
    by_table = scaled_to(list(wrong), pick, latency_ms, table)
    timed = scaled_to(list(wrong), pick, latency_ms, table, time_whole)
    assert by_table.latency_ms == latency_ms
    assert timed.latency_ms == pytest.approx(1.1 * latency_ms)
    for before, after in zip(by_table.opponents, timed.opponents, strict=True):
        assert abs(after.latency_ms / timed.latency_ms - 1) <= WITHIN
        assert (after.width < before.width) == (wrong[after.name] > 1)
    assert rounds[0] == 3
    assert len(rounds) <= ROUNDS


def test_who_cannot_be_scaled_to_the_latency_is_left_out_with_the_reason(run):
    found = confirm(run, top=2, random=12, against=("uninet_b6",))
    assert found.contest.opponents == ()
    assert "uninet_b6" in found.contest.left_out
    assert found.contest_verdict.startswith("no published network was met: uninet_b6: ")


def test_a_name_that_nobody_published_is_refused_before_anything_is_trained(run):
    with pytest.raises(UsageError, match="no published network named 'mobilenet_v22'"):
        confirm(run, against=("mobilenet_v22",))
    assert run.confirmed is None


def test_without_opponents_there_is_no_contest(run):
    found = confirm(run, against=())
    assert found.contest is None
    assert found.contest_verdict == ""
    assert found.to_json()["against"] is None


def made(*names: str) -> Contest:
    found = [Opponent(name=name, width=0.5, digest=name, latency_ms=9.9) for name in names]
    return Contest(
        trial=7,
        digest="pick",
        latency_ms=10.0,
        first_repeat=1,
        opponents=tuple(found),
        left_out={},
    )


@pytest.mark.parametrize(
    ("v2", "v3", "said"),
    [
        (0.60, 0.70, "better than the best published network of the same latency that was met: "),
        (0.60, 0.799, "no evidence that the pick beats every published network of its latency: "),
        (0.60, 0.90, "a published network of the same latency is better: "),
    ],
)
def test_what_published_networks_win_is_said_first(v2, v3, said):
    spread = np.array([-0.01, 0.0, 0.01])
    scores = {
        "pick": list(0.80 + spread),
        "mobilenet_v2": list(v2 + spread),
        "mobilenet_v3_large": list(v3 + spread),
    }
    met = made("mobilenet_v2", "mobilenet_v3_large")
    found = outcomes(met, scores, 0.001)
    line = verdict(met, "accuracy", found)
    assert line.startswith(
        f"{said}mobilenet_v3_large at width 0.5 {v3:.4f} (pick {0.8 - v3:+.4f}, "
    )
    assert "; mobilenet_v2 at width 0.5 0.6000 (pick +0.2000" in line
    confidence = "95 % for all together"
    if said.startswith("better"):
        confidence = "95 % each, for it must be ahead of every one"
    assert line.endswith(f"accuracy of trial 7, 3 trainings each, {confidence}")


def test_better_than_the_best_needs_no_correction_for_their_number():
    """Each is behind by its own interval, though not by those that hold together."""
    spread = np.array([-0.01, 0.0, 0.01])
    names = ("mobilenet_v2", "fbnet_c", "mnasnet_a1")
    scores = {name: list(0.78 + spread) for name in names}
    met = made(*names)
    found = outcomes(met, {"pick": list(0.80 + spread), **scores}, 0.001)
    assert all(outcome.interval[0] < 0 < outcome.alone[0] for outcome in found)
    assert verdict(met, "accuracy", found).startswith("better than the best published network")


def test_the_page_shows_the_intervals_that_either_claim_rests_on():
    spread = np.array([-0.01, 0.0, 0.01])
    scores = {"pick": list(0.80 + spread), "fbnet_c": list(0.78 + spread)}
    [outcome] = outcomes(made("fbnet_c"), scores, 0.001)
    low, high = outcome.alone
    table = _met(
        [
            Confirmed(
                kind="published",
                name="fbnet_c",
                x=9.9,
                score=0.78,
                sd=None,
                lead=outcome.difference,
                interval=(-0.001, 0.041),
                alone=outcome.alone,
            )
        ]
    )
    assert f"{low:+.3f} to {high:+.3f}" in table
    assert "-0.001 to +0.041" in table
    assert table.index("by itself") < table.index("all together")


def test_no_pick_is_called_better_than_the_best_where_it_is_not():
    """Of four networks that are alike, and of a pick that is level with the best of them."""
    generator = np.random.default_rng(1)
    means = np.array([0.0, 0.0, -5.0, -5.0])
    wrong = 0
    for _ in range(1000):
        samples = generator.normal(size=(4, 3)) + means[:, None]
        alone = many_to_one_intervals(samples[0], list(samples[1:]), together=False)
        wrong += all(low > 0 for low, high in alone)
    # At most 2.5 %, and three standard errors of 1000 draws.
    assert wrong <= 40


def test_more_trainings_are_asked_for_before_the_first_and_not_after_a_look(run):
    against = ("mobilenet_v4_conv_small",)
    found = confirm(run, top=2, random=12, against=against, against_seeds=5)
    assert found.contest.seeds == 5
    assert len(found.contest_trainings) == 10
    # As it was begun, where nobody says.
    steps = []
    confirm(run, top=2, random=12, against=against, watch=steps.append)
    assert steps == []
    with pytest.raises(UsageError, match=r"begun with 5 trainings each, not 8.*another --seed"):
        confirm(run, top=2, random=12, against=against, against_seeds=8)
    with pytest.raises(UsageError, match="--against-seeds must be at least 2, not 1"):
        confirm(run, top=2, random=12, against=against, against_seeds=1)


def test_an_opponent_whose_training_failed_is_not_compared():
    met = made("mobilenet_v2", "fbnet_c")
    found = outcomes(met, {"pick": [0.5, 0.6, 0.7], "fbnet_c": [0.5, 0.6, 0.7]}, 0.001)
    assert [outcome.opponent.name for outcome in found] == ["fbnet_c"]


def test_intervals_hold_for_all_opponents_together():
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(1000):
        samples = generator.normal(size=(4, 3)).tolist()
        found = many_to_one_intervals(samples[0], samples[1:])
        wrong += any(low > 0 or high < 0 for low, high in found)
    assert wrong <= 60
    # Three trainings that agree by luck do not know more than an image is worth.
    [(low, high)] = many_to_one_intervals([0.5] * 3, [[0.5] * 3], 0.01)
    assert low < -0.02 < 0.02 < high
    with pytest.raises(ValueError, match="at least two trainings"):
        many_to_one_intervals([0.5], [[0.4]])


def test_a_winner_is_offered_for_the_trial_that_it_beat():
    met = made("mobilenet_v2", "fbnet_c")
    scores = {"pick": [0.5, 0.51], "mobilenet_v2": [0.7, 0.71], "fbnet_c": [0.8, 0.81]}
    found = outcomes(met, scores, 0.001)
    better = winner(met, found, 7)
    assert better is not None
    assert better.opponent.name == "fbnet_c"
    assert winner(met, found, 8) is None
    assert winner(met, outcomes(met, {**scores, "pick": [0.9, 0.91]}, 0.001), 7) is None
    assert winner(None, [], 7) is None


def test_the_picture_shows_who_was_met(run):
    confirm(run, top=2, random=12, against=("mobilenet_v4_conv_small",))
    _, confirmed = Run(run.folder).figure().axes
    texts = {text.get_text() for text in confirmed.texts}
    assert "mobilenet_v4_conv_small" in texts
