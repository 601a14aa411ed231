"""Short constructors for Processing parameters: none without help, none without bounds.

Unscoped names of QGIS's enums are used here and in `layers`, nowhere else: they are the spelling that
both QGIS 3.22 and QGIS 4 understand.
"""

from __future__ import annotations

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
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
)


def _with_help(parameter, text, advanced=False):
    parameter.setHelp(text)
    if advanced:
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


def raster(name, label, help_text, *, optional=False):
    """An orthophoto."""
    return _with_help(QgsProcessingParameterRasterLayer(name, label, optional=optional), help_text)


def rasters(name, label, help_text, *, optional=False, advanced=False):
    """One or several orthophotos."""
    kind = QgsProcessing.TypeRaster
    return _with_help(QgsProcessingParameterMultipleLayers(name, label, kind, optional=optional), help_text, advanced)


def polygons(name, label, help_text, *, optional=False):
    """A polygon layer to read."""
    types = [QgsProcessing.TypeVectorPolygon]
    return _with_help(QgsProcessingParameterFeatureSource(name, label, types, optional=optional), help_text)


def drawings(name, label, help_text):
    """A layer of polygons or lines to read."""
    types = [QgsProcessing.TypeVectorPolygon, QgsProcessing.TypeVectorLine]
    return _with_help(QgsProcessingParameterFeatureSource(name, label, types), help_text)


def bands(name, label, help_text, *, parent):
    """Optional bands of the raster of parameter `parent`."""
    parameter = QgsProcessingParameterBand(name, label, None, parent, optional=True, allowMultiple=True)
    return _with_help(parameter, help_text, advanced=True)


def polygon_layers(name, label, help_text):
    """Any number of polygon layers to read, or none."""
    kind = QgsProcessing.TypeVectorPolygon
    return _with_help(QgsProcessingParameterMultipleLayers(name, label, kind, optional=True), help_text)


def field(name, label, help_text, *, parent):
    """An optional field of the layer of parameter `parent`."""
    parameter = QgsProcessingParameterField(name, label, None, parent, optional=True)
    return _with_help(parameter, help_text)


def polygon_sink(name, label, help_text, *, optional=False):
    """A polygon layer to write."""
    kind = QgsProcessing.TypeVectorPolygon
    return _with_help(QgsProcessingParameterFeatureSink(name, label, kind, optional=optional), help_text)


def number(name, label, help_text, *, default, minimum, maximum, advanced=False):
    """A number; integer bounds make an integer parameter."""
    integer = all(isinstance(value, int) for value in (default, minimum, maximum))
    kind = QgsProcessingParameterNumber.Integer if integer else QgsProcessingParameterNumber.Double
    parameter = QgsProcessingParameterNumber(name, label, kind, default, False, minimum, maximum)
    return _with_help(parameter, help_text, advanced)


def switch(name, label, help_text, *, default, advanced=False):
    """Yes or no."""
    return _with_help(QgsProcessingParameterBoolean(name, label, defaultValue=default), help_text, advanced)


def choice(name, label, help_text, *, options, default=0, advanced=False):
    """One of several options, given by index."""
    parameter = QgsProcessingParameterEnum(name, label, options, False, default, False, False)
    return _with_help(parameter, help_text, advanced)


def crs(name, label, help_text, *, default):
    """A coordinate reference system; optional, because QGIS 3.22 forgets the default otherwise."""
    return _with_help(QgsProcessingParameterCrs(name, label, default, True), help_text)


def folder(name, label, help_text, *, advanced=False):
    """An optional folder."""
    kind = QgsProcessingParameterFile.Folder
    return _with_help(QgsProcessingParameterFile(name, label, kind, optional=True), help_text, advanced)


def file(name, label, help_text, *, file_filter, advanced=False):
    """An optional file to read."""
    kind = QgsProcessingParameterFile.File
    parameter = QgsProcessingParameterFile(name, label, kind, optional=True, fileFilter=file_filter)
    return _with_help(parameter, help_text, advanced)


def file_destination(name, label, help_text, *, file_filter, optional=True):
    """A file to write; an optional one is not written unless it is asked for."""
    parameter = QgsProcessingParameterFileDestination(name, label, file_filter, None, optional, not optional)
    return _with_help(parameter, help_text)


def raster_destination(name, label, help_text):
    """A raster to write."""
    return _with_help(QgsProcessingParameterRasterDestination(name, label), help_text)


def folder_destination(name, label, help_text):
    """A folder to write."""
    return _with_help(QgsProcessingParameterFolderDestination(name, label), help_text)
