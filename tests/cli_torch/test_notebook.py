"""The notebooks under experiments/ run from top to bottom; they are committed with outputs."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def in_shell(source):
    """What Jupyter does with lines that begin with ``!``."""
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    home = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    for line in source.replace("\\\n", "").splitlines():
        command = ["bash", "-eo", "pipefail", "-c", line.removeprefix("!")]
        subprocess.run(command, check=True, env={**os.environ, "PATH": tools, "PYTHONPATH": home})


def in_python(source, names):
    """Run a cell; what its last expression gives must be something that can be displayed."""
    tree = ast.parse(source)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if shown is not None:
        value = eval(compile(ast.Expression(shown.value), "cell", "eval"), names)
        assert value is None or repr(value)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and back, as a notebook goes to a folder of its own
    names: dict[str, object] = {}
    for cell in code_cells(path):
        source = "".join(cell["source"])
        if source.startswith("%%writefile "):
            name, _, text = source.partition("\n")
            Path(name.removeprefix("%%writefile ")).write_text(text)
        elif source.startswith("!"):
            in_shell(source)
        else:
            in_python(source, names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_committed_with_its_outputs(path):
    numbers = [cell["execution_count"] for cell in code_cells(path)]
    assert numbers == list(range(1, len(numbers) + 1))
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]
