"""Rasters as QGIS has them: a CRS that only the layer knows, and layers that are no files."""

from __future__ import annotations

import math
import re

import pytest
from osgeo import gdal, ogr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor, QImage

WORLD = 2 * 20037508.342789244
ZOOM = 18
WEST, NORTH = 142000, 91000  # numbers of the first tile


@pytest.fixture
def tiles(tmp_path, provider):
    """A web layer whose tiles are files: four by four of them, on the ground 0.4 m to the pixel."""
    for column in range(4):
        folder = tmp_path / "tiles" / str(ZOOM) / str(WEST + column)
        folder.mkdir(parents=True)
        for row in range(4):
            image = QImage(256, 256, QImage.Format_RGB32)
            image.fill(QColor(60 + 40 * column, 60 + 40 * row, 90))
            assert image.save(str(folder / f"{NORTH + row}.png"))
    uri = f"type=xyz&url=file://{tmp_path}/tiles/{{z}}/{{x}}/{{y}}.png&zmin={ZOOM}&zmax={ZOOM}"
    layer = QgsRasterLayer(uri, "tiles", "wms")
    assert layer.isValid()
    return layer


def tile_bounds(west=0.0, north=0.0, east=4.0, south=4.0) -> QgsRectangle:
    """Bounds of some of the tiles, Web Mercator."""
    side = WORLD / 2**ZOOM
    x, y = (WEST - 2 ** (ZOOM - 1)) * side, (2 ** (ZOOM - 1) - NORTH) * side
    return QgsRectangle(x + west * side, y - south * side, x + east * side, y - north * side)


def polygon_layer(bounds: QgsRectangle, crs="EPSG:3857") -> QgsVectorLayer:
    layer = QgsVectorLayer(f"Polygon?crs={crs}", "area", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromRect(bounds))
    layer.dataProvider().addFeature(feature)
    return layer


def area_source(layer, context):
    from qgis.core import QgsProcessingParameterFeatureSource, QgsProcessingParameters

    definition = QgsProcessingParameterFeatureSource("AREA", "")
    context.temporaryLayerStore().addMapLayer(layer)
    value = {"AREA": QgsProcessingFeatureSourceDefinition(layer.id())}
    return QgsProcessingParameters.parameterAsSource(definition, value, context)


@pytest.fixture
def draw(provider, tmp_path, monkeypatch):
    """``draw(layer, bounds, crs)``: the layer as a file; by default nothing around the bounds."""
    from cadastral_vectorizer.processing_provider import rasters
    from cadastral_vectorizer.processing_provider.rasters import Orthophoto, model_pixel_m

    def run(layer, bounds=None, crs="EPSG:3857", feedback=None, margin_m=0.0):
        monkeypatch.setattr(rasters, "MARGIN_M", margin_m)
        context = QgsProcessingContext()
        bounds = [bounds] if isinstance(bounds, QgsRectangle) else bounds or []
        ground = [area_source(polygon_layer(part, crs), context) for part in bounds]
        photo = Orthophoto.of(layer)
        return photo.file(tmp_path, ground, model_pixel_m(""), context, feedback or QgsProcessingFeedback())

    return run


def test_tiles_are_drawn_for_the_area_at_the_ground_pixel_of_the_model(draw, tiles):
    path = draw(tiles, tile_bounds(0.5, 0.5, 2.5, 2.5))
    dataset = gdal.Open(path)
    assert dataset.RasterCount == 4
    _, across, _, _, _, down = dataset.GetGeoTransform()
    latitude = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("EPSG:3857"), QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance()
    ).transform(tile_bounds().center()).y()
    native = WORLD / 2**ZOOM / 256
    assert native * math.cos(math.radians(latitude)) > 0.2  # coarser than the model's, so drawn as it is
    assert across == pytest.approx(native, rel=0.01) and -down == pytest.approx(native, rel=0.01)
    assert dataset.RasterXSize == dataset.RasterYSize == 512
    red, green = (dataset.GetRasterBand(band).ReadAsArray() for band in (1, 2))
    assert red[10, 10] == 60 and red[10, 500] == 140  # the tiles lie where they belong
    assert green[10, 10] == 60 and green[500, 10] == 140
    assert QgsCoordinateReferenceSystem.fromWkt(dataset.GetProjection()).authid() == "EPSG:3857"


