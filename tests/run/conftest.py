"""What tests of whole runs have in common."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def instant():
    """The evaluator that takes no time, by the name ``instant``."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "kill"))
    import instant

    instant.take_part()
    yield
    sys.path.pop(0)
