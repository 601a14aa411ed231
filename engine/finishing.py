"""Behind the network: what finished tiles saw becomes outlines while the next tiles are looked at.

Merging and refining hold what lies along the front of the work; only outlines pile up, in an `OutlineStore`. They are
a function of the tiles alone, not of the steps in which these come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .clock import Clock
from .contracts import Grid, Instance, Outline, Tile
from .merge.stream import SeamStream
from .outline_store import OutlineStore

if TYPE_CHECKING:
    from .refine.stream import RefineStream

STEP_PX = 4_000_000
"""Pixels of finished tiles after which a step is worth its overhead."""


class Finisher:
    """Merges, refines and outlines the tiles of one run.

    Args:
        tiles: all tiles that are going to be added.
        grid: the working grid.
        find: what a finished tile saw.
        refining: None leaves masks as the detector drew them.
        trace: instances to outlines.
        store: gets the outlines.
        clock: told what the stages take.
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        grid: Grid,
        *,
        find: Callable[[Tile], list[Instance]],
        refining: RefineStream | None,
        trace: Callable[[list[Instance]], list[Outline]],
        store: OutlineStore,
        clock: Clock,
    ) -> None:
        self._merging = SeamStream(tiles, grid)
        self._refining, self._find, self._trace, self._clock = refining, find, trace, clock
        self._store = store
        self._new_px = 0

    def add(self, tiles: Iterable[Tile]) -> None:
        """Take in finished tiles, and go on as far as they allow."""
        with self._clock.stage("merge"):
            for tile in tiles:
                self._merging.add(tile, self._find(tile))
                x0, y0, x1, y1 = tile.core
                self._new_px += (x1 - x0) * (y1 - y0)
        if self._new_px >= STEP_PX:
            self._advance()

    def finish(self) -> None:
        """Put the last outlines into the store, once all tiles have been added."""
        self._advance(last=True)

    def _advance(self, *, last: bool = False) -> None:
        self._new_px = 0
        with self._clock.stage("merge"):
            final = self._merging.take()
        if self._refining is not None:
            with self._clock.stage("refine"):
                self._refining.add(final)
                final = self._refining.take(self._merging.are_known, last=last)
        with self._clock.stage("contours"):
            self._store.add(self._trace(final))

