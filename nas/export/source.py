"""Source of torch modules, with all that they use, cut out of the toolkit.

It can then stand in a file of its own.
"""

import ast
import builtins
import importlib
import inspect
import re
import symtable
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

from nas.errors import ArchitectureError

__all__ = ["Excerpt", "excerpt"]

ALLOWED = frozenset({*sys.stdlib_module_names, "torch"})
ERRORS = "nas.errors"  # what the toolkit tells in one line is a ValueError elsewhere


@dataclass
class Excerpt:
    """What a file needs at its top."""

    modules: set[str] = field(default_factory=set)
    """Imported whole."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """Imported from a module, by module."""
    constants: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    """Classes and functions, each behind what it uses."""

    def imports(self) -> str:
        """Import statements, sorted: those of the standard library, an empty line, torch's."""
        own: list[str] = []
        torch: list[str] = []
        for module in sorted(self.modules):
            lines = torch if _root(module) == "torch" else own
            lines.append(f"import {module}")
        for module, names in sorted(self.names.items()):
            lines = torch if _root(module) == "torch" else own
            lines.append(f"from {module} import {', '.join(sorted(names))}")
        return "\n\n".join("\n".join(lines) for lines in (own, torch) if lines)


def excerpt(roots: Iterable[Callable[..., object]]) -> Excerpt:
    """The source of classes and functions and of everything they need.

    Torch and the standard library are imported, not copied. Raises `ArchitectureError` for what
    needs another package, and for two things of one name.
    """
    roots = list(roots)
    # Modules may be other people's, registered by an entry point: their packages are cut up too.
    cutter = _Cutter(packages={"nas", *(_root(root.__module__) for root in roots)})
    for root in roots:
        cutter.follow(importlib.import_module(root.__module__), root.__name__)
    return cutter.excerpt


@dataclass
class _Cutter:
    packages: set[str]
    """Whose source is copied."""
    excerpt: Excerpt = field(default_factory=Excerpt)
    homes: dict[str, str] = field(default_factory=dict)
    """The module that each copied name comes from."""

    def follow(self, module: ModuleType, name: str) -> None:
        """Take in what a module calls by that name."""
        statement = _bindings(module).get(name)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(statement, name)
        elif statement is not None:
            self._define(module, name, statement)
        elif not hasattr(builtins, name):
            raise ArchitectureError(
                f"'{name}' is not defined at the top of {module.__name__}: it cannot be exported"
            )

    def _import(self, statement: ast.Import | ast.ImportFrom, name: str) -> None:
        alias = next(alias for alias in statement.names if (alias.asname or alias.name) == name)
        whole = isinstance(statement, ast.Import)
        home = alias.name
        if isinstance(statement, ast.ImportFrom):
            home = statement.module or ""
        written = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
        if home == ERRORS:
            return
        if _root(home) in ALLOWED:
            if whole:
                self.excerpt.modules.add(written)
            else:
                self.excerpt.names.setdefault(home, set()).add(written)
            return
        # `import nas.x` or another name would need the text rewritten: the copy has one name each.
        if whole or alias.asname is not None or _root(home) not in self.packages:
            raise ArchitectureError(
                f"'{name}' comes from {home}: an exported torch module may use torch "
                "and the standard library alone"
            )
        self.follow(importlib.import_module(home), name)

    def _define(self, module: ModuleType, name: str, statement: ast.stmt) -> None:
        home = self.homes.get(name)
        if home is not None and home != module.__name__:
            raise ArchitectureError(
                f"{home} and {module.__name__} both define '{name}': one of them must be renamed"
            )
        if home is not None:
            return
        # Before what it uses is followed: two functions may call each other.
        self.homes[name] = module.__name__
        text = _text(module, statement)
        for used in sorted(_globals_of(text) - {name}):
            self.follow(module, used)
            if _is_error(_bindings(module).get(used)):
                text = re.sub(rf"\b{used}\b", "ValueError", text)
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            self.excerpt.definitions[name] = text
        else:
            self.excerpt.constants[name] = text


def _root(module: str) -> str:
    return module.partition(".")[0]


def _is_error(statement: ast.stmt | None) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == ERRORS


@cache
def _source(module: ModuleType) -> str:
    """Read once: a file that changes while it is cut would give lines of two versions."""
    return inspect.getsource(module)


@cache
def _bindings(module: ModuleType) -> dict[str, ast.stmt]:
    """The statement at the top of a module that gives each name its meaning."""
    statements: dict[str, ast.stmt] = {}
    for statement in ast.parse(_source(module)).body:
        statements.update(dict.fromkeys(_bound(statement), statement))
    return statements


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names to which a statement gives a meaning."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def _text(module: ModuleType, statement: ast.stmt) -> str:
    """A statement as it is written, with its decorators and the comment above it."""
    lines = _source(module).splitlines()
    # The line of a class or function is that of its `class` or `def`, below the decorators.
    decorators = getattr(statement, "decorator_list", ())
    first = min([statement.lineno, *(node.lineno for node in decorators)]) - 1
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first : statement.end_lineno])


def _globals_of(text: str) -> set[str]:
    """Names that a statement takes from its module or from the builtins."""
    waiting = [symtable.symtable(text, "excerpt", "exec")]
    names: set[str] = set()
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            # At the top a name is not called global, though it is.
            if symbol.is_referenced() and (top or symbol.is_global()):
                names.add(symbol.get_name())
    return names
