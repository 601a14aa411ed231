"""Runs the detector over tiles and places what it finds on the working grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from ...models.detector import Prediction, predict
from ...models.device import is_out_of_memory
from ..contracts import Grid, Instance, Tile
from ..errors import OutOfMemory
from ..fills import flat_areas
from ..progress import Reporter
from .evidence import has_visible_outline
from .looks import look_around
from .surroundings import surround

STRIDE = 64
PASS_PX = {"cpu": 2**20, "cuda": 2**23, "mps": 2**22}
"""Pixels of one forward pass: more brings no speed on that kind of device, only memory."""


def usual_batch(device: torch.device, tiles: Sequence[Tile]) -> int:
    """Tiles per forward pass where the user gives none."""
    largest = max(((t.padded[2] - t.padded[0]) * (t.padded[3] - t.padded[1]) for t in tiles), default=1)
    return max(PASS_PX[device.type] // largest, 1)


class Detector:
    """A network on a device, and the batch size it can afford.

    Args:
        model: a network in evaluation mode, by default `models.detector.MaskRCNN`.
        device: where it runs.
        bfloat16: run convolutions in bfloat16.
        batch_size: tiles per forward pass; halved for good when memory runs out.
        score_threshold: weaker detections are dropped.
        score_exponent: the network's scores are raised to it, so that the same threshold means the same
            for every model package.
        looks: how many directions every tile is seen from, see `looks`.
        find: what turns tiles into predictions with the model; called as `models.detector.predict`.
    """

    def __init__(
        self, model: Any, *, device: torch.device, bfloat16: bool, batch_size: int, score_threshold: float,
        score_exponent: float = 1.0, looks: int = 1, find: Callable[..., list[list[Prediction]]] = predict,
    ) -> None:  # fmt: skip
        self.model = model.to(device, memory_format=torch.channels_last)
        self.device, self.bfloat16 = device, bfloat16
        self.batch_size, self.looks, self.find = batch_size, looks, find
        self.score_threshold, self.score_exponent = score_threshold, score_exponent

    def detect(
        self, tiles: Sequence[Tile], images: Sequence[np.ndarray], valid: Sequence[np.ndarray], grid: Grid,
        reporter: Reporter,
    ) -> list[list[Instance]]:  # fmt: skip
        """Instances of every tile; each tile's result does not depend on its neighbours in the batch.

        Args:
            tiles: what to look at.
            images: uint8[3, h, w] of their padded windows.
            valid: bool[h, w]; False where the raster holds nothing.
            grid: the working grid, for its edges.

        Raises:
            OutOfMemory: a single tile does not fit.
        """
        found: list[list[Instance]] = []
        while len(found) < len(tiles):
            start = len(found)
            part = slice(start, start + self.batch_size)
            try:
                predictions = self._forward(images[part], valid[part])
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                self._shrink(error, reporter)
                continue
            for tile, image, known, items in zip(tiles[part], images[part], valid[part], predictions, strict=True):
                flat = flat_areas(image)
                visible = [p for p in items if has_visible_outline(p, flat, known)]
                placed = (place(p, tile, known, grid, index) for index, p in enumerate(visible))
                found.append([replace(i, score=i.score**self.score_exponent) for i in placed])
        return found

    def _forward(self, images: Sequence[np.ndarray], valid: Sequence[np.ndarray]) -> list[list[Prediction]]:
        height = max(i.shape[1] for i in images)
        width = max(i.shape[2] for i in images)
        height, width = height + -height % STRIDE, width + -width % STRIDE
        shown = zip(images, valid, strict=True)
        batch = np.stack([surround(image, known, height=height, width=width) for image, known in shown])
        tensor = torch.from_numpy(batch).to(self.device)
        raw_threshold = self.score_threshold ** (1 / self.score_exponent)
        predictions = look_around(
            self.find, self.model, tensor, looks=self.looks, bfloat16=self.bfloat16, score_threshold=raw_threshold
        )
        return [
            [q for p in items if (q := _crop(p, image.shape[1], image.shape[2])) is not None]
            for image, items in zip(images, predictions, strict=True)
        ]

    def _shrink(self, error: Exception, reporter: Reporter) -> None:
        """Halve the batch after running out of memory; anything else is passed on."""
        if not is_out_of_memory(error):
            raise error
        if self.batch_size == 1:
            raise OutOfMemory(
                f"A single tile does not fit into the memory of {self.device}",
                "Choose smaller tiles, or the CPU as device",
            ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.batch_size //= 2
        reporter.warn(f"Memory of {self.device} ran out; going on with batches of {self.batch_size}")


def _crop(prediction: Prediction, height: int, width: int) -> Prediction | None:
    """Cut off what lies in the padding of the batch."""
    x0, y0, x1, y1 = prediction.box
    box = (x0, y0, min(x1, width), min(y1, height))
    if box == prediction.box:
        return prediction
    if box[2] <= x0 or box[3] <= y0:
        return None
    probability = prediction.probability[: box[3] - y0, : box[2] - x0]
    return Prediction(box, probability, prediction.score) if (probability >= 128).any() else None


def place(prediction: Prediction, tile: Tile, valid: np.ndarray, grid: Grid, index: int) -> Instance:
    """A prediction in a tile as an instance on the grid.

    Args:
        valid: bool[h, w] of the tile's padded window.
        index: rank in its tile, for the provisional id.
    """
    left, top, right, bottom = tile.padded
    x0, y0, x1, y1 = prediction.box
    box = (x0 + left, y0 + top, x1 + left, y1 + top)
    mask = prediction.probability >= 128
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    mx0, my0, mx1, my1 = box[0] + cols[0], box[1] + rows[0], box[0] + cols[-1] + 1, box[1] + rows[-1] + 1
    sides = ((mx0 <= left, left <= 0), (my0 <= top, top <= 0),
             (mx1 >= right, right >= grid.width), (my1 >= bottom, bottom >= grid.height))  # fmt: skip
    cut = any(touches and not outer for touches, outer in sides)
    edge = any(touches and outer for touches, outer in sides)
    if not edge and not valid.all():
        unknown = ~valid[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
        if unknown.any():
            padded = np.pad(mask, ((min(y0, 1), 1), (min(x0, 1), 1))).astype(np.uint8)
            near = cv2.dilate(padded, np.ones((3, 3), np.uint8))[: unknown.shape[0], : unknown.shape[1]]
            edge = bool((near.astype(bool) & unknown).any())
    return Instance(
        id=f"{tile.row}-{tile.col}-{index}", box=box, probability=prediction.probability,
        score=prediction.score, tile=(tile.row, tile.col), cut=cut, edge=edge,
    )  # fmt: skip
