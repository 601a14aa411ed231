"""The `refine` job: drawings to the working grid, block by block through the network, and back to their features."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from cadastral_vectorizer.engine import refine_polygons
from cadastral_vectorizer.engine.config import RefineConfig
from cadastral_vectorizer.engine.crs import transform_geometries
from cadastral_vectorizer.engine.errors import Cancelled, InvalidParameter, ModelPackageError, VectorError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.raster.source import RasterSource
from cadastral_vectorizer.engine.refine.drawing import draw_polygon
from cadastral_vectorizer.engine.refine_polygons import QUALITY_FIELDS, blocks, refine_file
from cadastral_vectorizer.engine.rough_features import place_features
from cadastral_vectorizer.models.package import BUNDLED
from cadastral_vectorizer.models.refiners import MaskRefiner, Refinement

torch.set_num_threads(1)

UTM, ORIGIN = "EPSG:32633", (500000.0, 4650100.0)
ROOFS = [(20, 20, 60, 50), (64, 20, 104, 52), (150, 120, 210, 170)]  # pixels of 0.2 m
SAMPLE = Path(__file__).resolve().parents[3] / "resources" / "sample"


class BrightnessRefiner(MaskRefiner):
    """Says that whatever is bright is the building: stands in for a perfectly trained network."""

    def forward(self, image, coarse, others):
        return Refinement(40.0 * (image.mean(dim=1, keepdim=True) - 0.5))


@pytest.fixture
def photo(tmp_path):
    """A GeoTIFF with bright roofs and a strip of no-data on the right."""
    pixels = np.full((220, 300), 40, np.uint8)
    for x_min, y_min, x_max, y_max in ROOFS:
        pixels[y_min:y_max, x_min:x_max] = 220
    pixels[:, 260:] = 0
    path = tmp_path / "photo.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=300, height=220, count=3, dtype="uint8", crs=UTM, nodata=0,
        transform=rasterio.transform.from_origin(*ORIGIN, 0.2, 0.2),
    ) as dataset:  # fmt: skip
        dataset.write(np.repeat(pixels[None], 3, axis=0))
    return str(path)


@pytest.fixture
def bright(monkeypatch):
    """Every package's refiner is a `BrightnessRefiner`."""
    monkeypatch.setattr(
        "cadastral_vectorizer.models.package.ModelPackage.refiner", lambda package: BrightnessRefiner()
    )


def on_map(x_min, y_min, x_max, y_max):
    """A box of pixels on the map."""
    west, north = ORIGIN
    return shapely.box(west + 0.2 * x_min, north - 0.2 * y_max, west + 0.2 * x_max, north - 0.2 * y_min)


def write(path, geometries, crs=UTM, **columns):
    gpd.GeoDataFrame(columns, geometry=geometries, crs=crs).to_file(path, layer="drawings", engine="pyogrio")
    return str(path)


def run(tmp_path, photo, drawings, **settings):
    result = refine_file(
        RefineConfig(drawings, photo, str(tmp_path / "out.gpkg"), threads=1, precision="float32", **settings),
        Reporter(),
    )
    return result, gpd.read_file(result["output"], layer=result["layer"])


def iou(first, second):
    return first.intersection(second).area / first.union(second).area


def grid_of(photo):
    with RasterSource.open(photo, pixel_m=0.2) as source:
        return source.grid


# -- drawing --------------------------------------------------------------------------------------------


def test_a_box_of_whole_pixels_is_drawn_exactly():
    instance = draw_polygon(shapely.box(10, 20, 17, 29), "a")
    expected = np.zeros((13, 11), np.uint8)
    expected[2:11, 2:9] = 255
    assert instance.box == (8, 18, 19, 31) and np.array_equal(instance.probability, expected)


def test_a_turned_polygon_with_a_courtyard_keeps_its_area():
    ring = shapely.affinity.rotate(shapely.box(10.3, 5.2, 70.8, 40.4), 23)
    hole = shapely.affinity.rotate(shapely.box(30.1, 15.7, 45.3, 27.2), 23)
    polygon = ring.difference(hole)
    instance = draw_polygon(polygon, "a")
    assert instance.probability.sum() / 255 == pytest.approx(polygon.area, rel=0.003)
    x, y = np.array(hole.centroid.coords[0]).astype(int) - instance.box[:2]
    assert instance.probability[y, x] == 0


