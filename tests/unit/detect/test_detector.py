"""Predictions placed on the grid: what is cut, what touches an edge, what lies in the padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.contracts import Grid, Tile
from cadastral_vectorizer.engine.detect.detector import Detector, _crop, place
from cadastral_vectorizer.engine.errors import OutOfMemory
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.models.detector import Prediction, build_detector

GRID = Grid(1000, 800, (0.2, 0, 0, 0, -0.2, 0), "EPSG:32633", 0.2)
TILE = Tile(1, 1, core=(300, 300, 500, 500), padded=(200, 200, 600, 600))
TINY = {"widths": [16, 16, 32, 32], "fpn_channels": 16, "rpn_channels": 16, "box_width": 32, "mask_width": 16,
        "dense_width": 16}  # fmt: skip


def prediction(x0, y0, x1, y1):
    return Prediction((x0, y0, x1, y1), np.full((y1 - y0, x1 - x0), 255, np.uint8), 0.9)


def put(found, tile=TILE, valid=None):
    valid = np.ones((400, 400), bool) if valid is None else valid
    return place(found, tile, valid, GRID, 0)


def test_boxes_become_global():
    assert put(prediction(10, 20, 30, 50)).box == (210, 220, 230, 250)


def test_inside_is_neither_cut_nor_edge():
    instance = put(prediction(10, 20, 30, 50))
    assert not instance.cut and not instance.edge


@pytest.mark.parametrize("box", [(0, 20, 30, 50), (10, 0, 30, 50), (370, 20, 400, 50), (10, 370, 30, 400)])
def test_touching_an_inner_border_is_cut(box):
    instance = put(prediction(*box))
    assert instance.cut and not instance.edge


def test_touching_the_rasters_edge_is_edge_and_not_cut():
    corner = Tile(0, 0, core=(0, 0, 300, 300), padded=(0, 0, 400, 400))
    instance = put(prediction(0, 20, 30, 50), corner)
    assert instance.edge and not instance.cut


def test_touching_nodata_is_edge():
    valid = np.ones((400, 400), bool)
    valid[:, 30:] = False
    assert put(prediction(10, 20, 30, 50), valid=valid).edge
    assert not put(prediction(10, 20, 28, 50), valid=valid).edge


def test_padding_is_cut_off():
    assert _crop(prediction(10, 10, 30, 30), 20, 25).box == (10, 10, 25, 20)
    assert _crop(prediction(30, 10, 40, 30), 20, 25) is None
    assert _crop(prediction(10, 10, 15, 15), 20, 25).box == (10, 10, 15, 15)


def detector(batch_size):
    torch.manual_seed(0)
    return Detector(build_detector("compact", TINY).eval(), device=torch.device("cpu"), bfloat16=False,
                    batch_size=batch_size, score_threshold=0.0)  # fmt: skip


def look(network, tiles=3):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 255, (3, 128, 128), np.uint8) for _ in range(tiles)]
    spans = [Tile(0, i, (i * 128, 0, i * 128 + 128, 128), (i * 128, 0, i * 128 + 128, 128)) for i in range(tiles)]
    return network.detect(spans, images, [np.ones((128, 128), bool)] * tiles, GRID, Reporter())


def test_every_tile_gets_its_own_instances_whatever_the_batch():
    one, three = look(detector(1)), look(detector(3))
    assert [len(found) for found in one] == [len(found) for found in three]
    for a, b in zip(one, three, strict=True):
        assert [i.box for i in a] == [i.box for i in b]
        assert all(i.tile == j.tile for i, j in zip(a, b, strict=True))


def test_out_of_memory_halves_the_batch_and_says_so():
    class Small(Reporter):
        said = ""

        def log(self, message, level="info"):
            self.said = message

    network, reporter = detector(4), Small()
    forward = network._forward

    def limited(images, valid):
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images, valid)

    network._forward = limited
    images = [np.zeros((3, 128, 128), np.uint8)] * 3
    tiles = [Tile(0, i, (0, 0, 128, 128), (0, 0, 128, 128)) for i in range(3)]
    found = network.detect(tiles, images, [np.ones((128, 128), bool)] * 3, GRID, reporter)
    assert len(found) == 3 and network.batch_size == 1 and "batches of 1" in reporter.said


def test_a_tile_that_does_not_fit_is_refused_with_a_sentence():
    network = detector(1)

    def never(images, valid):
        raise torch.OutOfMemoryError("CUDA out of memory")

    network._forward = never
    with pytest.raises(OutOfMemory, match="smaller tiles"):
        look(network, 1)


def test_other_errors_are_not_mistaken_for_memory():
    network = detector(2)

    def broken(images, valid):
        raise RuntimeError("shape mismatch")

    network._forward = broken
    with pytest.raises(RuntimeError, match="shape mismatch"):
        look(network, 1)
