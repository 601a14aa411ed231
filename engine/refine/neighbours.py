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
    is applied, so the order of the instances does not matter; ties go to the smaller id.
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
                yield_pixels(probability, instance, everything[other_index], fixed=fixed)
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


def yield_pixels(probability: np.ndarray, instance: Instance, other: Instance, *, fixed: bool) -> None:
    """Lower `probability`, the copy of that of `instance`, where `other` has the better claim."""
    shared = intersect(instance.box, other.box)
    if shared is None:
        return
    own, theirs = cut(instance.probability, instance.box, shared), cut(other.probability, other.box, shared)
    wins = theirs > own if other.id > instance.id else theirs >= own
    loses = (own >= 128) & (theirs >= 128) & (wins | fixed)
    part = cut(probability, instance.box, shared)
    part[loses] = np.minimum(part[loses], 255 - theirs[loses])
