"""Refining while buildings come in: each is redrawn once all around it is known, and leaves once no neighbour
that is still to come can claim a pixel of it. What is held lies along the front of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from ..contracts import Box, Instance
from ..progress import Reporter
from .neighbours import keep_apart
from .refine import Read, Refiner

MAX_SIDE_PX = 1536
"""Buildings that need a larger window are left as they are: the network would see them reduced many times, and
how far it looks is how long neighbours have to wait."""
CHUNK = 512
"""Buildings redrawn and kept together: what a kill costs at most."""
ENOUGH = 256
"""Fewer wait for more, because the network's batches have fixed sizes."""

AreKnown = Callable[[np.ndarray], np.ndarray]
"""Whether no building is still to come that reaches into each box, int[N, 4]; bool[N]."""


@dataclass
class _Entry:
    before: Instance
    window: Box | None
    after: Instance | None = None
    left: bool = False

    @property
    def extent(self) -> Box:
        """All that it covers or covered, once it is redrawn: it may go back."""
        assert self.after is not None
        return _hull([self.before.box, self.after.box])

    @property
    def reach(self) -> Box:
        """All that it may ever cover or look at."""
        return _hull([box for box in (self.before.box, self.window, self.after and self.after.box) if box])


class _Watch(Reporter):
    """Passes on what is said and looks whether the user still wants the work, but reports no progress."""

    def __init__(self, outer: Reporter) -> None:
        super().__init__()
        self._outer = outer

    def check(self) -> None:
        self._outer.check()

    def log(self, message: str, level: str = "info") -> None:
        self._outer.log(message, level)


class RefineStream:
    """Refines the buildings of one run, in whatever order they are added.

    All that `take` returns together is what `Refiner.refine_instances` returns for all instances at once.

    Args:
        refiner: the network.
        read: see `Read`.
        find: what became of an instance in an earlier run, itself if it was kept; None where it was not asked about.
        keep: told what became of instances, ``(before, after)``.
        reporter: the log, and the wish to cancel.
    """

    def __init__(
        self,
        refiner: Refiner,
        read: Read,
        *,
        find: Callable[[Instance], Instance | None] = lambda before: None,
        keep: Callable[[Sequence[tuple[Instance, Instance]]], None] = lambda pairs: None,
        reporter: Reporter | None = None,
    ) -> None:
        self._refiner, self._read, self._find, self._keep = refiner, read, find, keep
        self._reporter = _Watch(reporter or Reporter())
        self._held: list[_Entry] = []

    def __len__(self) -> int:
        """Buildings held."""
        return len(self._held)

    def add(self, instances: Iterable[Instance]) -> None:
        """Hand in buildings whose masks are final."""
        for instance in instances:
            window = self._refiner.choose_window(instance)
            fits = window is not None and window.side <= MAX_SIDE_PX
            box = (window.x, window.y, window.x + window.side, window.y + window.side) if window and fits else None
            self._held.append(_Entry(instance, box, None if box else instance))

    def take(self, are_known: AreKnown, *, last: bool = False) -> list[Instance]:
        """Buildings that have become final since the last call; all, if it is the `last` one and all are known."""
        if not self._held:
            return []
        self._redraw([e for e in self._held if e.after is None], are_known, least=1 if last else ENOUGH)
        ready = self._find_ready(are_known)
        near = self._meeting(ready, [e for e in self._held if e.after is not None])
        group = [*ready, *near]
        apart, _ = keep_apart([e.after for e in group if e.after is not None], [e.before for e in group])
        for entry in ready:
            entry.left = True
        self._forget(are_known)
        return apart[: len(ready)]

    def _redraw(self, waiting: list[_Entry], are_known: AreKnown, *, least: int) -> None:
        """Redraw those whose surroundings are known, if they are at least so many."""
        if not waiting:
            return
        known = are_known(_stack([e.reach for e in waiting]))
        asked = []
        for entry in (e for e, k in zip(waiting, known, strict=True) if k):
            entry.after = self._find(entry.before)
            if entry.after is None:
                asked.append(entry)
        for start in range(0, len(asked) if len(asked) >= least else 0, CHUNK):
            part = asked[start : start + CHUNK]
            inside = {id(e) for e in part}
            context = [e.before for e in self._held if id(e) not in inside]
            answers = self._refiner.redraw(
                [e.before for e in part], self._read, context=context, reporter=self._reporter
            )
            for entry, answer in zip(part, answers, strict=True):
                entry.after = answer.instance
            self._keep([(e.before, e.after) for e in part if e.after is not None])

    def _find_ready(self, are_known: AreKnown) -> list[_Entry]:
        """Entries that neither an entry still to be redrawn nor a building still to come can reach."""
        redrawn = [e for e in self._held if e.after is not None and not e.left]
        if not redrawn:
            return []
        boxes = _stack([e.extent for e in redrawn])
        free = are_known(_grow(boxes, MAX_SIDE_PX))
        free[_met(boxes, [e.reach for e in self._held if e.after is None])] = False
        return [e for e, f in zip(redrawn, free, strict=True) if f]

    def _meeting(self, ready: list[_Entry], redrawn: list[_Entry]) -> list[_Entry]:
        """Redrawn entries besides `ready` that claim pixels where those do."""
        if not ready:
            return []
        chosen = {id(e) for e in ready}
        others = [e for e in redrawn if id(e) not in chosen]
        met = _met(_stack([e.extent for e in others]), [e.extent for e in ready])
        return [others[n] for n in met]

    def _forget(self, are_known: AreKnown) -> None:
        """Let go of what has left and is no neighbour of anything that has not."""
        left = [e for e in self._held if e.left]
        if not left:
            return
        boxes = _stack([e.reach for e in left])
        free = are_known(_grow(boxes, MAX_SIDE_PX))
        free[_met(boxes, [e.reach for e in self._held if not e.left])] = False
        gone = {id(e) for e, f in zip(left, free, strict=True) if f}
        self._held = [e for e in self._held if id(e) not in gone]


def _met(boxes: np.ndarray, others: Sequence[Box]) -> np.ndarray:
    """Indices of the boxes, int[N, 4], that meet one of the others."""
    if not len(boxes) or not others:
        return np.zeros(0, np.int64)
    tree = shapely.STRtree(shapely.box(*_stack(others).T.astype(float)))
    return np.unique(tree.query(shapely.box(*boxes.T.astype(float)))[0])


def _stack(boxes: Sequence[Box]) -> np.ndarray:
    return np.array(boxes, np.int64).reshape(-1, 4)


def _grow(boxes: np.ndarray, margin: int) -> np.ndarray:
    return boxes + np.array([-margin, -margin, margin, margin])


def _hull(boxes: Sequence[Box]) -> Box:
    low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
    return int(low[0]), int(low[1]), int(high[2]), int(high[3])
