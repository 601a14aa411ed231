"""What the tests through qgis_process share: paths, calls, reading and writing of layers."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from osgeo import gdal, ogr, osr

ROOT = Path(__file__).resolve().parents[2]
QGIS_PROCESS = ROOT / "scripts" / "qgis_process"
ENVIRONMENT = ROOT / ".profile/profiles/default/cadastral_vectorizer/environment"
SAMPLE = ROOT / "resources" / "sample"
BUNDLED = ROOT / "resources" / "models" / "bundled.zip"
MODEL = Path(os.environ.get("CADASTRAL_MODEL", BUNDLED))  # another package can be put to the same tests

FIELDS = [
    "id", "score", "area_m2", "perimeter_m", "vertices", "refined", "regularized", "max_shift_m", "iou_raw",
    "edge", "check", "model",
]  # fmt: skip

gdal.UseExceptions()
ogr.UseExceptions()
gdal.PushErrorHandler("CPLQuietErrorHandler")


@dataclass(frozen=True)
class Run:
    """One finished call of qgis_process."""

    returncode: int
    output: str
    errors: str

    def value(self, name: str) -> str:
        """A value from the section Results."""
        results = self.output.partition("Results")[2]
        return re.search(rf"^{name}:\t(.*)$", results, re.MULTILINE).group(1)

    @property
    def sentence(self) -> str:
        """The one message of a failed run, on one line."""
        assert self.returncode != 0, self.output
        assert "Traceback" not in self.errors, self.errors
        # QGIS 3.44 has more to say about a file that is not there.
        errors = re.sub(r"^ERROR: Status .*$", "", self.errors, flags=re.MULTILINE)
        assert errors.count("ERROR:") == 1, self.errors
        text = errors.partition("ERROR:")[2]
        text = text.replace("An error was encountered while checking parameter values", "")
        return " ".join(text.strip().splitlines()[0].split())


def call(*arguments, timeout=900, **options) -> Run:
    """Call qgis_process."""
    done = subprocess.run(
        [str(QGIS_PROCESS), *arguments], capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    return Run(done.returncode, done.stdout, done.stderr)


def polygon_file(path, wkts, crs=32633, **columns):
    """Write polygons given as WKT, with columns of text or numbers, into a new GeoPackage and return its path."""
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(crs)
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    multi = any(wkt.startswith("MULTI") for wkt in wkts)
    layer = dataset.CreateLayer(path.stem, reference, ogr.wkbMultiPolygon if multi else ogr.wkbPolygon)
    for name, values in columns.items():
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTString if isinstance(values[0], str) else ogr.OFTReal))
    for row, wkt in enumerate(wkts):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.CreateGeometryFromWkt(wkt))
        for name, values in columns.items():
            feature.SetField(name, values[row])
        layer.CreateFeature(feature)
    return path


def box(west, south, width=10.0, height=10.0):
    """WKT of a rectangle, metres from (500000, 4000000)."""
    west, south = 500000 + west, 4000000 + south
    east, north = west + width, south + height
    return f"POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))"


def reproject(wkts, target, source=32633):
    """The same shapes in another CRS, x before y."""
    crs = [osr.SpatialReference(), osr.SpatialReference()]
    for reference, code in zip(crs, (source, target)):
        reference.ImportFromEPSG(code)
        reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    moved = [ogr.CreateGeometryFromWkt(wkt) for wkt in wkts]
    for geometry in moved:
        geometry.Transform(osr.CoordinateTransformation(*crs))
    return [geometry.ExportToWkt() for geometry in moved]


def read_layer(path, layer=0):
    """Field names and ``(attributes, geometry)`` of every feature of a vector file."""
    dataset = ogr.Open(str(path))
    table = dataset.GetLayer(layer)
    names = [field.GetName() for field in table.schema]
    rows = [({name: f.GetField(name) for name in names}, f.GetGeometryRef().Clone()) for f in table]
    return names, rows
