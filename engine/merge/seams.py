"""Seams: a building that several overlapping tiles saw comes out once and whole.

Who wins is decided by what was seen, never by who came first: the result is a function of the set of
instances, so it does not depend on the order of tiles, batches or workers, nor on interruptions.

1. A sighting cut by its window is dropped where complete sightings explain it.
2. Cut sightings that agree in the strip both windows show are pieces of one building: they are fused.
3. A piece that remains cut, at a place that another tile answers for and saw nothing at, is an artefact of its
   window's border and is dropped.
4. Of sightings of the same building the best one stays: complete before cut, then seen from the tile that
   owns its centre, then by score, then by id.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import shapely

from ..contracts import Box, Grid, Instance, Tile

_TOUCH_PX = 2  # a mask this close to a border touches it
_SWALLOW = 0.8
"""A building takes in better ones nested in it (panels of a hall) if its score is at least this share
of theirs; a blob around a sure house, with a poor score, gives way to it."""


def merge_instances(
    instances: Iterable[Instance],
    *,
    tiles: Sequence[Tile],
    grid: Grid,
    same_share: float = 0.5,
    nested_share: float = 0.8,
    agree_iou: float = 0.5,
    near_px: int = 8,
) -> list[Instance]:
    """Merge what all tiles saw into whole buildings.

    Args:
        instances: sightings of all tiles, any order; boxes in global pixels, `Instance.tile` among
            `tiles`.
        tiles: the tiling the sightings come from (more tiles than those that saw something is fine).
        grid: the working grid, whose edges cut nothing.
        same_share: a sighting is a duplicate if better ones cover at least this share of it.
        nested_share: a sighting with this share of it inside a larger one is nested in it.
        agree_iou: pieces are fused if their masks in the common strip of both windows have this IoU.
        near_px: a mask this close to its window's border may be a piece, and the network's word this close to
            a border is not asked for: it shies away from borders.

    Returns:
        One instance per building, sorted by id. Ids are digests of box and mask: the same building has
        the same id in every run. `cut` remains where no tile saw the rest. Masks of different buildings
        may still overlap.
    """
    windows = {(tile.row, tile.col): tile for tile in tiles}
    seen = [_Sighting(instance, windows[instance.tile], grid, near_px) for instance in instances]
    seen = sorted((s for s in seen if s.area), key=lambda s: s.key)
    seen = _drop_explained(seen, same_share)
    seen = _fuse_pieces(seen, agree_iou, near_px)
    seen = _drop_unconfirmed(seen, tiles)
    seen = _keep_best(sorted(seen, key=lambda s: s.priority), same_share, nested_share)
    merged = [replace(s.instance, id=s.name, cut=s.cut_off) for s in seen]
    return sorted(merged, key=lambda instance: instance.id)


def name_instance(box: Box, mask: np.ndarray) -> str:
    """The stable id of a mask, bool[H, W], at a place: 12 hexadecimal digits."""
    digest = hashlib.blake2s(np.array(box, dtype="<i8").tobytes(), digest_size=6)
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


class _Sighting:
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
        self.owned = _holds_center(tile.core, self.box)
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
        return self.instance.probability[_slices(box, self.instance.box)] >= 128

    @property
    def priority(self) -> tuple:
        """Best first."""
        return (self.cut, not self.owned, -self.instance.score, *self.key)


def _drop_explained(seen: list[_Sighting], same_share: float) -> list[_Sighting]:
    """Drop cut sightings that complete ones of other tiles cover."""
    covered = np.zeros(len(seen))
    for i, j in _neighbours(seen):
        if seen[i].cut != seen[j].cut and seen[i].window != seen[j].window:
            piece = i if seen[i].cut else j
            covered[piece] += _common_area(seen[i], seen[j])
    return [s for s, area in zip(seen, covered, strict=True) if not (s.cut and area >= same_share * s.area)]


def _fuse_pieces(seen: list[_Sighting], agree_iou: float, near: int) -> list[_Sighting]:
    """Fuse cut sightings of one building from different tiles."""
    leader = list(range(len(seen)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for i, j in _neighbours(seen):
        if seen[i].cut and seen[j].cut and _agree(seen[i], seen[j], agree_iou, near):
            a, b = sorted((find(i), find(j)))
            leader[b] = a
    groups: dict[int, list[_Sighting]] = {}
    for i, sighting in enumerate(seen):
        groups.setdefault(find(i), []).append(sighting)
    return [group[0] if len(group) == 1 else _fuse(group) for group in groups.values()]


def _agree(a: _Sighting, b: _Sighting, agree_iou: float, near: int) -> bool:
    """Whether two cut sightings look the same in the strip that both windows show well."""
    strip = _intersect(a.window, b.window)
    if strip is None or a.window == b.window:
        return False
    x, y = (near if strip[s + 2] - strip[s] > 4 * near else 0 for s in (0, 1))
    strip = (strip[0] + x, strip[1] + y, strip[2] - x, strip[3] - y)
    common = _common_area(a, b, strip)
    union = _area_within(a, strip) + _area_within(b, strip) - common
    return common > 0 and common >= agree_iou * union


def _fuse(pieces: list[_Sighting]) -> _Sighting:
    """Make one sighting of pieces of one building: the highest probability, the mean score by area."""
    boxes = [piece.instance.box for piece in pieces]
    left, top, right, bottom = zip(*boxes, strict=True)
    box = min(left), min(top), max(right), max(bottom)
    probability = np.zeros((box[3] - box[1], box[2] - box[0]), dtype=np.uint8)
    for piece in pieces:
        here = _slices(piece.instance.box, box)
        np.maximum(probability[here], piece.instance.probability, out=probability[here])
    largest = max(pieces, key=lambda piece: (piece.area, piece.key))
    fused = copy(largest)
    fused.instance = replace(
        largest.instance,
        box=box,
        probability=probability,
        score=sum(p.instance.score * p.area for p in pieces) / sum(p.area for p in pieces),
        edge=any(piece.instance.edge for piece in pieces),
    )
    fused.measure()
    fused.cut_off = any(not _is_continued(piece, side, pieces) for piece in pieces for side in piece.cut_sides)
    fused.cut = fused.cut_off
    fused.owned = True  # no tile saw more of it
    fused.key = (fused.name, *largest.key[1:])
    return fused


def _is_continued(piece: _Sighting, side: int, pieces: list[_Sighting]) -> bool:
    """Whether another piece, from a window reaching further on `side`, shows what the border cut off."""
    inwards = 1 if side < 2 else -1
    rim = list(piece.box)
    opposite = (side + 2) % 4
    rim[opposite] = piece.box[side] + inwards * min(3, abs(piece.box[opposite] - piece.box[side]))
    band = (rim[0], rim[1], rim[2], rim[3])
    needed = _area_within(piece, band) / 2
    return any(
        (other.window[side] - piece.window[side]) * inwards < 0 and _common_area(piece, other, band) >= needed
        for other in pieces
    )


def _drop_unconfirmed(seen: list[_Sighting], tiles: Sequence[Tile]) -> list[_Sighting]:
    """Drop pieces that the tile which owns their centre, and shows it well, did not see."""
    rows = sorted({(tile.core[1], tile.row) for tile in tiles})
    cols = sorted({(tile.core[0], tile.col) for tile in tiles})
    cores = {(tile.row, tile.col): tile.core for tile in tiles}

    def is_looked_at(sighting: _Sighting) -> bool:
        x, y = (sighting.box[0] + sighting.box[2]) / 2, (sighting.box[1] + sighting.box[3]) / 2
        row = rows[max(bisect_right(rows, (y, float("inf"))) - 1, 0)][1]
        col = cols[max(bisect_right(cols, (x, float("inf"))) - 1, 0)][1]
        return (row, col) in cores and _holds_center(cores[row, col], sighting.box)

    return [s for s in seen if not s.cut_off or s.owned or not is_looked_at(s)]


def _keep_best(seen: list[_Sighting], same_share: float, nested_share: float) -> list[_Sighting]:
    """Keep the best sighting of every building, given all of them, best first."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in seen]
    for i, j in _neighbours(seen):
        better, worse = min(i, j), max(i, j)
        common = _common_area(seen[i], seen[j])
        if common:
            neighbours[worse].append((better, common))
    kept = [False] * len(seen)
    for i, sighting in enumerate(seen):
        standing = [(j, common) for j, common in neighbours[i] if kept[j]]
        if sum(common for _, common in standing) >= same_share * sighting.area:
            continue
        inside = [j for j, common in standing if common >= nested_share * seen[j].area]
        best_inside = max((seen[j].instance.score for j in inside), default=0.0)
        if sighting.instance.score < _SWALLOW * best_inside:
            continue
        for j in inside:
            kept[j] = False
        kept[i] = True
    return [s for s, keep in zip(seen, kept, strict=True) if keep]