def test_what_covers_no_pixel_is_not_drawn():
    assert draw_polygon(shapely.box(3.1, 3.1, 3.4, 3.4), "a") is None


# -- drawings to the grid -------------------------------------------------------------------------------


def test_drawings_in_degrees_land_on_their_pixels(photo):
    grid = grid_of(photo)
    degrees = transform_geometries(np.array([on_map(*ROOFS[0])], object), UTM, "EPSG:4326")
    (feature,) = place_features(degrees, "EPSG:4326", grid=grid, metric_wkt=grid.crs_wkt, stroke_width_m=3)
    assert np.abs(np.array(feature.pixels[0].bounds) - ROOFS[0]).max() < 0.01


def test_strokes_get_their_width_in_metres(photo):
    grid = grid_of(photo)
    line = shapely.LineString([(500004, 4650090), (500010, 4650090)])
    degrees = transform_geometries(np.array([line], object), UTM, "EPSG:4326")
    (feature,) = place_features(degrees, "EPSG:4326", grid=grid, metric_wkt=grid.crs_wkt, stroke_width_m=3)
    assert feature.metric[0].area == pytest.approx(6 * 3 + np.pi * 1.5**2, rel=0.01)
    assert feature.pixels[0].area == pytest.approx(feature.metric[0].area / 0.04, rel=0.01)


def test_what_cannot_be_placed_says_why_and_spoils_nothing(photo):
    grid = grid_of(photo)
    good = on_map(*ROOFS[0])
    bow_tie = shapely.Polygon([(500004, 4650080), (500010, 4650090), (500010, 4650080), (500004, 4650090)])
    shapes = {
        "": good,
        "has no geometry": None,
        "has no area": shapely.Polygon([(500004, 4650080)] * 4),
        "lies outside the raster": shapely.box(0, 0, 1, 1),
        "has coordinates that are not numbers": shapely.Polygon([(500004, 4650080), (np.nan, 2), (2, 3)]),
        "1000 m long, more than a building of 500 m": shapely.box(499500, 4650080, 500500, 4650090),
    }
    found = place_features(
        np.array([*shapes.values(), bow_tie], object), UTM, grid=grid, metric_wkt=grid.crs_wkt, stroke_width_m=3
    )
    assert [f.kept for f in found] == [*shapes, ""]
    assert [bool(f.pixels) for f in found] == [True, *[False] * 5, True]
    assert "repaired" in found[-1].check and len(found[-1].pixels) == 2
    beyond = transform_geometries(np.array([good], object), UTM, "EPSG:4326")[0]
    pole = shapely.box(-100, 89.9, 100, 90)
    found = place_features(
        np.array([pole, beyond], object), "EPSG:4326", grid=grid, metric_wkt=grid.crs_wkt, stroke_width_m=3
    )
    assert found[0].kept and not found[1].kept


def test_drawings_beside_the_raster_are_refused(photo):
    grid = grid_of(photo)
    beside = np.array([shapely.box(0, 0, 10, 10)], object)
    with pytest.raises(VectorError, match="No feature lies on the raster"):
        place_features(beside, UTM, grid=grid, metric_wkt=grid.crs_wkt, stroke_width_m=3)


# -- block by block -------------------------------------------------------------------------------------


def test_blocks_hold_every_drawing_once_and_those_around(monkeypatch):
    monkeypatch.setattr(refine_polygons, "BLOCK", 7)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 4000, (60, 2))
    drawings = {f"{k:03d}": shapely.box(x, y, x + 50, y + 30) for k, (x, y) in enumerate(corners)}
    seen = []
    for own, around in blocks(drawings):
        assert 1 <= len(own) <= 7 and not set(own) & set(around)
        seen += own
        for name, polygon in drawings.items():
            if name not in own and any(polygon.intersects(o.buffer(40)) for o in own.values()):
                assert name in around
    assert sorted(seen) == sorted(drawings)
    assert list(blocks({})) == []


def test_large_drawings_make_small_blocks(monkeypatch):
    monkeypatch.setattr(refine_polygons, "BLOCK_PX", 25_000)
    drawings = {f"{k}": shapely.box(k * 1000, 0, k * 1000 + 100, 100) for k in range(6)}
    assert [len(own) for own, _ in blocks(drawings)] == [2, 2, 2]
    monkeypatch.setattr(refine_polygons, "BLOCK_PX", 10)
    assert [len(own) for own, _ in blocks(drawings)] == [1] * 6


