"""The refine stage: crops, paste-back, gate, neighbours, independence of order and batch."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.contours import trace_probability
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.errors import Cancelled
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.refine.crops import paste_window, resize_square, trim_instance
from cadastral_vectorizer.engine.refine.refine import (
    NO_IMAGE,
    NOT_CERTAIN,
    NOTHING_SEEN,
    TOO_SMALL,
    UNCHANGED,
    Gate,
    Refiner,
    expected_iou,
)
from cadastral_vectorizer.models.refiners import MaskRefiner, Refinement, build_refiner
from cadastral_vectorizer.models.refiners.crops import Window, choose_window
from cadastral_vectorizer.models.refiners.guided import GuidedRefiner

torch.set_num_threads(1)


class BrightnessRefiner(MaskRefiner):
    """Says that whatever is bright is the building: stands in for a perfectly trained network."""

    def __init__(self, certainty=40.0):
        super().__init__()
        self.certainty = certainty

    def forward(self, image, coarse, others):
        return Refinement(self.certainty * (image.mean(dim=1, keepdim=True) - 0.5))


def make_reader(picture):
    """`RasterSource.read` over uint8[H, W] grey, for boxes of whole pixels."""

    def read(box, *, size):
        x_min, y_min, x_max, y_max = map(int, box)
        canvas = np.zeros((y_max - y_min, x_max - x_min), np.uint8)
        valid = np.zeros(canvas.shape, bool)
        height, width = picture.shape
        inside = np.s_[max(0, y_min) : min(height, y_max), max(0, x_min) : min(width, x_max)]
        shifted = np.s_[
            inside[0].start - y_min : inside[0].stop - y_min, inside[1].start - x_min : inside[1].stop - x_min
        ]
        canvas[shifted], valid[shifted] = picture[inside], True
        enlarged = size[0] >= canvas.shape[1]
        image = cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA)
        known = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
        return np.repeat(image[None], 3, axis=0), known

    return read


def make_instance(name, box, mask=None):
    x_min, y_min, x_max, y_max = box
    mask = np.ones((y_max - y_min, x_max - x_min), bool) if mask is None else mask
    return Instance(id=name, box=box, probability=255 * mask.astype(np.uint8), score=0.9)


def draw(instance, shape):
    """bool[H, W]: the instance's mask on the whole grid."""
    canvas = np.zeros(shape, bool)
    x_min, y_min, x_max, y_max = instance.box
    canvas[y_min:y_max, x_min:x_max] = instance.mask
    return canvas


@pytest.fixture
def scene():
    """Three bright roofs, two of them close together, and instances that miss a strip of each."""
    picture = np.full((220, 260), 40, np.uint8)
    truths = [(20, 30, 60, 70), (64, 30, 110, 75), (150, 120, 230, 190)]
    for x_min, y_min, x_max, y_max in truths:
        picture[y_min:y_max, x_min:x_max] = 220
    instances = [make_instance(f"b{n}", (t[0], t[1], t[2] - 4, t[3])) for n, t in enumerate(truths)]
    return picture, truths, instances


def test_a_window_of_the_working_scale_goes_there_and_back_exactly():
    rng = np.random.default_rng(0)
    instance = Instance("a", (30, 40, 70, 72), rng.integers(1, 256, (32, 40)).astype(np.uint8), 1.0)
    window = Window(x=-14, y=-8, side=128, size=128)
    pasted = paste_window([instance], window)
    assert np.array_equal(pasted[48:80, 44:84], instance.probability)
    assert pasted.sum() == instance.probability.sum()
    assert np.array_equal(resize_square(resize_square(pasted, 128), 128), pasted)


@pytest.mark.parametrize("side,size", [(64, 128), (43, 128), (300, 128), (127, 128)])
def test_enlarging_and_reducing_do_not_shift_a_mask(side, size):
    mask = np.zeros((side, side), np.float32)
    low, high = round(0.2 * side), round(0.7 * side)
    mask[low:high, low:high] = 1
    back = resize_square(resize_square(mask, size), side)
    rows, cols = np.indices(mask.shape)
    for axis in (rows, cols):
        assert (axis * back).sum() / back.sum() == pytest.approx((axis * mask).sum() / mask.sum(), abs=0.02)


