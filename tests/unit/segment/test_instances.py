"""Probabilities to buildings: holes stay, touching roofs come apart, what is cut says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.contracts import Grid, Tile
from cadastral_vectorizer.engine.detect import Detector
from cadastral_vectorizer.engine.errors import OutOfMemory
from cadastral_vectorizer.engine.merge.seams import merge_instances
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.segment import segment, split_buildings
from cadastral_vectorizer.models.segmenters.base import Segmenter
from torch.nn import functional

GRID = Grid(1000, 800, (0.2, 0, 0, 0, -0.2, 0), "EPSG:32633", 0.2)


def fields(*boxes, shape=(128, 128)):
    """Interior, edge and core of rectangles ``(x0, y0, x1, y1)``, as a perfect network would answer."""
    interior, edge, core = (np.full(shape, 0.02, np.float32) for _ in range(3))
    for x0, y0, x1, y1 in boxes:
        edge[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 0.9
        interior[y0:y1, x0:x1] = 0.95
    for x0, y0, x1, y1 in boxes:
        edge[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = 0.02
        core[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = 0.9
    return interior, edge, core


def whole(prediction, shape=(128, 128)):
    """The mask of a prediction in its tile."""
    mask = np.zeros(shape, bool)
    x0, y0, x1, y1 = prediction.box
    mask[y0:y1, x0:x1] = prediction.probability >= 128
    return mask


def test_separate_buildings_are_separate_and_exact():
    interior, edge, core = fields((10, 10, 40, 30), (60, 50, 100, 90))
    found = split_buildings(interior, edge, core)
    assert len(found) == 2
    assert (sum(whole(p).astype(int) for p in found) == (interior >= 0.5)).all()
    assert [p.score for p in found] == pytest.approx([242 / 255] * 2)  # 0.95 as a byte


def test_a_hole_stays_a_hole():
    interior, edge, core = fields((10, 10, 70, 70))
    interior[30:50, 30:50] = 0.05
    core[28:52, 28:52] = 0.05
    (found,) = split_buildings(interior, edge, core)
    assert not whole(found)[30:50, 30:50].any() and whole(found).sum() == 60 * 60 - 20 * 20


def test_touching_buildings_come_apart_at_their_common_wall():
    interior, edge, core = fields((10, 10, 50, 60), (50, 10, 90, 60))
    left, right = sorted(split_buildings(interior, edge, core), key=lambda p: p.box)
    assert not (whole(left) & whole(right)).any()
    assert whole(left)[:, :48].sum() == 38 * 50 and whole(right)[:, 52:].sum() == 38 * 50
    assert abs(int(whole(left).sum()) - int(whole(right).sum())) <= 4 * 50  # the wall is within the learnt rim


def test_to_a_building_the_pixels_of_its_neighbour_are_improbable():
    interior, edge, core = fields((10, 10, 50, 60), (50, 10, 90, 60))
    for p in split_buildings(interior, edge, core):
        x0, y0, x1, y1 = p.box
        outside = ~whole(p)[y0:y1, x0:x1]
        assert (p.probability[outside] < 128).all()
        assert p.probability[outside].max() == 255 - 242  # sure of the neighbour: as sure of not being this one


@pytest.mark.parametrize("neck, count", [(4, 2), (36, 1)])
def test_without_a_learnt_core_a_thin_neck_parts_and_a_wide_one_does_not(neck, count):
    interior = np.zeros((128, 128), np.float32)
    interior[20:60, 10:50] = interior[20:60, 60:100] = 1.0
    interior[40 - neck // 2 : 40 + neck // 2, 50:60] = 1.0
    assert len(split_buildings(interior, None, None)) == count


def test_without_a_learnt_core_wings_stay_one_building():
    interior = np.zeros((128, 128), np.float32)
    interior[10:100, 10:30] = interior[80:100, 10:110] = interior[10:100, 90:110] = 1.0  # a U
    assert len(split_buildings(interior, None, None)) == 1


def test_noise_is_no_building():
    interior, edge, core = fields((10, 10, 13, 13))
    assert split_buildings(interior, edge, core) == []
    assert split_buildings(np.zeros((64, 64), np.float32), None, None) == []


class Painted(Segmenter):
    """Answers what is painted: red is building, green its rim, blue its core."""

    def __init__(self):
        super().__init__(3)
        self.dummy = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        if len(images) > getattr(self, "limit", 99):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return functional.avg_pool2d(images.float(), 4) / 255 * 12 - 6


def painting(*boxes, shape=(256, 256)):
    interior, edge, core = fields(*boxes, shape=shape)
    return np.stack([np.rint(255 * (f > 0.5)).astype(np.uint8) for f in (interior, edge, core)])


def look(image, tiles, model=None, batch=4):
    finder = Detector(model or Painted(), device=torch.device("cpu"), bfloat16=False, batch_size=batch,
                      score_threshold=0.3, find=segment)  # fmt: skip
    images = [image[:, t.padded[1] : t.padded[3], t.padded[0] : t.padded[2]] for t in tiles]
    valid = [np.ones(i.shape[1:], bool) for i in images]
    return finder, finder.detect(tiles, images, valid, Grid(256, 256, GRID.transform, "EPSG:32633", 0.2), Reporter())


TWO_TILES = [Tile(0, 0, (0, 0, 128, 256), (0, 0, 160, 256)), Tile(0, 1, (128, 0, 256, 256), (96, 0, 256, 256))]


def test_a_building_across_a_seam_comes_out_once_and_whole():
    image = painting((40, 40, 220, 100), (20, 150, 60, 200))
    _, found = look(image, TWO_TILES)
    assert [i.cut for i in sorted(found[0], key=lambda i: i.box[1])] == [True, False]
    merged = merge_instances([i for part in found for i in part], tiles=TWO_TILES, grid=Grid(
        256, 256, GRID.transform, "EPSG:32633", 0.2))  # fmt: skip
    assert len(merged) == 2 and not any(i.cut for i in merged)
    assert max(int(i.mask.sum()) for i in merged) == pytest.approx(180 * 60, rel=0.02)


def test_the_batch_is_halved_as_for_the_detector():
    model = Painted()
    model.limit = 1
    finder, found = look(painting((40, 40, 90, 100)), TWO_TILES, model)
    assert finder.batch_size == 1 and len(found[0]) == 1
    model.limit = 0
    with pytest.raises(OutOfMemory, match="smaller tiles"):
        look(painting((40, 40, 90, 100)), TWO_TILES, model)