def test_a_drawn_layer_serves_again_when_the_job_goes_on(draw, tiles, tmp_path):
    first = draw(tiles, tile_bounds())
    for tile in (tmp_path / "tiles").rglob("*.png"):
        tile.unlink()
    assert draw(tiles, tile_bounds()) == first
    assert [path.name for path in tmp_path.glob("drawn*")] == [first.rsplit("/", 1)[1]]


def test_an_area_in_another_crs_bounds_what_is_drawn(draw, tiles):
    to_degrees = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("EPSG:3857"), QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance()
    )
    dataset = gdal.Open(draw(tiles, to_degrees.transformBoundingBox(tile_bounds(1, 1, 2, 2)), "EPSG:4326"))
    assert abs(dataset.RasterXSize - 256) <= 2 and abs(dataset.RasterYSize - 256) <= 2


def test_what_all_layers_cover_is_drawn(draw, tiles):
    dataset = gdal.Open(draw(tiles, [tile_bounds(0, 0, 1, 1), tile_bounds(2, 1, 3, 2)]))
    assert (dataset.RasterXSize, dataset.RasterYSize) == pytest.approx((3 * 256, 2 * 256), abs=2)


def test_what_lies_around_the_area_is_drawn_too(draw, tiles):
    bounds = tile_bounds(1, 1, 3, 3)
    width = gdal.Open(draw(tiles, bounds, margin_m=20.0)).RasterXSize
    native_m = WORLD / 2**ZOOM / 256 * math.cos(math.radians(48.11))
    assert width == pytest.approx(512 + 2 * 20 / native_m, abs=4)


def test_more_than_the_limit_is_refused_with_numbers(draw, tiles, tmp_path):
    from cadastral_vectorizer.engine.errors import RasterError

    with pytest.raises(RasterError, match=r"\d+ x \d+ pixels of it, and 100 million are the limit"):
        draw(tiles)
    assert not list(tmp_path.glob("drawn*"))


def test_an_area_beside_the_layer_is_refused(draw, tiles):
    from cadastral_vectorizer.engine.errors import VectorError

    with pytest.raises(VectorError, match="outside the layer"):
        draw(tiles, QgsRectangle(3e7, 3e7, 3e7 + 10, 3e7 + 10))


def test_tiles_that_are_missing_are_said_to_be(draw, tiles, tmp_path):
    from cadastral_vectorizer.engine.errors import RasterError

    class Heard(QgsProcessingFeedback):
        warnings = []

        def pushWarning(self, text):  # noqa: N802
            self.warnings.append(text)

    feedback = Heard()
    draw(tiles, tile_bounds(2, 0, 6, 4), feedback=feedback)
    assert re.search(r"empty on (49\.9|50\.0)% of the area", feedback.warnings[0])  # QGIS versions round differently
    with pytest.raises(RasterError, match="draws nothing here"):
        draw(tiles, tile_bounds(10, 10, 12, 12))
    assert len(list(tmp_path.glob("drawn*"))) == 1


def test_drawing_can_be_cancelled(draw, tiles, tmp_path):
    from cadastral_vectorizer.engine.errors import Cancelled

    feedback = QgsProcessingFeedback()
    feedback.cancel()
    with pytest.raises(Cancelled):
        draw(tiles, tile_bounds(), feedback=feedback)
    assert not list(tmp_path.glob("drawn*"))


def test_a_raster_in_memory_is_drawn_pixel_by_pixel(draw, scene):
    gdal.GetDriverByName("GTiff").CreateCopy("/vsimem/photo.tif", gdal.Open(scene[0]))
    try:
        path = draw(QgsRasterLayer("/vsimem/photo.tif", "memory", "gdal"))
        assert (gdal.Open(path).ReadAsArray() == gdal.Open(scene[0]).ReadAsArray()).all()
    finally:
        gdal.Unlink("/vsimem/photo.tif")


