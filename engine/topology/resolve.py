"""One clean coverage: overlaps resolved by priority, close neighbours joined, everything on a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import accumulate, chain, starmap

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..contracts import Outline
from ..walls.prongs import blunt_needles
from .cover import partition
from .grid import GRID_M, snap_to_grid
from .join import MAX_SLIDE, align_walls, cut_free, meet_corners, walls_of

CORNER_REACH = 1 / 3
"""Corners of neighbours that are so many snapping distances apart become one."""
BATCH = 200
"""Polygons whose neighbourhoods are settled in one call."""
NEEDLE_DEG, NEEDLE_M = 35.0, 0.3
"""Corners that only the cutting made sharper than this are cut where they are so wide."""


def resolve(
    outlines: list[Outline],
    *,
    snap_m: float,
    tolerance_m: float,
    keep_covered: bool = True,
    heartbeat: Callable[[], None] | None = None,
    run: Callable[..., Iterable] = starmap,
) -> list[Outline]:
    """Make outlines a clean coverage.

    Of two outlines that claim the same ground the one with the higher score gets it, then the
    larger one, then the smaller id. Neighbours closer than `snap_m` are joined: the outline of
    lower priority takes over the wall of the other, with the same vertices. The result depends
    neither on the order of the list nor on anything farther away than a chain of neighbours.

    Args:
        outlines: valid single polygons in a metric CRS; ids differ.
        snap_m: greatest width of a gap that is closed; 0 closes none.
        tolerance_m: a polygon of which others take more than a strip this wide along its whole
            outline is marked in `check`.
        keep_covered: whether outlines covered by others are returned.
        heartbeat: called now and then; what it raises ends the work.
        run: calls a function for every tuple of arguments, in order, as `itertools.starmap` does, or elsewhere.

    Returns:
        Outlines in the same order: valid single polygons on a 0.01 m grid, no two overlapping. An
        outline (all but) wholly covered by one of higher priority cannot be cut free of it: it
        keeps its geometry and says so in `check`.
    """
    if not outlines:
        return []
    shapes = snap_to_grid(np.array([o.geometry for o in outlines], object))
    checks = [o.check for o in outlines]
    hidden = np.zeros(len(outlines), bool)
    areas = np.round(shapely.area(shapes), 2).tolist()
    groups = [
        sorted(members.tolist(), key=lambda k: (-outlines[k].score, -areas[k], outlines[k].id))
        for members in neighbourhoods(shapes, reach_m=2 * MAX_SLIDE * snap_m, snap_m=snap_m)
    ]
    batches = _batches(groups)
    calls = ((shapely.to_wkb(shapes[list(chain(*batch))]), list(map(len, batch)), snap_m) for batch in batches)
    for batch, (settled, covered) in zip(batches, run(_settle, calls)):
        if heartbeat is not None:
            heartbeat()
        ranked = list(chain(*batch))
        for k, shape, by in zip(ranked, shapely.from_wkb(settled), covered):
            if by is not None:
                checks[k] = _note(checks[k], f"lies on {outlines[ranked[by]].id}")
                hidden[k] = True
            elif shapes[k].area - shape.area > tolerance_m * shapes[k].length:
                checks[k] = _note(checks[k], "lost ground to neighbours")
            shapes[k] = shape
    chosen = np.flatnonzero(~hidden | keep_covered)
    return [replace(outlines[k], geometry=shapes[k], check=checks[k]) for k in chosen]


def neighbourhoods(shapes: np.ndarray, *, reach_m: float, snap_m: float) -> list[np.ndarray]:
    """Groups of two or more polygons linked by distances up to `reach_m`, as index arrays.

    A group in which no two are closer than `snap_m` is left out: nothing moves in it.
    """
    a, b = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=max(reach_m, GRID_M))
    a, b = a[a < b], b[a < b]
    links = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(shapes), len(shapes)))
    _, label = connected_components(links, directed=False)
    close = shapely.dwithin(shapes[a], shapes[b], max(snap_m, GRID_M))
    busy = np.flatnonzero(np.bincount(label[a[close]], minlength=label.max() + 1)[label])
    order = busy[np.argsort(label[busy], kind="stable")]
    return [g for g in np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(g)]


def _batches(groups: list[list[int]]) -> list[list[list[int]]]:
    """Neighbourhoods that are settled in one call, together `BATCH` polygons or a little more."""
    batches: list[list[list[int]]] = []
    held = BATCH
    for group in groups:
        if held >= BATCH:
            batches.append([])
            held = 0
        batches[-1].append(group)
        held += len(group)
    return batches


def _settle(wkb: np.ndarray, sizes: list[int], snap_m: float) -> tuple[np.ndarray, list[int | None]]:
    """Settle neighbourhoods, one after the other in an array, each by descending priority.

    Returns:
        The polygons as WKB, and for each the index of the one that covers it, or None.
    """
    shapes = shapely.from_wkb(wkb)
    claims = list(shapes)
    covered: list[int | None] = [None] * len(shapes)
    walls = walls_of(shapes)
    for k, near in _rivals(shapes, snap_m):
        rivals = [r for r in near if covered[r] is None]
        if not rivals:
            continue
        moved = claims[k]
        if snap_m > 0:
            moved = align_walls(moved, walls[k], [walls[r] for r in rivals], snap_m=snap_m)
            moved = meet_corners(moved, [claims[r] for r in rivals], reach_m=CORNER_REACH * snap_m)
        mine, owner = cut_free(moved, [claims[r] for r in rivals])
        if mine is None:
            covered[k] = rivals[owner]
        elif mine is not claims[k]:
            claims[k] = mine
            (walls[k],) = walls_of(np.array([mine], object))
    # What is cut along another's wall may end in a needle.
    blunted = blunt_needles(np.array(claims, object), least_deg=NEEDLE_DEG, width_m=NEEDLE_M)
    claims = [b if b is not c and c is not s else c for b, c, s in zip(blunted, claims, shapes)]
    for high, size in zip(accumulate(sizes), sizes):
        free = [k for k in range(high - size, high) if covered[k] is None]
        for k, shape in zip(free, partition([claims[k] for k in free], grid_m=GRID_M, gap_m=snap_m)):
            claims[k] = shape
    return shapely.to_wkb(np.array(claims, object)), covered


def _rivals(shapes: np.ndarray, snap_m: float) -> Iterator[tuple[int, list[int]]]:
    """Each polygon that has any, and those before it that it may come to touch."""
    # Walls move, those of the rival too.
    reach = max(2 * MAX_SLIDE * snap_m, GRID_M)
    one, other = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=reach)
    one, other = one[other < one], other[other < one]
    order = np.lexsort((other, one))
    which, opens = np.unique(one[order], return_index=True)
    yield from zip(which.tolist(), (near.tolist() for near in np.split(other[order], opens[1:])))


def _note(check: str, reason: str) -> str:
    return f"{check}; {reason}" if check else reason
