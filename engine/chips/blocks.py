"""Which ground is learnt from and which is measured with: whole blocks, so that the two share no pixel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..contracts import Box, Grid

SMALLEST_BLOCK_M = 32.0  # smaller ones would cut most buildings
WANTED_BLOCKS = 20


@dataclass(frozen=True)
class Block:
    """A piece of one raster.

    Attributes:
        raster: index of the raster.
        row, col: place in its lattice.
        box: on the working grid.
        buildings: how many have their centre in it.
    """

    raster: int
    row: int
    col: int
    box: Box
    buildings: int


def choose_block_m(areas_m2: Sequence[float], *, chip_m: float) -> float:
    """A side that gives about `WANTED_BLOCKS` blocks, metres; at most two chips wide."""
    side = math.sqrt(sum(areas_m2) / WANTED_BLOCKS)
    return min(max(side, SMALLEST_BLOCK_M), max(2 * chip_m, SMALLEST_BLOCK_M))


def lay_blocks(raster: int, grid: Grid, centres: np.ndarray, *, block_m: float) -> list[Block]:
    """Partition a grid into blocks of equal size, as near to `block_m` as whole numbers allow.

    Args:
        centres: float64[N, 2], building centres (x, y) on the grid.
    """
    rows = _cut(grid.height, block_m / grid.pixel_m)
    cols = _cut(grid.width, block_m / grid.pixel_m)
    counts, _, _ = np.histogram2d(centres[:, 1], centres[:, 0], bins=(rows, cols))
    return [
        Block(raster, i, j, (int(cols[j]), int(rows[i]), int(cols[j + 1]), int(rows[i + 1])), int(counts[i, j]))
        for i in range(len(rows) - 1)
        for j in range(len(cols) - 1)
    ]


def choose_validation(blocks: Sequence[Block], *, share: float, seed: int) -> list[Block]:
    """Blocks for validation: in the order of their hash until they hold `share` of the buildings.

    At least one block with buildings is chosen, and one is left, where there are two or more; empty
    blocks join by their hash alone. Nothing but the lattice, the counts and the seed decides.
    """
    if share <= 0:
        return []
    inhabited = sorted((b for b in blocks if b.buildings), key=lambda b: _hash(b, seed))
    if len(inhabited) < 2:
        return []
    wanted = share * sum(b.buildings for b in inhabited)
    chosen: list[Block] = []
    held = 0
    for block in inhabited:
        nearer = abs(held + block.buildings - wanted) < abs(held - wanted)
        if nearer and len(chosen) < len(inhabited) - 1:
            chosen.append(block)
            held += block.buildings
    if not chosen:
        chosen = [min(inhabited, key=lambda b: (b.buildings, _hash(b, seed)))]
    return chosen + [b for b in blocks if not b.buildings and _hash(b, seed) < share]


def windows(width: int, height: int, *, side_px: int, overlap_px: int) -> Iterator[Box]:
    """Boxes of at most `side_px` that cover ``width x height``; the last ones are shifted inwards."""

    def starts(length: int) -> list[int]:
        if length <= side_px:
            return [0]
        count = math.ceil((length - overlap_px) / (side_px - overlap_px))
        return [round(i * (length - side_px) / (count - 1)) for i in range(count)]

    for y in starts(height):
        for x in starts(width):
            yield x, y, min(x + side_px, width), min(y + side_px, height)


def _cut(length: int, side: float) -> np.ndarray:
    """int64[K + 1] borders of K pieces of about `side`."""
    return np.linspace(0, length, max(round(length / side), 1) + 1).round().astype(np.int64)


def _hash(block: Block, seed: int) -> float:
    """0..1 by place and seed."""
    text = f"{seed}:{block.raster}:{block.row}:{block.col}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48
