"""Tiles: which part of the grid is looked at together, and which part of it a tile answers for."""

from __future__ import annotations

import math

import numpy as np
import shapely

from ..contracts import Grid, Tile
from ..errors import InvalidParameter

MAX_TILES = 2_000_000
"""About 350 gigapixels; a list beyond that is a damaged header rather than an orthophoto."""


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
        InvalidParameter: the sizes make no tiling, or too many tiles.
    """
    if tile_px < 1 or not 0 <= overlap_px < tile_px:
        raise InvalidParameter(
            f"Tiles of {tile_px} pixels cannot overlap by {overlap_px}",
            "Choose an overlap below the tile size",
        )
    bounds = (0, 0, grid.width, grid.height)
    if area is not None:
        if area.is_empty:
            return []
        bounds = area.bounds
    columns = _axis_range(grid.width, tile_px, overlap_px, bounds[0], bounds[2])
    rows = _axis_range(grid.height, tile_px, overlap_px, bounds[1], bounds[3])
    if len(columns) * len(rows) > MAX_TILES:
        raise InvalidParameter(
            f"{grid.width} x {grid.height} pixels make more than {MAX_TILES} tiles", "Give an area, or larger tiles"
        )
    tiles = []
    for row in rows:
        cy0, cy1, py0, py1 = _axis_tile(grid.height, tile_px, overlap_px, row)
        for col in columns:
            cx0, cx1, px0, px1 = _axis_tile(grid.width, tile_px, overlap_px, col)
            tiles.append(Tile(row, col, core=(cx0, cy0, cx1, cy1), padded=(px0, py0, px1, py1)))
    if area is None or not tiles:
        return tiles
    cores = shapely.box(*np.array([tile.core for tile in tiles], dtype=float).T)
    shapely.prepare(area)
    meets = shapely.intersects(area, cores) & ~shapely.touches(area, cores)
    return [tile for tile, keep in zip(tiles, meets) if keep]


def _axis_count(length: int, tile: int, overlap: int) -> int:
    return 1 if length <= tile else -(-(length - overlap) // (tile - overlap))


def _axis_range(length: int, tile: int, overlap: int, low: float, high: float) -> range:
    """The tiles of one axis whose cores may meet ``[low, high]``."""
    count, stride = _axis_count(length, tile, overlap), tile - overlap
    first = min(max(math.floor(max(low - tile, 0) / stride), 0), count)
    last = min(max(math.floor(min(high, length) / stride) + 1, 0), count)
    return range(first if high > 0 and low < length else last, last)


def _axis_tile(length: int, tile: int, overlap: int, index: int) -> tuple[int, int, int, int]:
    """``(core start, core end, window start, window end)`` of one tile along an axis."""
    count, stride = _axis_count(length, tile, overlap), tile - overlap

    def start(i: int) -> int:
        return max(min(i * stride, length - tile), 0)

    def joint(i: int) -> int:
        """Where core i ends: the middle of its window's overlap with the next."""
        return length if i + 1 == count else (start(i) + tile + start(i + 1)) // 2

    return 0 if index == 0 else joint(index - 1), joint(index), start(index), min(start(index) + tile, length)
