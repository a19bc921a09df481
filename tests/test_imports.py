"""The import law: own imports run one way, stand at the top, and the torch-free side never reaches
torch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas

ROOT = Path(nas.__file__).parent.parent
TORCH_ALLOWED = ("nas/testing/ops.py", "nas/strategies/rl.py")
TORCH_LINE = "| *torch from here* | |"


def law() -> tuple[dict[str, int], int]:
    """Level of each place in ARCHITECTURE.md's table, and the level from which torch is allowed."""
    levels, torch_from, row = {}, 0, 0
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        if line == TORCH_LINE:
            torch_from = row
        if line.startswith("| `"):
            places = line.split("|")[1]
            if not re.fullmatch(r"[` \w/.]+", places) or "/" not in places:
                continue
            levels |= dict.fromkeys(re.findall(r"`([^`]+)`", places), row)
            row += 1
    return levels, torch_from


LEVEL, TORCH_FROM = law()


def place(path: Path) -> str:
    """The table's name for a file: itself, or the folder it lies in."""
    parts = path.relative_to(ROOT).parts
    if parts[0] != "nas":
        return f"{parts[0]}/"
    return f"nas/{parts[1]}/" if len(parts) > 2 else "/".join(parts)


def home(module: str) -> str:
    """The table's name for the place of a module, or of a name inside one."""
    first, _, rest = module.partition(".")
    if first != "nas":
        return f"{first}/"
    name = rest.partition(".")[0]
    return f"nas/{name}/" if (ROOT / "nas" / name).is_dir() else f"nas/{name}.py"


def sources() -> list[Path]:
    return [
        p
        for folder in ("nas", "search_spaces", "latency_tables")
        for p in sorted((ROOT / folder).rglob("*.py"))
    ]


def imports(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module, node
            if node.module == "nas":
                yield from ((f"nas.{alias.name}", node) for alias in node.names)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    name = str(path.relative_to(ROOT))
    level = LEVEL[place(path)]
    tree = ast.parse(path.read_text())
    top = {
        node for part in tree.body for node in (part.body if isinstance(part, ast.If) else [part])
    }
    for module, node in imports(tree):
        root = module.split(".")[0]
        if root in ("nas", "search_spaces", "latency_tables") and module != "nas":
            allowed = name in TORCH_ALLOWED or LEVEL[home(module)] <= level
            assert allowed, f"{name} imports {module}: that is against the flow"
            assert node in top, f"{name} imports {module} inside a function"
        if root == "torch" and name not in TORCH_ALLOWED:
            assert level >= TORCH_FROM, f"{name} is on the torch-free side and imports torch"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_public_names_are_sorted_and_exist(path):
    tree = ast.parse(path.read_text())
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    if path.name == "__init__.py" and path.parent.name == "nas":
        names |= set(nas._HOMES)  # loaded when first used
    for node in tree.body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            listed = ast.literal_eval(node.value)
            assert sorted(listed, key=_dunder_sort) == listed or sorted(listed) == listed
            assert set(listed) <= names


def _dunder_sort(name: str):
    return (not name.isupper(), not name[0].isupper(), name)


def test_the_table_names_every_place_once():
    lines = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    named = [
        n
        for line in lines
        if line.startswith("| `nas/")
        for n in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]
    assert len(named) == len(set(named))
    assert {place(path) for path in sources()} == set(LEVEL)


def test_import_nas_is_light():
    code = (
        "import sys, nas\nheavy = ('torch', 'ray', 'optuna', 'pandas', 'matplotlib')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_help_loads_no_heavy_library():
    code = (
        "import sys\nfrom nas.cli import nas\ntry:\n    nas(['--help'])\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'optuna', 'pandas', 'numpy', 'rich')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr.strip() == "[]"
    assert "search" in done.stdout or "cost" in done.stdout
