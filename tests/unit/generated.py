"""What the suites of generated bad input share: a program that meets them, watched from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HANG_S = 60.0


def meet(program: Path, folder: Path, numbers: range) -> list[dict]:
    """Run the program on a range of numbers; its reports. Fails naming the input at which it crashed or hung."""
    command = [sys.executable, program, folder, str(numbers.start), str(numbers.stop), str(numbers.step)]
    reports, current = [], "the start"
    try:  # on a machine that others keep busy, too
        run = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S + 30.0 * len(numbers))
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").decode().splitlines()
        pytest.fail(f"hung at {lines[-1] if lines else current}")
    for line in run.stdout.splitlines():
        event = json.loads(line)
        current = event
        if "kind" in event:
            reports.append(event)
    assert run.returncode == 0, f"crashed ({run.returncode}) at {current}:\n{run.stderr[-2000:]}"
    return reports


def check(reports: list[dict]) -> None:
    """None ended in a traceback, took for ever, or said more than a sentence."""
    for report in reports:
        assert report["kind"] != "traceback", f"{report['number']} ({report['what']}): {report['outcome']}"
        assert report["seconds"] < HANG_S, f"{report['number']} ({report['what']}) took {report['seconds']} s"
        if report["kind"] == "sentence":
            assert report["outcome"].endswith(".") and "\n" not in report["outcome"]