def test_a_raster_keeps_the_name_gdal_knows_it_by(draw, scene, tmp_path):
    assert draw(QgsRasterLayer(scene[0], "scene", "gdal")) == scene[0]
    package = str(tmp_path / "tables.gpkg")
    gdal.Translate(package, scene[0], options="-of GPKG -co RASTER_TABLE=photo")
    name = draw(QgsRasterLayer(f"GPKG:{package}:photo", "photo", "gdal"))
    assert gdal.Open(name).RasterXSize == gdal.Open(scene[0]).RasterXSize
    assert not list(tmp_path.glob("drawn*"))


@pytest.fixture
def bare(scene, tmp_path):
    """The scene as a file that says nowhere where it lies but for its world file."""
    path = str(tmp_path / "bare.tif")
    options = gdal.TranslateOptions(creationOptions=["PROFILE=BASELINE", "TFW=YES"], noData=None)
    gdal.Translate(path, scene[0], options=options)
    (tmp_path / "bare.tif.aux.xml").unlink(missing_ok=True)
    return path


def test_a_file_without_a_crs_is_refused(run, bare):
    with pytest.raises(QgsProcessingException, match="has no coordinate system"):
        run("vectorizebuildings", {"INPUT": bare, "OUTPUT": "memory:"})


def test_buildings_are_found_with_a_crs_that_only_the_layer_has(run, bare, tmp_path):
    layer = QgsRasterLayer(bare, "bare", "gdal")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32633"))
    output = str(tmp_path / "found.gpkg")
    result = run("vectorizebuildings", {"INPUT": layer, "OUTPUT": output, "SCORE_THRESHOLD": 0.3})
    dataset = ogr.Open(output)  # its layer lives no longer than it does
    found = dataset.GetLayer()
    assert found.GetSpatialRef().GetAuthorityCode(None) == "32633"
    assert result["BUILDINGS"] == found.GetFeatureCount() > 0


@pytest.fixture
def in_project(qgis):
    """``in_project(path, crs)``: a raster layer that the project owns, as failed runs keep hold of theirs."""

    def add(path, crs):
        layer = QgsProject.instance().addMapLayer(QgsRasterLayer(path, "photo", "gdal"))
        layer.setCrs(QgsCoordinateReferenceSystem(crs))
        return layer

    yield add
    QgsProject.instance().removeAllMapLayers()


def test_every_algorithm_takes_the_crs_that_only_the_layer_has(run, bare, scene, in_project, tmp_path):
    layer = in_project(bare, "EPSG:32633")
    outlines, chips, figures = scene[1], str(tmp_path / "chips"), str(tmp_path / "figures.json")
    assert run("refinepolygons", {"INPUT": outlines, "RASTER": layer, "OUTPUT": "memory:"})["REFINED"] > 0
    drawn = {"INPUT": [layer], "ANNOTATIONS": outlines}
    assert run("exporttrainingdata", {**drawn, "OUTPUT_FOLDER": chips, "BLOCK_SIZE": 40})["TRAIN_BUILDINGS"] > 0
    far = in_project(scene[0], "EPSG:32634")  # one zone off, against the file
    with pytest.raises(QgsProcessingException, match="No annotation lies on a raster"):
        run("exporttrainingdata", {**drawn, "INPUT": [far], "OUTPUT_FOLDER": chips})
    with pytest.raises(QgsProcessingException, match="No annotation lies on a raster"):
        run("trainsegmenter", {**drawn, "INPUT": [far], "MINUTES": 0, "OUTPUT_MODEL": str(tmp_path / "model.zip")})
    far.setCrs(QgsCoordinateReferenceSystem("EPSG:3857"))  # where a metre on the ground has another length
    compared = {"INPUT": outlines, "REFERENCE": outlines, "FIGURES": figures}
    pixels = [run("evaluate", {**compared, "RASTER": raster})["pixel_m"] for raster in (layer, scene[0], far)]
    assert pixels[:2] == pytest.approx([0.2, 0.2], rel=1e-3) and pixels[2] < 0.19
