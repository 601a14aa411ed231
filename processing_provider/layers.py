"""From QGIS's layers to files the engine can open."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from qgis.core import (
    NULL,
    QgsFeature,
    QgsFeatureRequest,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProcessingFeatureSource,
    QgsProperty,
    QgsVectorFileWriter,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType, QVariant

from ..engine.errors import Cancelled, OutputError, VectorError

ROW = "source_row"
"""Field of a layer written for the engine: the number of the feature it came from, from 0."""

INTEGER = getattr(QVariant, "Int", None) or QMetaType.Type.Int
REAL = getattr(QVariant, "Double", None) or QMetaType.Type.Double
TEXT = getattr(QVariant, "String", None) or QMetaType.Type.QString
BOOLEAN = getattr(QVariant, "Bool", None) or QMetaType.Type.Bool
_DATABASE = re.compile(r"^(ogr|postgres|spatialite|mssql|oracle|hana|memory):", re.IGNORECASE)


def write_polygons(source, path: Path, context, *, split_parts=False) -> list[QgsFeature]:
    """Write the geometries of a feature source for the engine, numbered by the field `ROW`.

    The attributes stay here: they come back by number, so no format can bend them on the way.

    Args:
        source: ``QgsProcessingFeatureSource`` of polygons in any CRS.
        path: GeoPackage to write, layer ``polygons``.
        split_parts: write each part of a multi-part polygon by itself, under the same number.

    Returns:
        The features, so that ``features[row]`` is the one with ``ROW == row``.

    Raises:
        VectorError: the source holds no polygon or has no CRS. OutputError: it cannot be written.
    """
    if not source.sourceCrs().isValid():  # a GeoPackage would call it "undefined geographic"
        raise VectorError(
            f"The layer '{source.sourceName()}' has no coordinate reference system", "Set it in its properties"
        )
    features = [feature for feature in source.getFeatures() if feature.hasGeometry()]
    if not features:
        raise VectorError(
            f"The layer '{source.sourceName()}' holds no polygons", "Choose another layer or selection"
        )
    fields = QgsFields()
    fields.append(QgsField(ROW, INTEGER))
    polygons = _Polygons(source, path, fields, context)
    for row, feature in enumerate(features):
        straight = _straight(feature.geometry())
        for geometry in straight.asGeometryCollection() if split_parts else [straight]:
            polygons.add(geometry, [row])
    polygons.close()
    return features


def write_drawings(source, path: Path, context, feedback) -> list[QgsFeature]:
    """Write every feature of a layer of polygons or lines for the engine, numbered by the field `ROW`.

    Broken, empty and missing geometries go along: the engine says what it can do with each.

    Args:
        source: ``QgsProcessingFeatureSource`` in any CRS.
        path: GeoPackage to write, layer ``polygons``.

    Returns:
        The features, so that ``features[row]`` is the one with ``ROW == row``.

    Raises:
        VectorError: the source holds no feature or has no CRS. OutputError: it cannot be written. Cancelled.
    """
    if not source.sourceCrs().isValid():
        raise VectorError(
            f"The layer '{source.sourceName()}' has no coordinate reference system", "Set it in its properties"
        )
    fields = QgsFields()
    fields.append(QgsField(ROW, INTEGER))
    drawings = _Polygons(source, path, fields, context, kind=QgsWkbTypes.Unknown)
    features = []
    judged_later = QgsProcessingFeatureSource.FlagSkipGeometryValidityChecks
    for feature in source.getFeatures(QgsFeatureRequest(), judged_later):
        if feedback.isCanceled():
            raise Cancelled
        # The engine's texts name features by their ids.
        drawings.add(_without_arcs(feature.geometry()), [len(features)], number=feature.id())
        features.append(feature)
    drawings.close()
    if not features:
        raise VectorError(
            f"The layer '{source.sourceName()}' holds no features", "Choose another layer or selection"
        )
    return features


def write_buildings(source, folder: Path, context, feedback, *, identifier="id") -> str:
    """Write a layer for a comparison: geometry, ``id`` and, where there is one, ``score``.

    Feature by feature, so that memory does not limit the size. Broken, empty and missing geometries go
    along: the engine mends them or counts them. An empty layer is written empty.

    Args:
        source: ``QgsProcessingFeatureSource`` of polygons in any CRS.
        folder: gets a GeoPackage named after the layer, because the engine calls it by that.
        identifier: field of what goes into ``id``; the feature id where it does not exist or is empty.

    Returns:
        The path.

    Raises:
        OutputError: it cannot be written. Cancelled.
    """
    path = new_file(folder, source.sourceName())
    own, score = source.fields().lookupField(identifier), source.fields().lookupField("score")
    fields = QgsFields()
    fields.append(QgsField("id", TEXT))
    if score >= 0:
        fields.append(QgsField("score", REAL))
    mended_later = QgsProcessingFeatureSource.FlagSkipGeometryValidityChecks
    polygons = _Polygons(source, path, fields, context)
    for feature in source.getFeatures(QgsFeatureRequest(), mended_later):
        if feedback.isCanceled():
            raise Cancelled
        values = [(_as_text(feature[own]) if own >= 0 else "") or str(feature.id())]
        if score >= 0:
            values.append(_as_number(feature[score]))
        polygons.add(_straight(feature.geometry()), values)
    polygons.close()
    return str(path)


class _Polygons:
    """A GeoPackage for the engine that is being written, in the CRS of `source`."""

    def __init__(self, source, path: Path, fields: QgsFields, context, kind=QgsWkbTypes.MultiPolygon) -> None:
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName = "GPKG"
        options.layerName = "polygons"
        crs, transforms = source.sourceCrs(), context.transformContext()
        self._fields = fields
        self._path = path
        self._part = path.with_suffix(f".part{path.suffix}")
        self._writer = QgsVectorFileWriter.create(str(self._part), fields, kind, crs, transforms, options)

    def add(self, geometry: QgsGeometry, attributes: list, *, number: int | None = None) -> None:
        """Write one feature, perhaps with a feature id."""
        geometry.convertToMultiType()
        feature = QgsFeature(self._fields)
        if number is not None:
            feature.setId(number)
        feature.setGeometry(geometry)
        feature.setAttributes(attributes)
        self._writer.addFeature(feature, QgsFeatureSink.FastInsert)

    def close(self) -> None:
        """Finish the file, which has its name only now. Raises `OutputError` when anything could not be written."""
        failed, reason = self._writer.hasError(), self._writer.errorMessage()
        self._writer = None
        try:
            if not failed:
                self._part.replace(self._path)
        except OSError as error:
            failed, reason = True, error.strerror
        if failed:
            raise OutputError(f"The polygons cannot be handed to the engine ({reason})", "Check the free space")


def _straight(geometry: QgsGeometry) -> QgsGeometry:
    """Plan geometry without arcs, which the engine does not know; nothing in the place of what is no polygon."""
    if QgsWkbTypes.geometryType(geometry.wkbType()) != QgsWkbTypes.PolygonGeometry:
        return QgsGeometry()
    return _without_arcs(geometry)


def _without_arcs(geometry: QgsGeometry) -> QgsGeometry:
    """Plan geometry made of straight segments; nothing stays nothing."""
    if geometry.isNull():
        return QgsGeometry()
    straight = QgsGeometry(geometry.constGet().segmentize())
    straight.get().dropZValue()
    straight.get().dropMValue()
    return straight


def new_file(folder: Path, name: str) -> Path:
    """A GeoPackage in `folder` that does not exist yet, named after a layer."""
    stem = re.sub(r"[^\w (),.+-]+", "_", name).strip(" _.")[:60] or "layer"
    path, number = folder / f"{stem}.gpkg", 1
    while path.exists():
        number += 1
        path = folder / f"{stem} ({number}).gpkg"
    return path


def _as_text(value) -> str:
    """An attribute as an identifier; empty for NULL."""
    if value is None or value == NULL:
        return ""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _as_number(value) -> float | None:
    """An attribute as a number; None for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


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
