"""Merging while tiles come in: a building leaves as soon as nothing that is still to be seen can change it.

Sightings whose masks meet, directly or through others, form a cluster; clusters have no say in each other's
fate. A cluster is final once no unfinished tile's window reaches any of it. What is held is what lies under
the windows of unfinished tiles: a strip along the front of the work, whatever the size of the raster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..contracts import Grid, Instance, Tile
from .lattice import Lattice
from .seams import USUAL, Rules, merge_sightings
from .sighting import Sighting, common_area, meeting_pairs


class SeamStream:
    """Merges the tiles of one run, in whatever order they are added.

    All that `take` returns together is what `merge_instances` returns for all sightings at once.

    Args:
        tiles: all tiles that are going to be added.
        grid: the working grid.
    """

    def __init__(self, tiles: Sequence[Tile], grid: Grid, *, rules: Rules = USUAL) -> None:
        self._lattice = Lattice(tiles)
        self._grid, self._rules = grid, rules
        self._open: list[Sighting] = []

    def __len__(self) -> int:
        """Sightings held."""
        return len(self._open)

    def add(self, tile: Tile, instances: Iterable[Instance]) -> None:
        """Hand in all that a tile saw; once for every tile."""
        seen = [Sighting(instance, tile, self._grid, self._rules.near_px) for instance in instances]
        self._open += [s for s in seen if s.area]
        self._lattice.finish(tile)

    def take(self) -> list[Instance]:
        """Buildings that have become final since the last call, sorted by id."""
        cluster = _find_clusters(self._open)
        final = np.ones(len(self._open), bool)
        np.logical_and.at(final, cluster, self._lattice.are_finished(_boxes_of(self._open)))
        leaves = final[cluster]
        done = [s for s, leave in zip(self._open, leaves, strict=True) if leave]
        self._open = [s for s, leave in zip(self._open, leaves, strict=True) if not leave]
        return merge_sightings(done, lattice=self._lattice, rules=self._rules)

    def are_known(self, boxes: np.ndarray) -> np.ndarray:
        """Whether all buildings that reach into each of the boxes, int[N, 4], have been taken; bool[N]."""
        known = self._lattice.are_finished(boxes)
        if self._open and known.any():
            tree = shapely.STRtree(shapely.box(*_boxes_of(self._open).T.astype(float)))
            met, _ = tree.query(shapely.box(*boxes.T.astype(float)), predicate="intersects")
            known[met] = False
        return known


def _boxes_of(seen: list[Sighting]) -> np.ndarray:
    """Where the probabilities lie, which may be more than the mask; int64[N, 4]."""
    return np.array([s.instance.box for s in seen], np.int64).reshape(-1, 4)


def _find_clusters(seen: list[Sighting]) -> np.ndarray:
    """Number of each sighting's cluster, int[N]."""
    pairs = [(i, j) for i, j in meeting_pairs(seen) if common_area(seen[i], seen[j])]
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs), bool), (first, second)), shape=(len(seen), len(seen)))
    return connected_components(links, directed=False)[1] if seen else np.zeros(0, np.int64)
