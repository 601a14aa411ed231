"""Tiles: which part of the grid is looked at together, and which part of it a tile answers for."""

from __future__ import annotations

import numpy as np
import shapely

from ..contracts import Grid, Tile
from ..errors import InvalidParameter


def plan_tiles(grid: Grid, *, tile_px: int, overlap_px: int, area: shapely.Geometry | None = None) -> list[Tile]:
    """Cut a grid into overlapping tiles, row by row.

    The padded windows lie on a regular lattice and are `tile_px` wide wherever the grid is; the last of
    a row or column is shifted inwards rather than shrunk. Cores meet in the middle of the overlap, so
    they partition the grid and every core pixel is seen with at least half the overlap around it. The
    lattice belongs to the grid: an area selects tiles and moves none.

    Args:
        grid: the working grid.
        tile_px: side of the padded windows, pixels.
        overlap_px: overlap of neighbouring windows, pixels; less than `tile_px`.
        area: working-grid pixels; only tiles whose core shares area with it are returned.

    Raises:
        InvalidParameter: the sizes make no tiling.
    """
    if tile_px < 1 or not 0 <= overlap_px < tile_px:
        raise InvalidParameter(
            f"Tiles of {tile_px} pixels cannot overlap by {overlap_px}",
            "Choose an overlap below the tile size",
        )
    columns = _plan_axis(grid.width, tile_px, overlap_px)
    rows = _plan_axis(grid.height, tile_px, overlap_px)
    tiles = [
        Tile(r, c, core=(cx0, cy0, cx1, cy1), padded=(px0, py0, px1, py1))
        for r, (cy0, cy1, py0, py1) in enumerate(rows)
        for c, (cx0, cx1, px0, px1) in enumerate(columns)
    ]
    if area is None:
        return tiles
    cores = shapely.box(*np.array([tile.core for tile in tiles], dtype=float).T)
    shapely.prepare(area)
    meets = shapely.intersects(area, cores) & ~shapely.touches(area, cores)
    return [tile for tile, keep in zip(tiles, meets, strict=True) if keep]


def _plan_axis(length: int, tile: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Cut one axis: ``(core start, core end, window start, window end)`` for each tile."""
    if length <= tile:
        return [(0, length, 0, length)]
    stride = tile - overlap
    count = -(-(length - overlap) // stride)
    starts = [min(i * stride, length - tile) for i in range(count)]
    joints = [(left + tile + right) // 2 for left, right in zip(starts, starts[1:], strict=False)]
    edges = [0, *joints, length]
    return [(edges[i], edges[i + 1], start, start + tile) for i, start in enumerate(starts)]
