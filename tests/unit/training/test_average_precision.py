"""Average precision: by hand, and equal to pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from cadastral_vectorizer.engine.chips.folder import encode_rle
from cadastral_vectorizer.engine.training.average_precision import MatchCollector, average_precision


def square(labels, value, x, y, size):
    labels[y : y + size, x : x + size] = value


def test_all_found_is_one():
    assert average_precision(np.array([True, True]), 2) == pytest.approx(1.0)


def test_half_found_by_hand():
    # precision 1 up to recall 0.5, nothing after: 51 of 101 recall points
    assert average_precision(np.array([True, False]), 2) == pytest.approx(51 / 101)


def test_a_false_alarm_first_by_hand():
    # precision 1/2 for every recall up to 1
    assert average_precision(np.array([False, True]), 1) == pytest.approx(0.5)


def test_a_truth_is_matched_once():
    labels = np.zeros((40, 40), np.int32)
    square(labels, 1, 5, 5, 10)
    collector = MatchCollector()
    box, mask = (5, 5, 15, 15), np.ones((10, 10), bool)
    collector.add([box, box], [mask, mask], [0.9, 0.8], labels)
    figures = collector.figures(0.5)
    assert figures["precision"] == 0.5 and figures["recall"] == 1.0 and figures["AP50"] == pytest.approx(1.0)


def test_predictions_in_unknown_areas_do_not_count():
    labels = np.full((40, 40), -1, np.int32)
    square(labels, 1, 5, 5, 10)
    collector = MatchCollector()
    full = np.ones((10, 10), bool)
    collector.add([(5, 5, 15, 15), (25, 25, 35, 35)], [full, full], [0.5, 0.9], labels)
    assert collector.figures(0.1)["precision"] == 1.0


def test_no_truth_and_no_prediction():
    collector = MatchCollector()
    collector.add([], [], [], np.zeros((9, 9), np.int32))
    assert collector.figures()["AP"] == 0.0


def test_equals_pycocotools():
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is a development requirement")
    from pycocotools import mask as masks
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(4)
    collector, truths, found, images = MatchCollector(), [], [], []
    for image in range(6):
        labels = np.zeros((120, 120), np.int32)
        places = [(x, y) for x in (4, 44, 84) for y in (4, 44, 84)]
        for value, (x, y) in enumerate(places, start=1):
            square(labels, value, x, y, int(rng.integers(8, 30)))
        images.append({"id": image + 1, "width": 120, "height": 120})
        boxes, cuts, scores = [], [], []
        for value in range(1, 10):
            full = labels == value
            truths.append({"id": len(truths) + 1, "image_id": image + 1, "category_id": 1, "iscrowd": 0,
                           "area": int(full.sum()), "bbox": [0, 0, 1, 1],
                           "segmentation": masks.frPyObjects(encode_rle(full), 120, 120)})  # fmt: skip
            moved = np.roll(full, rng.integers(-5, 6, 2), (0, 1))
            rows, cols = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
            box = (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1)
            score = float(np.round(rng.random(), 3)) + 1e-6 * (image * 9 + value)
            boxes.append(box)
            cuts.append(moved[box[1] : box[3], box[0] : box[2]])
            scores.append(score)
            found.append({"image_id": image + 1, "category_id": 1, "score": score,
                          "segmentation": masks.frPyObjects(encode_rle(moved), 120, 120)})  # fmt: skip
        collector.add(boxes, cuts, scores, labels)
    reference = coco.COCO()
    reference.dataset = {"images": images, "annotations": truths, "categories": [{"id": 1, "name": "b"}]}
    reference.createIndex()
    evaluation = COCOeval(reference, reference.loadRes(found), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = collector.figures()
    assert figures["AP"] == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert figures["AP50"] == pytest.approx(evaluation.stats[1], abs=1e-6)
    assert figures["AP75"] == pytest.approx(evaluation.stats[2], abs=1e-6)
