"""The engine as a process: talks while it works, stops when told, dies loudly, leaves nobody behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from qgis.core import QgsProcessingException, QgsProcessingFeedback

ATTEMPTS = 3  # a busy machine may miss a limit once; a fault of ours misses it always
LARGE = {"WIDTH": 2600, "HEIGHT": 2600, "OUTPUT": "TEMPORARY_OUTPUT", "OUTLINES": "TEMPORARY_OUTPUT"}
"""A scene that takes longer than any of these tests."""


def engines_of(parent: int) -> list[int]:
    """Process ids of the engines `parent` has started, from /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"launch.py" in command:
            found.append(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Watching(QgsProcessingFeedback):
    """Remembers what it is told and when, and does something at the first progress."""

    def __init__(self, at_first_progress=lambda: None):
        super().__init__()
        self.steps, self.texts, self.infos = [], [], []
        self._act = at_first_progress
        self.progressChanged.connect(self._on_progress)

    def _on_progress(self, percent):
        self.steps.append((time.monotonic(), percent))
        if len(self.steps) == 1:
            self._act()

    def setProgressText(self, text):  # noqa: N802
        self.texts.append(text)

    def pushInfo(self, text):  # noqa: N802
        self.infos.append(text)


@pytest.fixture
def script(tmp_path):
    """Make an executable that takes the place of the engine's Python: ``script("echo hello")``."""

    def make(body: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def run_job(provider):
    from cadastral_vectorizer.processing_provider.engine_process import run_job

    return run_job


def test_progress_arrives_while_the_engine_works(run):
    feedback = Watching()
    run("createsamplescene", {**LARGE, "WIDTH": 900, "HEIGHT": 900}, feedback)
    ended = time.monotonic()
    percents = [percent for _, percent in feedback.steps]
    assert percents == sorted(percents)
    assert len(set(percents)) > 5
    assert ended - feedback.steps[0][0] > 0.3
    assert len(feedback.texts) > 2


def test_cancel_ends_the_engine_within_two_seconds(run):
    def seconds_to_end() -> float:
        feedback, seen = None, {}

        def cancel():
            seen["engines"] = engines_of(os.getpid())
            seen["cancelled"] = time.monotonic()
            feedback.cancel()

        feedback = Watching(cancel)
        with pytest.raises(QgsProcessingException, match="cancelled"):
            run("createsamplescene", LARGE, feedback)
        seconds = time.monotonic() - seen["cancelled"]
        assert len(seen["engines"]) == 1
        assert not any(is_alive(pid) for pid in seen["engines"])
        return seconds

    assert any(seconds_to_end() < 2.0 for _ in range(ATTEMPTS))


def test_a_killed_engine_is_named_with_its_signal(run):
    feedback = Watching(lambda: [os.kill(pid, signal.SIGKILL) for pid in engines_of(os.getpid())])
    with pytest.raises(QgsProcessingException, match="killed.*SIGKILL.*memory"):
        run("createsamplescene", LARGE, feedback)
    assert engines_of(os.getpid()) == []


def test_a_crash_shows_the_end_of_the_error_output(run_job, script):
    from cadastral_vectorizer.engine.errors import EngineError

    python = script("seq 1 5000 >&2; echo 'undefined symbol: cudnnCreate' >&2; exit 7")
    with pytest.raises(EngineError) as caught:
        run_job(python, "probe", {}, Watching())
    assert "exit code 7" in str(caught.value)
    assert "undefined symbol: cudnnCreate" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 40


def test_an_engine_that_does_not_listen_is_killed_with_its_children(run_job, script, tmp_path):
    from cadastral_vectorizer.engine.errors import Cancelled

    def seconds_to_end(pids: Path) -> float:
        python = script(f"trap '' TERM; sleep 60 & echo $$ $! > {pids}; echo ready; while :; do sleep 1; done")
        feedback = Watching()
        start = time.monotonic()

        def cancel_when_it_runs():
            while not pids.exists() or len(pids.read_text().split()) < 2:
                time.sleep(0.02)
            feedback.cancel()

        threading.Thread(target=cancel_when_it_runs).start()
        with pytest.raises(Cancelled):
            run_job(python, "probe", {}, feedback)
        seconds = time.monotonic() - start
        assert not any(is_alive(int(pid)) for pid in pids.read_text().split())
        return seconds

    assert any(seconds_to_end(tmp_path / f"pids-{attempt}") < 2.5 for attempt in range(ATTEMPTS))


def test_much_error_output_does_not_block_the_engine(run_job, script):
    body = "seq 1 200000 >&2; echo 'a library says hello'; echo '{\"event\": \"result\", \"python\": \"3\"}'"
    feedback = Watching()
    assert run_job(script(body), "probe", {}, feedback) == {"python": "3"}
    assert feedback.infos == ["a library says hello"]


def test_an_interpreter_that_cannot_start_is_an_environment_error(run_job, tmp_path):
    from cadastral_vectorizer.engine.errors import EngineEnvironmentError

    with pytest.raises(EngineEnvironmentError, match="cannot be started"):
        run_job(tmp_path / "nothing", "probe", {}, Watching())


def test_the_engine_does_not_see_qgis_s_variables(run, monkeypatch):
    for name in ("GDAL_DATA", "PROJ_LIB", "PROJ_DATA", "LD_LIBRARY_PATH", "PYTHONPATH", "QT_PLUGIN_PATH"):
        monkeypatch.setenv(name, "/somewhere")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    seen, feedback = {}, None

    def look():
        (pid,) = engines_of(os.getpid())
        entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
        seen.update(entry.split("=", 1) for entry in entries if entry)
        feedback.cancel()

    feedback = Watching(look)
    with pytest.raises(QgsProcessingException):
        run("createsamplescene", LARGE, feedback)
    assert "/somewhere" not in seen.values()
    assert not [name for name in seen if name.startswith(("QT_", "QGIS_", "PYTHON"))]
    assert seen["AWS_REGION"] == "eu-north-1"
    assert "PATH" in seen
