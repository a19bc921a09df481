"""The code of the guides runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas

GUIDE = Path(nas.__file__).parent.parent / "docs" / "adding_a_space.md"


@pytest.fixture
def folder(tmp_path):
    for name, text in re.findall(r"```python (\S+)\n(.*?)```", GUIDE.read_text(), re.S):
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder, code):
    paths = os.pathsep.join([str(folder), str(GUIDE.parent.parent)])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


def test_the_guides_space_is_sound(folder):
    done = run(folder, "import test_my_space; test_my_space.test_my_space()")
    assert done.returncode == 0, done.stderr


def test_the_guides_op_is_what_its_torch_module_is(folder):
    register = (
        "import nas.ops, my_op, my_torch, test_my_op\n"
        "nas.ops.registry()['my_bottleneck'] = my_op.Bottleneck\n"  # what the entry point does
        "test_my_op.test_my_op()"
    )
    done = run(folder, register)
    assert done.returncode == 0, done.stderr
