"""The one place that asks how an op is built in torch."""

import pkgutil
from functools import cache, partial, singledispatch
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from nas.errors import ArchitectureError
from nas.model.strided import around_the_fault
from nas.shape import Op, Shape

__all__ = ["Recipe", "module", "recipe"]

# Any: `partial` is invariant, so one of a Block is not one of a Module.
Recipe: TypeAlias = partial[Any]
"""A torch module's class and its arguments, not yet called."""


@singledispatch
def recipe(op: Op, shape: Shape) -> Recipe:
    """How an op is built at an input shape: a torch module's class and its arguments.

    The class takes numbers and words alone, and needs torch and the standard library alone, so that
    `nas.export` can write its source and this call into a file of their own. Others register theirs
    with ``@recipe.register`` in a Python module that an entry point of the group ``nas.model``
    names.
    """
    _register_all()
    registered = recipe.dispatch(type(op))
    if registered is recipe.dispatch(object):
        raise ArchitectureError(
            f"op '{op.key}' has no torch module: register one in the entry-point group 'nas.model'"
        )
    return registered(op, shape)


def module(op: Op, shape: Shape) -> nn.Module:
    """The torch module of an op at an input shape.

    It takes ``(n, *shape)`` and gives ``(n, *op.out_shape(shape))``, a classifier ``(n, classes)``.
    Its parameters and MACs equal those that the op's kernels declare: `nas.testing.ops.check_op`
    holds it to that.
    """
    return around_the_fault(recipe(op, shape)())


@cache
def _register_all() -> None:
    """Import what registers torch modules: this folder, then the entry points.

    The first call of `recipe` does it. At import it would be a cycle, since each file needs this.
    """
    for file in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"nas.model.{file.name}")
    for point in entry_points(group="nas.model"):
        point.load()
