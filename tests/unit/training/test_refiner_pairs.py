"""Where training pairs come from: damaged truth, predictions, folders; and how they are measured."""

import cv2
import numpy as np
import pytest
from cadastral_vectorizer.engine.errors import TrainingError
from cadastral_vectorizer.engine.training.chips import Chip
from cadastral_vectorizer.engine.training.mask_metrics import boundary_iou, measure_mask, summarize
from cadastral_vectorizer.engine.training.pairs import (
    DamagedTruth,
    MaskPairs,
    PredictedMasks,
    balance,
    suit,
)
from cadastral_vectorizer.engine.training.refiner_data import validation_pairs
from cadastral_vectorizer.engine.training.rough_mask_files import (
    LOOK,
    RoughMask,
    load_rough_masks,
    write_rough_masks,
)
from cadastral_vectorizer.engine.training.rough_masks import drop_duplicates, rescale
from cadastral_vectorizer.engine.training.view import draw_view
from cadastral_vectorizer.models.detector import Prediction


@pytest.fixture
def chip():
    labels = np.zeros((200, 240), np.int32)
    labels[40:80, 50:110] = 1
    labels[120:160, 150:200] = 2
    labels[:, 230:] = -1
    image = np.full((200, 240, 3), 60, np.uint8)
    image[labels > 0] = 200
    return Chip(name="c", source="s", split="train", pixel_m=0.2, image=image, labels=labels)


def test_image_and_truth_of_a_turned_and_scaled_crop_agree(chip):
    source = DamagedTruth([chip])
    for seed in range(15):
        pair = source.draw(np.random.default_rng(seed), 128, augment=True)
        grey = pair.image.mean(axis=2)
        truth = pair.truth >= 128
        inner = cv2.erode(truth.astype(np.uint8), np.ones((7, 7))) > 0
        outer = (cv2.dilate(truth.astype(np.uint8), np.ones((7, 7))) == 0) & (pair.others < 20) & pair.known
        assert inner.any() and grey[inner].mean() > grey[outer].mean() + 30
        assert truth.sum() > 300


def test_without_augmentation_the_view_is_that_of_inference(chip):
    view = draw_view((50, 40, 110, 80), chip.labels.shape, 128, np.random.default_rng(0), augment=False)
    zoom = 0.55 * 128 / 60
    assert view.zoom == pytest.approx(zoom)
    shown = view.show((view.cut(chip.labels) == 1) * np.uint8(255), 0) >= 128
    rows, cols = np.nonzero(shown)
    assert cols.mean() == pytest.approx(63.5, abs=0.3) and rows.mean() == pytest.approx(63.5, abs=0.3)
    assert np.ptp(cols) + 1 == pytest.approx(60 * zoom, abs=1.5)
    assert np.ptp(rows) + 1 == pytest.approx(40 * zoom, abs=1.5)


def test_a_view_reaches_over_the_edge_of_the_chip_as_unknown(chip):
    view = draw_view((0, 0, 40, 40), chip.labels.shape, 128, np.random.default_rng(0), augment=False)
    labels = view.show_labels(view.cut(chip.labels))
    assert labels.shape == (128, 128)
    assert (labels[:20] == -1).all() and labels[64, 64] == 0


def test_unknown_areas_are_not_known(chip):
    view = draw_view((180, 120, 230, 160), chip.labels.shape, 128, np.random.default_rng(0), augment=False)
    assert (view.show_labels(view.cut(chip.labels))[64, 120:] == -1).all()


def test_sources_count_with_the_root_of_their_size():
    weights = balance(["a"] * 100 + ["b"] * 4)
    assert weights.sum() == pytest.approx(1)
    assert weights[:100].sum() / weights[100:].sum() == pytest.approx(5)


def test_chips_without_buildings_are_refused(chip):
    empty = Chip("e", "s", "train", 0.2, chip.image, np.zeros_like(chip.labels))
    with pytest.raises(TrainingError, match="no building large enough"):
        DamagedTruth([empty])


