"""Parts of a raster that could not be read and were left out by choice: which buildings lie beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from .contracts import Outline
from .crs import transform_geometries
from .raster.source import RasterSource

REASON = "beside a part of the raster that cannot be read"
REACH_PX = 2  # of the working grid: what ends this close to a gap was cut by it


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
