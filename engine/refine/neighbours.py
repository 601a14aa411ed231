"""Redrawn neighbours share a wall instead of overlapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from ..contracts import Box, Instance
from .crops import cut, intersect


def keep_apart(
    redrawn: Sequence[Instance], before: Sequence[Instance], context: Sequence[Instance] = ()
) -> tuple[list[Instance], set[int]]:
    """Give every pixel that several instances claim to the most probable one.

    The loser gets the complement of the winner's probability there, so that both contours run along
    the same sub-pixel line. Instances that were not redrawn keep all their pixels. Two that shared more
    than half of the smaller one before are sightings of the same building, not neighbours, and are left
    alone. A redrawn one that loses everything goes back to what no other claims of its input, or to all of
    it where others claim all. All losses are found before any is applied, so the order of the instances does
    not matter and each depends on those it meets alone; ties go to the one that covered the pixel before,
    then to the smaller id.

    Returns:
        One instance for each of `redrawn`, and the indices of those that went back to their input.
    """
    everything = [*redrawn, *context]
    if not everything:
        return [], set()
    is_redrawn = np.zeros(len(everything), bool)
    is_redrawn[: len(redrawn)] = [after is not old for after, old in zip(redrawn, before, strict=True)]
    old = [before[n] if moved else everything[n] for n, moved in enumerate(is_redrawn)]
    tree = shapely.STRtree(shapely.box(*np.array([i.box for i in everything], float).T))

    def neighbours(index: int, box: Box) -> list[int]:
        near = (int(n) for n in tree.query(shapely.box(*box)) if n != index)
        return [n for n in near if not same_building(before[index], old[n])]

    results, covered = list(redrawn), set()
    for index in np.flatnonzero(is_redrawn).tolist():
        instance, probability = redrawn[index], redrawn[index].probability.copy()
        for n in neighbours(index, instance.box):
            pair = (instance, before[index]), (everything[n], old[n])
            yield_pixels(probability, *pair, fixed=not is_redrawn[n])
        if not (probability >= 128).any():
            covered.add(index)
            instance, probability = before[index], before[index].probability.copy()
            for n in neighbours(index, instance.box):
                if is_redrawn[n]:  # inputs may overlap as they always have
                    yield_pixels(probability, (instance, instance), (everything[n], old[n]), fixed=True)
        yields = (probability >= 128).any() and not np.array_equal(probability, instance.probability)
        results[index] = replace(instance, probability=probability) if yields else instance
    return results, covered


def same_building(first: Instance, second: Instance) -> bool:
    """Whether two masks share more than half of the smaller one."""
    shared = intersect(first.box, second.box)
    if shared is None:
        return False
    both = np.count_nonzero(cut(first.mask, first.box, shared) & cut(second.mask, second.box, shared))
    return bool(both > 0.5 * min(np.count_nonzero(first.mask), np.count_nonzero(second.mask)))


def yield_pixels(
    probability: np.ndarray, own: tuple[Instance, Instance], other: tuple[Instance, Instance], *, fixed: bool
) -> None:
    """Lower `probability`, the copy of that of `own`, where `other` has the better claim; both are given
    as redrawn and as before."""
    shared = intersect(own[0].box, other[0].box)
    if shared is None:
        return
    mine, theirs = (cut(i.probability, i.box, shared) for i in (own[0], other[0]))
    # Three claims, the first that differs decides: probability, having been there before, the smaller id.
    had, they_had = (covers(i, shared) for i in (own[1], other[1]))
    tie = (they_had > had) | ((they_had == had) & (other[0].id < own[0].id))
    loses = (mine >= 128) & (theirs >= 128) & ((theirs > mine) | ((theirs == mine) & tie) | fixed)
    part = cut(probability, own[0].box, shared)
    part[loses] = np.minimum(part[loses], 255 - theirs[loses])


def covers(instance: Instance, box: Box) -> np.ndarray:
    """bool[h, w] of `box`: where the instance's mask is."""
    covered = np.zeros((box[3] - box[1], box[2] - box[0]), bool)
    shared = intersect(instance.box, box)
    if shared is not None:
        cut(covered, box, shared)[:] = cut(instance.mask, instance.box, shared)
    return covered
