"""A synthetic world: a known set of buildings seen through the windows of a tiling."""

from __future__ import annotations

import numpy as np
from cadastral_vectorizer.engine.contracts import Grid, Instance, Tile
from scipy import ndimage

IDENTITY = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def make_grid(width: int, height: int) -> Grid:
    return Grid(width, height, IDENTITY, "EPSG:32633", 0.3)


class World:
    """Buildings that do not overlap, as a label image."""

    def __init__(self, width: int, height: int) -> None:
        self.grid = make_grid(width, height)
        self.labels = np.zeros((height, width), dtype=np.int32)
        self.count = 0

    def build(self, x0: int, y0: int, x1: int, y1: int) -> None:
        self.count += 1
        part = self.labels[y0:y1, x0:x1]
        part[part == 0] = self.count

    def truth(self) -> dict[int, np.ndarray]:
        return {i: self.labels == i for i in range(1, self.count + 1)}

    def look(self, tile: Tile, rng: np.random.Generator | None = None, damage: float = 0.0) -> list[Instance]:
        """What a perfect detector sees in a tile, or one whose outlines are off by a pixel."""
        x0, y0, x1, y1 = tile.padded
        window = self.labels[y0:y1, x0:x1]
        edges = (0, 0, self.grid.width, self.grid.height)
        found = []
        for label in np.unique(window[window > 0]):
            mask = window == label
            if rng is not None and rng.random() < damage:
                change = ndimage.binary_dilation if rng.random() < 0.5 else ndimage.binary_erosion
                mask = change(mask)
            if not mask.any():
                continue
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (x0 + cols[0], y0 + rows[0], x0 + cols[-1] + 1, y0 + rows[-1] + 1)
            crop = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
            touches = [box[s] == tile.padded[s] for s in range(4)]
            score = 0.9 if rng is None else float(rng.uniform(0.5, 1.0))
            found.append(
                Instance(
                    id=f"{tile.row}-{tile.col}-{label}",
                    box=tuple(map(int, box)),
                    probability=np.where(crop, 230, 20).astype(np.uint8),
                    score=score,
                    tile=(tile.row, tile.col),
                    cut=any(t and tile.padded[s] != edges[s] for s, t in enumerate(touches)),
                    edge=any(t and tile.padded[s] == edges[s] for s, t in enumerate(touches)),
                )
            )
        return found


def make_town(width: int = 700, height: int = 520, seed: int = 1) -> World:
    """Houses, terraces that share walls, large halls and a ring with a courtyard."""
    world = World(width, height)
    rng = np.random.default_rng(seed)
    world.build(130, 100, 480, 250)  # hall larger than a window
    world.labels[150:200, 200:400] = 0  # its courtyard
    world.build(0, 300, 60, 360)  # at the raster's edge
    for x in range(100, 680, 30):  # a terrace: touching neighbours along a whole seam
        world.build(x, 280, x + 30, 320)
    for _ in range(60):
        x, y = int(rng.integers(0, width - 50)), int(rng.integers(0, height - 50))
        w, h = rng.integers(8, 50, size=2)
        part = np.s_[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2]
        if not world.labels[part].any():
            world.build(x, y, int(x + w), int(y + h))
    return world


def signature(merged: list[Instance]) -> list[tuple]:
    return [(i.id, i.box, i.probability.tobytes(), i.score, i.tile, i.cut, i.edge) for i in merged]
