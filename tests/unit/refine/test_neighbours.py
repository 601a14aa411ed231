"""Who keeps which pixels where redrawn masks claim the same ones."""

from __future__ import annotations

import itertools

import numpy as np
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.refine.neighbours import keep_apart


def block(name, x0, x1, value=230, *, y0=0, y1=20, refined=False):
    return Instance(name, (x0, y0, x1, y1), np.full((y1 - y0, x1 - x0), value, np.uint8), 0.9, refined=refined)


def pixels(instance):
    """Places of the mask."""
    rows, cols = np.nonzero(instance.mask)
    return {(c + instance.box[0], r + instance.box[1]) for r, c in zip(rows.tolist(), cols.tolist(), strict=True)}


def pair(name, before, after):
    """An instance before and after it was redrawn, each as ``(x0, x1, value)``."""
    return block(name, *before), block(name, *after, refined=True)


def apart(*pairs, context=()):
    before, after = zip(*pairs, strict=True)
    return keep_apart(after, before, context)


def test_a_mask_that_loses_everything_goes_back_to_what_no_neighbour_claims_of_its_input():
    """Its own redrawn mask lies wholly under a surer neighbour's; its input reached further."""
    weak = pair("weak", (0, 30), (22, 30, 200))
    strong = pair("strong", (28, 60), (20, 60, 250))
    found, covered = apart(weak, strong)
    assert covered == {0}
    assert not found[0].refined and pixels(found[0]) == pixels(block("", 0, 20))
    assert not pixels(found[0]) & pixels(found[1]) and found[1].refined
    swapped, covered = apart(strong, weak)
    assert covered == {1}
    for one, other in zip(found, reversed(swapped), strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)


def test_it_goes_back_to_all_of_its_input_where_neighbours_claim_all_of_that_too():
    weak = pair("weak", (0, 30), (5, 25, 200))
    left, right = pair("left", (-30, 5), (-30, 15, 250)), pair("right", (26, 60), (15, 60, 250))
    found, covered = apart(weak, left, right)
    assert covered == {0} and found[0] is weak[0]


def test_what_was_not_redrawn_yields_nothing_and_an_input_beside_it_stays_as_it_was():
    still = block("still", 20, 60, 140)
    lost = pair("lost", (0, 25), (21, 30, 250))
    found, covered = apart(lost, (still, still))
    assert covered == {0} and found[0] is lost[0] and found[1] is still
    found, covered = apart(lost, context=[still])
    assert covered == {0} and found[0] is lost[0]


def test_no_two_of_many_overlap_whoever_loses_all():
    """Random strips; inputs that keep off each other, masks redrawn over one another."""
    rng = np.random.default_rng(3)
    lost = 0
    for _ in range(150):
        edges = np.cumsum(rng.integers(6, 20, 7))
        pairs = []
        for n, (x0, x1) in enumerate(itertools.pairwise(edges.tolist())):
            to = sorted(rng.integers(edges[0], edges[-1], 2).tolist())
            pairs.append(pair(str(n), (x0, x1), (to[0], to[1] + 1, int(rng.integers(129, 255)))))
        found, covered = apart(*pairs)
        lost += len(covered)
        whole = {n for n in covered if found[n] is pairs[n][0]}
        # Two that both went back hold parts of inputs, which kept off each other.
        parts = [pixels(f) for n, f in enumerate(found) if n not in whole]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert all(pixels(f) for f in found)
    assert lost > 100


def test_sightings_of_one_building_are_left_alone():
    first, second = pair("a", (0, 40), (0, 40, 200)), pair("b", (2, 40), (2, 40, 250))
    found, covered = apart(first, second)
    for one, redrawn in zip(found, (first[1], second[1]), strict=True):
        np.testing.assert_array_equal(one.probability, redrawn.probability)
    assert not covered
