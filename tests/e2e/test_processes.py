"""Processes that are killed, cancelled or abandoned: nobody is left behind, work done is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from osgeo import gdal
from support import MODEL, QGIS_PROCESS, read_layer

SMALL_STEPS = {"TILE_SIZE": 256, "OVERLAP": 64, "BATCH_SIZE": 2}


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process that is no zombie, from /proc."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state != "Z":
            found[int(folder.name)] = int(parent), command
    return found


def engine_of(parent: int) -> int | None:
    """Process id of the engine that `parent` has started."""
    for pid, (owner, command) in processes().items():
        if owner == parent and "launch.py" in command:
            return pid
    return None


def wait_for(condition, timeout_s):
    """Wait until `condition` returns something true, and return it."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"nothing happened within {timeout_s} s")


@pytest.fixture
def start(vectorize, tmp_path):
    """Start vectorizing a raster that takes a while; returns the process once its engine works."""
    started = []

    def begin(raster, output, **parameters):
        if "MODEL" not in parameters and "CADASTRAL_MODEL" in os.environ:
            parameters["MODEL"] = MODEL
        # A job folder of its own: in the profile's, it would go on where the run that the last test killed stopped.
        parameters["JOB_FOLDER"] = tmp_path / "job"
        given = {"INPUT": raster, "OUTPUT": output, "SCORE_THRESHOLD": 0.2, **parameters}  # as `vectorize` does
        settings = [f"{name}={value}" for name, value in given.items()]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [str(QGIS_PROCESS), "run", "cadastral:vectorizebuildings", "--", *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        engine = wait_for(lambda: engine_of(process.pid), 60)
        log = tmp_path / "log"
        wait_for(lambda: "tile " in log.read_text() or process.poll() is not None, 120)  # some tiles are done
        assert process.poll() is None, f"the run ended before it was disturbed:\n{log.read_text()}"
        return process, engine

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def repeat(scene, path, times):
    """The scene repeated so many times in both directions."""
    source = gdal.Open(str(scene[0]))
    pixels = source.ReadAsArray()
    target = gdal.GetDriverByName("GTiff").Create(str(path), 400 * times, 320 * times, 3, gdal.GDT_Byte)
    target.SetProjection(source.GetProjection())
    target.SetGeoTransform(source.GetGeoTransform())
    for row in range(times):
        for column in range(times):
            for band in range(3):
                target.GetRasterBand(band + 1).WriteArray(pixels[band], column * 400, row * 320)
    return path


@pytest.fixture(scope="module")
def large(scene, tmp_path_factory):
    """Two megapixels."""
    return repeat(scene, tmp_path_factory.mktemp("large") / "large.tif", 4)


def test_an_engine_that_is_killed_is_reported_and_the_next_run_goes_on(start, vectorize, large, tmp_path):
    output, job = tmp_path / "out.gpkg", tmp_path / "job"
    process, engine = start(large, output)
    os.kill(engine, signal.SIGKILL)
    assert process.wait(timeout=20) != 0
    log = (tmp_path / "log").read_text()
    assert log.count("ERROR:") == 1
    assert "killed (signal SIGKILL" in log
    assert f"kept in {job}" in log
    assert not output.exists()
    assert any(job.iterdir())


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_engine_whose_qgis_is_gone_ends_by_itself(start, large, tmp_path, sent):
    output = tmp_path / "out.gpkg"
    process, engine = start(large, output)
    process.send_signal(sent)
    process.wait(timeout=20)
    wait_for(lambda: engine not in processes(), 4)
    assert not output.exists()


def shapes(path):
    """Ids and coordinates of a layer."""
    return sorted((row["id"], geometry.ExportToWkt()) for row, geometry in read_layer(path)[1])


@pytest.fixture(scope="module")
def half(scene, tmp_path_factory):
    """Half a megapixel."""
    return repeat(scene, tmp_path_factory.mktemp("half") / "half.tif", 2)


@pytest.fixture(scope="module")
def whole(vectorize, half, tmp_path_factory):
    """What a run that nobody disturbs gives."""
    output = tmp_path_factory.mktemp("whole") / "whole.gpkg"
    assert vectorize(half, output, **SMALL_STEPS).returncode == 0
    return shapes(output)


@pytest.mark.parametrize("victims", ["engine", "QGIS", pytest.param("both", marks=pytest.mark.slow)])
def test_a_run_that_was_killed_gives_the_same_result_as_one_that_was_not(
    start, vectorize, half, whole, tmp_path, victims
):
    process, engine = start(half, tmp_path / "out.gpkg", **SMALL_STEPS)
    if victims == "engine":
        os.kill(engine, signal.SIGKILL)
    else:
        process.kill()
    if victims == "both":
        os.kill(engine, signal.SIGKILL)
    process.wait(timeout=20)
    wait_for(lambda: engine not in processes(), 4)
    assert not (tmp_path / "out.gpkg").exists()
    resumed = tmp_path / "resumed.gpkg"
    done = vectorize(half, resumed, JOB_FOLDER=tmp_path / "job", **SMALL_STEPS)
    assert done.returncode == 0, done.errors
    assert "tiles are already done" in done.output + done.errors
    assert shapes(resumed) == whole
