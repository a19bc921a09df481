"""What a report says of a run, and the page that it becomes: no browser, no torch."""

import json
import re
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from nas.errors import RunError
from nas.objectives import Objective, Objectives
from nas.report.axes import robust_range, ticks
from nas.report.deviations import share_sd
from nas.report.front_picture import front_figure
from nas.report.front_shown import FrontShown
from nas.report.importance import importance
from nas.report.interactive import interactive_front
from nas.report.labels import Label, place_labels
from nas.report.page.content import Moment
from nas.report.page.html import render
from nas.report.page.serve import Server
from nas.report.plots import blank
from nas.run.confirm import confirm
from nas.run.report import content, verdict
from nas.run.run import Run
from nas.units import uncertain

OLD = Path(__file__).parent / "old_run"


@pytest.fixture(scope="module")
def instant():
    kill = str(Path(__file__).parent.parent / "kill")
    sys.path.insert(0, kill)
    import instant

    yield instant
    sys.path.remove(kill)


@pytest.fixture(scope="module")
def confirmed(instant, tmp_path_factory):
    run = instant.searched(tmp_path_factory.mktemp("runs") / "run", trials=28)
    confirm(run, top=3, random=6, seeds=1)
    return Run(run.folder)


@pytest.fixture
def report(command_line):
    """Call as ``report(*arguments, code=0)``: stdout and stderr of ``nas report``."""
    return partial(command_line, "report")


# -- what it says ---------------------------------------------------------------------------------


def test_a_confirmed_run_is_told_with_its_verdict_its_controls_and_their_scores(confirmed):
    found = content(confirmed)
    assert found.verdict.claim in ("better", "worse", "no evidence")
    kinds = [each.kind for each in found.confirmed]
    assert (kinds.count("front"), kinds.count("random")) == (3, 6)
    for each in found.confirmed:
        if each.kind == "front":
            digest = confirmed.trial(each.trial).digest
            assert each.score == confirmed.confirmed_scores[digest]
            assert each.sd == share_sd("accuracy", each.score, 100)
    assert [point.trial for point in found.front] == [t.number for t in confirmed.front_trials]
    assert [trial.trial for trial in found.trials] == [t.number for t in confirmed.trials]


def test_the_course_ends_where_the_search_ended(confirmed):
    volume, best = content(confirmed).course
    assert volume.steps[-1][1] == max(value for _, value in volume.steps)
    assert 0 < volume.steps[-1][1] < 1
    assert best.steps[-1][1] == confirmed.best().metrics["accuracy"]
    assert volume.end == best.end == len(confirmed.trials)


def test_the_pick_is_priced_layer_by_layer_with_its_changes(confirmed):
    found, pick = content(confirmed).pick, confirmed.pick()
    assert found.trial == pick.trial.number
    parts_ms = sum(layer.latency_ms for layer in found.layers)
    assert parts_ms + found.beyond_layers_ms == pytest.approx(found.latency_ms)
    assert found.genes == confirmed.space.describe(pick.trial.genes)
    assert not any(change.same for change in found.changes)


def test_costs_add_up_and_what_is_not_confirmed_is_said(confirmed, instant, tmp_path):
    spent = content(confirmed).spent
    assert [each.trainings for each in spent] == [len(confirmed.trials), 3, 6]
    assert spent[0].core_seconds == confirmed.core_seconds
    new = content(instant.searched(tmp_path / "run", trials=5))
    assert new.verdict.claim == "not confirmed"
    assert new.verdict.commands[0][1].startswith("nas confirm")
    assert "No score is confirmed" in new.distrust[0]


def test_a_run_without_a_finished_trial_has_a_report(instant, tmp_path):
    run = instant.searched(tmp_path / "run", trials=1)
    journal = run.folder / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    claimed = next(place for place, line in enumerate(lines) if '"op_code":4' in line)
    journal.write_text("".join(lines[: claimed + 1]))
    (run.folder / "front.csv").unlink()
    found = content(Run(run.folder))
    assert found.verdict.claim == "nothing yet"
    assert "1 claimed and not finished" in found.state
    assert "No network has finished yet" in render([found])


def test_failed_trials_are_counted_and_their_reason_is_told(confirmed):
    broken = replace(confirmed.trials[3], state="failed", losses=(), reason="<b>it burst</b>")
    run = Run(confirmed.folder)
    run.trials = (*run.trials[:3], broken, *run.trials[4:])
    found = content(run)
    assert "1 failed" in found.state
    assert found.trials[3].x is None
    assert any("it burst" in text for text in found.distrust)
    page = render([found])
    assert "<b>it burst" not in page
    assert "&lt;b&gt;it burst" in page


