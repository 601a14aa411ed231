"""Orthophotos for the engine: files as they are, and what only QGIS can read drawn into one."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    QgsCoordinateTransform,
    QgsCsException,
    QgsDistanceArea,
    QgsFeatureRequest,
    QgsPointXY,
    QgsProcessingFeatureSource,
    QgsRasterBlockFeedback,
    QgsRasterFileWriter,
    QgsRasterInterface,
    QgsRasterPipe,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QFileInfo, Qt

from ..engine.errors import Cancelled, OutputError, RasterError, VectorError
from ..models.manifest import open_manifest

LIMIT_PX = 100_000_000
"""QGIS draws no more pixels than this of a layer GDAL cannot open: at 0.15 m, two square kilometres."""

MARGIN_M = 30.0
"""Drawn around what is asked for, so that buildings on its border are whole and networks see what is beside them."""


def model_pixel_m(model: str) -> float:
    """Ground pixel of a model package, metres; of the bundled one for an empty path. Raises `ModelPackageError`."""
    return float(open_manifest(model)[1]["pixel_m"])


@dataclass(frozen=True)
class Orthophoto:
    """A raster layer, ready to be used from another thread.

    Attributes:
        name: of the layer.
        path: what GDAL opens; empty where QGIS has to draw the layer.
        crs: its CRS in QGIS, which the user may have set there only.
        source: what tells it from other layers.
        provider: a copy of its data provider; None where `path` will do.
    """

    name: str
    path: str
    crs: object
    source: str
    provider: object

    @classmethod
    def of(cls, layer) -> Orthophoto:
        """Take from a layer what the work needs, in the thread the layer belongs to."""
        drawn = layer.providerType() != "gdal" or layer.source().startswith("/vsimem/")
        name = layer.name()
        if layer.providerType() != "gdal" and name == QFileInfo(layer.source()).completeBaseName():
            name = ""  # QGIS took a piece of the URI for it: {y}
        return cls(
            name or layer.providerType(),  # one given by its URI may have none
            "" if drawn else layer.source().split("|option:")[0],
            layer.crs(),
            f"{layer.providerType()}|{layer.source()}",
            layer.dataProvider().clone() if drawn else None,
        )

    @property
    def crs_wkt(self) -> str:
        """Its CRS as WKT; empty where it has none."""
        return self.crs.toWkt(self.crs.WKT2_2019) if self.crs.isValid() else ""

    def file(self, folder: Path, ground: Sequence, pixel_m: float, context, feedback) -> str:
        """The name by which GDAL opens the raster; a layer only QGIS can read is drawn into a file before.

        Args:
            folder: gets the file, which serves again when the job is continued.
            ground: ``QgsProcessingFeatureSource`` each; what lies beyond `MARGIN_M` around the bounds of their
                features is not drawn. None of them: all is.
            pixel_m: ground pixel the file gets, metres.

        Raises:
            RasterError: the layer has no CRS, is too large at that ground pixel, or draws nothing.
            VectorError: the ground lies outside. OutputError: the file cannot be written. Cancelled.
        """
        if self.path:
            return self.path
        if not self.crs.isValid():
            raise RasterError(f"The layer '{self.name}' has no coordinate system", "Set it in its properties")
        extent, metres = self._extent(ground, context)
        width, height = self._size(extent, metres, pixel_m)
        if width * height > LIMIT_PX:
            raise RasterError(
                f"The layer '{self.name}' is no file: QGIS would have to draw {width} x {height} pixels of it, and "
                f"{LIMIT_PX // 1_000_000} million are the limit",
                "Choose an area to work in, or a smaller one",
            )
        facts = repr((self.source, extent.toString(9), width, height)).encode()
        name = re.sub(r"\W+", "_", self.name)[:40]  # reports call rasters by their file
        path = folder / f"drawn-{name}-{hashlib.sha256(facts).hexdigest()[:16]}.tif"
        if not path.exists() or self.source.startswith("gdal|"):  # what lies in memory may have changed
            feedback.pushInfo(f"QGIS draws {width} x {height} pixels of the layer '{self.name}'")
            self._draw(path, extent, width, height, context, feedback)
        return str(path)

    def _extent(self, ground, context) -> tuple[QgsRectangle, tuple[float, float]]:
        """The ground to draw, in the layer's CRS, and metres per unit of it along x and y."""
        extent = self.provider.extent()
        if not ground:
            return extent, self._measure(extent, context)
        asked = QgsRectangle()
        unchecked = QgsProcessingFeatureSource.FlagSkipGeometryValidityChecks
        try:
            for source in ground:
                transform = QgsCoordinateTransform(source.sourceCrs(), self.crs, context.transformContext())
                for feature in source.getFeatures(QgsFeatureRequest(), unchecked):
                    box = feature.geometry().boundingBox()
                    if feature.hasGeometry() and not feature.geometry().isEmpty() and box.isFinite():
                        asked.combineExtentWith(transform.transformBoundingBox(box))
        except QgsCsException:
            asked = QgsRectangle()  # beyond what the layer's CRS can name
        if not asked.isNull() and asked.isFinite() and asked.intersects(extent):
            metres = self._measure(asked.intersect(extent), context)
            across, down = (MARGIN_M / m for m in metres)
            asked = QgsRectangle(
                asked.xMinimum() - across, asked.yMinimum() - down, asked.xMaximum() + across, asked.yMaximum() + down
            ).intersect(extent)
            if not asked.isEmpty():
                return asked, metres
        raise VectorError(
            f"The area lies outside the layer '{self.name}'", "Choose an area that overlaps it, or check both CRSs"
        )

    def _measure(self, extent: QgsRectangle, context) -> tuple[float, float]:
        """Metres on the ground per unit of the CRS along x and y, in the middle of `extent`."""
        measure = QgsDistanceArea()
        measure.setSourceCrs(self.crs, context.transformContext())
        measure.setEllipsoid(self.crs.ellipsoidAcronym() or "EPSG:7030")
        middle = extent.center()
        step = 1e-4 if self.crs.isGeographic() else 10.0
        here = QgsPointXY(middle.x(), middle.y())
        across, down = (
            measure.measureLine(here, QgsPointXY(here.x() + dx, here.y() + dy)) / step
            for dx, dy in ((step, 0.0), (0.0, step))
        )
        if not all(math.isfinite(m) and m > 0 for m in (across, down)):
            raise RasterError(f"The layer '{self.name}' does not lie on the Earth", "Check its coordinate system")
        return across, down

    def _size(self, extent: QgsRectangle, metres: tuple[float, float], pixel_m: float) -> tuple[int, int]:
        """Columns and rows at a ground pixel, or at the layer's own where that is coarser."""
        units = [max(pixel_m / m, unit) for m, unit in zip(metres, self._own_pixel())]
        return max(1, math.ceil(extent.width() / units[0])), max(1, math.ceil(extent.height() / units[1]))

    def _own_pixel(self) -> tuple[float, float]:
        """Size of the layer's finest pixels in its units; 0 where any size can be drawn."""
        provider = self.provider
        if provider.capabilities() & QgsRasterInterface.Size and provider.xSize() and provider.ySize():
            extent = provider.extent()
            return extent.width() / provider.xSize(), extent.height() / provider.ySize()
        finest = min(provider.nativeResolutions(), default=0.0)
        return finest, finest

    def _draw(self, path: Path, extent, width: int, height: int, context, feedback) -> None:
        """Write a GeoTIFF whole or not at all."""
        part = path.with_suffix(".part.tif")
        pipe = QgsRasterPipe()
        pipe.set(self.provider.clone())
        writer = QgsRasterFileWriter(str(part))
        writer.setOutputFormat("GTiff")
        writer.setCreateOptions(["COMPRESS=DEFLATE", "TILED=YES", "BIGTIFF=IF_SAFER"])
        progress = QgsRasterBlockFeedback()
        feedback.canceled.connect(progress.cancel, Qt.ConnectionType.DirectConnection)
        try:
            if feedback.isCanceled():
                raise Cancelled
            failed = writer.writeRaster(pipe, width, height, extent, self.crs, context.transformContext(), progress)
            if feedback.isCanceled():
                raise Cancelled
            if failed:
                raise OutputError(f"QGIS could not draw the layer '{self.name}' into {part}", "Check the free space")
            seen = _seen_share(part)
            if not seen:
                raise RasterError(
                    f"The layer '{self.name}' draws nothing here", "Check that QGIS shows it, and the connection"
                )
            if seen < 0.999:
                feedback.pushWarning(f"The layer '{self.name}' is empty on {1 - seen:.1%} of the area")
            os.replace(part, path)
        finally:
            feedback.canceled.disconnect(progress.cancel)
            for leftover in (part, Path(f"{part}.aux.xml")):
                if leftover.exists():
                    leftover.unlink()


def _seen_share(path: Path) -> float:
    """Share of the pixels that show anything, by the alpha band; 1 where there is none."""
    dataset = gdal.Open(str(path))
    for number in range(1, dataset.RasterCount + 1 if dataset else 1):
        band = dataset.GetRasterBand(number)
        if band.GetColorInterpretation() == gdal.GCI_AlphaBand:
            return band.ComputeStatistics(False)[2] / 255.0
    return 1.0 if dataset else 0.0
