"""Scene files: outlines lie on the pixels whatever the grid, nonsense is refused, nothing half-written stays."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.config import SceneConfig
from cadastral_vectorizer.engine.crs import ground_pixel_m
from cadastral_vectorizer.engine.errors import Cancelled, InvalidParameter, OutputError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.scenes import generate_scene, write_scene
from scipy.ndimage import gaussian_gradient_magnitude, map_coordinates

GRIDS = {
    "north-up": {"crs": "EPSG:32633"},
    "rotated": {"crs": "EPSG:32633", "rotation_deg": 31.0},
    "upside down": {"crs": "EPSG:32633", "rotation_deg": 180.0},
    "degrees": {"crs": "EPSG:4326"},
    "rotated degrees": {"crs": "EPSG:4326", "rotation_deg": -20.0},
    "Web Mercator": {"crs": "EPSG:3857"},
    "feet": {"crs": "EPSG:2277"},
}
SIZE = {"width_px": 320, "height_px": 280, "pixel_m": 0.25, "seed": 6}


def config(folder: Path, **changes: object) -> SceneConfig:
    """A small scene in a folder."""
    values = {**SIZE, "style": "dense_town", "density": 0.9, **changes}
    return SceneConfig(raster=str(folder / "scene.tif"), outlines=str(folder / "scene.gpkg"), **values)


@pytest.mark.parametrize("name", GRIDS)
def test_outlines_lie_on_the_pixels(name: str, tmp_path: Path) -> None:
    result = write_scene(config(tmp_path, **GRIDS[name]), Reporter())
    truth = generate_scene(**SIZE, style="dense_town", density=0.9)
    with rasterio.open(result["raster"]) as source:
        transform, image = source.transform, source.read()
        assert source.crs.to_epsg() == int(GRIDS[name]["crs"].split(":")[1])
        coefficients = tuple(transform)[:6]
        ground = ground_pixel_m(coefficients, source.crs.to_wkt(), 160, 140)
    assert ground == pytest.approx((0.25, 0.25), rel=2e-3)
    frame = gpd.read_file(result["outlines"], layer="buildings")
    assert len(frame) == result["buildings"] == len(truth.outlines)
    matrix = np.linalg.inv(np.array(transform).reshape(3, 3))
    in_pixels = [shapely.transform(p, lambda xy: xy @ matrix[:2, :2].T + matrix[:2, 2]) for p in frame.geometry]
    for pixel, true in zip(in_pixels, truth.outlines, strict=True):
        assert shapely.equals_exact(pixel, true, tolerance=1e-3)
    assert np.abs(_best_shift(image, in_pixels)).max() < 0.3


def _best_shift(image: np.ndarray, outlines: list[shapely.Polygon]) -> list[float]:
    """The shift of the outlines in x and y, pixels, at which the image changes most under them."""
    edges = sum(gaussian_gradient_magnitude(band.astype(float), 0.7) for band in image)
    points = np.concatenate(
        [
            shapely.get_coordinates(shapely.line_interpolate_point(p.exterior, np.arange(0, p.length, 0.5)))
            for p in outlines
        ]
    )
    steps = np.arange(-1.5, 1.6, 0.5)
    best = []
    for axis in np.eye(2):
        at = points[:, :, None] + axis[:, None] * steps - 0.5
        strength = (
            map_coordinates(edges, [at[:, 1].ravel(), at[:, 0].ravel()], order=1).reshape(len(points), -1).mean(0)
        )
        bend, tilt, _ = np.polyfit(steps, strength, 2)
        best.append(-tilt / (2 * bend) if bend < 0 else np.inf)
    return best


def test_north_up_means_north_up(tmp_path: Path) -> None:
    write_scene(config(tmp_path, width_px=64, height_px=64), Reporter())
    with rasterio.open(tmp_path / "scene.tif") as source:
        assert source.transform.b == source.transform.d == 0
        assert source.transform.a > 0 > source.transform.e


def test_rotation_is_counter_clockwise(tmp_path: Path) -> None:
    write_scene(config(tmp_path, width_px=64, height_px=64, rotation_deg=30.0), Reporter())
    with rasterio.open(tmp_path / "scene.tif") as source:
        a, d = source.transform.a, source.transform.d
    assert np.degrees(np.arctan2(d, a)) == pytest.approx(30.0)


@pytest.mark.parametrize("crs", ["EPSG:999999", "nonsense", "", "EPSG:5773", "EPSG:4978"])
def test_a_coordinate_system_without_a_map_is_refused_with_a_sentence(crs: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"^The coordinate system .+\. .+ EPSG:32633\.$"):
        write_scene(config(tmp_path, crs=crs), Reporter())
    assert list(tmp_path.iterdir()) == []


def test_an_empty_scene_has_the_fields(tmp_path: Path) -> None:
    result = write_scene(config(tmp_path, density=0.0, width_px=64, height_px=64), Reporter())
    frame = gpd.read_file(result["outlines"], layer="buildings")
    assert result["buildings"] == len(frame) == 0
    assert {"id", "area_m2", "geometry"} <= set(frame.columns)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="scene.tif"):
        write_scene(config(tmp_path / "file", width_px=64, height_px=64), Reporter())


def test_a_cancelled_scene_leaves_nothing(tmp_path: Path) -> None:
    class CancelsWhileWriting(Reporter):
        def emit(self, event: str, **fields: object) -> None:
            if fields.get("message") == "Writing the orthophoto":
                self.cancel()

    with pytest.raises(Cancelled):
        write_scene(config(tmp_path, width_px=64, height_px=64), CancelsWhileWriting())
    assert list(tmp_path.iterdir()) == []