def test_predictions_survive_the_disk_and_find_their_building(chip, tmp_path):
    full = np.full((40, 60), 255, np.uint8)
    masks = [
        RoughMask((52, 42, 112, 82), full),
        RoughMask((10, 100, 40, 130), full[:30, :30]),  # false alarm
        RoughMask((150, 120, 195, 160), full[:, :45]),
    ]
    write_rough_masks(tmp_path, "c", masks)
    read = load_rough_masks(tmp_path)
    assert [m.box for m in read["c"]] == [m.box for m in masks]
    source = PredictedMasks([chip], read)
    assert len(source) == 2
    pair = source.show(0, np.random.default_rng(0), 128)
    iou = measure_mask(pair.coarse >= 128, pair.truth >= 128, pair.known, pair.pixel_m)["iou"]
    assert iou == pytest.approx(58 * 38 / (2 * 60 * 40 - 58 * 38), abs=0.02)
    assert pair.others.max() == 0 or pair.others[64, 64] == 0


def test_every_look_at_a_chip_counts_with_its_own_neighbours(chip):
    first = [RoughMask((52, 42, 112, 82), np.full((40, 60), 255, np.uint8))]
    second = [*first, RoughMask((114, 42, 130, 82), np.full((40, 16), 255, np.uint8))]
    source = PredictedMasks([chip], {"c": first, f"c{LOOK}1": second, f"other{LOOK}1": second})
    assert len(source) == 2  # what is seen beside the building is none
    alone, beside = (source.show(n, np.random.default_rng(0), 256) for n in (0, 1))
    assert np.array_equal(alone.coarse, beside.coarse) and np.array_equal(alone.image, beside.image)
    assert np.count_nonzero(beside.others) > np.count_nonzero(alone.others) == 0


def test_masks_are_not_given_to_the_wrong_one_of_two_chips_of_one_name(chip):
    masks = {"c": [RoughMask((52, 42, 112, 82), np.full((40, 60), 255, np.uint8))]}
    with pytest.raises(TrainingError, match="Two chips are called c"):
        PredictedMasks([chip, chip], masks)


def test_crops_of_a_size_show_buildings_that_suit_it():
    weights, lengths = np.full(4, 0.25), np.array([20, 60, 100, 300])
    assert suit(weights, lengths, 64).tolist() == [0.5, 0.5, 0, 0]
    assert suit(weights, lengths, 128).tolist() == weights.tolist()
    assert suit(weights, lengths, 256)[0] == 0 and suit(weights, lengths, 256)[1:].min() > 0
    assert suit(weights, np.full(4, 500), 64).tolist() == weights.tolist()  # none suits: all are shown


def test_where_the_detector_found_nothing_damage_is_measured(chip):
    other = Chip("d", "t", "val", 0.2, chip.image, chip.labels)
    seen = {"c": [RoughMask((52, 42, 112, 82), np.full((40, 60), 255, np.uint8))], "d": []}
    pairs = validation_pairs([chip, other], seen, 128, seed=1)
    assert len(pairs["s"]) == 1 and len(pairs["t"]) == 4  # one mask; two buildings, damaged twice
    empty = Chip("e", "u", "val", 0.2, chip.image, np.zeros_like(chip.labels))
    assert set(validation_pairs([chip, empty], seen, 128, seed=1)) == {"s"}
    with pytest.raises(TrainingError, match="hold no buildings"):
        validation_pairs([empty], seen, 128, seed=1)


def test_an_empty_or_damaged_prediction_folder_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no predictions"):
        load_rough_masks(tmp_path)
    (tmp_path / "c.npz").write_bytes(b"not an archive")
    with pytest.raises(TrainingError, match="damaged"):
        load_rough_masks(tmp_path)


class TestMaskPairs:
    def write(self, folder, predicted, exact):
        for part, masks in (("predicted", predicted), ("exact", exact)):
            (folder / part).mkdir(parents=True)
            for name, mask in masks.items():
                cv2.imwrite(str(folder / part / name), mask)
        return folder

    def test_non_binary_masks_are_cut_at_the_middle_and_zero_one_masks_are_taken_as_such(self, tmp_path):
        grey = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
        one = np.zeros((256, 256), np.uint8)
        one[50:100] = 1
        pairs = MaskPairs(self.write(tmp_path, {"a.png": grey}, {"a.png": one}))
        pair = pairs.draw(np.random.default_rng(0), 256, augment=False)
        assert set(np.unique(pair.coarse)) == {0, 255} and (pair.coarse[0] > 0).sum() == 128
        assert (pair.truth >= 128).sum() == 50 * 256

    def test_a_folder_without_pairs_is_refused(self, tmp_path):
        with pytest.raises(TrainingError, match="no mask pairs"):
            MaskPairs(tmp_path)

    def test_a_mask_without_its_partner_is_refused(self, tmp_path):
        mask = np.zeros((8, 8), np.uint8)
        with pytest.raises(TrainingError, match="lack their partner, b.png"):
            MaskPairs(self.write(tmp_path, {"a.png": mask, "b.png": mask}, {"a.png": mask}))

    def test_pairs_of_unequal_size_are_refused(self, tmp_path):
        small, large = np.zeros((8, 8), np.uint8), np.zeros((16, 16), np.uint8)
        with pytest.raises(TrainingError, match="unequal sizes"):
            MaskPairs(self.write(tmp_path, {"a.png": small}, {"a.png": large}))

    def test_an_unreadable_file_is_refused(self, tmp_path):
        folder = self.write(tmp_path, {"a.png": np.zeros((8, 8), np.uint8)}, {"a.png": np.zeros((8, 8), np.uint8)})
        (folder / "exact" / "a.png").write_bytes(b"")
        with pytest.raises(TrainingError, match="cannot be read"):
            MaskPairs(folder)


