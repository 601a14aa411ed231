"""The truth of a scene: outlines without overlaps, with common vertices along common walls."""

from __future__ import annotations

import numpy as np
import shapely

from .buildings import Building

GRID_PX = 1 / 1024
MIN_AREA_PX = 6.0


def without_overlaps(buildings: list[Building], tolerance_m2: float = 1e-3) -> list[Building]:
    """Leave out buildings that overlap an earlier one."""
    outlines = np.array([b.outline for b in buildings], dtype=object)
    if not len(outlines):
        return []
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    later = first > second
    first, second = first[later], second[later]
    area = shapely.area(shapely.intersection(outlines[first], outlines[second]))
    kept = np.ones(len(outlines), bool)
    for i, j in sorted(zip(first[area > tolerance_m2], second[area > tolerance_m2], strict=True)):
        if kept[j]:
            kept[i] = False
    return [b for b, keep in zip(buildings, kept, strict=True) if keep]


def finish_outlines(outlines: list[shapely.Polygon], pixel_m: float, width: int, height: int) -> list[shapely.Polygon]:
    """Outlines in metres to pixel coordinates, clipped to the image, noded against their neighbours."""
    if not outlines:
        return []
    scaled = shapely.transform(np.array(outlines, dtype=object), lambda xy: xy / pixel_m)
    clipped = shapely.intersection(scaled, shapely.box(0, 0, width, height))
    pieces = [p for p in shapely.get_parts(clipped) if p.geom_type == "Polygon" and p.area >= MIN_AREA_PX]
    return share_vertices(pieces)


def share_vertices(polygons: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """Put every vertex on the common grid and into every edge of a neighbour that it lies on."""
    if not polygons:
        return []
    rounded = _merge_close(np.array(polygons, dtype=object)).tolist()
    near = shapely.STRtree(rounded).query(rounded, predicate="dwithin", distance=3 * GRID_PX)
    neighbours: dict[int, list[int]] = {}
    for i, j in near.T:
        if i != j:
            neighbours.setdefault(int(i), []).append(int(j))
    result = []
    for index, polygon in enumerate(rounded):
        others = neighbours.get(index)
        if others:
            points = np.unique(np.concatenate([shapely.get_coordinates(rounded[j]) for j in others]), axis=0)
            rings = [_with_points(shapely.get_coordinates(r), points) for r in (polygon.exterior, *polygon.interiors)]
            polygon = shapely.Polygon(rings[0], rings[1:])
        if not polygon.is_valid:
            polygon = max(shapely.get_parts(shapely.make_valid(polygon)), key=shapely.area)
        if polygon.geom_type == "Polygon" and polygon.area >= MIN_AREA_PX:
            result.append(polygon)
    return result


def _merge_close(polygons: np.ndarray) -> np.ndarray:
    """Round coordinates to the grid and let vertices a few steps apart become one."""
    polygons = shapely.transform(polygons, lambda xy: np.round(xy / GRID_PX) * GRID_PX)
    points, index = np.unique(shapely.get_coordinates(polygons), axis=0, return_inverse=True)
    dots = shapely.points(points)
    low, high = shapely.STRtree(dots).query(dots, predicate="dwithin", distance=3 * GRID_PX)
    leader = np.arange(len(points))
    for i, j in zip(low.tolist(), high.tolist(), strict=True):
        if i < j:
            leader[j] = min(leader[j], leader[i])
    merged = shapely.set_coordinates(polygons.copy(), points[leader[index.ravel()]])
    return shapely.remove_repeated_points(merged)


def _with_points(ring: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The closed ring with those points inserted that lie on one of its edges."""
    pieces = []
    for start, end in zip(ring[:-1], ring[1:], strict=True):
        pieces.append(start[None])
        edge = end - start
        size2 = float(edge @ edge)
        if size2 == 0:
            continue
        relative = points - start
        at = relative @ edge / size2
        off = np.abs(relative[:, 0] * edge[1] - relative[:, 1] * edge[0]) / np.sqrt(size2)
        margin = 2 * GRID_PX / np.sqrt(size2)
        on = (off <= 2 * GRID_PX) & (at > margin) & (at < 1 - margin)
        pieces.append(points[on][np.argsort(at[on])])
    return np.concatenate([*pieces, ring[-1:]])
