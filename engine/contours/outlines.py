"""From an instance to polygons on the map: the one place where pixels become coordinates."""

from __future__ import annotations

import shapely

from ..contracts import Grid, Instance
from ..errors import InvalidParameter
from .level_set import trace_probability
from .party_walls import Cut, find_party_walls, split_at
from .pixel_edges import order_polygons, trace_mask

METHODS = ("probability", "pixel_edges")


def outline_instance(
    instance: Instance, grid: Grid, *, method: str = "probability", party_walls: bool = False
) -> list[shapely.Polygon]:
    """Outline one instance in the CRS of the grid.

    Args:
        instance: its probability crop and the crop's place on the grid.
        grid: maps global pixel coordinates to map coordinates; applied exactly once, here.
        method: ``probability`` for the level line at 0.5, ``pixel_edges`` for the mask's own edges.
        party_walls: take fused terraces apart where the probability shows a party wall.

    Returns:
        Valid polygons in map coordinates, largest first; empty for an empty mask. On a grid with a
        degree CRS they are in degrees.

    Raises:
        InvalidParameter: unknown method.
    """
    offset = instance.box[:2]
    if method == "probability":
        polygons = trace_probability(instance.probability, offset_xy=offset)
    elif method == "pixel_edges":
        polygons = trace_mask(instance.mask, offset_xy=offset)
    else:
        raise InvalidParameter(f"Contour method is {method!r}", f"Choose one of {', '.join(METHODS)}")
    if party_walls and polygons:
        cuts = find_party_walls(instance.probability, pixel_m=grid.pixel_m)
        moved = [Cut(c.point + complex(*offset), c.along) for c in cuts]
        polygons = [*split_at(polygons[0], moved, pixel_m=grid.pixel_m), *polygons[1:]]
    return order_polygons([shapely.transform(p, grid.to_map) for p in polygons])
