"""The one place that asks how an op is built in torch."""

import pkgutil
from functools import cache, partial, singledispatch
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from nas.errors import ArchitectureError
from nas.shape import Op, Shape

__all__ = ["Recipe", "module", "recipe"]

Recipe: TypeAlias = partial[Any]
"""A torch module's class and its arguments, not yet called."""


@singledispatch
def recipe(op: Op, shape: Shape) -> Recipe:
    """How an op is built at an input shape: a class of torch modules and its arguments, not yet called.

    The class takes numbers and words alone, and needs torch and the standard library alone, so that
    `nas.export` can write its source and this call into a file of their own. Others register theirs
    with ``@recipe.register`` in a Python module that an entry point of the group ``nas.model``
    names.
    """
    _register_all()
    made = recipe.dispatch(type(op))
    if made is recipe.dispatch(object):
        raise ArchitectureError(
            f"op '{op.key}' has no torch module: register one in the entry-point group 'nas.model'"
        )
    return made(op, shape)


def module(op: Op, shape: Shape) -> nn.Module:
    """The torch module of an op at an input shape: ``(n, *shape)`` to ``(n, *op.out_shape(shape))``.

    A classifier hands over ``(n, classes)``. Its parameters and MACs equal those that the op's
    kernels declare: `nas.testing.ops.check_op` holds it to that.
    """
    made: nn.Module = recipe(op, shape)()
    return made


@cache
def _register_all() -> None:
    """Import what registers torch modules, when the first one is asked for: this folder, then the entry points."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"nas.model.{found.name}")
    for point in entry_points(group="nas.model"):
        point.load()
