"""Splits, merges and the fate of every polygon."""

from __future__ import annotations

import numpy as np
import shapely
from cadastral_vectorizer.engine.evaluation.matches import decide_outcome, find_merges, find_splits
from cadastral_vectorizer.engine.evaluation.overlap import overlap_pairs
from cadastral_vectorizer.engine.evaluation.precision import match

HALL = shapely.box(0, 0, 20, 10)
WEST, EAST = shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)


def judge(predicted, reference, scores=None, ignored=None):
    predicted, reference = np.array(predicted, dtype=object), np.array(reference, dtype=object)
    pairs = overlap_pairs(predicted, reference)
    ignored = np.zeros(len(reference), bool) if ignored is None else np.array(ignored)
    scores = np.ones(len(predicted)) if scores is None else np.array(scores)
    matching = match(
        pairs, scores, threshold=0.5, reference_ignored=ignored, predicted_ignorable=np.zeros(len(predicted), bool)
    )
    return decide_outcome(pairs, matching, ignored, shapely.area(predicted), shapely.area(reference))


def test_hall_cut_in_thirds_is_one_split_and_missed():
    thirds = [shapely.box(x, 0, x + 20 / 3, 10) for x in (0, 20 / 3, 40 / 3)]
    outcome = judge(thirds, [HALL])
    assert outcome.counts() == {"tp": 0, "fp": 3, "fn": 1, "splits": 1, "merges": 0}
    assert outcome.splits.pieces_of() == {0: [0, 1, 2]}


def test_terrace_swallowed_by_one_polygon_is_one_merge():
    outcome = judge([HALL], [shapely.box(x, 0, x + 20 / 3, 10) for x in (0, 20 / 3, 40 / 3)])
    assert outcome.counts() == {"tp": 0, "fp": 1, "fn": 3, "splits": 0, "merges": 1}


def test_split_and_merge_mirror_each_other():
    predicted, reference = np.array([WEST, EAST]), np.array([HALL])
    pairs, mirrored = overlap_pairs(predicted, reference), overlap_pairs(reference, predicted)
    split = find_splits(pairs, shapely.area(predicted), shapely.area(reference))
    merge = find_merges(mirrored, shapely.area(reference), shapely.area(predicted))
    assert split.pieces_of() == merge.pieces_of() == {0: [0, 1]}


def test_duplicates_are_no_split():
    nested = [shapely.box(0, 0, 20, 9.5), shapely.box(0, 0.5, 20, 10)]
    assert judge(nested, [HALL], [0.9, 0.8]).counts() == {"tp": 1, "fp": 1, "fn": 0, "splits": 0, "merges": 0}


def test_small_annex_inside_is_no_split():
    outcome = judge([shapely.box(0, 0, 18, 10), shapely.box(18.5, 0, 19.5, 5)], [HALL])
    assert outcome.counts() == {"tp": 1, "fp": 1, "fn": 0, "splits": 0, "merges": 0}


def test_ignored_reference_is_neither_missed_nor_split():
    outcome = judge([WEST, EAST], [HALL], ignored=[True])
    assert outcome.counts()["fn"] == outcome.counts()["splits"] == 0


def test_every_polygon_has_one_fate():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 100, (80, 2))
    boxes = shapely.box(*corners.T, *(corners + rng.uniform(3, 12, (80, 2))).T)
    predicted, reference = boxes[:45], shapely.transform(boxes[20:], lambda xy: xy + 0.4)
    outcome = judge(predicted, reference, rng.random(45))
    assert sorted([*outcome.true_predicted, *outcome.false_predicted]) == list(range(45))
    assert sorted([*outcome.true_reference, *outcome.missed_reference]) == list(range(60))
    assert len(outcome.true_predicted) > 10
