"""Views of a chip: turned, mirrored, scaled squares, and what a camera does to their colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ...models.refiners.crops import FILL, MAX_ZOOM


@dataclass(frozen=True)
class View:
    """A turned, mirrored, scaled square of a chip.

    Attributes:
        area: half-open box of the chip that the square needs, inside the chip.
        matrix: float64[2, 3] from pixel indices of that area to crop pixel indices.
        size: side of the crop, pixels.
        zoom: crop pixels a chip pixel.
    """

    area: tuple[int, int, int, int]
    matrix: np.ndarray
    size: int
    zoom: float

    def moved(self, move: np.ndarray, shape: tuple[int, ...]) -> View:
        """The view after a further similarity float64[2, 3] of crop pixel indices."""
        left, top = self.area[:2]
        linear = move[:, :2] @ self.matrix[:, :2]
        origin = move[:, :2] @ self.matrix[:, 2] + move[:, 2] - linear @ np.array((left, top), float)
        return lay_view(linear, origin, shape, self.size, self.zoom * float(np.hypot(*move[:, 0])))

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The needed area of an array of the chip, a view."""
        x_min, y_min, x_max, y_max = self.area
        return array[y_min:y_max, x_min:x_max]

    def show(self, array: np.ndarray, fill: int) -> np.ndarray:
        """The crop of a cut uint8[h, w] or uint8[h, w, 3], smoothed before it is reduced."""
        if self.zoom < 0.75:
            array = cv2.GaussianBlur(array, (0, 0), 0.4 / self.zoom)
        border = (fill,) * 3
        return cv2.warpAffine(
            array, self.matrix, (self.size, self.size), flags=cv2.INTER_LINEAR, borderValue=border
        )

    def show_labels(self, labels: np.ndarray) -> np.ndarray:
        """The crop of cut int32[h, w] labels; unknown (-1) outside the chip."""
        crop = cv2.warpAffine(
            labels.astype(np.float32), self.matrix, (self.size, self.size),
            flags=cv2.INTER_NEAREST, borderValue=-1.0,
        )  # fmt: skip
        return crop.astype(np.int32)


def draw_view(
    box: tuple[int, int, int, int],
    shape: tuple[int, ...],
    size: int,
    rng: np.random.Generator,
    *,
    augment: bool,
) -> View:
    """A view in which the box spans about `FILL` of the crop, as in inference.

    With `augment` the share, the position, the turn and the mirroring are drawn.
    """
    x_min, y_min, x_max, y_max = box
    length = max(x_max - x_min, y_max - y_min, 1)
    fill, offset, angle, mirror = FILL, np.zeros(2), 0.0, 1.0
    if augment:
        fill *= rng.uniform(0.75, 1.15)
        offset = rng.uniform(-0.06, 0.06, 2) * size
        angle = 0.5 * math.pi * rng.integers(4) + (rng.uniform(-0.8, 0.8) if rng.random() < 0.5 else 0.0)
        mirror = 1.0 if rng.random() < 0.5 else -1.0
    zoom = min(fill * size / length, MAX_ZOOM)
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[mirror * cosine, -sine], [mirror * sine, cosine]])
    # Pixel i has its centre at i + 0.5: the box's middle goes to the crop's middle.
    middle = np.array([(x_min + x_max) / 2 - 0.5, (y_min + y_max) / 2 - 0.5])
    target = np.full(2, size / 2 - 0.5) + offset
    return lay_view(linear, target - linear @ middle, shape, size, zoom)


def lay_view(linear: np.ndarray, origin: np.ndarray, shape: tuple[int, ...], size: int, zoom: float) -> View:
    """The view that shows chip pixel index ``p`` at crop pixel index ``linear @ p + origin``."""
    corners = np.array([[0, 0], [0, size], [size, 0], [size, size]]) - 0.5 - origin
    corners = corners @ np.linalg.inv(linear).T
    low = np.floor(corners.min(axis=0)).astype(int) - 3
    high = np.ceil(corners.max(axis=0)).astype(int) + 4
    limit = np.array((shape[1], shape[0]))
    (left, top), (right, bottom) = low.clip(0, limit - 1), np.minimum(high.clip(1), limit)
    matrix = np.column_stack((linear, origin + linear @ (left, top)))
    return View((int(left), int(top), int(right), int(bottom)), matrix, size, zoom)


def draw_move(box: tuple[int, int, int, int], size: int, rng: np.random.Generator, *, augment: bool) -> np.ndarray:
    """The similarity, float64[2, 3], that brings a box of crop pixels to the middle at `FILL`.

    With `augment` place and size vary a little.
    """
    x_min, y_min, x_max, y_max = box
    scale = FILL * size / max(x_max - x_min, y_max - y_min, 0.1 * size)
    target = np.full(2, size / 2 - 0.5)
    if augment:
        scale *= rng.uniform(0.85, 1.1)
        target += rng.uniform(-0.03, 0.03, 2) * size
    middle = np.array([(x_min + x_max) / 2 - 0.5, (y_min + y_max) / 2 - 0.5])
    return np.column_stack((scale * np.eye(2), target - scale * middle))


def through_working_grid(probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask as it comes back from a coarser working grid: reduced, then enlarged linearly."""
    size = probability.shape[0]
    reduced = max(8, round(size / rng.uniform(1.0, MAX_ZOOM)))
    small = cv2.resize(probability, (reduced, reduced), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)


def photometric(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another day's light, camera and compression for uint8[H, W, 3]."""
    x = image.astype(np.float32) / 255
    x = x ** rng.uniform(0.7, 1.4)
    x = (x - 0.45) * rng.uniform(0.7, 1.35) + 0.45 + rng.uniform(-0.12, 0.12)
    x = x * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    if rng.random() < 0.15:
        x = np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.3:
        x = x + rng.normal(0, rng.uniform(0.005, 0.04), x.shape).astype(np.float32)
    return np.round(255 * x.clip(0, 1)).astype(np.uint8)
