"""Source of torch modules, with all that they use, cut out of the toolkit to stand in a file of its own."""

import ast
import builtins
import importlib
import inspect
import re
import symtable
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from nas.errors import ArchitectureError

__all__ = ["Excerpt", "excerpt"]

ALLOWED = frozenset({*sys.stdlib_module_names, "torch"})
ERRORS = "nas.errors"  # what the toolkit tells in one line is a ValueError elsewhere


@dataclass
class Excerpt:
    """What a file needs at its top: modules, names by module, constants, and definitions after what they use."""

    modules: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)

    def imports(self) -> str:
        """Import statements, sorted: those of the standard library, an empty line, torch's."""
        own: list[str] = []
        torch: list[str] = []
        for module in sorted(self.modules):
            (torch if _root(module) == "torch" else own).append(f"import {module}")
        for module, names in sorted(self.names.items()):
            (torch if _root(module) == "torch" else own).append(
                f"from {module} import {', '.join(sorted(names))}"
            )
        return "\n\n".join("\n".join(lines) for lines in (own, torch) if lines)


def excerpt(roots: Iterable[Any]) -> Excerpt:
    """The source of classes and functions and of everything they need beside torch and the standard library.

    Raises `ArchitectureError` for what needs another package, and for two things of one name.
    """
    roots = list(roots)
    cutter = _Cutter(own={"nas", *(_root(root.__module__) for root in roots)})
    for root in roots:
        cutter.follow(importlib.import_module(root.__module__), root.__name__)
    return cutter.found


@dataclass
class _Cutter:
    own: set[str]
    found: Excerpt = field(default_factory=Excerpt)
    homes: dict[str, str] = field(default_factory=dict)

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
        home = (statement.module or "") if isinstance(statement, ast.ImportFrom) else alias.name
        written = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
        if home == ERRORS:
            return
        if _root(home) in ALLOWED and isinstance(statement, ast.Import):
            self.found.modules.add(written)
        elif _root(home) in ALLOWED:
            self.found.names.setdefault(home, set()).add(written)
        elif (
            _root(home) in self.own
            and isinstance(statement, ast.ImportFrom)
            and alias.asname is None
        ):
            self.follow(importlib.import_module(home), name)
        else:
            raise ArchitectureError(
                f"'{name}' comes from {home}: an exported torch module may use torch and the standard library alone"
            )

    def _define(self, module: ModuleType, name: str, statement: ast.stmt) -> None:
        home = self.homes.get(name)
        if home is not None and home != module.__name__:
            raise ArchitectureError(
                f"{home} and {module.__name__} both define '{name}': one of them must be renamed"
            )
        if home is not None:
            return
        self.homes[name] = module.__name__
        text = _text(module, statement)
        for used in sorted(_globals_of(text) - {name}):
            self.follow(module, used)
            if _is_error(_bindings(module).get(used)):
                text = re.sub(rf"\b{used}\b", "ValueError", text)
        defines = isinstance(statement, ast.ClassDef | ast.FunctionDef)
        (self.found.definitions if defines else self.found.constants)[name] = text


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
    return {name: node for node in ast.parse(_source(module)).body for name in _bound(node)}


def _bound(node: ast.stmt) -> Iterator[str]:
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
    first = (
        min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))]) - 1
    )
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first : statement.end_lineno])


def _globals_of(text: str) -> set[str]:
    """Names that a statement takes from its module or from the builtins."""
    todo, found = [symtable.symtable(text, "excerpt", "exec")], set()
    while todo:
        table = todo.pop()
        todo += table.get_children()
        top = table.get_type() == "module"
        found |= {
            s.get_name()
            for s in table.get_symbols()
            if s.is_referenced() and (top or s.is_global())
        }
    return found
