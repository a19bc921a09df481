"""Griffe extension: arguments that a docstring lists plainly are a list in the reference, too.

A line such as ``seed: Seed of everything random.`` counts if the function has that parameter. In
the code such lines stand without a heading; Griffe wants one.
"""

import re
from typing import Any

import griffe

LISTED = re.compile(r"(\w+): ")


class PlainArguments(griffe.Extension):
    """Puts ``Args:`` above the first listed argument of a function."""

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Rewrite the docstring that the reference shows."""
        if func.docstring is None:
            return
        names = {parameter.name for parameter in func.parameters}
        lines = []
        is_list = False
        for line in func.docstring.value.split("\n"):
            found = LISTED.match(line)
            listed = found is not None and found[1] in names
            if listed and not is_list:
                lines += ["", "Args:"]
            if not listed and not line.startswith(" "):
                is_list = False
            is_list = is_list or listed
            lines.append(f"    {line}" if is_list else line)
        func.docstring.value = "\n".join(lines)
