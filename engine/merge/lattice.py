"""The lattice that tiles lie on: who answers for a place, and which places all tiles have looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from ..contracts import Box, Tile
from .sighting import holds_center


class Lattice:
    """The tiles of one run, in any order, and which of them are finished.

    Every tile of a column has the same columns of pixels, every tile of a row the same rows.
    """

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._cores = {(tile.row, tile.col): tile.core for tile in tiles}
        self._rows = sorted({(tile.core[1], tile.row) for tile in tiles})
        self._cols = sorted({(tile.core[0], tile.col) for tile in tiles})
        self._place = {row: n for n, (_, row) in enumerate(self._rows)}, {c: n for n, (_, c) in enumerate(self._cols)}
        spans = {tile.row: (tile.padded[1], tile.padded[3]) for tile in tiles}
        self._row_spans = np.array([spans[row] for _, row in self._rows], np.int64).reshape(-1, 2)
        spans = {tile.col: (tile.padded[0], tile.padded[2]) for tile in tiles}
        self._col_spans = np.array([spans[col] for _, col in self._cols], np.int64).reshape(-1, 2)
        self._waiting = np.zeros((len(self._rows), len(self._cols)), bool)
        for tile in tiles:
            self._waiting[self._at(tile)] = True
        self._sums: np.ndarray | None = None

    def finish(self, tile: Tile) -> None:
        """Note that all a tile sees is known."""
        self._waiting[self._at(tile)] = False
        self._sums = None

    def are_finished(self, boxes: np.ndarray) -> np.ndarray:
        """Whether no unfinished tile's window shares pixels with each of the boxes, int[N, 4]; bool[N]."""
        if self._sums is None:
            self._sums = np.pad(self._waiting.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        x0, x1 = _span(self._col_spans, boxes[:, 0], boxes[:, 2])
        y0, y1 = _span(self._row_spans, boxes[:, 1], boxes[:, 3])
        sums = self._sums
        return (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) == 0

    def is_looked_at(self, box: Box) -> bool:
        """Whether the centre of a box lies in the core of one of the tiles."""
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        row = self._rows[max(bisect_right(self._rows, (y, float("inf"))) - 1, 0)][1]
        col = self._cols[max(bisect_right(self._cols, (x, float("inf"))) - 1, 0)][1]
        return (row, col) in self._cores and holds_center(self._cores[row, col], box)

    def _at(self, tile: Tile) -> tuple[int, int]:
        return self._place[0][tile.row], self._place[1][tile.col]


def _span(spans: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 of the ascending intervals, int[M, 2], that share something with ``[low, high)``."""
    first = np.searchsorted(spans[:, 1], low, side="right")
    last = np.searchsorted(spans[:, 0], high, side="left")
    return first, np.maximum(first, last)
