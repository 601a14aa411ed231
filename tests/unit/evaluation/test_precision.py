"""Average precision: hand-computed cases, agreement with pycocotools, invariance."""

from __future__ import annotations

import contextlib
import io

import hypothesis.strategies as st
import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.evaluation.masks import mask_pairs, rasterize
from cadastral_vectorizer.engine.evaluation.overlap import Pairs, overlap_pairs
from cadastral_vectorizer.engine.evaluation.precision import (
    LARGE_PX2,
    SMALL_PX2,
    average_precisions,
    match,
    precision_recall,
)
from hypothesis import given, settings


def make_pairs(entries):
    """Pairs of ``(predicted, reference, iou)``."""
    entries = sorted(entries)
    p, r, iou = (np.array(c) for c in zip(*entries, strict=True)) if entries else (np.empty(0, int),) * 3
    return Pairs(p.astype(int), r.astype(int), iou.astype(float), iou.astype(float))


def run_match(entries, scores, references, threshold=0.5, ignored=None, ignorable=None):
    return match(
        make_pairs(entries),
        np.array(scores, float),
        threshold=threshold,
        reference_ignored=np.zeros(references, bool) if ignored is None else np.array(ignored),
        predicted_ignorable=np.zeros(len(scores), bool) if ignorable is None else np.array(ignorable),
    )


def precisions(pairs, scores, references, **options):
    return average_precisions(
        pairs,
        np.asarray(scores, float),
        reference_ignored=np.zeros(references, bool),
        predicted_ignorable=np.zeros(len(scores), bool),
        **options,
    )


def test_better_score_takes_the_reference_though_the_other_overlaps_more():
    found = run_match([(0, 0, 0.9), (1, 0, 0.6)], [0.2, 0.8], 1)
    assert found.reference_of.tolist() == [-1, 0]


def test_prediction_takes_the_free_reference_it_overlaps_most():
    found = run_match([(0, 0, 0.55), (0, 1, 0.7), (1, 1, 0.9)], [0.9, 0.8], 2)
    assert found.reference_of.tolist() == [1, -1]


def test_reaching_the_threshold_exactly_is_a_match():
    assert run_match([(0, 0, 0.5)], [1.0], 1).reference_of.tolist() == [0]
    assert run_match([(0, 0, 0.49999)], [1.0], 1).reference_of.tolist() == [-1]


def test_perfect_overlap_matches_at_any_threshold():
    assert run_match([(0, 0, 1.0)], [1.0], 1, threshold=1.0).reference_of.tolist() == [0]


def test_ignored_reference_is_taken_last_and_makes_its_prediction_ignored():
    found = run_match([(0, 0, 0.9), (0, 1, 0.6), (1, 0, 0.8)], [0.9, 0.8], 2, ignored=[True, False])
    assert found.reference_of.tolist() == [1, 0]
    assert found.ignored.tolist() == [False, True]


def test_unmatched_ignorable_prediction_is_not_wrong():
    found = run_match([], [0.9, 0.8], 1, ignorable=[True, False])
    assert found.ignored.tolist() == [True, False]


def test_average_precision_by_hand():
    # Right, wrong, right of 4 references: precision 1 up to recall 1/4, 2/3 up to 1/2, then 0.
    found = run_match([(0, 0, 0.8), (2, 1, 0.8)], [0.9, 0.8, 0.7], 4)
    curve = precision_recall(found, np.array([0.9, 0.8, 0.7]), np.zeros(4, bool))
    assert curve.recall == pytest.approx([0.25, 0.25, 0.5])
    assert curve.precision == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.average_precision() == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)
    # F1: 2*1*.25/1.25 = .4, 1/3, 2*(2/3)*.5/(7/6) = 4/7.
    assert curve.best_f1() == pytest.approx((4 / 7, 0.7))


def test_perfect_layer_has_ap_one_and_an_empty_one_zero():
    perfect = precisions(make_pairs([(k, k, 1.0) for k in range(5)]), np.linspace(1, 0.5, 5), 5)
    assert perfect == pytest.approx(np.ones(10))
    assert precisions(make_pairs([]), [], 5) == pytest.approx(np.zeros(10))


def test_no_reference_leaves_ap_undefined():
    assert np.isnan(precisions(make_pairs([]), [0.5, 0.4], 0)).all()


def test_without_scores_ap_is_one_point_and_independent_of_order():
    # 2 of 3 right, 4 references: precision 2/3 for recalls up to 1/2, which are 51 of 101 points.
    for right in ([0, 1], [1, 2], [0, 2]):
        pairs = make_pairs([(p, k, 0.99) for k, p in enumerate(right)])
        assert precisions(pairs, [1.0] * 3, 4, scored=False) == pytest.approx(np.full(10, 51 / 101 * 2 / 3))


