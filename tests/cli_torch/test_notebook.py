"""The notebooks under experiments/ run from top to bottom, and what they end their cells with can
be displayed."""

import ast
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path, capsys):
    cells = [
        "".join(cell["source"])
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    names: dict[str, object] = {}
    for source in cells:
        tree = ast.parse(source)
        shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if isinstance(shown, ast.Expr):
            value = eval(compile(ast.Expression(shown.value), path.name, "eval"), names)
            display = getattr(value, "_repr_html_", None)
            assert value is None or (display() if display else repr(value))
    assert "from torch import" in capsys.readouterr().out
