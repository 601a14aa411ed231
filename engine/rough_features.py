"""Roughly drawn features as the refiner needs them: polygons on the working grid, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .contracts import Grid
from .crs import transform_geometries
from .errors import EngineError, VectorError

LARGEST_M = 500.0
"""Longer drawings are no single building: shown in one crop, nothing could be told."""
_CRUMB = 1e-3  # share of the largest part under which the part of a repaired polygon is a crumb


@dataclass(frozen=True)
class RoughFeature:
    """One input feature.

    Attributes:
        metric: its polygons in the metric CRS, strokes with their width; empty where there are none.
        pixels: the same in working-grid pixels; empty where nothing can be refined.
        check: what was wrong with it and was mended.
        kept: why it cannot be refined; empty where it can.
    """

    metric: tuple[shapely.Polygon, ...] = ()
    pixels: tuple[shapely.Polygon, ...] = ()
    check: str = ""
    kept: str = ""


def place_features(
    geometries: np.ndarray, crs_wkt: str, *, grid: Grid, metric_wkt: str, stroke_width_m: float
) -> list[RoughFeature]:
    """Bring drawn features to the working grid, one result for each.

    Args:
        geometries: array[N] of any geometries or None, in `crs_wkt`; lines and points are brush strokes.
        stroke_width_m: width of the brush.

    Raises:
        VectorError: nothing lies on the raster.
    """
    flat, reasons = _sound(geometries)
    moved = _move(flat, crs_wkt, metric_wkt)
    features = [
        RoughFeature(kept=reason) if reason else _to_polygons(geometry, stroke_width_m)
        for geometry, reason in zip(moved, reasons, strict=True)
    ]
    to_grid = shapely.box(0, 0, grid.width, grid.height)
    placed = _to_pixels([p for f in features for p in f.metric], metric_wkt, grid)
    results = []
    for feature in features:
        pixels = tuple(next(placed) for _ in feature.metric)
        kept = feature.kept or _unfit(feature.metric, pixels, to_grid)
        results.append(RoughFeature(feature.metric, () if kept else pixels, feature.check, kept))
    if results and all(r.kept == OUTSIDE or not r.metric for r in results):
        raise VectorError(
            "No feature lies on the raster", "Choose features inside it, or check the coordinate systems of both"
        )
    return results


OUTSIDE = "lies outside the raster"


def _sound(geometries: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Plan geometries, None where there is nothing to work on, and why not."""
    flat = np.full(len(geometries), None, object)
    reasons = []
    for k, geometry in enumerate(geometries):
        if geometry is None or geometry.is_empty:
            reasons.append("has no geometry")
        elif not np.isfinite(shapely.get_coordinates(geometry)).all():
            reasons.append("has coordinates that are not numbers")
        else:
            reasons.append("")
            flat[k] = shapely.force_2d(geometry)
    return flat, reasons


def _move(geometries: np.ndarray, crs_wkt: str, metric_wkt: str) -> np.ndarray:
    """In metres; one feature out of the plane's reach does not spoil the others: it becomes None."""
    try:
        return transform_geometries(geometries, crs_wkt, metric_wkt)
    except EngineError:
        if len(geometries) == 1:
            return np.array([None], object)
        middle = len(geometries) // 2
        halves = (geometries[:middle], geometries[middle:])
        return np.concatenate([_move(half, crs_wkt, metric_wkt) for half in halves])


def _to_polygons(geometry: shapely.Geometry | None, stroke_width_m: float) -> RoughFeature:
    """Valid polygons of one geometry in metres."""
    if geometry is None:
        return RoughFeature(kept=OUTSIDE)
    parts = shapely.get_parts(shapely.get_parts(geometry))
    areal = np.array(["Polygon" in p.geom_type for p in parts], bool)
    strokes = shapely.buffer(parts[~areal], stroke_width_m / 2)
    drawn = shapely.union_all(strokes) if len(strokes) else None
    check = ""
    if areal.any():
        own = shapely.multipolygons(list(parts[areal]))
        if not own.is_valid:
            check = f"repaired: {shapely.is_valid_reason(own).split('[')[0].strip().lower()}"
            own = shapely.make_valid(own, method="structure", keep_collapsed=False)
        drawn = own if drawn is None else shapely.union(own, drawn)
    polygons = [p for p in shapely.get_parts(drawn) if p.geom_type == "Polygon" and p.area > 0]
    largest = max((p.area for p in polygons), default=0.0)
    polygons = [p for p in polygons if not check or p.area > _CRUMB * largest]
    return RoughFeature(tuple(polygons), check=check, kept="" if polygons else "has no area")


def _to_pixels(polygons: list[shapely.Polygon], metric_wkt: str, grid: Grid):
    """The polygons in working-grid pixels, one by one."""
    on_map = transform_geometries(np.array(polygons, object), metric_wkt, grid.crs_wkt)
    return iter(shapely.transform(on_map, grid.to_pixels))


def _unfit(metric: tuple[shapely.Polygon, ...], pixels: tuple[shapely.Polygon, ...], raster: shapely.Polygon) -> str:
    """Why polygons cannot be refined, or an empty text."""
    if not any(p.intersects(raster) for p in pixels):
        return OUTSIDE
    bounds = shapely.bounds(np.array(metric, object))
    longest_m = float((bounds[:, 2:] - bounds[:, :2]).max())
    return f"{longest_m:.0f} m long, more than a building of {LARGEST_M:.0f} m" if longest_m > LARGEST_M else ""