@pytest.mark.parametrize(
    "settings",
    [
        {"objectives": ("accuracy",)},
        {"objectives": ("accuracy", "latency_ms", "params")},
        {"devices": ("pixel1", "raspi4")},
        {"latency_ms": 5.0, "aim": "front"},
    ],
    ids=["one objective", "three objectives", "two devices", "a bound"],
)
def test_every_kind_of_search_has_a_report(instant, tmp_path, settings):
    run = instant.searched(tmp_path / "run", trials=8, **settings)
    confirm(run, top=2, random=2, seeds=1)
    found = content(Run(run.folder))
    page = render([found])
    for device in run.devices:
        assert all(device in point.latencies for point in found.front)
        assert f"{device} ms" in page
    json.dumps(found.to_json(), allow_nan=False)


def test_rungs_stand_in_charts_of_their_own(instant, tmp_path):
    run = instant.searched(tmp_path / "run", race="3", seed=1)
    found = content(run)
    assert [rung.number for rung in found.other_rungs] == [1, 2]
    shown = {trial.trial: trial.y for trial in found.trials if trial.x is not None}
    assert shown == {t.number: t.metrics["accuracy"] for t in run.rung.trials}
    assert [point.y for point in found.front] == [shown[point.trial] for point in found.front]
    assert found.spent[0].trainings == 30 + 10 + 4
    page = render([found])
    assert "Rung 2, trained 3 times as long as the first: 10 networks" in page


def test_a_run_of_an_older_version_has_a_report():
    page = render([content(Run(OLD))])
    assert "Layer by layer" in page
    # What was printed in place of its value.
    assert not re.search("bound method|&lt;function|object at 0x|TableInfo", page)


