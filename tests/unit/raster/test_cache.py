"""Blocks that were decoded stay in memory: neighbouring crops do not decode them again."""

from __future__ import annotations

import os

import numpy as np
from cadastral_vectorizer.engine.raster.source import RasterSource


def test_a_block_once_read_needs_no_file(write_raster):
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 255, (3, 512, 512)).astype(np.uint8)
    path = write_raster(pixels, tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    with RasterSource.open(path, pixel_m=None) as source:
        before, _ = source.read((200, 200, 320, 320))  # four blocks: the last one alone is kept anyway
        os.truncate(path, 4000)
        again, _ = source.read((210, 210, 330, 330))
    assert np.array_equal(before, pixels[:, 200:320, 200:320])
    assert np.array_equal(again, pixels[:, 210:330, 210:330])
