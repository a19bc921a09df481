"""The one place that asks how an op is built in torch."""

import pkgutil
from functools import cache, singledispatch
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from torch import nn

from nas.errors import ArchitectureError
from nas.shape import Op, Shape

__all__ = ["module"]


@singledispatch
def module(op: Op, shape: Shape) -> nn.Module:
    """The torch module of an op at an input shape: ``(n, *shape)`` to ``(n, *op.out_shape(shape))``.

    A classifier hands over ``(n, classes)``. Others register theirs with ``@module.register`` in a Python
    module that an entry point of the group ``nas.model`` names. Its parameters and MACs equal those that
    the op's kernels declare: `nas.testing.ops.check_op` holds it to that.
    """
    _register_all()
    made = module.dispatch(type(op))
    if made is module.dispatch(object):
        raise ArchitectureError(f"op '{op.key}' has no torch module: register one in the entry-point group 'nas.model'")
    return made(op, shape)


@cache
def _register_all() -> None:
    """Import what registers torch modules, when the first one is asked for: this folder, then the entry points."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"nas.model.{found.name}")
    for point in entry_points(group="nas.model"):
        point.load()
