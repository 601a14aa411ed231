"""Average precision: by hand, and equal to pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from cadastral_vectorizer.engine.chips.folder import encode_rle
from cadastral_vectorizer.engine.training.average_precision import MatchCollector, average_precision


def square(labels, value, x, y, size):
    labels[y : y + size, x : x + size] = value


def bounds(mask):
    """COCO box of a mask."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1]


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


def test_sizes_by_hand():
    """A small and a medium building, both found; a false alarm of medium size."""
    labels = np.zeros((120, 120), np.int32)
    square(labels, 1, 5, 5, 20)
    square(labels, 2, 40, 40, 40)
    collector = MatchCollector()
    boxes = [(5, 5, 25, 25), (40, 40, 80, 80), (80, 0, 120, 38)]
    collector.add(boxes, [np.ones((y1 - y0, x1 - x0), bool) for x0, y0, x1, y1 in boxes], [0.7, 0.6, 0.8], labels)
    figures = collector.figures(0.5)
    assert (figures["APS"], figures["APL"]) == (pytest.approx(1.0), -1.0)
    assert figures["APM"] == pytest.approx(0.5) and figures["box_APM"] == pytest.approx(0.5)
    assert (figures["precisionS"], figures["recallS"], figures["precisionM"]) == (1.0, 1.0, 0.5)
    assert (figures["truthsS"], figures["truthsM"], figures["truthsL"]) == (1, 1, 0)


def test_of_scores_that_are_as_good_the_lowest_is_recommended():
    """40 squares, all but the last found, then one beside; false alarms in between cost less than `NEAR`."""
    labels = np.zeros((60, 1200), np.int32)
    for n in range(40):
        square(labels, n + 1, 30 * n + 5, 5, 10)
    boxes = [(30 * n + 5, 5, 30 * n + 15, 15) for n in range(39)]  # F1 at the 39th: 78 / 79
    boxes.append((5, 40, 15, 50))  # 78 / 80: .0123 less
    boxes.append((35, 40, 45, 50))  # 78 / 81: .0244 less
    scores = np.linspace(0.9, 0.1, len(boxes))
    collector = MatchCollector()
    collector.add(boxes, [np.ones((10, 10), bool)] * len(boxes), list(scores), labels)
    figures = collector.figures()
    assert figures["best_F1"] == pytest.approx(78 / 79) and figures["best_score"] == pytest.approx(scores[39])


def test_boxes_are_judged_by_themselves():
    """An L-shape found as its box: the box is right, the mask is not."""
    labels = np.zeros((60, 60), np.int32)
    square(labels, 1, 10, 10, 40)
    labels[10:40, 20:50] = 0
    collector = MatchCollector()
    collector.add([(10, 10, 50, 50)], [np.ones((40, 40), bool)], [0.9], labels)
    figures = collector.figures()
    assert figures["box_AP"] == pytest.approx(1.0) and figures["AP50"] == 0.0


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_equals_pycocotools(kind):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is a development requirement")
    from pycocotools import mask as masks
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(4)
    collector, truths, found, images = MatchCollector(), [], [], []
    for image in range(6):
        labels = np.zeros((120, 120), np.int32)
        places = [(x, y) for x in (2, 43, 83) for y in (2, 43, 83)]
        for value, (x, y) in enumerate(places, start=1):
            square(labels, value, x, y, int(rng.integers(8, 36)))
        images.append({"id": image + 1, "width": 120, "height": 120})
        boxes, cuts, scores = [], [], []
        for value in range(1, 10):
            full = labels == value
            truths.append({"id": len(truths) + 1, "image_id": image + 1, "category_id": 1, "iscrowd": 0,
                           "area": int(full.sum()), "bbox": bounds(full),
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
    evaluation = COCOeval(reference, reference.loadRes(found), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = collector.figures()
    prefix = "" if kind == "segm" else "box_"
    for index, name in enumerate(("AP", "AP50", "AP75", "APS", "APM", "APL")):
        assert figures[prefix + name] == pytest.approx(evaluation.stats[index], abs=1e-6), name
    assert 0.1 < figures[prefix + "APS"] < 0.95 and 0.1 < figures[prefix + "APM"] < 0.95
