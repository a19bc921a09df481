"""Rows of blocks that were timed at different paces."""

from dataclasses import replace

import pytest

from nas.measure.journal import Journal
from nas.measure.timing import Block, Quality, Timing

TIMING = Timing(latency_ms=2.0, sd_ms=0.2, count=9, warm_ms=1.0)
QUALITY = Quality(lost=0.0, reference_ms=1.0, load=0.0, call_ms=0.0)


def test_rows_of_all_blocks_are_stated_at_the_best_pace(tmp_path):
    path = tmp_path / "a.journal"
    with Journal(path, {}) as journal:
        # The first block never saw the machine at its best.
        journal.add(Block({"early": TIMING}, replace(QUALITY, reference_ms=1.5)))
        journal.add(Block({"late": TIMING}, QUALITY))
    with Journal(path, {}) as journal:
        assert journal.best_reference_ms() == 1.0
        rows = journal.at_pace(1.0)
        assert rows["late"] == TIMING
        assert rows["early"].latency_ms == pytest.approx(2.0 / 1.5)
        assert rows["early"].warm_ms == pytest.approx(1.0 / 1.5)
        assert rows["early"].sd_ms == pytest.approx(0.2 / 1.5)


def test_a_row_timed_again_has_the_pace_of_its_last_block(tmp_path):
    with Journal(tmp_path / "a.journal", {}) as journal:
        journal.add(Block({"row": TIMING}, replace(QUALITY, reference_ms=1.5)))
        journal.add(Block({"row": TIMING}, QUALITY))
        assert journal.at_pace(1.0)["row"] == TIMING


def test_rows_without_a_reference_stay_as_they_are(tmp_path):
    with Journal(tmp_path / "a.journal", {}) as journal:
        journal.add(Block({"row": TIMING}, replace(QUALITY, reference_ms=0.0)))
        assert journal.at_pace(journal.best_reference_ms()) == {"row": TIMING}
