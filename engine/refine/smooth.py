"""The smoothing methods Vinokurov 2025 names, as options between refiner and contour.

Each takes and gives an `Instance`; the mask may grow by the smoothing's reach, so the box is padded
first and never cuts it. Douglas-Peucker, which the paper applies afterwards, is the simplify stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from scipy import interpolate
from skimage.segmentation import active_contour

from ..contracts import Instance
from ..errors import InvalidParameter

Probability = np.ndarray


def smooth_instance(instance: Instance, method: str, *, size_px: float = 2.0) -> Instance:
    """Smooth one mask.

    Args:
        method: ``none``, ``opening_closing``, ``gaussian``, ``active_contour`` or ``spline``.
        size_px: how far smoothing reaches, working-grid pixels: radius of the structuring element,
            sigma of the blur, or greatest mean deviation of the curve.

    Returns:
        The instance with a smoothed probability, or itself where smoothing would leave nothing.

    Raises:
        InvalidParameter: an unknown method, or a size that is not positive.
    """
    if method == "none":
        return instance
    if method not in METHODS:
        raise InvalidParameter(f"Smoothing {method!r} is unknown", f"Choose one of none, {', '.join(METHODS)}")
    if not 0 < size_px <= 100:
        raise InvalidParameter(f"The smoothing size is {size_px} pixels", "Choose a value from 0.1 to 100")
    if not instance.mask.any():
        return instance
    margin = int(np.ceil(3 * size_px)) + 2
    padded = np.pad(instance.probability, margin)
    smoothed = METHODS[method](padded, size_px)
    if not (smoothed >= 128).any():
        return instance
    x_min, y_min, x_max, y_max = instance.box
    box = (x_min - margin, y_min - margin, x_max + margin, y_max + margin)
    return trim(replace(instance, box=box, probability=smoothed), instance)


def opening_closing(probability: Probability, size_px: float) -> Probability:
    """Morphological opening, then closing, with a disc: noise and gaps narrower than it go."""
    size = 2 * max(1, round(size_px)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.morphologyEx(cv2.morphologyEx(probability, cv2.MORPH_OPEN, disc), cv2.MORPH_CLOSE, disc)


def gaussian(probability: Probability, size_px: float) -> Probability:
    """Gaussian blur of the mask; the contour at one half is the smoothed outline."""
    mask = np.where(probability >= 128, np.uint8(255), np.uint8(0))
    return cv2.GaussianBlur(mask, (0, 0), size_px)


def snakes(probability: Probability, size_px: float) -> Probability:
    """Active contours (Kass et al. 1988): each outline settles on the steepest rise of the probability
    under tension and stiffness."""
    field = cv2.GaussianBlur(probability.astype(np.float64) / 255, (0, 0), size_px)

    def settle(ring: np.ndarray) -> np.ndarray:
        snake = active_contour(
            field, ring[:, ::-1], alpha=0.002, beta=0.2 * size_px, w_line=0.0, w_edge=1.0, gamma=0.05,
            max_px_move=0.5, max_num_iter=100,
        )  # fmt: skip
        return snake[:, ::-1]

    return redraw(probability, settle)


def spline(probability: Probability, size_px: float) -> Probability:
    """Periodic cubic smoothing spline through each outline, mean deviation at most `size_px`."""

    def fit(ring: np.ndarray) -> np.ndarray:
        closed = np.vstack((ring, ring[:1]))
        tck, _ = interpolate.splprep(closed.T, s=len(ring) * (0.5 * size_px) ** 2, per=True)
        return np.column_stack(interpolate.splev(np.linspace(0, 1, 2 * len(ring), endpoint=False), tck))

    return redraw(probability, fit)


def redraw(probability: Probability, change: Callable[[np.ndarray], np.ndarray]) -> Probability:
    """Fill the mask's outlines again after `change` was applied to each, float64[N, 2] of (x, y)
    pixel centres; holes stay holes, outlines of fewer than eight pixels stay as they are."""
    mask = (probability >= 128).astype(np.uint8)
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    canvas = np.zeros(mask.shape, np.uint8)
    holes_last = sorted(range(len(contours)), key=lambda n: hierarchy[0, n, 3] >= 0)
    for number in holes_last:
        ring = contours[number][:, 0].astype(np.float64)
        changed = change(ring) if len(ring) >= 8 else ring
        # cv2 draws with 1/16 pixel: shift of 4 bits.
        points = np.round(changed * 16).astype(np.int32)
        hole = hierarchy[0, number, 3] >= 0
        if hole:  # the ring of a hole lies on the mask, whose pixels must stay
            inside = np.zeros(mask.shape, np.uint8)
            cv2.fillPoly(inside, [points], 1, shift=4)
            cv2.polylines(inside, [points], True, 0, shift=4)
            canvas[inside > 0] = 0
        else:
            cv2.fillPoly(canvas, [points], 255, shift=4)
    return canvas


def trim(smoothed: Instance, before: Instance) -> Instance:
    """Cut the padding off again, except where the mask now needs it; never outside of that."""
    x, y, width, height = cv2.boundingRect(smoothed.mask.astype(np.uint8))
    left, top = smoothed.box[:2]
    x_min, y_min = min(before.box[0], left + x), min(before.box[1], top + y)
    x_max, y_max = max(before.box[2], left + x + width), max(before.box[3], top + y + height)
    part = smoothed.probability[y_min - top : y_max - top, x_min - left : x_max - left]
    return replace(smoothed, box=(x_min, y_min, x_max, y_max), probability=part.copy())


METHODS: dict[str, Callable[[Probability, float], Probability]] = {
    "opening_closing": opening_closing,
    "gaussian": gaussian,
    "active_contour": snakes,
    "spline": spline,
}
