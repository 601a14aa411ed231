"""From the engine's result to the layer the user asked for: features, style, metadata."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    QgsFeature,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsLayerMetadata,
    QgsProcessingException,
    QgsProcessingUtils,
    QgsProviderRegistry,
    QgsVectorLayer,
    QgsWkbTypes,
)

from ..engine.errors import Cancelled, OutputError
from ..plugin.about import RESOURCES, about, version
from .layers import BOOLEAN, INTEGER, ROW, destination_file, knows_booleans, require_writable

_SCRATCH = ("job_folder", "output")  # parameters that say nothing about the result


class Result:
    """A layer the engine wrote, on its way into whatever sink the user chose.

    Args:
        path: the engine's GeoPackage.
    """

    def __init__(self, path: str) -> None:
        self._layer = QgsVectorLayer(path, "result", "ogr")
        if not self._layer.isValid():
            raise OutputError(f"The engine's result {path} cannot be read", "Run it again")

    def fields(self, *, booleans: bool = True) -> QgsFields:
        """Its fields without the key of the GeoPackage and without `ROW`; booleans perhaps as integers."""
        kept = QgsFields()
        for f in self._layer.fields():
            if f.name() in ("fid", ROW):
                continue
            if f.type() == BOOLEAN and not booleans:
                kept.append(QgsField(f.name(), INTEGER))
            else:
                kept.append(QgsField(f.name(), f.type(), f.typeName(), f.length(), f.precision()))
        return kept

    def write(
        self, algorithm, parameters, name, context, feedback, *, sources: Sequence[QgsFeature] = (), one_to_one=False
    ):
        """Write all features into the sink of parameter `name`, which is made only now.

        Args:
            sources: features whose attributes come first, by the number in `ROW`; of fields that the
                result has, too, the result's are taken.
            one_to_one: every source has one feature in the result, which keeps its id where ids differ, and
                also the fields that the result has, too, with ``_input`` behind their names.

        Returns:
            The destination id of the sink.

        Raises:
            OutputError: the sink cannot be written in full; a file that was begun is removed.
            Cancelled: likewise.
        """
        own = self.fields(booleans=knows_booleans(parameters.get(name)))
        given = sources[0].fields() if sources else []
        before = {f.name(): f for f in given if own.lookupField(f.name()) < 0}
        fields = QgsFields()
        if one_to_one:
            before = {f.name(): _renamed(f, own, given) for f in given}
        for field in [*before.values(), *own]:
            fields.append(field)
        key = given.lookupField("fid") if sources else -1
        # A layer may carry the key of another one as a field, twice or empty.
        keep_ids = one_to_one and (key < 0 or _differ([source[key] for source in sources]))
        target = destination_file(parameters.get(name))
        require_writable(target)
        existed = target is not None and target.exists()
        multi = QgsWkbTypes.isMultiType(self._layer.wkbType())
        try:
            sink, destination = algorithm.parameterAsSink(
                parameters,
                name,
                context,
                fields,
                QgsWkbTypes.MultiPolygon if multi else QgsWkbTypes.Polygon,
                self._layer.crs(),
                QgsFeatureSink.SinkFlags() if keep_ids else QgsFeatureSink.RegeneratePrimaryKey,
            )
        except QgsProcessingException as error:
            remove_file(None if existed else target)
            raise OutputError(str(error).rstrip("."), "Choose another output") from error
        if target is not None:
            target = Path(destination.split("|")[0])  # QGIS adds the suffix of a format it knows
        if sink is None:
            raise OutputError(f"The output {name} cannot be created", "Choose another output")
        try:
            reason = self._copy(sink, fields, list(before), sources, feedback, keep_ids=keep_ids and key < 0)
        except Cancelled:
            del sink
            remove_file(target)
            raise
        del sink  # flushes and closes the file
        if not reason and target is not None:
            reason = self._missing(destination)
        if reason:
            remove_file(target)
            raise OutputError(f"The output cannot be written ({reason})", "Check the free space and run again")
        return destination

    def _copy(self, sink, fields, before, sources, feedback, *, keep_ids) -> str:
        """Copy the features; returns why it failed, or an empty text."""
        own = [field.name() for field in self.fields()]
        for feature in self._layer.getFeatures():
            if feedback.isCanceled():
                raise Cancelled
            copy = QgsFeature(fields)
            copy.setGeometry(feature.geometry())
            source = sources[feature[ROW]] if sources else None
            if keep_ids:
                copy.setId(source.id())
            copy.setAttributes([source[name] for name in before] + [feature[name] for name in own])
            if not sink.addFeature(copy, QgsFeatureSink.FastInsert):
                return sink.lastError() or "a feature was refused"
        return "" if sink.flushBuffer() is not False else sink.lastError()

    def _missing(self, destination: str) -> str:
        """Why the written file does not hold all features; a full disk shows only here."""
        written = QgsVectorLayer(destination, "written", "ogr")
        if not written.isValid():
            return "the file is incomplete"
        expected = self._layer.featureCount()
        found = sum(1 for _ in written.getFeatures())
        return "" if found == expected else f"only {found} of {expected} features fit"


def _differ(keys: list) -> bool:
    """Whether keys are whole numbers, none twice."""
    return all(isinstance(key, int) for key in keys) and len(set(keys)) == len(keys)


def _renamed(field: QgsField, taken: QgsFields, given: QgsFields) -> QgsField:
    """The field under a name the result does not use."""
    name = field.name()
    while taken.lookupField(name) >= 0 or (name != field.name() and given.lookupField(name) >= 0):
        name += "_input"
    free = QgsField(field)
    free.setName(name)
    return free


def remove_file(path: Path | None) -> None:
    """Remove a half-written vector file with its companions."""
    if path is None:
        return
    companions = [path] + [Path(str(path) + suffix) for suffix in ("-journal", "-wal", "-shm")]
    if path.suffix.lower() == ".shp":
        companions += [path.with_suffix(suffix) for suffix in (".dbf", ".shx", ".prj", ".cpg", ".qix")]
    for companion in companions:
        with contextlib.suppress(OSError):
            companion.unlink()


def facts_of(result: dict) -> dict[str, str]:
    """What is to be known about a result later: model and hash, every parameter, version and date."""
    parameters = {k: v for k, v in result.get("parameters", {}).items() if k not in _SCRATCH}
    facts = {
        "software": f"{about()['name']} {result.get('version') or version()}",
        "date": result.get("date") or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": result.get("model", ""),
        "model_hash": result.get("model_hash", ""),
        "parameters": json.dumps(parameters, sort_keys=True),
    }
    return {name: str(value) for name, value in facts.items() if value}


def write_geopackage_metadata(destination: str, facts: dict[str, str]) -> None:
    """Write `facts` into the GeoPackage a destination id names; other formats are left alone."""
    parts = QgsProviderRegistry.instance().decodeUri("ogr", destination)
    path = parts.get("path") or ""
    if not path.lower().endswith(".gpkg") or not Path(path).is_file():
        return
    dataset = gdal.OpenEx(path, gdal.OF_VECTOR | gdal.OF_UPDATE)
    if dataset is None:
        return
    name = parts.get("layerName")
    layer = dataset.GetLayerByName(name) if name else dataset.GetLayer(0)
    if layer is not None:
        layer.SetMetadata(facts)
    del layer, dataset


def dress_layer(context, destination: str, facts: dict[str, str], title: str, style: str) -> None:
    """Give the result layer its name, style and metadata, if it is or will be in the project."""
    if not (context.willLoadLayerOnCompletion(destination) or context.temporaryLayerStore().mapLayer(destination)):
        return
    layer = QgsProcessingUtils.mapLayerFromString(destination, context)
    if layer is None:
        return
    metadata = QgsLayerMetadata()
    metadata.setTitle(title)
    metadata.setType("dataset")
    metadata.setAbstract(f"{title}, made by {facts['software']}")
    metadata.setCrs(layer.crs())
    metadata.setHistory([f"{name}: {value}" for name, value in facts.items()])
    layer.setMetadata(metadata)
    layer.loadNamedStyle(str(RESOURCES / "styles" / style))
