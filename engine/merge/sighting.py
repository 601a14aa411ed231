"""What one tile saw of a building, with all that the comparison with other sightings needs."""

from __future__ import annotations

import hashlib

import numpy as np
import shapely

from ..contracts import Box, Grid, Instance, Tile

_TOUCH_PX = 2  # a mask this close to a border touches it


def name_instance(box: Box, mask: np.ndarray) -> str:
    """The stable id of a mask, bool[H, W], at a place: 12 hexadecimal digits."""
    digest = hashlib.blake2s(np.array(box, dtype="<i8").tobytes(), digest_size=6)
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


class Sighting:
    """An instance with what the comparison needs.

    Attributes:
        box: the extent of the mask, which may be less than the instance's box.
        window: the padded window it was seen in.
        open_sides: sides of the window, not the grid's, that it comes near.
        cut: a part of it may lie outside the window.
        cut_sides, cut_off: the sides that it touches; a part of it lies outside, and no other piece shows it.
        owned: its centre lies in the core of its tile.
        key: a total order by content.
    """

    __slots__ = (
        "area",
        "box",
        "cut",
        "cut_off",
        "cut_sides",
        "instance",
        "key",
        "name",
        "open_sides",
        "owned",
        "window",
    )

    def __init__(self, instance: Instance, tile: Tile, grid: Grid, near: int) -> None:
        self.instance = instance
        self.measure()
        self.window = tile.padded
        self.open_sides = _open_sides(self.box, tile.padded, grid, near)
        self.cut = instance.cut or bool(self.open_sides)
        self.cut_sides = _open_sides(self.box, tile.padded, grid, _TOUCH_PX)
        self.cut_off = instance.cut or bool(self.cut_sides)
        self.owned = holds_center(tile.core, self.box)
        content = hashlib.blake2s(instance.probability.tobytes(), digest_size=8).digest()
        self.key = (self.name, instance.tile, instance.score, content)

    def measure(self) -> None:
        """Take box, area and name from the instance."""
        self.box = _extent(self.instance)
        mask = self.mask_in(self.box)
        self.area = int(np.count_nonzero(mask))
        self.name = name_instance(self.box, mask)

    def mask_in(self, box: Box) -> np.ndarray:
        """The mask inside a box that lies in `box`, bool[H, W]. Made anew each time: masks of a whole city
        are not held twice."""
        return self.instance.probability[slices(box, self.instance.box)] >= 128

    @property
    def priority(self) -> tuple:
        """Best first."""
        return (self.cut, not self.owned, -self.instance.score, *self.key)


def meeting_pairs(seen: list[Sighting]) -> list[tuple[int, int]]:
    """Pairs ``i < j`` of sightings whose boxes meet."""
    if len(seen) < 2:
        return []
    boxes = shapely.box(*np.array([s.box for s in seen], dtype=float).T)
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    pairs = np.column_stack((first, second))[first < second]
    return [(int(i), int(j)) for i, j in pairs[np.lexsort(pairs.T[::-1])]]


def common_area(a: Sighting, b: Sighting, within: Box | None = None) -> int:
    """Pixels that both masks hold, inside a box if one is given."""
    common = intersect(a.box, b.box)
    if common is not None and within is not None:
        common = intersect(common, within)
    if common is None:
        return 0
    return int(np.count_nonzero(a.mask_in(common) & b.mask_in(common)))


def area_within(sighting: Sighting, box: Box) -> int:
    """Pixels that the mask holds inside a box."""
    common = intersect(sighting.box, box)
    return 0 if common is None else int(np.count_nonzero(sighting.mask_in(common)))


def intersect(a: Box, b: Box) -> Box | None:
    """The common part of two boxes, or None."""
    box = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return box if box[0] < box[2] and box[1] < box[3] else None


def slices(part: Box, whole: Box) -> tuple[slice, slice]:
    """Where `part` lies in an array that covers `whole`."""
    return np.s_[part[1] - whole[1] : part[3] - whole[1], part[0] - whole[0] : part[2] - whole[0]]


def holds_center(core: Box, box: Box) -> bool:
    """Whether the centre of `box` lies in `core`."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return core[0] <= x < core[2] and core[1] <= y < core[3]


def _open_sides(box: Box, window: Box, grid: Grid, margin: int) -> tuple[int, ...]:
    """Sides (0 left, 1 top, 2 right, 3 bottom) where a box meets a window's border inside the grid."""
    edges = (0, 0, grid.width, grid.height)
    return tuple(s for s in range(4) if abs(box[s] - window[s]) <= margin and window[s] != edges[s])


def _extent(instance: Instance) -> Box:
    """The box of an instance's mask without the empty margin around it; its own box if the mask is empty."""
    mask = instance.mask
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return instance.box
    left, top = int(instance.box[0]), int(instance.box[1])
    return left + int(cols[0]), top + int(rows[0]), left + int(cols[-1]) + 1, top + int(rows[-1]) + 1
