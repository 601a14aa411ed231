"""Redrawn neighbours share a wall instead of overlapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from ..contracts import Instance
from .crops import cut, intersect


def keep_apart(
    redrawn: Sequence[Instance], before: Sequence[Instance], context: Sequence[Instance] = ()
) -> list[Instance]:
    """Give every pixel that several instances claim to the most probable one.

    The loser gets the complement of the winner's probability there, so that both contours run along
    the same sub-pixel line. Instances that were not redrawn keep all their pixels. Two that shared more
    than half of the smaller one before are sightings of the same building, not neighbours, and are left
    alone. A redrawn one that loses everything goes back to its input. All losses are found before any
    is applied, so the order of the instances does not matter; ties go to the one that covered the pixel
    before, then to the smaller id.
    """
    everything = [*redrawn, *context]
    if not everything:
        return []
    boxes = shapely.box(*np.array([i.box for i in everything], float).T)
    tree = shapely.STRtree(boxes)
    results = []
    for index, instance in enumerate(redrawn):
        if instance is before[index]:
            results.append(instance)
            continue
        probability = instance.probability.copy()
        for other_index in tree.query(boxes[index]):
            fixed = other_index >= len(redrawn) or redrawn[other_index] is before[other_index]
            other_before = everything[other_index] if fixed else before[other_index]
            if other_index != index and not same_building(before[index], other_before):
                pair = (instance, before[index]), (everything[other_index], other_before)
                yield_pixels(probability, *pair, fixed=fixed)
        lost = not (probability >= 128).any()
        results.append(before[index] if lost else replace(instance, probability=probability))
    return results


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


def covers(instance: Instance, box: tuple[int, int, int, int]) -> np.ndarray:
    """bool[h, w] of `box`: where the instance's mask is."""
    covered = np.zeros((box[3] - box[1], box[2] - box[0]), bool)
    shared = intersect(instance.box, box)
    if shared is not None:
        cut(covered, box, shared)[:] = cut(instance.mask, instance.box, shared)
    return covered