def _neighbours(seen: list[_Sighting]) -> list[tuple[int, int]]:
    """Pairs ``i < j`` of sightings whose boxes meet."""
    if len(seen) < 2:
        return []
    boxes = shapely.box(*np.array([s.box for s in seen], dtype=float).T)
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    pairs = np.column_stack((first, second))[first < second]
    return [(int(i), int(j)) for i, j in pairs[np.lexsort(pairs.T[::-1])]]


def _common_area(a: _Sighting, b: _Sighting, within: Box | None = None) -> int:
    """Pixels that both masks hold, inside a box if one is given."""
    common = _intersect(a.box, b.box)
    if common is not None and within is not None:
        common = _intersect(common, within)
    if common is None:
        return 0
    return int(np.count_nonzero(a.mask_in(common) & b.mask_in(common)))


def _area_within(sighting: _Sighting, box: Box) -> int:
    common = _intersect(sighting.box, box)
    return 0 if common is None else int(np.count_nonzero(sighting.mask_in(common)))


def _intersect(a: Box, b: Box) -> Box | None:
    box = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return box if box[0] < box[2] and box[1] < box[3] else None


def _slices(part: Box, whole: Box) -> tuple[slice, slice]:
    """Where `part` lies in an array that covers `whole`."""
    return np.s_[part[1] - whole[1] : part[3] - whole[1], part[0] - whole[0] : part[2] - whole[0]]


def _holds_center(core: Box, box: Box) -> bool:
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