# -- the page -------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_and_changes_nothing(confirmed, tmp_path, report):
    before = {path: path.stat().st_mtime_ns for path in confirmed.folder.rglob("*")}
    page = tmp_path / "page.html"
    report(confirmed.folder, "-o", page)
    text = page.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import""", text)
    assert before == {path: path.stat().st_mtime_ns for path in confirmed.folder.rglob("*")}


def test_names_of_a_user_are_escaped(instant, tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)>'; rm -rf ~"
    page = render([content(instant.searched(folder, trials=3))])
    assert "<img" not in page
    assert "\\u003cimg" in page
    # Commands are pasted into a shell.
    assert "nas confirm &#x27;" in page


def test_of_five_thousand_trials_the_page_stays_small(confirmed):
    found = content(confirmed)
    many = []
    for number in range(5000):
        like = found.trials[number % len(found.trials)]
        many.append(replace(like, trial=number, digest=f"{number:020x}"))
    # Genes of a large space: fifty of them.
    wide = [replace(trial, genes=(*trial.genes, *range(10)) * 4) for trial in many]
    assert len(render([replace(found, trials=tuple(wide))]).encode()) < 5e6


def test_two_runs_stand_side_by_side_on_the_same_axes(confirmed, instant, tmp_path, report):
    other = instant.searched(tmp_path / "other", trials=10, seed=1)
    page = tmp_path / "page.html"
    report(confirmed.folder, "--compare", other.folder, "-o", page)
    text = page.read_text()
    assert "Beside each other" in text
    assert text.count('<div class="runs n2">') > 5
    charts = re.findall(r'data-chart="r\d".*?</figure>', text, re.S)
    labels = [re.findall(r'tick" style="[^"]*">[^<]*', chart) for chart in charts]
    assert len(charts) == 2
    assert labels[0] == labels[1]


def test_a_family_beside_the_run_is_shown(confirmed, tmp_path, report):
    folder = tmp_path / "family"
    folder.mkdir()
    latency = {"latency_ms": 12.0, "latency_sd_ms": 1.0}
    member = {"name": "b3 & co", "resolution": 96, "params": 10, "macs": 20}
    document = {"members": [{**member, "devices": {"pixel1": latency}}]}
    (folder / "family.json").write_text(json.dumps(document))
    assert "b3 &amp; co" in render([content(confirmed, folder)])
    (folder / "family.json").write_text('{"members": [1]}')
    with pytest.raises(RunError, match="is no family of nas scale"):
        content(confirmed, folder)


def test_a_page_needs_a_file_and_overwrites_none(confirmed, tmp_path, report):
    _, err = report(confirmed.folder, code=2)
    assert "give -o" in err
    page = tmp_path / "page.html"
    page.write_text("mine")
    _, err = report(confirmed.folder, "-o", page, code=1)
    assert "--force" in err
    assert page.read_text() == "mine"
    out, _ = report(confirmed.folder, "--json")
    assert json.loads(out)[0]["verdict"]["claim"]


def test_commands_can_be_pasted_whatever_the_folder_is_called(instant, tmp_path):
    run = instant.searched(tmp_path / "it's mine; rm -rf ~", trials=3)
    said = verdict(run)
    for _, command in said.commands:
        words = shlex.split(command)
        assert words[0] == "nas"
        assert words[2].partition(":")[0] == str(run.folder)
    train = next(words for what, words in said.commands if what == "train it")
    assert shlex.split(train)[3:5] == ["--data", "fake"]
    # A figure has no more digits than its deviation leaves.
    assert str(run.pick().score) not in said.pick or run.pick().score in (0, 1)


# -- the picture ----------------------------------------------------------------------------------


def test_confirmed_scores_have_a_panel_of_their_own_in_the_picture(confirmed):
    figure = confirmed.figure()
    assert figure._repr_png_().startswith(b"\x89PNG")  # as a notebook shows it
    searched, below = figure.axes
    front = len(confirmed.front_trials)
    labels = {text.get_text() for text in searched.texts}
    assert {str(trial.number) for trial in confirmed.front_trials} <= labels
    assert f"front ({front})" in [part.get_label() for part in searched.collections]
    assert [part.get_label() for part in below.collections if "of" in part.get_label()] == [
        "random networks of the same cost",
        "of the front, trained anew",
    ]
    assert confirmed.confirmed.headline in searched.get_title(loc="left")


def test_an_outlier_of_the_picture_is_counted_at_its_edge(confirmed):
    complete = [
        trial for trial in confirmed.trials if trial.digest not in confirmed.confirmed_scores
    ]
    worst = {**complete[0].metrics, "accuracy": -40.0}
    outlier = replace(complete[0], metrics=worst)
    trials = [*confirmed.trials, outlier]
    shown = FrontShown(
        trials=trials, front=confirmed.front_trials, objectives=confirmed.objectives.each
    )
    figure = front_figure(shown)
    (axes,) = figure.axes
    assert axes.get_ylim()[0] > -1
    assert "▼ 1 below" in [text.get_text() for text in axes.texts]
    pytest.importorskip("plotly")
    figure = interactive_front(shown)
    assert figure.layout.yaxis.range == axes.get_ylim()
    assert "▼ 1 below" in [note.text for note in figure.layout.annotations]


def test_the_interactive_picture_shows_what_the_other_one_does(confirmed):
    pytest.importorskip("plotly")
    figure = confirmed.plot()
    above, below = confirmed.figure().axes
    legend = [text.get_text() for text in confirmed.figure().legends[0].get_texts()]
    assert {trace.name for trace in figure.data} == set(legend)
    marks = {trace.name: (trace.marker.symbol, trace.yaxis) for trace in figure.data}
    assert marks["random networks of the same cost"] == ("diamond-open", "y2")
    assert marks["of the front, trained anew"] == ("diamond", "y2")
    front = next(trace for trace in figure.data if trace.name.startswith("front"))
    assert set(front.text) == {str(trial.number) for trial in confirmed.front_trials}
    assert figure.layout.yaxis.range == above.get_ylim()
    assert figure.layout.yaxis2.title.text == below.get_ylabel()
    assert confirmed.confirmed.headline in figure.layout.title.text


def test_a_label_stands_where_it_covers_least():
    """Two points beside each other: each name keeps clear of the other's mark and words."""
    figure, axes = blank(4, 3)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    points = [(0.9, 0.5), (0.87, 0.54), (0.1, 0.96)]
    labels = [Label(text=f"near fbnet_{n}", point=at, color="k") for n, at in enumerate(points)]
    outside = Label(text="outside", point=(2.0, 0.5), color="k")
    place_labels(figure, axes, [*labels, outside], points)
    boxes = [text.get_window_extent() for text in axes.texts]
    room = axes.get_window_extent()
    assert len(boxes) == 3
    for number, box in enumerate(boxes):
        assert room.x0 <= box.x0 < box.x1 <= room.x1
        assert room.y0 <= box.y0 < box.y1 <= room.y1
        assert not any(box.contains(*axes.transData.transform(at)) for at in points)
        assert not any(box.overlaps(other) for other in boxes[:number])


# -- its parts ------------------------------------------------------------------------------------


