"""Streams as shells leave them, and how commands end."""

import subprocess
import sys

import pytest

from nas import cli
from nas.errors import InterruptError

COMMAND = f"{sys.executable} -m nas cost mobilenet_v2"


def shell(text):
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [
        ("2>&-", 0, ""),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("2>/dev/full --device none", 2, ""),
        (">/dev/full", 1, "nas: error: cannot write: No space left on device\n"),
    ],
)
def test_closed_and_full_streams(redirected, code, told):
    done = shell(f"{COMMAND} {redirected}")
    assert (done.returncode, done.stderr) == (code, told)


def test_a_closed_stream_is_no_file_of_ours(tmp_path):
    code = "import nas.cli._streams as s; s.secure(); f = open('x', 'w'); print(f.fileno() > 2)"
    done = shell(f'cd {tmp_path} && {sys.executable} -c "{code}" 2>&- <&-')
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    "error", [InterruptError("go on by the same command"), KeyboardInterrupt()]
)
def test_an_interruption_is_130(monkeypatch, capsys, error):
    def stopped(standalone_mode):
        raise error

    monkeypatch.setattr(cli, "nas", stopped)
    monkeypatch.setattr(cli, "secure", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err in ("nas: interrupted\n", "nas: go on by the same command\n")


def test_an_interruption_inside_an_exec_is_130_too(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "from nas import cli\ncli.nas = lambda **_: exec('raise KeyboardInterrupt')\ncli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "nas: interrupted\n")
