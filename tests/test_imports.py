"""The import law: own imports run one way, stand at the top, and the torch-free side never reaches torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nas

ROOT = Path(nas.__file__).parent.parent
# Lower imports nothing of higher; one level may import itself. From `model` on, torch is allowed.
LEVELS = (
    ("errors", "pareto", "settings", "units"),
    ("shape",),
    ("ops",),
    ("arch",),
    ("notes", "trial"),
    ("space",),
    ("cost",),
    ("scale",),
    ("networks", "search_spaces", "latency_tables"),
    ("archstring", "backbone", "family"),
    ("domain",),
    ("objectives", "strategies"),
    ("benchmarks", "board", "cache", "capsule", "early", "journal", "rows", "store", "workers"),
    ("study",),
    ("cluster",),
    ("arena", "confirmed", "lint"),
    ("pick", "report"),
    ("catalog",),
    ("run",),
    ("job",),
    ("confirm", "replay"),
    ("testing",),
    ("model",),
    ("data", "train"),
    ("supernet",),
    ("evaluate", "export"),
    ("measure",),
    ("__init__", "cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
TORCH_FROM = LEVEL["model"]
TORCH_ALLOWED = ("nas/testing/ops.py", "nas/strategies/rl.py")


def part(module: str) -> str:
    names = module.split(".")
    return (names[1] if len(names) > 1 else "__init__") if names[0] == "nas" else names[0]


def sources() -> list[Path]:
    return [p for folder in ("nas", "search_spaces", "latency_tables") for p in sorted((ROOT / folder).rglob("*.py"))]


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
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    level = LEVEL[part(name)]
    tree = ast.parse(path.read_text())
    top = {node for part in tree.body for node in (part.body if isinstance(part, ast.If) else [part])}
    for module, node in imports(tree):
        root = module.split(".")[0]
        if root in ("nas", "search_spaces", "latency_tables") and module != "nas":
            allowed = str(path.relative_to(ROOT)) in TORCH_ALLOWED
            assert allowed or LEVEL[part(module)] <= level, f"{name} imports {module}: that is against the flow"
            assert node in top, f"{name} imports {module} inside a function"
        if root == "torch" and str(path.relative_to(ROOT)) not in TORCH_ALLOWED:
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


def test_import_nas_is_light():
    code = "import sys, nas; print([m for m in ('torch', 'ray', 'optuna', 'pandas', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_heavy_library():
    code = (
        "import sys\nfrom nas.cli import nas\ntry:\n    nas(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'optuna', 'pandas', 'numpy', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == "[]"
    assert "search" in done.stdout or "cost" in done.stdout