class TestMetrics:
    truth = np.zeros((40, 50), bool)
    truth[10:30, 10:40] = True
    known = np.ones((40, 50), bool)

    def test_a_shifted_mask_by_hand(self):
        mask = np.roll(self.truth, 3, axis=1)
        figures = measure_mask(mask, self.truth, self.known, pixel_m=0.25)
        both, area = 20 * 27, 20 * 30
        assert figures["iou"] == pytest.approx(both / (2 * area - both))
        assert figures["precision"] == figures["recall"] == figures["f1"] == pytest.approx(both / area)
        assert figures["pixel_accuracy"] == pytest.approx(1 - 2 * 60 / 2000)
        assert figures["hausdorff_px"] == 3
        # band of one pixel: two rows of 27 and nothing of the columns that moved
        ring = 2 * 30 + 2 * 18
        assert figures["boundary_iou_25cm"] == pytest.approx(54 / (2 * ring - 54))

    def test_perfect_and_empty_masks(self):
        nothing = np.zeros_like(self.truth)
        assert measure_mask(self.truth, self.truth, self.known, 0)["hausdorff_px"] == 0
        assert measure_mask(nothing, nothing, self.known, 0)["iou"] == 1
        missed = measure_mask(nothing, self.truth, self.known, 0)
        assert missed["iou"] == missed["recall"] == missed["precision"] == 0
        assert missed["hausdorff_px"] == pytest.approx(np.hypot(40, 50))
        assert boundary_iou(nothing, nothing, 2) == 1

    def test_unknown_pixels_do_not_count(self):
        known = self.known.copy()
        known[:, 40:] = False
        mask = self.truth.copy()
        mask[10:30, 40:50] = True
        assert measure_mask(mask, self.truth, known, 0)["iou"] == 1

    def test_iou50_95_is_the_mean_share_over_ten_thresholds(self):
        figures = [measure_mask(self.truth, self.truth, self.known, 0) | {"iou": iou} for iou in (0.72, 0.95, 0.2)]
        assert summarize(figures)["iou50_95"] == pytest.approx((5 + 10 + 0) / 30)


def test_masks_of_a_working_grid_come_back_to_chip_pixels_in_place():
    probability = np.zeros((12, 16), np.uint8)
    probability[2:10, 3:13] = 255
    mask = rescale(Prediction(box=(10, 20, 26, 32), probability=probability, score=0.9), 1.5, (200, 240))
    assert mask.box == (15, 30, 39, 48)
    rows, cols = np.nonzero(mask.probability >= 128)
    assert cols.mean() + 0.5 + 15 == pytest.approx(1.5 * (10 + 8), abs=0.05)
    assert rows.mean() + 0.5 + 30 == pytest.approx(1.5 * (20 + 6), abs=0.05)
    assert len(rows) == pytest.approx(1.5 * 1.5 * 80, rel=0.08)
    assert rescale(Prediction((10, 20, 26, 32), probability * 0, 0.9), 1.5, (200, 240)) is None


def test_of_two_sightings_of_a_building_the_better_one_is_an_example():
    full = np.full((40, 60), 255, np.uint8)
    best, nested, neighbour = (
        RoughMask((50, 40, 110, 80), full),
        RoughMask((52, 42, 82, 72), full[:30, :30]),
        RoughMask((100, 40, 130, 70), full[:30, :30]),
    )
    assert drop_duplicates([best, nested, neighbour]) == [best, neighbour]
