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

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from ..contracts import Grid, Instance, Tile
from .lattice import Lattice
from .sighting import Sighting, area_within, common_area, intersect, meeting_pairs, slices

_SWALLOW = 0.8
"""A building takes in better ones nested in it (panels of a hall) if its score is at least this share
of theirs; a blob around a sure house, with a poor score, gives way to it."""


@dataclass(frozen=True)
class Rules:
    """When sightings show the same building.

    Attributes:
        same_share: a sighting is a duplicate if better ones cover at least this share of it.
        nested_share: a sighting with this share of it inside a larger one is nested in it.
        agree_iou: pieces are fused if their masks in the common strip of both windows have this IoU.
        near_px: a mask this close to its window's border may be a piece, and the network's word this close to
            a border is not asked for: it shies away from borders.
    """

    same_share: float = 0.5
    nested_share: float = 0.8
    agree_iou: float = 0.5
    near_px: int = 8


USUAL = Rules()


def merge_instances(
    instances: Iterable[Instance], *, tiles: Sequence[Tile], grid: Grid, rules: Rules = USUAL
) -> list[Instance]:
    """Merge what all tiles saw into whole buildings, all at once; `SeamStream` does so as tiles come in.

    Args:
        instances: sightings of all tiles, any order; boxes in global pixels, `Instance.tile` among
            `tiles`.
        tiles: the tiling the sightings come from (more tiles than those that saw something is fine).
        grid: the working grid, whose edges cut nothing.

    Returns:
        One instance per building, sorted by id. Ids are digests of box and mask: the same building has
        the same id in every run. `cut` remains where no tile saw the rest. Masks of different buildings
        may still overlap.
    """
    windows = {(tile.row, tile.col): tile for tile in tiles}
    seen = [Sighting(instance, windows[instance.tile], grid, rules.near_px) for instance in instances]
    return merge_sightings([s for s in seen if s.area], lattice=Lattice(tiles), rules=rules)


def merge_sightings(seen: list[Sighting], *, lattice: Lattice, rules: Rules) -> list[Instance]:
    """Merge sightings with masks. Those whose masks do not meet, directly or through others, have no say in
    each other's fate, so that a list may be merged in parts. Result as of `merge_instances`."""
    seen = sorted(seen, key=lambda s: s.key)
    seen = _drop_explained(seen, rules.same_share)
    seen = _fuse_pieces(seen, rules.agree_iou, rules.near_px)
    seen = _drop_unconfirmed(seen, lattice)
    seen = _keep_best(sorted(seen, key=lambda s: s.priority), rules.same_share, rules.nested_share)
    merged = [replace(s.instance, id=s.name, cut=s.cut_off) for s in seen]
    return sorted(merged, key=lambda instance: instance.id)


def _drop_explained(seen: list[Sighting], same_share: float) -> list[Sighting]:
    """Drop cut sightings that complete ones of other tiles cover."""
    covered = np.zeros(len(seen))
    for i, j in meeting_pairs(seen):
        if seen[i].cut != seen[j].cut and seen[i].window != seen[j].window:
            piece = i if seen[i].cut else j
            covered[piece] += common_area(seen[i], seen[j])
    return [s for s, area in zip(seen, covered, strict=True) if not (s.cut and area >= same_share * s.area)]


def _fuse_pieces(seen: list[Sighting], agree_iou: float, near: int) -> list[Sighting]:
    """Fuse cut sightings of one building from different tiles."""
    leader = list(range(len(seen)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for i, j in meeting_pairs(seen):
        if seen[i].cut and seen[j].cut and _agree(seen[i], seen[j], agree_iou, near):
            a, b = sorted((find(i), find(j)))
            leader[b] = a
    groups: dict[int, list[Sighting]] = {}
    for i, sighting in enumerate(seen):
        groups.setdefault(find(i), []).append(sighting)
    return [group[0] if len(group) == 1 else _fuse(group) for group in groups.values()]


def _agree(a: Sighting, b: Sighting, agree_iou: float, near: int) -> bool:
    """Whether two cut sightings look the same in the strip that both windows show well."""
    strip = intersect(a.window, b.window)
    if strip is None or a.window == b.window:
        return False
    x, y = (near if strip[s + 2] - strip[s] > 4 * near else 0 for s in (0, 1))
    strip = (strip[0] + x, strip[1] + y, strip[2] - x, strip[3] - y)
    common = common_area(a, b, strip)
    union = area_within(a, strip) + area_within(b, strip) - common
    return common > 0 and common >= agree_iou * union


def _fuse(pieces: list[Sighting]) -> Sighting:
    """Make one sighting of pieces of one building: the highest probability, the mean score by area."""
    boxes = [piece.instance.box for piece in pieces]
    left, top, right, bottom = zip(*boxes, strict=True)
    box = min(left), min(top), max(right), max(bottom)
    probability = np.zeros((box[3] - box[1], box[2] - box[0]), dtype=np.uint8)
    for piece in pieces:
        here = slices(piece.instance.box, box)
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


def _is_continued(piece: Sighting, side: int, pieces: list[Sighting]) -> bool:
    """Whether another piece, from a window reaching further on `side`, shows what the border cut off."""
    inwards = 1 if side < 2 else -1
    rim = list(piece.box)
    opposite = (side + 2) % 4
    rim[opposite] = piece.box[side] + inwards * min(3, abs(piece.box[opposite] - piece.box[side]))
    band = (rim[0], rim[1], rim[2], rim[3])
    needed = area_within(piece, band) / 2
    return any(
        (other.window[side] - piece.window[side]) * inwards < 0 and common_area(piece, other, band) >= needed
        for other in pieces
    )


def _drop_unconfirmed(seen: list[Sighting], lattice: Lattice) -> list[Sighting]:
    """Drop pieces that the tile which owns their centre, and shows it well, did not see."""
    return [s for s in seen if not s.cut_off or s.owned or not lattice.is_looked_at(s.box)]


def _keep_best(seen: list[Sighting], same_share: float, nested_share: float) -> list[Sighting]:
    """Keep the best sighting of every building, given all of them, best first."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in seen]
    for i, j in meeting_pairs(seen):
        better, worse = min(i, j), max(i, j)
        common = common_area(seen[i], seen[j])
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
