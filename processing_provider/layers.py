"""From QGIS's layers to files the engine can open."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from qgis.core import (
    QgsFeature,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProperty,
    QgsVectorFileWriter,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType, QVariant

from ..engine.errors import OutputError, RasterError, VectorError

ROW = "source_row"
"""Field of a layer written for the engine: the number of the feature it came from, from 0."""

INTEGER = getattr(QVariant, "Int", None) or QMetaType.Type.Int
BOOLEAN = getattr(QVariant, "Bool", None) or QMetaType.Type.Bool
_DATABASE = re.compile(r"^(ogr|postgres|spatialite|mssql|oracle|hana|memory):", re.IGNORECASE)


def raster_source(layer) -> str:
    """The name by which GDAL opens the raster of `layer`. Raises `RasterError` for web services."""
    if layer.providerType() != "gdal":
        raise RasterError(
            f"The raster layer '{layer.name()}' comes from the provider '{layer.providerType()}', "
            "which the engine cannot read",
            "Save it as a GeoTIFF and use that",
        )
    return layer.source().split("|option:")[0]


def write_polygons(source, path: Path, context, *, keep=(), split_parts=False) -> list[QgsFeature]:
    """Write the geometries of a feature source for the engine, numbered by the field `ROW`.

    The attributes stay here: they come back by number, so no format can bend them on the way. Only
    those the engine itself looks at go along.

    Args:
        source: ``QgsProcessingFeatureSource`` of polygons in any CRS.
        path: GeoPackage to write, layer ``polygons``.
        keep: lower-case names of fields to write as well, where the source has them.
        split_parts: write each part of a multi-part polygon by itself, under the same number.

    Returns:
        The features, so that ``features[row]`` is the one with ``ROW == row``.

    Raises:
        VectorError: the source holds no polygon. OutputError: it cannot be written.
    """
    features = [feature for feature in source.getFeatures() if feature.hasGeometry()]
    if not features:
        raise VectorError(
            f"The layer '{source.sourceName()}' holds no polygons", "Choose another layer or selection"
        )
    fields = QgsFields()
    fields.append(QgsField(ROW, INTEGER))
    kept = [field for field in source.fields() if field.name().lower() in keep]
    for field in kept:
        fields.append(QgsField(field))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = "polygons"
    writer = QgsVectorFileWriter.create(
        str(path), fields, QgsWkbTypes.MultiPolygon, source.sourceCrs(), context.transformContext(), options
    )
    for row, feature in enumerate(features):
        straight = QgsGeometry(feature.geometry().constGet().segmentize())  # the engine knows no arcs
        straight.get().dropZValue()
        straight.get().dropMValue()
        for geometry in straight.asGeometryCollection() if split_parts else [straight]:
            geometry.convertToMultiType()
            numbered = QgsFeature(fields)
            numbered.setGeometry(geometry)
            numbered.setAttributes([row] + [feature[field.name()] for field in kept])
            writer.addFeature(numbered, QgsFeatureSink.FastInsert)
    failed, reason = writer.hasError(), writer.errorMessage()
    del writer
    if failed:
        raise OutputError(f"The polygons cannot be handed to the engine ({reason})", "Check the free space")
    return features


def content_hash(source) -> str:
    """SHA-256 of CRS and geometries of a feature source; empty without one."""
    if source is None:
        return ""
    digest = hashlib.sha256(source.sourceCrs().toWkt().encode())
    for feature in source.getFeatures():
        digest.update(bytes(feature.geometry().asWkb()))
    return digest.hexdigest()


def destination_text(value) -> str:
    """What a destination parameter's value names: a file, a database table, or a temporary layer."""
    value = getattr(value, "sink", value)
    if isinstance(value, QgsProperty):
        value = value.staticValue()
    return value if isinstance(value, str) else ""


def destination_file(value) -> Path | None:
    """The file a destination parameter's value names; None for temporary layers and database tables."""
    text = destination_text(value)
    if not text or text == "TEMPORARY_OUTPUT" or _DATABASE.match(text):
        return None
    return Path(text)


def knows_booleans(value) -> bool:
    """Whether the sink a destination parameter's value names takes boolean fields."""
    return not re.match(r"^(spatialite|mssql|oracle|hana):", destination_text(value), re.IGNORECASE)


def require_writable(path: Path | None) -> None:
    """Raise `OutputError` unless a file can be written at `path`, so that no work is done in vain."""
    if path is None:
        return
    folder = path.parent
    try:
        if path.is_dir():
            raise OutputError(f"The output {path} is a folder", "Give the name of a file")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"The output {path} cannot be written ({error.strerror or error})"
        raise OutputError(reason, "Choose another place") from error
