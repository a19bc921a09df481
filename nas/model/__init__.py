"""From ops to torch: `recipe` says how one op is built at one shape, `module` and `build` do it."""

from nas.model.dispatch import Recipe, module, recipe
from nas.model.network import Network, build, initialise

__all__ = ["Network", "Recipe", "build", "initialise", "module", "recipe"]
