"""The ground to work in: polygons, an extent, or what both have in common."""

from __future__ import annotations

from qgis.core import (
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeature,
    QgsGeometry,
    QgsProcessingFeatureSource,
    QgsVectorLayer,
)

from ..engine.errors import VectorError

SIDE_POINTS = 20
"""Added to each side of an extent before it goes to another CRS, where its sides bend."""


def ground_to_work_in(algorithm, parameters, context, crs):
    """The polygons of AREA within EXTENT; None where neither is given.

    Args:
        crs: of an extent that names none.

    Returns:
        A ``QgsProcessingFeatureSource``.

    Raises:
        VectorError: the extent has no surface or no CRS, or shares none with the polygons.
    """
    area = algorithm.parameterAsSource(parameters, "AREA", context)
    if not parameters.get("EXTENT"):
        return area
    frame, crs = _frame(algorithm, parameters, context, crs)
    shapes = [frame]
    if area is not None:
        crs, shapes = area.sourceCrs(), _within(frame, crs, area, context)
    layer = QgsVectorLayer("MultiPolygon", algorithm.tr("extent"), "memory")
    layer.setCrs(crs)
    features = []
    for shape in shapes:
        features.append(QgsFeature())
        features[-1].setGeometry(shape)
    layer.dataProvider().addFeatures(features)
    layer.updateExtents()
    source = QgsProcessingFeatureSource(layer, context)
    source.layer = layer  # the source does not keep it alive
    return source


def _is_bare(extent) -> bool:
    """Whether it is four numbers without a CRS: QGIS would look for a file of that name, and complain."""
    try:
        return len([float(part) for part in extent.split(",")]) == 4
    except (AttributeError, ValueError):
        return False


def _frame(algorithm, parameters, context, crs):
    """The extent as a polygon, and its CRS."""
    if not _is_bare(parameters["EXTENT"]):
        own = algorithm.parameterAsExtentCrs(parameters, "EXTENT", context)
        crs = own if own.isValid() else crs
    extent = algorithm.parameterAsExtent(parameters, "EXTENT", context)
    if extent.isEmpty() or not extent.isFinite():
        raise VectorError("The extent has no surface", "Draw a rectangle, or give xmin,xmax,ymin,ymax [EPSG:code]")
    if not crs.isValid():
        raise VectorError("The extent has no coordinate system", "Add one to it: xmin,xmax,ymin,ymax [EPSG:code]")
    return QgsGeometry.fromRect(extent).densifyByCount(SIDE_POINTS), crs


def _within(frame, crs, area, context):
    """What the polygons share with a frame, in their CRS."""
    try:
        frame.transform(QgsCoordinateTransform(crs, area.sourceCrs(), context.transformContext()))
    except QgsCsException as error:
        raise VectorError("The extent lies where the area's CRS has no coordinates", "Choose another one") from error
    common = (feature.geometry().makeValid().intersection(frame) for feature in area.getFeatures())
    shapes = [part for shape in common for part in shape.asGeometryCollection() if part.area() > 0]
    if not shapes:
        raise VectorError("The area and the extent share no ground", "Choose one of them, or check both")
    return shapes
