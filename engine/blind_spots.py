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


def is_seen(instance: Instance, tile: Tile, valid: np.ndarray) -> bool:
    """Whether the raster shows at least half of an instance; networks find things in black, too.

    Args:
        instance: found in `tile`.
        valid: bool[h, w] of the tile's padded window.
    """
    x0, y0, x1, y1 = instance.box
    left, top = tile.padded[:2]
    known = valid[max(y0 - top, 0) : max(y1 - top, 0), max(x0 - left, 0) : max(x1 - left, 0)]
    if known.all():
        return True
    mask = instance.mask[max(top - y0, 0) :, max(left - x0, 0) :][: known.shape[0], : known.shape[1]]
    return bool(2 * np.count_nonzero(mask & known) >= np.count_nonzero(mask))


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
