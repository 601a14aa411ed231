"""What the tests of resuming and invariance share: a small orthophoto, runs on it in small steps, and their bytes."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.context
import os
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

import geopandas as gpd
import rasterio
import shapely
from rasterio.windows import Window

SAMPLE = Path(__file__).resolve().parents[2] / "resources" / "sample" / "orthophoto.tif"

PRELOAD = [
    f"cadastral_vectorizer.{name}"
    for name in ("engine.pipeline", "engine.worker", "engine.detect", "engine.segment", "engine.refine.stream",
                 "models.detector", "models.refiners")
]  # fmt: skip
"""Imported once by the server that the runs are forked from: most of a short run is imports."""


@cache
def server() -> multiprocessing.context.ForkServerContext:
    """What makes processes: each a copy of one that has imported the engine and done nothing with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


class Request:
    """The worker's input: one line, and then silence as long as QGIS is there."""

    def __init__(self, line: str) -> None:
        self._line = line

    def readline(self) -> str:
        return self._line

    def __iter__(self):
        threading.Event().wait()
        yield from ()


def work(config: dict, events: Path, errors: Path, before: str) -> None:
    """In the process of a run: the engine's worker, in small steps, its streams in files."""
    file = os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(file, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    from cadastral_vectorizer.engine import finishing, worker
    from cadastral_vectorizer.engine.refine import stream

    finishing.STEP_PX = 1  # what else happens every few megapixels
    stream.MAX_SIDE_PX, stream.ENOUGH, stream.CHUNK = 160, 2, 6
    exec(before, {})  # noqa: S102 - text of a test
    with events.open("w", buffering=1) as out:
        code = worker.serve(Request(json.dumps({"job": "vectorize", "config": config})), out)
    sys.stderr.flush()
    os._exit(code)


def cut_sample(path: Path, *, width: int = 620, height: int = 520, x: int = 60, y: int = 200) -> Path:
    """A part of the sample scene as a GeoTIFF of its own."""
    window = Window(x, y, width, height)
    with rasterio.open(SAMPLE) as sample:
        profile = {**sample.profile, "width": width, "height": height, "transform": sample.window_transform(window)}
        with rasterio.open(path, "w", **profile) as part:
            part.write(sample.read(window=window))
    return path


def settings(raster: Path, folder: Path, **changes) -> dict:
    """A configuration of some twelve tiles, as it goes over the wire."""
    return {"raster": str(raster), "output": str(folder / "out.gpkg"), "job_folder": str(folder / "job"), "threads": 1,
            "tile_size_px": 256, "overlap_px": 96, "batch_size": 2, "score_threshold": 0.3, **changes}  # fmt: skip


class Run:
    """The engine's worker at work on a configuration, in a process of its own."""

    def __init__(self, config: dict, *, before: str = "") -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="run-"))
        self._seen = 0
        files = self._folder / "events", self._folder / "errors"
        self.process = server().Process(target=work, args=(config, *files, before))
        self.process.start()

    def events(self) -> list[dict]:
        """What it has said since this was last asked."""
        file = self._folder / "events"
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        new, self._seen = lines[self._seen :], len(lines)
        return [json.loads(line) for line in new]

    @property
    def errors(self) -> str:
        """Standard error."""
        return (self._folder / "errors").read_text()

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.exitcode is not None

    def wait_for_work(self) -> None:
        """Wait for the first sign of progress: before it there is nothing to lose."""
        while True:
            ended, new = self.ended, self.events()
            if any(event["event"] == "progress" for event in new):
                return
            assert not ended, (new, self.errors)
            time.sleep(0.01)

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by itself; if not, it is killed."""
        self.process.join(seconds)
        if self.ended:
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """End it as a loss of power would."""
        self.process.kill()
        self.process.join()

    def finish(self) -> list[dict]:
        """All events that are still to come; the last one tells how it ended."""
        self.process.join(900)
        events = self.events()
        assert events, self.errors
        return events


def go_on(config: dict) -> tuple[list[tuple], list[str]]:
    """Run to the end; returns the layer's bytes and the log."""
    run = Run(config)
    events = run.finish()
    assert events[-1]["event"] == "result", (events[-1], run.errors)
    return layer_bytes(config["output"]), [e["message"] for e in events if e["event"] == "log"]


def sentence(run: Run) -> str:
    """The one sentence a run ends in that fails."""
    *_, last = run.finish()
    assert last["event"] == "error" and "Traceback" not in run.errors, (last, run.errors)
    return last["message"]


def layer_bytes(path: str | Path) -> list[tuple]:
    """Geometry to the last bit, and attributes, of every building in the order of the file."""
    layer = gpd.read_file(path)
    wkb = shapely.to_wkb(layer.geometry.to_numpy())
    return list(zip(wkb, *(layer[name] for name in layer.columns if name != "geometry"), strict=True))
