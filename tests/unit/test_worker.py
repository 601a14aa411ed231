"""The engine process: its protocol, its exit codes, and that it never outlives its parent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = [sys.executable, "-X", "utf8", str(ROOT / "engine" / "launch.py")]


def start(*arguments):
    return subprocess.Popen(
        [*LAUNCH, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ask(request, *, close=False):
    """Events and exit code of one request."""
    process = start("worker")
    line = request if isinstance(request, str) else json.dumps(request)
    process.stdin.write(line + "\n")
    process.stdin.flush()
    if close:
        process.stdin.close()
        out = process.stdout.read()
        process.wait(30)
    else:
        out = process.stdout.read()
        process.stdin.close()
        process.wait(30)
    process.stderr.close()
    return [json.loads(text) for text in out.splitlines()], process.returncode


def scene_request(folder, **changes):
    config = {"raster": str(folder / "s.tif"), "outlines": str(folder / "s.gpkg"), "width_px": 128, "height_px": 128}
    return {"job": "scene", "config": {**config, **changes}}


def test_a_job_ends_in_one_result(tmp_path):
    events, code = ask(scene_request(tmp_path))
    assert code == 0
    assert events[-1]["event"] == "result" and events[-1]["raster"].endswith("s.tif")
    assert [e["event"] for e in events].count("result") == 1
    assert (tmp_path / "s.tif").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's OpenMP what it was told")
def test_threads_sleep_while_they_wait(monkeypatch):
    monkeypatch.setenv("OMP_DISPLAY_ENV", "true")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    told = subprocess.run([*LAUNCH, "probe"], capture_output=True, text=True, timeout=120).stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in told


@pytest.mark.parametrize(
    "request_line",
    ["", "no json", "[]", '{"job": "scene"}', '{"job": "dance", "config": {}}', '{"job": "scene", "config": {"x": 1}}',
     '{"job": "scene", "config": {}}'],
)  # fmt: skip
def test_bad_requests_end_in_one_sentence(request_line):
    events, code = ask(request_line)
    assert code == 1
    assert [e["event"] for e in events] == ["error"]
    assert events[0]["message"].endswith(".") and "Traceback" not in events[0]["message"]


def test_expected_failures_carry_what_and_todo(tmp_path):
    config = {"raster": str(tmp_path / "no.tif"), "output": str(tmp_path / "o.gpkg"), "job_folder": str(tmp_path)}
    events, code = ask({"job": "vectorize", "config": config})
    assert code == 1 and events[-1]["event"] == "error"
    assert events[-1]["what"] and events[-1]["todo"]


def long_request(folder):
    return scene_request(folder, width_px=6000, height_px=6000, style="informal")


def test_cancel_ends_the_job_within_two_seconds(tmp_path):
    def seconds_to_end() -> float:
        process = start("worker")
        process.stdin.write(json.dumps(long_request(tmp_path)) + "\n")
        process.stdin.flush()
        time.sleep(3)
        assert process.poll() is None
        begin = time.monotonic()
        process.stdin.write('{"cancel": true}\n')
        process.stdin.flush()
        assert process.wait(10) == 3
        seconds = time.monotonic() - begin
        process.communicate()
        assert not (tmp_path / "s.tif").exists()
        return seconds

    assert any(seconds_to_end() < 2.0 for _ in range(3))  # a busy machine may miss the limit once


def test_the_end_of_the_parent_is_the_end_of_the_engine(tmp_path):
    process = start("worker")
    process.stdin.write(json.dumps(long_request(tmp_path)) + "\n")
    process.stdin.flush()
    time.sleep(3)
    process.stdin.close()
    assert process.wait(10) == 3
    process.stdout.close()
    process.stderr.close()


def test_the_command_line_knows_every_job_and_refuses_the_rest():
    helped = subprocess.run([*LAUNCH, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("vectorize", "regularize", "scene", "evaluate", "train-detector", "worker", "preview", "probe"):
        assert name in helped
    refused = subprocess.run([*LAUNCH, "vectorize", "--nonsense", "1"], capture_output=True, text=True)
    assert refused.returncode == 2


def test_command_line_errors_are_one_sentence(tmp_path):
    done = subprocess.run(
        [*LAUNCH, "vectorize", "--raster", str(tmp_path / "no.tif"), "--output", str(tmp_path / "o.gpkg"),
         "--job-folder", str(tmp_path / "j")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