def test_results_do_not_depend_on_the_blocks(photo, bright, tmp_path, monkeypatch):
    boxes = [on_map(x0 - 3, y0 + 2, x1 - 6, y1 + 4) for x0, y0, x1, y1 in ROOFS]
    drawings = write(tmp_path / "boxes.gpkg", boxes)
    _, whole = run(tmp_path, photo, drawings, regularization="none")
    monkeypatch.setattr(refine_polygons, "BLOCK", 1)
    _, single = run(tmp_path, photo, drawings, regularization="none")
    assert whole.geometry.geom_equals(single.geometry).all() and (whole.score == single.score).all()


# -- the job --------------------------------------------------------------------------------------------


def test_rough_drawings_of_every_kind_become_the_roofs(photo, bright, tmp_path):
    x0, y0, x1, y1 = ROOFS[2]
    stroke = shapely.LineString([on_map(x0 + 12, y0, x0 + 12, y1).centroid, on_map(x1 - 12, y0, x1 - 12, y1).centroid])
    box, shifted = on_map(15, 14, 61, 57), on_map(68, 24, 108, 56)
    drawings = write(tmp_path / "mixed.gpkg", [box, shifted, stroke], name=["box", "shifted", "stroke"])
    result, layer = run(tmp_path, photo, drawings, stroke_width_m=5)
    assert (result["features"], result["refined"]) == (3, 3)
    assert list(layer.columns) == ["name", *QUALITY_FIELDS, "geometry"]
    for row, roof, rough in zip(layer.itertuples(), ROOFS, (box, shifted, stroke.buffer(2.5)), strict=True):
        assert iou(row.geometry, on_map(*roof)) > 0.97
        assert row.iou_input == pytest.approx(iou(row.geometry, rough), abs=0.01)
        assert row.area_m2 == pytest.approx(row.geometry.area, abs=0.01)
        assert row.score > 0.9 and row.refined and not row.edge and row.vertices == 4


def test_every_feature_comes_back_with_its_id_and_attributes(photo, bright, tmp_path):
    boxes = [on_map(*ROOFS[1]), on_map(200, 20, 230, 40), on_map(265, 20, 285, 40), on_map(255, 100, 310, 130), None]
    names = ["fits already", "nothing there", "no-data", "over the edge", "empty"]
    drawings = write(tmp_path / "all.gpkg", boxes, name=names, score=[1, 2, 3, 4, None], check=names)
    result, layer = run(tmp_path, photo, drawings)
    assert list(layer.name) == names and list(layer.check_input) == names
    assert layer.score_input.tolist()[:4] == [1, 2, 3, 4] and np.isnan(layer.score_input[4])
    assert not layer.refined.any() and result["refined"] == 0
    checks = dict(zip(layer.name, layer.check, strict=True))
    assert checks["fits already"] == ""
    assert checks["nothing there"] == "kept: no building seen there"
    assert checks["no-data"] == "kept: no image there"
    assert "cut by the edge of the image" in checks["over the edge"] and layer.edge[3]
    assert checks["empty"] == "kept: has no geometry" and layer.geometry[4] is None
    assert np.isnan(layer.score[2]) and np.isnan(layer.score[4])
    for row, box in zip(layer.itertuples(), boxes[:4]):
        assert row.geometry.equals(box) and row.iou_input == 1 and row.regularized == "kept"


def test_parts_of_a_feature_stay_one_feature(photo, bright, tmp_path):
    both = shapely.MultiPolygon([on_map(18, 22, 58, 53), on_map(153, 116, 206, 172)])
    drawings = write(tmp_path / "multi.gpkg", [both])
    _, layer = run(tmp_path, photo, drawings)
    (shape,) = layer.geometry
    assert len(shape.geoms) == 2
    assert iou(shape, shapely.union_all([on_map(*ROOFS[0]), on_map(*ROOFS[2])])) > 0.97


def test_neighbours_drawn_over_each_other_do_not_overlap(photo, bright, tmp_path):
    drawings = write(tmp_path / "two.gpkg", [on_map(20, 20, 70, 50), on_map(60, 20, 104, 52)])
    _, layer = run(tmp_path, photo, drawings)
    first, second = layer.geometry
    assert first.intersection(second).area < 0.01 and layer.refined.all()


