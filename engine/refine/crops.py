"""Cutting crops for the network and pasting its answers back, by exactly inverse transforms.

A window has whole-number corners on the working grid, so that both ways are a plain resize: enlarging
is linear, reducing averages areas, and neither moves anything by a fraction of a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from ...models.refiners.crops import Window
from ..contracts import Box, Instance

MARGIN_PX = 2
"""Soft rim kept around a mask; the contour stage interpolates in it."""


def paste_window(instances: Iterable[Instance], window: Window) -> np.ndarray:
    """uint8[side, side]: the greatest probability of the instances at each pixel of the window."""
    canvas = np.zeros((window.side, window.side), np.uint8)
    for instance in instances:
        shared = intersect(instance.box, to_box(window))
        if shared is not None:
            part = cut(canvas, to_box(window), shared)
            np.maximum(part, cut(instance.probability, instance.box, shared), out=part)
    return canvas


def resize_square(array: np.ndarray, size: int) -> np.ndarray:
    """A square array [n, n] of any cv2 type at another size, pixel edges on pixel edges."""
    if array.shape[0] == size:
        return array.copy()
    method = cv2.INTER_LINEAR if array.shape[0] < size else cv2.INTER_AREA
    return cv2.resize(array, (size, size), interpolation=method)


def trim_instance(instance: Instance, window: Window, probability: np.ndarray, valid: np.ndarray) -> Instance | None:
    """`instance` with the probability of a window, trimmed to its mask; None when no mask is left.

    Only parts that overlap the instance's mask count; pixels without data belong to no building, and one
    that touches them has an edge there.

    Args:
        probability: uint8[side, side] on the window.
        valid: bool[side, side], False outside the raster and on no-data.
    """
    before = paste_window([instance], window) >= 128
    probability = np.where(valid, probability, 0).astype(np.uint8)
    count, parts = cv2.connectedComponents((probability >= 128).astype(np.uint8), connectivity=4)
    stray = np.ones(count, bool)
    stray[parts[before]] = stray[0] = False
    probability[stray[parts]] = 0
    mask = probability >= 128
    if not mask.any():
        return None
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    grown = (
        window.x + x - MARGIN_PX,
        window.y + y - MARGIN_PX,
        window.x + x + width + MARGIN_PX,
        window.y + y + height + MARGIN_PX,
    )
    known = valid | paste_box(instance.box, window)
    x, y, width, height = cv2.boundingRect(known.astype(np.uint8))
    box = intersect(grown, (window.x + x, window.y + y, window.x + x + width, window.y + y + height))
    assert box is not None  # the mask lies on valid pixels
    edge = instance.edge or bool((~valid & (cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)).any())
    return replace(
        instance, box=box, probability=cut(probability, to_box(window), box).copy(), refined=True, edge=edge
    )


def paste_box(box: Box, window: Window) -> np.ndarray:
    """bool[side, side]: the pixels of a box in the window."""
    canvas = np.zeros((window.side, window.side), bool)
    shared = intersect(box, to_box(window))
    if shared is not None:
        cut(canvas, to_box(window), shared)[:] = True
    return canvas


def to_box(window: Window) -> Box:
    """The window as whole numbers."""
    return window.x, window.y, window.x + window.side, window.y + window.side


def intersect(first: Box, second: Box) -> Box | None:
    """The common part of two boxes, or None."""
    x_min, y_min = max(first[0], second[0]), max(first[1], second[1])
    x_max, y_max = min(first[2], second[2]), min(first[3], second[3])
    return (x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def cut(array: np.ndarray, box: Box, part: Box) -> np.ndarray:
    """The view of an array lying on `box` that covers `part`, which lies inside."""
    return array[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]]


def tight_box(instance: Instance) -> Box | None:
    """Tight box of the mask on the working grid, or None where it is empty."""
    x, y, width, height = cv2.boundingRect(instance.mask.astype(np.uint8))
    if width == 0:
        return None
    left, top = instance.box[0] + x, instance.box[1] + y
    return left, top, left + width, top + height


def overlap_iou(first: Instance, second: Instance) -> float:
    """IoU of the masks of two instances on the working grid."""
    shared = intersect(first.box, second.box)
    both = 0
    if shared is not None:
        both = int(np.count_nonzero(cut(first.mask, first.box, shared) & cut(second.mask, second.box, shared)))
    either = np.count_nonzero(first.mask) + np.count_nonzero(second.mask) - both
    return both / either if either else 1.0
