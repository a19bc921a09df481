"""How densely the code is written, beside codebases that people hold up as models.

    python experiments/density.py                      # nas/ as a whole, the table's row
    python experiments/density.py nas --files          # file by file, densest first
    python experiments/density.py path/to/optuna/optuna

A code line is one that holds code: no blank line, comment or docstring. Branches are what a reader
has to keep in mind: ``if``, ternaries, loops, each clause of a comprehension, ``except``, and each
chain of ``and`` or ``or``.
"""

import argparse
import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.comprehension,
    ast.ExceptHandler,
    ast.BoolOp,
)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST_LINE = 100


@dataclass
class Counts:
    """What was counted in one or several files."""

    code_lines: list[int] = field(default_factory=list)
    """The length of each code line, in characters, indentation included."""
    docstring_lines: int = 0
    comment_lines: int = 0
    branches: int = 0
    decisions: int = 0
    """McCabe's count: each operand of a boolean chain adds one, and so does each function."""
    comprehensions: int = 0
    long_lines: int = 0
    anys: int = 0

    def add(self, other: "Counts") -> None:
        """Take in another file's counts."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def per_100_lines(self, count: int) -> float:
        """A count as a rate."""
        return 100 * count / max(1, len(self.code_lines))

    def share_of_lines(self, count: int) -> float:
        """A count of lines as a percentage of all lines that are not blank."""
        every = len(self.code_lines) + self.docstring_lines + self.comment_lines
        return 100 * count / max(1, every)


def counted(path: Path) -> Counts:
    """The counts of one file."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstrings = docstring_rows(tree)
    comments = comment_rows(text)
    counts = Counts(docstring_lines=len(docstrings), comment_lines=len(comments))
    for row, line in enumerate(text.splitlines(), 1):
        counts.long_lines += len(line) > LONGEST_LINE
        if line.strip() and row not in docstrings and row not in comments:
            counts.code_lines.append(len(line))
    for node in ast.walk(tree):
        counts.branches += isinstance(node, BRANCHES)
        counts.comprehensions += isinstance(node, COMPREHENSIONS)
        counts.decisions += isinstance(node, (*BRANCHES, *FUNCTIONS))
        if isinstance(node, ast.BoolOp):
            counts.decisions += len(node.values) - 2  # the chain itself is a branch already
    counts.anys = len(re.findall(r"\bAny\b", text))
    return counts


def docstring_rows(tree: ast.AST) -> set[int]:
    """The rows of strings that stand alone: of modules, classes, functions and fields."""
    rows: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        if isinstance(node.value.value, str) and node.end_lineno is not None:
            rows.update(range(node.lineno, node.end_lineno + 1))
    return rows


def comment_rows(text: str) -> set[int]:
    """The rows that hold a comment and nothing else."""
    rows = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            rows.add(token.start[0])
    return rows


def row(name: str, counts: Counts) -> str:
    """One line of the table."""
    lengths = np.array(counts.code_lines or [0])
    return (
        f"{name:40.40}"
        f"{len(counts.code_lines):7d}"
        f"{counts.per_100_lines(counts.branches):10.1f}"
        f"{counts.per_100_lines(counts.decisions):9.1f}"
        f"{counts.per_100_lines(counts.comprehensions):10.1f}"
        f"{lengths.mean():7.0f}"
        f"{np.quantile(lengths, 0.9):6.0f}"
        f"{counts.share_of_lines(counts.docstring_lines):7.0f}"
        f"{counts.share_of_lines(counts.comment_lines):9.1f}"
        f"{counts.long_lines:7d}"
        f"{counts.anys:6d}"
    )


HEADER = (
    f"{'':40}{'lines':>7}{'branches':>10}{'McCabe':>9}{'compreh.':>10}{'mean':>7}{'p90':>6}"
    f"{'doc %':>7}{'comm. %':>9}{'>100':>7}{'Any':>6}"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", default=["nas"], help="Folders of Python files.")
    parser.add_argument("--files", action="store_true", help="A row a file, densest first.")
    given = parser.parse_args()
    print(HEADER)
    for folder in given.folders:
        files = {path: counted(path) for path in sorted(Path(folder).rglob("*.py"))}
        if given.files:
            densest = sorted(
                files, key=lambda path: -files[path].per_100_lines(files[path].branches)
            )
            for path in densest:
                print(row(str(path), files[path]))
        whole = Counts()
        for counts in files.values():
            whole.add(counts)
        print(row(folder, whole))


if __name__ == "__main__":
    main()
