"""Radiometry: one linear stretch per band for a whole raster, so that no seam shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERCENTILES = (2.0, 98.0)
TARGETS = (27.5, 210.0)
"""Grey levels the two percentiles are brought to: those of 8-bit orthophotos, which the models are trained
on (mean of eleven sources). With 0 and 255 the contrast would be foreign and the brightest roofs clipped."""


@dataclass(frozen=True)
class Stretch:
    """A linear map of raster values to 0..255 for each band.

    Attributes:
        low, high: values brought to `TARGETS`, by band.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Map values, float[bands, H, W], finite, to float32 of the same shape, clipped to 0..255."""
        low = np.array(self.low)[:, None, None]
        gain = (TARGETS[1] - TARGETS[0]) / (np.array(self.high)[:, None, None] - low)
        # Double precision until clipped: 32-bit integers and large floats have no room in float32.
        stretched = (pixels.astype(np.float64) - low) * gain + TARGETS[0]
        return np.clip(stretched, 0.0, 255.0).astype(np.float32)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain JSON values, to be recorded with the result."""
        return {"low": list(self.low), "high": list(self.high), "percentiles": list(PERCENTILES)}


def fit_stretch(samples: np.ndarray) -> Stretch:
    """Fit a stretch to sampled valid pixels, float[bands, N]; with N = 0, values 0..1 are assumed."""
    if samples.shape[1] == 0:
        return Stretch(low=(0.0,) * len(samples), high=(1.0,) * len(samples))
    low, high = np.percentile(samples.astype(np.float64), PERCENTILES, axis=1)
    flat = ~(high > low)
    # Two percentiles that coincide: an almost constant band. Its whole range serves then.
    low = np.where(flat, samples.min(axis=1), low)
    high = np.where(flat, samples.max(axis=1), high)
    high = np.where(high > low, high, low + np.maximum(1.0, np.abs(low)))
    return Stretch(low=tuple(map(float, low)), high=tuple(map(float, high)))
