"""Cheap multi-octave noise: fields made once for a scene and cut out wherever a surface needs one."""

from __future__ import annotations

import cv2
import numpy as np

SPARE_PX = 192
SCALES_M = {"broad": 30.0, "patch": 7.0, "fine": 1.6, "leaf": 0.6, "speck": 0.25, "grain": 0.0}
STEPS = 32  # a byte a pixel: the fields of a large scene would otherwise outweigh its image


class NoiseFields:
    """Noise of several sizes over the whole scene, mean 0, standard deviation about 1.

    Cuts are taken at random offsets, so that neighbouring surfaces do not continue each other.
    """

    def __init__(self, rng: np.random.Generator, width: int, height: int, pixel_m: float) -> None:
        shape = (height + SPARE_PX, width + SPARE_PX)
        self._fields = {
            name: _pack(smooth_noise(rng, shape, max(scale / pixel_m, 1.0))) for name, scale in SCALES_M.items()
        }

    def cut(self, name: str, rows: slice, cols: slice, offset: tuple[int, int] = (0, 0)) -> np.ndarray:
        """float32[H, W] of the named field under a window, moved by `offset` (each below `SPARE_PX`)."""
        dy, dx = offset
        packed = self._fields[name][rows.start + dy : rows.stop + dy, cols.start + dx : cols.stop + dx]
        return packed * np.float32(1 / STEPS)


def _pack(field: np.ndarray) -> np.ndarray:
    """float32 noise to int8 steps of 1 / `STEPS`."""
    return np.clip(np.rint(field * STEPS), -127, 127).astype(np.int8)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> np.ndarray:
    """float32[H, W]: two octaves of value noise with features of about `scale_px` pixels."""
    total = np.zeros(shape, np.float32)
    for octave, weight in ((1.0, 1.0), (0.45, 0.5)):
        step = max(scale_px * octave, 1.0)
        if step <= 1.0:
            total += weight * rng.standard_normal(shape, dtype=np.float32)
            continue
        grid = (int(shape[0] / step) + 3, int(shape[1] / step) + 3)
        small = rng.standard_normal(grid, dtype=np.float32)
        size = (int(np.ceil(grid[1] * step)), int(np.ceil(grid[0] * step)))
        total += weight * cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
    return total / (float(total.std()) + 1e-6)