def test_a_forest_finds_the_choice_that_decides_and_none_in_noise():
    rng = np.random.default_rng(0)
    genes = rng.integers(4, size=(200, 8))
    decided = genes[:, 5] + 0.3 * rng.normal(size=200)
    names = [f"g{place}" for place in range(8)]
    found, remark = importance(names, genes.tolist(), decided.tolist())
    assert found[0].gene == "g5"
    assert found[0].share > 10 * abs(found[1].share)
    assert "has not seen" in remark
    nothing, remark = importance(names, genes.tolist(), rng.normal(size=200).tolist())
    assert nothing == ()
    assert "cannot be told" in remark


def test_few_networks_and_equal_scores_tell_of_no_choice():
    assert "too few" in importance(["g"], [(0,)] * 10, [0.5] * 10)[1]
    assert "one score" in importance(["g"], [(0,)] * 50, [0.5] * 50)[1]


def test_one_outlier_does_not_stretch_an_axis():
    values = [*np.linspace(0.8, 0.9, 50), 0.1]
    low, high = robust_range(values)
    assert 0.7 < low < 0.8
    assert 0.9 < high < 1
    assert robust_range(values, always=[0.1])[0] < 0.1
    assert robust_range([0.5, 0.5]) == pytest.approx((0.48, 0.52))
    assert robust_range([]) == (0, 1)
    assert list(ticks(0.78, 0.92)) == pytest.approx([0.8, 0.85, 0.9])
    assert list(ticks(3, 41)) == [10, 20, 30, 40]


def test_a_figure_has_the_digits_that_its_deviation_leaves():
    assert uncertain(0.9137, 0.034) == "0.914 ± 0.034"
    assert uncertain(0.9137, 0.051) == "0.91 ± 0.05"
    assert uncertain(59.88, 3.94) == "59.9 ± 3.9"
    assert uncertain(1234.5, 60) == "1234 ± 60"
    assert uncertain(0.9137, None) == "0.9137"
    assert uncertain(-0.0686, 0.1, signed=True) == "-0.07 ± 0.10"
    assert uncertain(0.0686, 0.02, signed=True) == "+0.069 ± 0.020"


def test_the_axes_of_objectives_that_are_minimised_are_drawn(confirmed):
    run = Run(confirmed.folder)
    each = (Objective("params", "minimize"), Objective("macs", "minimize"))
    run.objectives = Objectives(each)
    assert "params (M)" in render([content(run)])


# -- served ---------------------------------------------------------------------------------------


@pytest.fixture
def served():
    """Call as ``served(look, render)``: a server that answers until the test ends."""
    servers = []

    def start(look, render):
        server = Server(look, render, 0)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def asked(address, host=None):
    """Status and text of an answer."""
    request = Request(address, headers={} if host is None else {"Host": host})
    try:
        with urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_a_served_page_is_made_anew_only_when_there_is_something_new(served):
    moments, made = [Moment(stamp="5", line="5 of 9")], []

    def render(now):
        made.append(now.stamp)
        return f"page of {now.stamp}"

    server = served(lambda: moments[-1], render)
    assert server.address.startswith("http://127.0.0.1:")
    assert asked(server.address) == asked(server.address) == (200, "page of 5")
    moments.append(Moment(stamp="5", line="trial 6 in training"))
    assert asked(server.address) == (200, "page of 5")
    assert json.loads(asked(f"{server.address}state")[1]) == vars(moments[-1])
    moments.append(Moment(stamp="6", line="6 of 9"))
    assert asked(server.address) == (200, "page of 6")
    assert made == ["5", "6"]


def test_a_server_answers_its_own_addresses_alone(served):
    def gone():
        raise RunError("no run in folder 'runs/a'")

    server = served(lambda: Moment(stamp="", line=""), lambda now: "page")
    assert asked(server.address, host="photos.example")[0] == 403
    assert asked(f"{server.address}etc/passwd")[0] == 404
    assert asked(served(gone, str).address) == (503, "no run in folder 'runs/a'")


def test_what_cannot_be_served_is_told_in_one_line(confirmed, report, served, tmp_path):
    server = served(lambda: Moment(stamp="", line=""), lambda now: "page")
    port = server.server_port
    _, err = report(confirmed.folder, "--serve", "--port", port, code=1)
    assert err == (
        f"nas: error: port {port} of 127.0.0.1 is taken. "
        "Choose another --port, or 0 for any that is free\n"
    )
    _, err = report(confirmed.folder, "--serve", "-o", tmp_path / "a.html", code=2)
    assert "leave out -o and --json" in err
    _, err = report(confirmed.folder, "--port", 8000, "--json", code=2)
    assert "--port is that of --serve" in err
    _, err = report(tmp_path / "none", "--serve", "--port", 0, code=1)
    assert "no run in folder" in err
