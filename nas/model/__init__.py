"""From ops to torch: `module` builds one op at one shape, `build` a whole architecture."""

from nas.model.dispatch import module
from nas.model.network import Network, build, initialise

__all__ = ["Network", "build", "initialise", "module"]
