"""Pixel figures of a segmentation of two classes, after Long et al. 2015 and equation 7 of SegGAN."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class PixelCounter:
    """Counts pixels by true and predicted class; figures come at the end.

    Attributes:
        pixels: int64[2, 2], rows true, columns predicted; 0 ground, 1 building.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros((2, 2), np.int64))

    def add(self, mask: np.ndarray, labels: np.ndarray) -> None:
        """Count an image.

        Args:
            mask: bool[H, W] prediction.
            labels: int32[H, W] truth; pixels of -1 are unknown and do not count.
        """
        known = labels >= 0
        code = 2 * (labels[known] > 0).astype(np.int64) + mask[known]
        self.pixels += np.bincount(code, minlength=4).reshape(2, 2)

    def figures(self) -> dict[str, float]:
        """``mean_iou`` and ``class_accuracy``, means over the classes that occur, ``iou`` of buildings,
        ``pixel_accuracy``; all 0 where no pixel is known."""
        right = np.diag(self.pixels).astype(float)
        true, found = self.pixels.sum(1), self.pixels.sum(0)
        iou = right / np.maximum(true + found - right, 1)
        present = true > 0
        if not present.any():
            return {"mean_iou": 0.0, "iou": 0.0, "pixel_accuracy": 0.0, "class_accuracy": 0.0}
        return {
            "mean_iou": float(iou[present].mean()),
            "iou": float(iou[1]),
            "pixel_accuracy": float(right.sum() / true.sum()),
            "class_accuracy": float((right[present] / true[present]).mean()),
        }
