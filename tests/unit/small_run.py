"""What the tests of resuming and invariance share: a small orthophoto, runs on it in small steps, and their bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import geopandas as gpd
import rasterio
import shapely
from rasterio.windows import Window

SAMPLE = Path(__file__).resolve().parents[2] / "resources" / "sample" / "orthophoto.tif"

WORKER = """
import sys
from cadastral_vectorizer.engine import finishing
from cadastral_vectorizer.engine.refine import stream
from cadastral_vectorizer.engine.worker import main
finishing.STEP_PX = 1  # what else happens every few megapixels
stream.MAX_SIDE_PX, stream.ENOUGH, stream.CHUNK = 160, 2, 6
sys.exit(main())
"""


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
    """The engine's worker as QGIS starts it, in small steps, at work on a configuration.

    Its input stays open as long as this object: the end of the input would tell it that QGIS is gone.
    """

    def __init__(self, config: dict, *, before: str = "") -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the run
        self.process = subprocess.Popen(
            [sys.executable, "-c", before + WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.process.stdin.write(json.dumps({"job": "vectorize", "config": config}) + "\n")
        self.process.stdin.flush()

    def wait_for_work(self) -> None:
        """Wait for the first sign of progress: before it there is nothing to lose."""
        for line in self.process.stdout:
            if '"progress"' in line:
                return
            assert '"error"' not in line, line
        raise AssertionError(self.close())

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by itself; if not, it is killed."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """End it as a loss of power would."""
        self.process.kill()
        self.close()

    def finish(self) -> list[dict]:
        """All events that are still to come; the last one tells how it ended."""
        events = [json.loads(line) for line in self.process.stdout]
        self.errors = self.close()
        assert events, self.errors
        return events

    def close(self) -> str:
        """Wait for the end; returns what it wrote to standard error."""
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self._errors.seek(0)
        text = self._errors.read()
        self._errors.close()
        return text


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
