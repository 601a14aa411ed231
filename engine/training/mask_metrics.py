"""Before/after measures of masks, each on bool[H, W] over known pixels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)


def measure_mask(mask: np.ndarray, truth: np.ndarray, known: np.ndarray, pixel_m: float) -> dict[str, float]:
    """All measures of one mask.

    Keys: ``iou``, ``precision``, ``recall``, ``f1``, ``pixel_accuracy``, ``boundary_iou`` (band of 2 %
    of the diagonal, Cheng et al. 2021), ``boundary_iou_25cm`` (band of 0.25 m, at least one pixel; left
    out without a ground pixel), ``hausdorff_px`` and ``hausdorff95_px`` (between the edges; the
    diagonal where one mask is empty).
    """
    mask, truth = mask & known, truth & known
    both, either = np.count_nonzero(mask & truth), np.count_nonzero(mask | truth)
    predicted, true = np.count_nonzero(mask), np.count_nonzero(truth)
    precision = both / predicted if predicted else float(not true)
    recall = both / true if true else float(not predicted)
    diagonal = float(np.hypot(*mask.shape))
    figures = {
        "iou": both / either if either else 1.0,
        "precision": precision,
        "recall": recall,
        "f1": 2 * both / (predicted + true) if predicted + true else 1.0,
        "pixel_accuracy": float(np.mean((mask == truth)[known])) if known.any() else 1.0,
        "boundary_iou": boundary_iou(mask, truth, max(1, round(0.02 * diagonal))),
    }
    if pixel_m > 0:
        figures["boundary_iou_25cm"] = boundary_iou(mask, truth, max(1, round(0.25 / pixel_m)))
    distances = edge_distances(mask, truth)
    figures["hausdorff_px"] = float(distances.max()) if len(distances) else diagonal
    figures["hausdorff95_px"] = float(np.percentile(distances, 95)) if len(distances) else diagonal
    return figures


def summarize(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over masks, plus ``iou50_95``: the share of masks at or above each of the thresholds
    0.50, 0.55, ... 0.95, averaged over the thresholds."""
    keys = sorted({key for figures in measured for key in figures})
    summary = {key: float(np.mean([f[key] for f in measured if key in f])) for key in keys}
    ious = np.array([figures["iou"] for figures in measured])
    summary["iou50_95"] = float((ious[:, None] >= THRESHOLDS - 1e-9).mean())
    summary["masks"] = len(measured)
    return summary


def boundary_iou(mask: np.ndarray, truth: np.ndarray, band_px: int) -> float:
    """IoU of the inner bands of both masks, `band_px` pixels wide; 1 where both are empty."""
    first, second = inner_band(mask, band_px), inner_band(truth, band_px)
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 1.0


def inner_band(mask: np.ndarray, band_px: int) -> np.ndarray:
    """Pixels of the mask within `band_px` (chessboard) of its edge; the array's border is an edge."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=band_px, borderValue=0)[1:-1, 1:-1]
    return mask & (inner == 0)


def edge_distances(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances in pixels from each edge pixel of one mask to the other's edge, both ways.

    float64[N]; empty where exactly one mask is empty, a single zero where both are.
    """
    first, second = inner_band(mask, 1), inner_band(truth, 1)
    if not first.any() and not second.any():
        return np.zeros(1)
    if not first.any() or not second.any():
        return np.zeros(0)
    to_first, to_second = (
        cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for edge in (first, second)
    )
    return np.concatenate((to_second[first], to_first[second])).astype(np.float64)
