"""Short constructors for Processing parameters: none without help, none without bounds.

Each says once what QGIS shows, which field of the job's configuration the parameter fills, and how that is read.

Unscoped names of QGIS's enums are used here and in `layers`, nowhere else: they are the spelling that
both QGIS 3.22 and QGIS 4 understand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameters,
)
from qgis.PyQt.QtCore import QCoreApplication


class Parameter(NamedTuple):
    """One parameter of an algorithm.

    Attributes:
        definition: what QGIS shows.
        field: the field of the job's configuration it fills; empty where the algorithm reads it itself.
        read: gives the field's value, called as those of ``QgsProcessingParameters``: definition, values, context.
    """

    definition: QgsProcessingParameterDefinition
    field: str
    read: Callable[..., Any]


def tr(text):
    """Translate `text`."""
    return QCoreApplication.translate("CadastralVectorizer", text)


_text = QgsProcessingParameters.parameterAsString


def _parameter(definition, help_text, field="", read=_text, *, advanced=False):
    definition.setHelp(help_text)
    if advanced:
        definition.setFlags(definition.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return Parameter(definition, field, read)


def raster(name, label, help_text, *, optional=False):
    """An orthophoto."""
    return _parameter(QgsProcessingParameterRasterLayer(name, label, optional=optional), help_text)


def rasters(name, label, help_text, *, field="", optional=False, advanced=False):
    """One or several orthophotos; the field gets ``("-",)`` until they are files, ``()`` where there are none."""
    definition = QgsProcessingParameterMultipleLayers(name, label, QgsProcessing.TypeRaster, optional=optional)

    def read(*given):
        return ("-",) if QgsProcessingParameters.parameterAsLayerList(*given) else ()

    return _parameter(definition, help_text, field, read, advanced=advanced)


def polygons(name, label, help_text, *, field="", optional=False):
    """A polygon layer to read; the field gets ``-`` until it is a file."""
    types = [QgsProcessing.TypeVectorPolygon]
    definition = QgsProcessingParameterFeatureSource(name, label, types, optional=optional)
    return _parameter(definition, help_text, field, lambda _, values, context: "-" if values.get(name) else "")


def extent(name, label, help_text):
    """An optional rectangle."""
    return _parameter(QgsProcessingParameterExtent(name, label, None, True), help_text)


def drawings(name, label, help_text):
    """A layer of polygons or lines to read."""
    types = [QgsProcessing.TypeVectorPolygon, QgsProcessing.TypeVectorLine]
    return _parameter(QgsProcessingParameterFeatureSource(name, label, types), help_text)


def bands(name, label, help_text, *, field, parent):
    """Optional bands of the raster of parameter `parent`."""
    definition = QgsProcessingParameterBand(name, label, None, parent, optional=True, allowMultiple=True)

    def read(*given):
        return tuple(QgsProcessingParameters.parameterAsInts(*given))

    return _parameter(definition, help_text, field, read, advanced=True)


def polygon_layers(name, label, help_text):
    """Any number of polygon layers to read, or none."""
    kind = QgsProcessing.TypeVectorPolygon
    return _parameter(QgsProcessingParameterMultipleLayers(name, label, kind, optional=True), help_text)


def column(name, label, help_text, *, parent):
    """An optional field of the layer of parameter `parent`."""
    return _parameter(QgsProcessingParameterField(name, label, None, parent, optional=True), help_text)


def polygon_sink(name, label, help_text, *, optional=False):
    """A polygon layer to write."""
    kind = QgsProcessing.TypeVectorPolygon
    return _parameter(QgsProcessingParameterFeatureSink(name, label, kind, optional=optional), help_text)


def number(name, label, help_text, *, default, minimum, maximum, field="", advanced=False):
    """A number; integer bounds make an integer parameter."""
    integer = all(isinstance(value, int) for value in (default, minimum, maximum))
    kind = QgsProcessingParameterNumber.Integer if integer else QgsProcessingParameterNumber.Double
    definition = QgsProcessingParameterNumber(name, label, kind, default, False, minimum, maximum)
    read = QgsProcessingParameters.parameterAsInt if integer else QgsProcessingParameters.parameterAsDouble
    return _parameter(definition, help_text, field, read, advanced=advanced)


def switch(name, label, help_text, *, default, field="", advanced=False):
    """Yes or no."""
    definition = QgsProcessingParameterBoolean(name, label, defaultValue=default)
    return _parameter(definition, help_text, field, QgsProcessingParameters.parameterAsBool, advanced=advanced)


def choice(name, label, help_text, *, options, default=0, field="", values=(), advanced=False):
    """One of several options, given by index; the field gets the one of `values` that has it."""
    definition = QgsProcessingParameterEnum(name, label, options, False, default, False, False)

    def read(*given):
        return values[QgsProcessingParameters.parameterAsEnum(*given)]

    return _parameter(definition, help_text, field, read, advanced=advanced)


def crs(name, label, help_text, *, default, field):
    """A coordinate reference system; optional, because QGIS 3.22 forgets the default otherwise."""
    definition = QgsProcessingParameterCrs(name, label, default, True)

    def read(*given):
        chosen = QgsProcessingParameters.parameterAsCrs(*given)
        return chosen.authid() or chosen.toWkt()

    return _parameter(definition, help_text, field, read)


def folder(name, label, help_text, *, field="", read=_text, advanced=False):
    """An optional folder."""
    definition = QgsProcessingParameterFile(name, label, QgsProcessingParameterFile.Folder, optional=True)
    return _parameter(definition, help_text, field, read, advanced=advanced)


def file(name, label, help_text, *, file_filter, field="", read=_text, advanced=False):
    """An optional file to read."""
    kind = QgsProcessingParameterFile.File
    definition = QgsProcessingParameterFile(name, label, kind, optional=True, fileFilter=file_filter)
    return _parameter(definition, help_text, field, read, advanced=advanced)


def file_destination(name, label, help_text, *, file_filter, optional=True):
    """A file to write; an optional one is not written unless it is asked for."""
    definition = QgsProcessingParameterFileDestination(name, label, file_filter, None, optional, not optional)
    return _parameter(definition, help_text)


def raster_destination(name, label, help_text):
    """A raster to write."""
    return _parameter(QgsProcessingParameterRasterDestination(name, label), help_text)


def folder_destination(name, label, help_text):
    """A folder to write."""
    return _parameter(QgsProcessingParameterFolderDestination(name, label), help_text)
