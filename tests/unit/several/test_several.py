"""Several rasters in one run, with the bundled model on parts of the bundled sample."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
from cadastral_vectorizer.engine.config import SeveralConfig, VectorizeConfig
from cadastral_vectorizer.engine.errors import Cancelled, InvalidParameter, JobFolderError, RasterError, VectorError
from cadastral_vectorizer.engine.pipeline import vectorize
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.several import vectorize_several
from rasterio.windows import Window

SAMPLE = Path(__file__).resolve().parents[3] / "resources" / "sample" / "orthophoto.tif"


class Heard(Reporter):
    """Keeps the log; stops at a line of it if asked to."""

    def __init__(self, stop_at=""):
        super().__init__()
        self.lines, self._stop_at = [], stop_at

    def emit(self, event, **fields):
        if event == "log":
            self.lines.append(fields["message"])
            if self._stop_at and self._stop_at in fields["message"]:
                self.cancel()


def part(path, x, y, width, height, **changes):
    """A piece of the sample."""
    with rasterio.open(SAMPLE) as dataset:
        window = Window(x, y, width, height)
        pixels, transform = dataset.read(window=window), dataset.window_transform(window)
        profile = {"driver": "GTiff", "width": width, "height": height, "count": 3, "dtype": "uint8",
                   "crs": dataset.crs, "transform": transform, **changes}  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    return str(path)


def in_degrees(source, path):
    """A raster warped to degrees, coarser."""
    with rasterio.open(source) as dataset:
        crs = "EPSG:4326"
        transform, width, height = rasterio.warp.calculate_default_transform(
            dataset.crs, crs, dataset.width, dataset.height, *dataset.bounds
        )
        profile = {"driver": "GTiff", "width": width, "height": height, "count": 3, "dtype": "uint8", "crs": crs,
                   "transform": transform, "nodata": 0}  # fmt: skip
        with rasterio.open(path, "w", **profile) as target:
            rasterio.warp.reproject(
                rasterio.band(dataset, [1, 2, 3]), rasterio.band(target, [1, 2, 3]),
                resampling=rasterio.warp.Resampling.cubic,
            )  # fmt: skip
    return str(path)


def several(folder, *rasters, reporter=None, **changes):
    config = SeveralConfig(
        **{"raster": rasters[0], "more_rasters": rasters[1:], "output": str(folder / "out.gpkg"),
           "job_folder": str(folder / "job"), "threads": 2, "score_threshold": 0.3, **changes}
    )  # fmt: skip
    result = vectorize_several(config, reporter or Reporter())
    return gpd.read_file(result["output"]).set_index("id").sort_index(), result


def test_sheets_of_one_orthophoto_give_what_the_whole_gives(tmp_path):
    boxes = [(0, 0, 150, 140), (150, 0, 106, 140), (0, 140, 256, 116)]
    sheets = [part(tmp_path / f"{k}.tif", *box) for k, box in enumerate(boxes)]
    found, result = several(tmp_path, *sheets)
    whole = vectorize(
        VectorizeConfig(raster=part(tmp_path / "whole.tif", 0, 0, 256, 256), output=str(tmp_path / "whole.gpkg"),
                        job_folder=str(tmp_path / "whole"), threads=2, score_threshold=0.3), Reporter(),
    )  # fmt: skip
    expected = gpd.read_file(whole["output"]).set_index("id").sort_index()
    assert result["rasters"] == 3 and len(found) == result["buildings"] > 0
    assert list(found.index) == list(expected.index)
    assert shapely.hausdorff_distance(found.geometry.to_numpy(), expected.geometry.to_numpy()).max() == 0


@pytest.mark.slow
def test_a_run_that_was_stopped_between_rasters_goes_on_to_the_same_bytes(tmp_path):
    west = part(tmp_path / "west.tif", 0, 0, 300, 256)
    east = in_degrees(part(tmp_path / "e.tif", 200, 0, 256, 256), tmp_path / "east.tif")
    with pytest.raises(Cancelled):
        several(tmp_path / "a", west, east, reporter=Heard("Raster 2 of 2"))
    assert not (tmp_path / "a" / "out.gpkg").exists()
    heard = Heard()
    found, result = several(tmp_path / "a", west, east, reporter=heard)
    again, _ = several(tmp_path / "b", west, east)
    assert found.equals(again)
    assert found.crs.to_epsg() == rasterio.open(SAMPLE).crs.to_epsg()
    pairs = shapely.STRtree(found.geometry).query(found.geometry, predicate="overlaps")
    assert pairs.size == 0 and found.index.is_unique
    first = gpd.read_file(tmp_path / "a" / "job" / "raster-1" / "buildings.gpkg")
    assert len(first) < len(found) < len(first) + len(gpd.read_file(tmp_path / "a/job/raster-2/buildings.gpkg"))
    assert set(found.model) == {result["model"]}


@pytest.mark.slow
def test_rasters_the_area_does_not_reach_are_passed_over(tmp_path):
    west, east = part(tmp_path / "west.tif", 0, 0, 256, 256), part(tmp_path / "east.tif", 300, 300, 200, 200)
    with rasterio.open(west) as dataset:
        bounds, crs = dataset.bounds, dataset.crs
    gpd.GeoDataFrame(geometry=[shapely.box(*bounds)], crs=crs).to_file(tmp_path / "area.gpkg")
    heard = Heard()
    several(tmp_path, east, west, reporter=heard, area=str(tmp_path / "area.gpkg"))
    assert any(line.startswith("Outside the area") and "east" in line for line in heard.lines)


def test_bad_input_is_refused_before_any_raster_is_worked_on(tmp_path):
    good, text = part(tmp_path / "good.tif", 0, 0, 256, 256), tmp_path / "text.tif"
    text.write_text("no raster")
    for more, changes, error in (
        ((str(tmp_path / "none.tif"),), {}, RasterError),
        ((str(text),), {}, RasterError),
        (("",), {}, InvalidParameter),
        ((good,), {"more_crs": ("a", "b")}, InvalidParameter),
        ((good,), {"bands": (1, 2)}, InvalidParameter),
    ):
        with pytest.raises(error):
            several(tmp_path, good, *more, **changes)
    far = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
    far.to_file(tmp_path / "far.gpkg")
    other = part(tmp_path / "other.tif", 400, 400, 64, 64)
    with pytest.raises(VectorError, match="outside the raster"):
        several(tmp_path, good, other, area=str(tmp_path / "far.gpkg"))
    assert not list(tmp_path.rglob("journal.sqlite"))


def test_a_damaged_record_or_result_of_an_earlier_run_is_not_relied_upon(tmp_path):
    from cadastral_vectorizer.engine.several import _read_record, read_buildings

    record = tmp_path / "done.json"
    for text in ("", "{", "[]", '{"asked": 1}', '{"result": {"left_out": "x"}}', "[" * 100_000, "\0"):
        record.write_text(text)
        assert _read_record(record) == {}
    layer = tmp_path / "buildings.gpkg"
    for data in (b"", b"SQLite format 3\0" + bytes(99)):
        layer.write_bytes(data)
        with pytest.raises(JobFolderError, match="is damaged"):
            read_buildings(str(layer), "EPSG:32633", "EPSG:32633")
    table = {"id": ["a"], "score": [np.nan]}
    gpd.GeoDataFrame(table, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32633").to_file(layer, layer="buildings")
    with pytest.raises(JobFolderError, match="is damaged"):
        read_buildings(str(layer), "EPSG:32633", "EPSG:32633")
