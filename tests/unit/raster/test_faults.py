"""Damaged rasters: each ends in a sentence or in a sound reading, none in a traceback, a crash or a hang."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import check, meet  # noqa: E402

PROGRAM = Path(__file__).with_name("bad_rasters.py")


def test_damaged_rasters_of_some_formats(tmp_path):
    reports = meet(PROGRAM, tmp_path, range(0, 120, 11))
    check(reports)
    assert len(reports) == 22 and {r["kind"] for r in reports} == {"sentence", "result"}


@pytest.mark.slow
def test_hundreds_of_damaged_rasters_end_in_a_sentence_or_a_sound_reading(tmp_path):
    reports = []
    for first in range(0, 504, 84):
        reports += meet(PROGRAM, tmp_path, range(first, first + 84))
    check(reports)
    assert len(reports) == 2 * 504
    assert sum(r["kind"] == "sentence" for r in reports) >= 300
