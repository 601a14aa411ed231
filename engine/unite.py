"""One owner for every building that several rasters show.

The rules look only at the set of outlines and the rank of their rasters, so the result is always the same:

1. An outline cut by the edge of its raster gives way where outlines of other rasters that are whole cover at least
   half of it.
2. Two cut outlines of different rasters that agree on the ground both rasters show are pieces of one building:
   they become one outline, shaped anew.
3. Of what is left, the outline of the better rank stays; others give way to it where it covers half of them.
4. What still touches or overlaps an outline of another raster is made one clean coverage with its neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .contracts import Outline
from .geometry import add_check, shape_outlines
from .progress import Reporter
from .topology import resolve

COVERED = 0.5
"""An outline is a duplicate if better ones cover this share of it, as at the seams of tiles."""
AGREES = 0.5
"""IoU, on common ground, from which two cut outlines are pieces of one building."""
GAIN = 0.05
"""Two pieces that together are no larger than this share beyond the larger one are not worth joining."""
SNAP_M = 0.3
EDGE_M = 0.5
JOINED = "joined from two rasters"
CUT = "cut by the edge of the image or area"


@dataclass(frozen=True)
class View:
    """What one raster shows.

    Attributes:
        outlines: finished ones, in metres.
        footprint: the raster's ground in the same plane.
        rank: lower is better; no two views have the same.
    """

    outlines: Sequence[Outline]
    footprint: shapely.Polygon
    rank: tuple[float, int]


@dataclass(frozen=True)
class _Seen:
    """An outline and the place of its raster among the ranks."""

    outline: Outline
    view: int


def unite(views: Sequence[View], *, tolerance_m: float, regularization: str, reporter: Reporter) -> list[Outline]:
    """All buildings of several rasters, each once.

    Args:
        views: their outlines in one metric plane; within a view no two overlap.
        tolerance_m, regularization: for pieces that are joined, see `shape_outlines`.

    Returns:
        Outlines in the order of their ids, which differ; no two overlap.
    """
    views = sorted(views, key=lambda view: view.rank)
    seen = [_Seen(o, number) for number, view in enumerate(views) for o in sorted(view.outlines, key=lambda o: o.id)]
    seen = _without_covered(seen, givers=lambda s: not s.outline.edge, takers=lambda s: s.outline.edge)
    reporter.check()
    seen = _join_pieces(seen, views, tolerance_m, regularization, reporter)
    seen = _without_covered(seen, givers=lambda s: True, takers=lambda s: True)
    reporter.check()
    seen = _clean(_with_own_ids(seen), tolerance_m, reporter)
    return sorted((s.outline for s in seen), key=lambda o: o.id)


def _without_covered(
    seen: list[_Seen], *, givers: Callable[[_Seen], bool], takers: Callable[[_Seen], bool]
) -> list[_Seen]:
    """Leave out outlines of which better ones of other rasters cover `COVERED`.

    Better is what is whole, then the view of better rank. Only `givers` push out, only `takers` are pushed out.
    """
    pairs = _overlaps(seen)
    better: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for a, b, area in pairs:
        first, second = (a, b) if _order(seen[a]) < _order(seen[b]) else (b, a)
        if givers(seen[first]) and takers(seen[second]):
            better[second].append((first, area))
    gone: set[int] = set()
    for k in sorted(better, key=lambda k: _order(seen[k])):  # best first: whoever pushes out is settled by then
        cover = [seen[other].outline.geometry for other, _ in better[k] if other not in gone]
        geometry = seen[k].outline.geometry
        if cover and shapely.intersection(geometry, shapely.union_all(cover)).area >= COVERED * geometry.area:
            gone.add(k)
    return [s for k, s in enumerate(seen) if k not in gone]


def _order(seen: _Seen) -> tuple[bool, int, str]:
    return seen.outline.edge, seen.view, seen.outline.id


def _overlaps(seen: Sequence[_Seen]) -> list[tuple[int, int, float]]:
    """Pairs of outlines of different views that share ground, and how much, m2."""
    shapes = np.array([s.outline.geometry for s in seen], object)
    view = np.array([s.view for s in seen], int)
    a, b = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    kept = (a < b) & (view[a] != view[b])
    a, b = a[kept], b[kept]
    area = shapely.area(shapely.intersection(shapes[a], shapes[b]))
    return [(int(i), int(j), float(s)) for i, j, s in zip(a, b, area, strict=True) if s > 0]


def _join_pieces(
    seen: list[_Seen], views: Sequence[View], tolerance_m: float, regularization: str, reporter: Reporter
) -> list[_Seen]:
    """Make one outline of cut ones that agree where both rasters look."""
    root = list(range(len(seen)))

    def find(k: int) -> int:
        while root[k] != k:
            k = root[k]
        return k

    for a, b, _ in _overlaps(seen):
        if seen[a].outline.edge and seen[b].outline.edge and _are_pieces(seen[a], seen[b], views):
            low, high = sorted((find(a), find(b)))
            root[high] = low
    groups: dict[int, list[_Seen]] = defaultdict(list)
    for k, s in enumerate(seen):
        groups[find(k)].append(s)
    ground = shapely.buffer(shapely.union_all([view.footprint for view in views]), -EDGE_M)
    return [
        group[0] if len(group) == 1 else _join(group, ground, tolerance_m, regularization, reporter)
        for group in groups.values()
    ]


def _are_pieces(a: _Seen, b: _Seen, views: Sequence[View]) -> bool:
    common = shapely.intersection(views[a.view].footprint, views[b.view].footprint)
    one, other = (shapely.intersection(s.outline.geometry, common) for s in (a, b))
    joined = shapely.union(one, other).area
    if not joined or shapely.intersection(one, other).area < AGREES * joined:
        return False
    larger = max(a.outline.geometry.area, b.outline.geometry.area)
    return shapely.union(a.outline.geometry, b.outline.geometry).area > (1 + GAIN) * larger


def _join(
    group: list[_Seen], ground: shapely.Geometry, tolerance_m: float, regularization: str, reporter: Reporter
) -> _Seen:
    """One outline of several pieces, under the name of the best of them."""
    best = min(group, key=_order)
    whole = shapely.union_all([s.outline.geometry for s in group])
    if whole.geom_type != "Polygon":
        whole = max(shapely.get_parts(whole), key=lambda part: part.area)
    score = max(s.outline.score for s in group)
    raw = Outline(best.outline.id, whole, score=score, refined=any(s.outline.refined for s in group))
    shaped, _ = shape_outlines(
        [raw], tolerance_m=tolerance_m, regularization=regularization, min_area_m2=0.0, reporter=Reporter()
    )
    reporter.check()
    joined = add_check(shaped[0] if shaped else raw, JOINED)
    if not ground.covers(whole):
        joined = add_check(replace(joined, edge=True), CUT)
    return _Seen(joined, best.view)


def _with_own_ids(seen: list[_Seen]) -> list[_Seen]:
    """Ids are digests of masks in their own raster; should two rasters agree on one, the lower rank's is told apart."""
    taken: set[str] = set()
    out = []
    for s in seen:
        name, number = s.outline.id, 1
        while name in taken:
            number += 1
            name = f"{s.outline.id}-{number}"
        taken.add(name)
        out.append(s if name == s.outline.id else replace(s, outline=replace(s.outline, id=name)))
    return out


def _clean(seen: list[_Seen], tolerance_m: float, reporter: Reporter) -> list[_Seen]:
    """One coverage of every neighbourhood in which rasters meet; the others are clean already and stay as they are."""
    if not seen:
        return seen
    shapes = np.array([s.outline.geometry for s in seen], object)
    a, b = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=SNAP_M)
    links = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(seen), len(seen)))
    group = connected_components(links, directed=False)[1]
    views = np.array([s.view for s in seen])
    mixed = np.unique(group[a[views[a] != views[b]]])
    meeting = np.flatnonzero(np.isin(group, mixed)).tolist()
    if not meeting:
        return seen
    view = {seen[k].outline.id: seen[k].view for k in meeting}
    clean = resolve(
        [seen[k].outline for k in meeting], snap_m=SNAP_M, tolerance_m=tolerance_m, keep_covered=False,
        heartbeat=reporter.check,
    )  # fmt: skip
    rest = set(range(len(seen))) - set(meeting)
    return [seen[k] for k in sorted(rest)] + [_Seen(o, view[o.id]) for o in clean]