def test_best_f1_uses_all_predictions_of_a_tied_score():
    found = run_match([(0, 0, 0.9)], [0.5, 0.5], 1)
    curve = precision_recall(found, np.array([0.5, 0.5]), np.zeros(1, bool))
    assert curve.best_f1() == pytest.approx((2 / 3, 0.5))


def scene(seed, references=60, image=400):
    """Reference boxes and noisy, duplicated, split and invented predictions, in pixels."""
    rng = np.random.default_rng(seed)
    true, predicted = [], []
    for _ in range(references):
        width, height = np.exp(rng.uniform(np.log(6), np.log(150), 2))
        x, y = rng.uniform(2, image - 2 - width), rng.uniform(2, image - 2 - height)
        polygon = shapely.Polygon(
            [(x, y), (x + width, y), (x + width, y + height / 2), (x + width / 2, y + height), (x, y + height)]
        )
        true.append(polygon)
        for _ in range(rng.integers(0, 3)):
            jitter = rng.normal(0, 0.06 * min(width, height), (6, 2))
            jitter[-1] = jitter[0]
            noisy = shapely.transform(polygon, lambda xy, jitter=jitter: np.clip(xy + jitter, 0, image))
            if noisy.is_valid and noisy.area > 4:
                predicted.append(noisy)
    for _ in range(references // 4):
        x, y = rng.uniform(0, image - 20, 2)
        predicted.append(shapely.box(x, y, x + 18, y + 12))
    scores = np.round(rng.random(len(predicted)), 2)  # ties on purpose
    return np.array(predicted, dtype=object), np.array(true, dtype=object), scores


def coco_precisions(predicted, reference, scores, image=400):
    """float64[10, 4]: pycocotools' AP by IoU threshold and size (all, small, medium, large)."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed (development only)")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    masks = pytest.importorskip("pycocotools.mask")

    def encode(runs, index):
        return masks.encode(np.asfortranarray(runs.mask(index, height=image, width=image).astype(np.uint8)))

    true_runs, predicted_runs = rasterize(reference), rasterize(predicted)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": 1, "height": image, "width": image}],
            "categories": [{"id": 1}],
            "annotations": [
                {"id": k + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(true_runs.area[k]),
                 "bbox": [0, 0, 1, 1], "segmentation": encode(true_runs, k)}
                for k in range(len(reference))
            ],
        }  # fmt: skip
        truth.createIndex()
        found = truth.loadRes(
            [
                {"image_id": 1, "category_id": 1, "score": float(scores[k]), "segmentation": encode(predicted_runs, k)}
                for k in range(len(predicted))
            ]
        )
        judge = evaluation.COCOeval(truth, found, "segm")
        judge.params.maxDets = [1, 10, 100_000]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, 0, :, 2].mean(axis=1)


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_pycocotools_on_the_same_masks(seed):
    predicted, reference, scores = scene(seed)
    expected = coco_precisions(predicted, reference, scores)
    pairs = mask_pairs(predicted, reference)
    p_area, r_area = rasterize(predicted).area, rasterize(reference).area
    ranges = ((0, 1e10), (0, SMALL_PX2), (SMALL_PX2, LARGE_PX2), (LARGE_PX2, 1e10))
    for size, (low, high) in enumerate(ranges):
        found = average_precisions(
            pairs,
            scores,
            reference_ignored=(r_area < low) | (r_area > high),
            predicted_ignorable=(p_area < low) | (p_area > high),
        )
        assert found == pytest.approx(expected[:, size], abs=1e-6)
    assert expected[:, 0].mean() > 0.05


def test_no_cap_on_detections():
    boxes = shapely.box(*(np.array([[3 * k, 0, 3 * k + 2, 2] for k in range(500)]).T))
    found = precisions(overlap_pairs(boxes, boxes), np.linspace(1, 0.1, 500), 500)
    assert found == pytest.approx(np.ones(10))


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_ap_is_bounded_falls_with_iou_and_ignores_the_order_of_distinct_scores(seed):
    predicted, reference, _ = scene(seed, references=20)
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(predicted)) / len(predicted)
    found = precisions(overlap_pairs(predicted, reference), scores, len(reference))
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) <= 0.35).all()  # greedy matching may gain a little, never much
    order, other = rng.permutation(len(predicted)), rng.permutation(len(reference))
    shuffled = precisions(overlap_pairs(predicted[order], reference[other]), scores[order], len(reference))
    assert shuffled == pytest.approx(found, abs=1e-12)
