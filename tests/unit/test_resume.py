"""A run that is killed, starved or loses its disk goes on from its job folder to exactly the uninterrupted result."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_run import Run, cut_sample, go_on, layer_bytes, sentence, settings  # noqa: E402


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    return cut_sample(tmp_path_factory.mktemp("raster") / "part.tif")


@pytest.fixture(scope="module")
def whole(raster, tmp_path_factory):
    """The uninterrupted result, and for how many seconds there was something to kill."""
    folder = tmp_path_factory.mktemp("whole")
    run = Run(settings(raster, folder))
    run.wait_for_work()
    begun = time.monotonic()
    assert run.finish()[-1]["event"] == "result", run.errors
    found = layer_bytes(folder / "out.gpkg")
    assert len(found) > 15
    return found, time.monotonic() - begun


def count(folder: Path, table: str) -> int:
    """Rows in a journal, without leaving a trace; 0 while it is being written to."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    database = sqlite3.connect(copy / "journal.sqlite")
    try:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - names of this file
    except sqlite3.DatabaseError:
        return 0
    finally:
        database.close()
        shutil.rmtree(copy)


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_at_random_moments_cost_no_building_and_no_byte(raster, whole, tmp_path, kills):
    expected, work_s = whole
    rng = random.Random(kills)
    killed = round_ = 0
    while killed < kills:
        folder = tmp_path / str(round_)
        folder.mkdir()
        config, done = settings(raster, folder), (0, 0)
        while True:
            run = Run(config)
            run.wait_for_work()
            # Often early, where it matters what is half written; now and then later than the run takes.
            if run.ends_within(rng.random() ** 2 * 1.2 * work_s if killed < kills else 900):
                assert run.process.exitcode == 0, run.errors
                break
            killed += 1
            now = count(folder / "job", "tile"), count(folder / "job", "redrawn")
            assert now[0] >= done[0] and now[1] >= done[1], "finished work is gone"
            done = now
        assert layer_bytes(config["output"]) == expected
        assert not list((folder / "job").glob("journal.damaged*"))
        round_ += 1


def test_masks_that_were_redrawn_are_not_redrawn_again(raster, whole, tmp_path):
    config = settings(raster, tmp_path)
    slowly = """
import time
from cadastral_vectorizer.engine.refine.refine import Refiner
real = Refiner.redraw
def redraw(*args, **options):
    time.sleep(0.5)
    return real(*args, **options)
Refiner.redraw = redraw
"""
    run = Run(config, before=slowly)  # so that there is a time at which some masks are redrawn and some are not
    run.wait_for_work()
    while count(tmp_path / "job", "redrawn") < 8 and not run.ended:
        time.sleep(0.05)
    run.kill()
    spy = """
import sys
from cadastral_vectorizer.engine.refine.refine import Refiner
real, asked = Refiner.redraw, []
def redraw(self, instances, *rest, **options):
    asked.extend(instances)
    print("ASKED", len(asked), file=sys.stderr)
    return real(self, instances, *rest, **options)
Refiner.redraw = redraw
"""
    kept = count(tmp_path / "job", "redrawn")
    run = Run(config, before=spy)
    assert run.finish()[-1]["event"] == "result", run.errors
    asked = int(run.errors.rpartition("ASKED")[2])
    assert kept >= 8 and 0 < asked == count(tmp_path / "job", "redrawn") - kept
    assert layer_bytes(config["output"]) == whole[0]


@pytest.mark.parametrize("share", [0.6, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.01, 0.3, 0.95))])
def test_a_torn_journal_is_mended_or_set_aside(raster, whole, tmp_path, share):
    config = settings(raster, tmp_path)
    run = Run(config)
    run.wait_for_work()
    time.sleep(0.5 * whole[1])
    run.kill()
    file = tmp_path / "job" / "journal.sqlite"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    found, log = go_on(config)
    assert found == whole[0]
    assert any("damaged" in line for line in log)


def test_a_full_disk_is_a_sentence_and_the_run_goes_on_once_there_is_room(raster, whole, tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", job], capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        config = settings(raster, tmp_path)
        assert "full" in sentence(Run(config)) and not (tmp_path / "out.gpkg").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", job], check=True)
        done = count(job, "tile")
        found, log = go_on(config)
        assert found == whole[0] and not any("damaged" in line for line in log)
        assert done == 0 or any("are already done" in line for line in log)
    finally:
        subprocess.run(["umount", job], check=True)


@pytest.mark.slow
def test_a_full_disk_of_the_result_is_a_sentence_too(raster, whole, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        config = settings(raster, tmp_path, output=str(out / "b.gpkg"))
        assert str(out) in sentence(Run(config)) and not list(out.iterdir())
        subprocess.run(["mount", "-o", "remount,size=64m", out], check=True)
        assert go_on(config)[0] == whole[0]
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_raster_that_vanishes_is_a_sentence_and_the_run_goes_on_once_it_is_back(raster, whole, tmp_path):
    """Its blocks cannot be read any more, as when a network drive goes; hardly any are in GDAL's memory."""
    forgetful = """
from cadastral_vectorizer.engine.raster import access
access._LIMITS["GDAL_CACHEMAX"] = 200_000
"""
    own = tmp_path / "part.tif"
    shutil.copy(raster, own)
    config = settings(own, tmp_path, batch_size=1)
    run = Run(config, before=forgetful)
    run.wait_for_work()
    with own.open("r+b") as file:
        file.truncate(2000)
    assert "part.tif" in sentence(run)
    assert "part.tif" in sentence(Run(config))  # it is still gone
    own.unlink()
    assert "does not exist" in sentence(Run(config))
    shutil.copy(raster, own)
    found, log = go_on(config)
    assert found == whole[0] and any("are already done" in line for line in log)


@pytest.mark.slow
@pytest.mark.parametrize("room_mb", [5, 40, 120, 400])
def test_a_memory_limit_is_lived_with_or_a_sentence(raster, whole, tmp_path, room_mb):
    """So much more than what the libraries take up is allowed."""
    limit = f"""
import resource
from cadastral_vectorizer.engine import pipeline
real = pipeline.find_outlines
def find_outlines(*arguments):
    import torch, torchvision
    pages = int(open("/proc/self/statm").read().split()[0])
    room = pages * resource.getpagesize() + {room_mb} * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    return real(*arguments)
pipeline.find_outlines = find_outlines
"""
    config = settings(raster, tmp_path, batch_size=8)
    run = Run(config, before=limit)
    *_, last = run.finish()
    assert last["event"] == "result" or "memory" in last["message"].lower(), (last, run.errors)
    assert go_on(config)[0] == whole[0]
