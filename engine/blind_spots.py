"""Where the raster shows nothing: what a network sees there is no building, and what ends there may be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from .contracts import Instance, Outline, Tile
from .crs import transform_geometries
from .raster.source import RasterSource

REASON = "beside a part of the raster that cannot be read"
REACH_PX = 2  # of the working grid: what ends this close to a gap was cut by it


SEEN_SHARE = 1 / 3
"""Of what a network finds so much must be shown. A building that no-data cuts is found together with its mirror image
and is half shown; a mirror image alone is not shown at all."""


def keep_seen(instance: Instance, tile: Tile, valid: np.ndarray) -> Instance | None:
    """The part of an instance that the raster shows; None where that is too little of it.

    Args:
        instance: found in `tile`.
        valid: bool[h, w] of the tile's padded window.
    """
    x0, y0, x1, y1 = instance.box
    left, top = tile.padded[:2]
    known = valid[y0 - top : y1 - top, x0 - left : x1 - left]
    if known.all():
        return instance
    if np.count_nonzero(instance.mask & known) < SEEN_SHARE * np.count_nonzero(instance.mask):
        return None
    return replace(instance, probability=np.where(known, instance.probability, 0).astype(np.uint8))


def mark_blind_spots(outlines: Sequence[Outline], source: RasterSource, metric_wkt: str) -> list[Outline]:
    """The outlines, those that a skipped block may have cut with `edge` and a reason in `check`.

    Args:
        outlines: raw outlines in the CRS `metric_wkt`.
        source: the raster, after everything was read.
    """
    if not source.unreadable or not outlines:
        return list(outlines)
    grid = source.grid
    boxes = np.array([source.on_grid(box) for box in source.unreadable], float)
    boxes += (-REACH_PX, -REACH_PX, REACH_PX, REACH_PX)
    on_map = shapely.transform(shapely.box(*boxes.T), grid.to_map)
    tree = shapely.STRtree(transform_geometries(on_map, grid.crs_wkt, metric_wkt))
    beside = set(tree.query([o.geometry for o in outlines], predicate="intersects")[0].tolist())
    return [
        replace(o, edge=True, check=f"{o.check}; {REASON}" if o.check else REASON) if k in beside else o
        for k, o in enumerate(outlines)
    ]
