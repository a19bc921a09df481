"""Timing a front needs the device that its table is of."""

import pytest

from nas import catalog
from nas.errors import UsageError
from nas.run.plan import plan
from nas.run.settings import Search


def test_a_front_cannot_be_timed_for_a_device_that_is_not_here():
    assert catalog.not_here(catalog.device("pixel1")).startswith("its runtime is TensorFlow Lite")
    asked = Search().changed(time_front=True)
    with pytest.raises(UsageError, match="table 'pixel1' is not of it: its runtime is TensorFlow"):
        plan(asked)
    assert plan(Search()).timed == ()
