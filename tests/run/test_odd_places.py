"""Runs in folders with colons in their names, on disks that cannot be written, with $ in names."""

import errno

import pytest

from nas import catalog
from nas.errors import UsageError
from nas.files import between_commas
from nas.objectives import Objective
from nas.report import plots
from nas.report.front_picture import front_figure
from nas.report.front_shown import FrontShown
from nas.report.page.content import Confirmed
from nas.run import run as run_module
from nas.run.network import run_and_trial
from nas.trial import WARM, Trial


def trial(number, warm=""):
    return Trial(
        number=number,
        genes=(number,),
        digest=f"{number:020d}",
        metrics={"accuracy": 0.5 + number / 10, "params": 1e6 * (number + 1)},
        state="complete",
        note={WARM: warm} if warm else {},
    )


def test_a_folder_may_have_colons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "2026-11-28T17:43:39").mkdir(parents=True)
    (tmp_path / "a:b.json").write_text("{}")
    for name, expected in {
        "runs/2026-11-28T17:43:39": ("runs/2026-11-28T17:43:39", ""),
        "runs/2026-11-28T17:43:39:0": ("runs/2026-11-28T17:43:39", "0"),
        "runs/2026-11-28T17:43:39:x": ("runs/2026-11-28T17:43:39", "x"),
        "a:b.json": ("a:b.json", ""),
        "none:3": ("none:3", ""),
    }.items():
        folder, number = run_and_trial(name)
        assert (str(folder), number) == expected


def test_commas_in_paths_that_exist_part_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my,board.csv").write_text("")
    assert between_commas("pixel1,./my,board.csv,raspi4") == ["pixel1", "./my,board.csv", "raspi4"]
    assert between_commas("a,b") == ["a", "b"]
    assert between_commas("x" * 5000 + ",b") == ["x" * 5000, "b"]


def test_a_table_that_lies_there_is_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_cpu.csv").write_text("")
    with pytest.raises(UsageError, match=r"There is a table of that name: did you mean my_cpu.csv"):
        catalog.device("my_cpu")


@pytest.mark.parametrize("title", ["cash_$_or_$_card", r"a\$b$_{$", "$", "$x$"])
def test_a_dollar_sign_is_no_formula(tmp_path, title):
    trials = [trial(0, warm="$_$"), trial(1)]
    objectives = (
        Objective(name="accuracy", direction="maximize"),
        Objective(name="params", direction="minimize"),
    )

    def make():
        shown = FrontShown(
            trials=trials,
            front=trials,
            objectives=objectives,
            title=title,
            began={0: "near $_$"},
            confirmed=[Confirmed(kind="published", name="$_{$", x=1.0, score=0.6, sd=0.1)],
            confirmed_as=title,
            verdict=title,
        )
        return front_figure(shown)

    assert plots.draw(make, tmp_path / "front.png") == ""
    assert (tmp_path / "front.png").stat().st_size > 1000
    fit = plots.fit_figure(["a_$_$", "b"], [[0.1], [0.2]], [True, False], title=title)
    assert plots.draw(lambda: fit, tmp_path / "fit.png") == ""


def test_a_picture_that_fails_is_a_line(tmp_path):
    def broken():
        raise ValueError("\nno\nsuch font")

    assert plots.draw(broken, tmp_path / "a.png") == "no a.png: no such font"
    made = plots.fit_figure(["a"], [[0.1]], [True])
    missing = plots.draw(lambda: made, tmp_path / "none" / "a.png")
    assert missing == "no a.png: No such file or directory"


def test_reports_that_cannot_be_written_are_told(monkeypatch):
    def refuse(path, *rest):
        raise OSError(errno.EROFS, "Read-only file system")

    class Frame:
        def to_csv(self, index):
            return "x\n"

    class ReadOnly(run_module.Run):
        front_trials = (trial(0),)

        def __init__(self):
            self.folder = run_module.Path("runs/x")

        def front(self, *, full):
            return Frame()

        def figure(self):
            return plots.fit_figure(["a"], [[0.1]], [True])

    monkeypatch.setattr(run_module, "write_text", refuse)
    monkeypatch.setattr(plots, "write_with", refuse)
    assert ReadOnly().save_reports() == (
        "no front.png: Read-only file system",
        "no front.csv: Read-only file system",
    )