@pytest.mark.parametrize("smoothing", ["gaussian", "opening_closing", "spline", "active_contour"])
def test_smoothing_rounds_the_corners_before_they_are_outlined(photo, bright, tmp_path, smoothing):
    drawings = write(tmp_path / "box.gpkg", [on_map(15, 14, 61, 57)])
    settings = {"regularization": "none", "tolerance_m": 0.05}
    _, sharp = run(tmp_path, photo, drawings, **settings)
    _, soft = run(tmp_path, photo, drawings, **settings, smoothing=smoothing, smoothing_m=0.5)
    assert 0.9 < iou(soft.geometry[0], sharp.geometry[0]) < 0.999
    corner = shapely.Point(on_map(*ROOFS[0]).exterior.coords[0])
    assert soft.geometry[0].distance(corner) > sharp.geometry[0].distance(corner)


def test_a_package_without_a_refiner_an_empty_layer_and_bad_values_are_refused(photo, tmp_path):
    drawings = write(tmp_path / "box.gpkg", [on_map(*ROOFS[0])])
    package = tmp_path / "package"
    with zipfile.ZipFile(BUNDLED) as archive:
        archive.extract("model.json", package)
    manifest = json.loads((package / "model.json").read_text())
    (package / "model.json").write_text(json.dumps({**manifest, "refiner": None}))
    with pytest.raises(ModelPackageError, match="holds no refiner"):
        run(tmp_path, photo, drawings, model=str(package))
    empty = write(tmp_path / "empty.gpkg", [])
    with pytest.raises(VectorError, match="no features|no polygons|no layer"):
        run(tmp_path, photo, empty)
    for settings in ({"stroke_width_m": 0.0}, {"passes": 0}, {"bands": (1, 2)}, {"smoothing": "magic"}):
        with pytest.raises(InvalidParameter):
            run(tmp_path, photo, drawings, **settings)


class Watching(Reporter):
    """Remembers the progress, and cancels once it has come so far."""

    def __init__(self, until=2.0):
        super().__init__()
        self.until, self.fractions, self.texts = until, [], []

    def emit(self, event, **fields):
        if event == "progress":
            self.fractions.append(fields["fraction"])
            self.texts += [fields["message"]] if fields["message"] else []
            if fields["fraction"] >= self.until:
                self.cancel()


def test_progress_moves_on_over_blocks_and_passes_and_counts_drawings(photo, bright, tmp_path, monkeypatch):
    monkeypatch.setattr(refine_polygons, "BLOCK", 1)
    drawings = write(tmp_path / "boxes.gpkg", [on_map(*roof) for roof in ROOFS])
    reporter = Watching()
    refine_file(RefineConfig(drawings, photo, str(tmp_path / "out.gpkg"), threads=1, passes=2), reporter)
    assert reporter.fractions == sorted(reporter.fractions) and len(set(reporter.fractions)) > 8
    assert reporter.texts[:4] == ["3 of 3 features on the raster", *(f"{n} of 3 drawings looked at" for n in range(3))]


@pytest.mark.parametrize("until", [0.0, 0.4])
def test_a_run_can_be_cancelled(photo, bright, tmp_path, monkeypatch, until):
    monkeypatch.setattr(refine_polygons, "BLOCK", 1)
    drawings = write(tmp_path / "boxes.gpkg", [on_map(*roof) for roof in ROOFS])
    reporter = Watching(until)
    with pytest.raises(Cancelled):
        refine_file(RefineConfig(drawings, photo, str(tmp_path / "out.gpkg"), threads=1), reporter)
    assert until <= max(reporter.fractions) < until + 0.3
    assert not (tmp_path / "out.gpkg").exists()


def test_the_bundled_refiner_brings_boxes_closer_to_the_truth(tmp_path):
    truth = gpd.read_file(SAMPLE / "buildings.gpkg")
    inside = shapely.box(*truth.total_bounds).buffer(-12)
    truth = truth[truth.within(inside)].iloc[:16]
    boxes = shapely.box(*truth.bounds.to_numpy().T)
    drawings = write(tmp_path / "boxes.gpkg", boxes, crs=truth.crs)
    _, layer = run(tmp_path, str(SAMPLE / "orthophoto.tif"), drawings)
    before = np.mean([iou(a, b) for a, b in zip(boxes, truth.geometry)])
    after = np.mean([iou(a, b) for a, b in zip(layer.geometry, truth.geometry)])
    assert after > before + 0.01 and layer.is_valid.all()
