"""Processes beside the engine's own: the same bytes with and without, and nothing of them remains."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine import crew as crews
from cadastral_vectorizer.engine import geometry
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.crew import Crew
from cadastral_vectorizer.engine.errors import Cancelled
from cadastral_vectorizer.engine.geometry import pack, shape_outlines, unpack
from cadastral_vectorizer.engine.progress import Reporter

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(crews, "usable_cores", lambda: 2)


def blobs(number, seed=3):
    """Outlines with walls, prongs and neighbours that touch or overlap, on a street grid."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(number):
        x, y = 11.0 * (k % 20), 14.0 * (k // 20)
        house = shapely.box(x, y, x + rng.uniform(8, 12), y + rng.uniform(7, 12))
        prong = shapely.box(x - 3, y + 4, x, y + 4 + rng.uniform(0.2, 0.8)) if k % 7 == 0 else shapely.Polygon()
        rough = shapely.segmentize(shapely.union(house, prong), 0.4)
        rough = shapely.transform(rough, lambda xy: xy + np.r_[w := rng.normal(0, 0.08, (len(xy) - 1, 2)), w[:1]])
        if rough.is_valid:
            found.append(Outline(id=f"{k:04d}", geometry=rough, score=round(rng.uniform(), 2), check="edge" * (k % 2)))
    return found


def layer(outlines, **options):
    settings = {"tolerance_m": 0.6, "regularization": "right_angles", "min_area_m2": 6.0, "reporter": Reporter()}
    found, left_out = shape_outlines(outlines, **settings | options)
    return [pack([o])[1] + [shapely.to_wkb(o.geometry)] for o in found], left_out


@pytest.mark.parametrize("mode", ["none", "any_angle"])
def test_processes_give_the_same_bytes_as_threads(monkeypatch, mode):
    monkeypatch.setattr(geometry, "BLOCK", 60)
    outlines = blobs(300)
    assert len(outlines) > 250
    alone = layer(outlines, regularization=mode)
    asked = []
    monkeypatch.setattr(crews._Helper, "ask", lambda s, f, a, real=crews._Helper.ask: asked.append(f) or real(s, f, a))
    monkeypatch.setattr(geometry, "WORTH_PROCESSES", 100)
    assert layer(outlines, regularization=mode) == alone
    assert {f.__name__ for f in asked} == {"_straighten_block", "_settle", "_measure_block"}


@pytest.mark.parametrize("broken", ["", "/nowhere/python", "/bin/false"])
def test_a_machine_that_starts_no_processes_works_in_threads(monkeypatch, broken):
    outlines = blobs(80)
    alone = layer(outlines)
    monkeypatch.setattr(geometry, "WORTH_PROCESSES", 10)
    monkeypatch.setattr(sys, "executable", broken)
    assert layer(outlines) == alone


def test_outlines_survive_packing():
    outlines = [Outline("a", shapely.box(0, 0, 1 / 3, 1), 0.1, True, False, "kept", 1 / 7, 0.3, "look")] + blobs(3)
    assert unpack(*pack(outlines)) == outlines


def quiet():
    """A heartbeat without a wish."""


def run_in_order(crew):
    return list(crew.starmap(divmod, [(k, 7) for k in range(100)]))


def test_results_come_in_order_from_other_processes():
    with Crew(processes=True, heartbeat=quiet) as crew:
        assert run_in_order(crew) == [divmod(k, 7) for k in range(100)]
        assert os.getpid() not in set(crew.starmap(os.getpid, [()] * 20))
        assert set(crew.map_here(lambda _: os.getpid(), range(5))) == {os.getpid()}


def test_an_error_is_raised_here_and_a_lost_helper_is_done_without():
    with Crew(processes=True, heartbeat=quiet) as crew:
        with pytest.raises(ZeroDivisionError):
            list(crew.starmap(divmod, [(1, 1), (1, 0)]))
        crew._helpers[0]._process.kill()
        assert run_in_order(crew) == [divmod(k, 7) for k in range(100)]
        crew._helpers[1]._process.kill()
        assert run_in_order(crew) == [divmod(k, 7) for k in range(100)]


def test_a_wish_to_cancel_ends_helpers_at_once():
    reporter = Reporter()
    threading.Timer(1.0, reporter.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled), Crew(processes=True, heartbeat=reporter.check) as crew:
        list(crew.starmap(time.sleep, [(60,)] * 4))
    assert time.monotonic() - began < 3
    assert all(h._process.returncode is not None for h in crew._helpers)


@pytest.mark.skipif(sys.platform == "win32", reason="asks the system for processes as POSIX does")
def test_helpers_end_with_a_killed_parent():
    program = f"""
import runpy, sys, time
runpy.run_path({str(ROOT / "engine" / "launch.py")!r})
from cadastral_vectorizer.engine import crew
crew.usable_cores = lambda: 2
with crew.Crew(processes=True, heartbeat=lambda: None) as c:
    print(*(h._process.pid for h in c._helpers), flush=True)
    list(c.starmap(time.sleep, [(60,)] * 4))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        helpers = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(1.0)
        assert all(running(pid) for pid in helpers)
        parent.kill()
    assert len(helpers) == 2
    end = time.monotonic() + 5
    while any(running(pid) for pid in helpers):
        assert time.monotonic() < end, "a helper outlives the process that started it"
        time.sleep(0.05)


def running(pid):
    """Whether a process is there and no mere entry in the table that nobody has read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_helpers_import_no_network():
    with Crew(processes=True, heartbeat=quiet) as crew:
        program = "import_module('cadastral_vectorizer.engine.geometry') and sorted(__import__('sys').modules)"
        (modules,) = crew.starmap(eval, [(program, {"import_module": importlib.import_module})])
        assert "shapely" in modules and not {"torch", "rasterio", "cv2"} & set(modules)
