"""Damaged rasters: each ends in a sentence or in a sound reading, none in a traceback, a crash or a hang."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("bad_rasters.py")
HANG_S = 60.0


def read_bad_rasters(folder: Path, numbers: range) -> list[dict]:
    """Run the program on a range of numbers; fails naming the raster at which it crashed or hung."""
    command = [sys.executable, PROGRAM, folder, str(numbers.start), str(numbers.stop), str(numbers.step)]
    reports, current = [], "the start"
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S + 8.0 * len(numbers))
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").decode().splitlines()
        pytest.fail(f"hung at {lines[-1] if lines else current}")
    for line in run.stdout.splitlines():
        event = json.loads(line)
        current = event.get("what", current)
        if "kind" in event:
            reports.append(event)
    assert run.returncode == 0, f"crashed ({run.returncode}) at {current}:\n{run.stderr[-2000:]}"
    return reports


def check(reports: list[dict]) -> None:
    for report in reports:
        assert report["kind"] != "traceback", f"{report['number']} ({report['what']}): {report['outcome']}"
        assert report["seconds"] < HANG_S, f"{report['number']} ({report['what']}) took {report['seconds']} s"
        if report["kind"] == "sentence":
            assert report["outcome"].endswith(".") and "\n" not in report["outcome"]


def test_damaged_rasters_of_some_formats(tmp_path):
    reports = read_bad_rasters(tmp_path, range(0, 120, 11))
    check(reports)
    assert len(reports) == 22 and {r["kind"] for r in reports} == {"sentence", "result"}


@pytest.mark.slow
def test_hundreds_of_damaged_rasters_end_in_a_sentence_or_a_sound_reading(tmp_path):
    reports = []
    for first in range(0, 504, 84):
        reports += read_bad_rasters(tmp_path, range(first, first + 84))
    check(reports)
    assert len(reports) == 2 * 504
    assert sum(r["kind"] == "sentence" for r in reports) >= 300