def test_the_window_follows_the_size_of_the_building():
    sizes = GuidedRefiner.crop_sizes_px
    small, house, hall, huge = (
        choose_window((100, 100, 100 + n, 100 + n // 2), sizes) for n in (8, 60, 130, 900)
    )
    assert (small.size, house.size, hall.size, huge.size) == (96, 96, 224, 256)
    assert small.size / small.side <= 3.0
    assert house.side == pytest.approx(60 / 0.55, abs=1)
    assert huge.side > 900
    for window, n in ((small, 8), (house, 60), (hall, 130), (huge, 900)):
        assert window.x + window.side / 2 == pytest.approx(100 + n / 2, abs=1)
        assert window.y + window.side / 2 == pytest.approx(100 + n // 2 / 2, abs=1)


def test_masks_are_redrawn_where_the_image_says_so(scene):
    picture, truths, instances = scene
    refined = Refiner(BrightnessRefiner()).refine_instances(instances, make_reader(picture))
    assert [i.id for i in refined] == ["b0", "b1", "b2"]
    assert all(i.refined for i in refined)
    for instance, (x_min, y_min, x_max, y_max) in zip(refined, truths, strict=True):
        expected = np.zeros(picture.shape, bool)
        expected[y_min:y_max, x_min:x_max] = True
        assert np.count_nonzero(draw(instance, picture.shape) ^ expected) <= 4  # corners, at most


def test_an_untrained_default_network_returns_its_input_exactly(scene):
    picture, _, instances = scene
    instances.append(make_instance("soft", (100, 100, 133, 121)))
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(rng.uniform(0, 255, (21, 33)).astype(np.float32), (0, 0), 3)
    instances[-1] = Instance("soft", (100, 100, 133, 121), soft.astype(np.uint8), 0.5)
    refined = Refiner(build_refiner("guided")).refine_instances(instances, make_reader(picture))
    assert all(after is before for after, before in zip(refined, instances, strict=True))


def test_the_result_depends_neither_on_order_nor_on_company(scene):
    picture, _, instances = scene
    torch.manual_seed(0)
    network = build_refiner("guided", {"width": 8})
    torch.nn.init.normal_(network.head.weight, std=0.05)
    refiner, read = Refiner(network, gate=Gate(min_certainty=0, min_iou=0)), make_reader(picture)
    together = refiner.refine_instances(instances, read, batch_size=8)
    assert any(i.refined for i in together)
    backwards = refiner.refine_instances(instances[::-1], read, batch_size=8)[::-1]
    alone = [
        refiner.refine_instances([i], read, batch_size=8, context=[o for o in instances if o is not i])[0]
        for i in instances
    ]
    for a, b in zip(together, backwards, strict=True):
        assert a.box == b.box and np.array_equal(a.probability, b.probability)
    a, b = together[2], alone[2]  # no neighbour near: nothing to yield to
    assert a.box == b.box and np.array_equal(a.probability, b.probability)


def test_neighbours_do_not_overlap_after_refinement(scene):
    picture, _, instances = scene
    picture[30:70, 60:64] = 220  # the gap is roofed: both would claim it, and each other's roof
    instances[0] = make_instance("b0", (20, 30, 70, 70))
    refined = Refiner(BrightnessRefiner()).refine_instances(instances, make_reader(picture))
    overlap = draw(refined[0], picture.shape) & draw(refined[1], picture.shape)
    assert refined[0].refined and refined[1].refined
    assert not overlap.any()


def test_two_sightings_of_one_building_do_not_rob_each_other(scene):
    picture, truths, instances = scene
    x_min, y_min, x_max, y_max = truths[2]
    twice = [instances[2], make_instance("twin", (x_min + 6, y_min, x_max, y_max - 3))]
    refined = Refiner(BrightnessRefiner()).refine_instances(twice, make_reader(picture))
    for instance in refined:
        assert instance.refined
        assert draw(instance, picture.shape).sum() == pytest.approx((x_max - x_min) * (y_max - y_min), abs=4)


def test_the_gate_keeps_an_input_when_the_network_is_not_certain(scene):
    picture, _, instances = scene
    refined = Refiner(BrightnessRefiner(certainty=1.0)).refine_instances(instances, make_reader(picture))
    assert all(after is before for after, before in zip(refined, instances, strict=True))


def test_the_gate_keeps_an_input_when_the_answer_is_another_building(scene):
    picture, _, _ = scene
    far_off = make_instance("x", (222, 182, 250, 212))  # touches a corner of the third roof only
    assert Refiner(BrightnessRefiner()).refine_instances([far_off], make_reader(picture))[0] is far_off


@pytest.mark.parametrize(
    "mask", [np.zeros((20, 20), bool), np.pad(np.ones((2, 3), bool), 5)], ids=["empty mask", "six pixels"]
)
def test_masks_too_small_to_refine_are_returned_as_they_are(mask):
    instance = make_instance("a", (5, 5, 5 + mask.shape[1], 5 + mask.shape[0]), mask)

    def never(box, *, size):
        raise AssertionError("read although nothing is to be refined")

    assert Refiner(BrightnessRefiner()).refine_instances([instance], never) == [instance]


def test_an_empty_answer_keeps_the_input():
    dark = np.full((100, 100), 20, np.uint8)
    instance = make_instance("a", (30, 30, 60, 60))
    assert Refiner(BrightnessRefiner()).refine_instances([instance], make_reader(dark))[0] is instance


def test_nothing_is_drawn_outside_the_raster():
    picture = np.full((90, 90), 30, np.uint8)
    picture[0:40, 60:90] = 220
    instance = make_instance("a", (62, 2, 90, 40))
    (refined,) = Refiner(BrightnessRefiner()).refine_instances([instance], make_reader(picture))
    assert refined.refined
    assert refined.box[1] >= 0 and refined.box[2] <= 90
    assert draw(refined, picture.shape)[0:40, 60:90].mean() > 0.99


def test_a_building_larger_than_every_crop_is_refined_reduced():
    picture = np.full((900, 900), 30, np.uint8)
    picture[100:800, 100:800] = 220
    instance = make_instance("a", (100, 100, 800, 760))
    (refined,) = Refiner(BrightnessRefiner()).refine_instances([instance], make_reader(picture))
    expected = np.zeros(picture.shape, bool)
    expected[100:800, 100:800] = True
    mask = draw(refined, picture.shape)
    assert (mask & expected).sum() / (mask | expected).sum() > 0.99


def test_a_mask_that_fills_the_raster_is_refined_inside_it():
    picture = np.full((150, 170), 30, np.uint8)
    picture[5:145, 6:165] = 220
    instance = make_instance("a", (0, 0, 170, 150))
    (refined,) = Refiner(BrightnessRefiner()).refine_instances([instance], make_reader(picture))
    assert refined.refined
    assert refined.box[0] >= 0 and refined.box[1] >= 0 and refined.box[2] <= 170 and refined.box[3] <= 150
    assert np.count_nonzero(draw(refined, picture.shape) ^ (picture > 128)) <= 40


def test_no_data_is_no_building_and_a_mask_that_touches_it_has_an_edge_there(scene):
    picture, truths, instances = scene
    plain = make_reader(picture)

    def read(box, *, size):
        image, valid = plain(box, size=size)
        xs = box[0] + (np.arange(size[0]) + 0.5) * (box[2] - box[0]) / size[0]
        valid = valid & (xs < 190)[None]
        return image * valid, valid

    answers = Refiner(BrightnessRefiner()).answer(instances, read)
    cut_off = answers[2].instance
    assert cut_off.refined and cut_off.edge and not answers[0].instance.edge
    assert not draw(cut_off, picture.shape)[:, 191:].any()
    gone = make_instance("gone", (195, 130, 228, 180))
    (answer,) = Refiner(BrightnessRefiner()).answer([gone], read)
    assert answer.instance is gone and answer.kept == NO_IMAGE and answer.certainty == 0


@pytest.mark.parametrize("edge", [True, False])
def test_what_ends_at_a_margin_of_one_colour_does_not_grow_into_it(edge):
    picture = np.random.default_rng(2).integers(40, 70, (160, 200), dtype=np.uint8)
    picture[60:100, 80:120] += 140  # a bright roof up to the margin
    picture[:, 120:] = 255
    before = dataclasses.replace(make_instance("a", (84, 64, 120, 100)), edge=edge)
    after = Refiner(BrightnessRefiner(), gate=Gate(min_iou=0.0)).refine_instances([before], make_reader(picture))[0]
    drawn = draw(after, picture.shape)
    assert drawn[62:98, 82:118].all()
    assert drawn[:, 122:].any() != edge


def test_every_answer_says_why_the_input_was_kept(scene):
    picture, truths, instances = scene
    fitting = make_instance("fits", truths[0])
    nowhere = make_instance("nowhere", (120, 90, 140, 110))
    dot = make_instance("dot", (120, 90, 123, 92))
    read = make_reader(picture)
    answers = Refiner(BrightnessRefiner()).answer([instances[1], fitting, nowhere, dot], read)
    assert [a.kept for a in answers] == ["", UNCHANGED, NOTHING_SEEN, TOO_SMALL]
    assert [a.instance.refined for a in answers] == [True, False, False, False]
    assert answers[0].certainty > 0.98
    (unsure,) = Refiner(BrightnessRefiner(certainty=1.0)).answer(instances[:1], read)
    assert unsure.kept == NOT_CERTAIN and unsure.instance is instances[0]


def test_a_mask_fused_over_two_roofs_comes_apart_into_two_outlines(scene):
    picture, truths, _ = scene
    (x0, y0, _, _), (_, _, x1, y1) = truths[:2]
    fused = make_instance("a", (x0, y0, x1, y1))
    (refined,) = Refiner(BrightnessRefiner()).refine_instances([fused], make_reader(picture))
    assert refined.refined
    outlines = trace_probability(refined.probability, offset_xy=refined.box[:2])
    assert len(outlines) == 2
    for outline, truth in zip(sorted(outlines, key=lambda o: o.bounds[0]), truths):
        assert np.abs(np.array(outline.bounds) - truth).max() < 1.0


def test_only_parts_that_touch_the_input_are_kept():
    instance = make_instance("a", (40, 40, 60, 60))
    window = Window(x=0, y=0, side=100, size=100)
    probability = np.zeros((100, 100), np.uint8)
    probability[40:60, 42:62] = 200
    probability[80:90, 80:90] = 200
    after = trim_instance(instance, window, probability, np.ones((100, 100), bool))
    assert after is not None
    assert after.box == (40, 38, 64, 62)
    assert np.count_nonzero(after.mask) == 400


def test_the_expected_iou_by_hand():
    answer = np.array([[1.0, 0.75], [0.25, 0.0]])
    assert expected_iou(answer) == pytest.approx(1.75 / 2.25)
    assert expected_iou(np.zeros((2, 2))) == 0 and expected_iou(np.ones((2, 2))) == 1


def test_no_instances_give_no_instances():
    assert Refiner(BrightnessRefiner()).refine_instances([], make_reader(np.zeros((9, 9), np.uint8))) == []


def test_refining_can_be_cancelled(scene):
    picture, _, instances = scene
    reporter = Reporter()
    reporter.cancel()
    with pytest.raises(Cancelled):
        Refiner(BrightnessRefiner()).refine_instances(instances, make_reader(picture), reporter=reporter)


@pytest.mark.parametrize("variant", ["vinokurov", "segmentello"])
def test_the_other_architectures_run_in_the_same_stage(scene, variant):
    picture, _, instances = scene
    parameters = {"narrow": 16, "wide": 32} if variant == "segmentello" else {}
    refined = Refiner(build_refiner(variant, parameters)).refine_instances(instances[:1], make_reader(picture))
    assert len(refined) == 1 and refined[0].id == "b0"
