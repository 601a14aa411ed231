"""Resampling between two pixel grids that differ by scale and shift along each axis.

One filter serves both directions: an output pixel is the mean over a window centred on it, as wide as
itself when shrinking (area average) and one source pixel wide when enlarging, which is bilinear
interpolation between pixel centres. Weights come from global coordinates and each sum runs over source
pixels in ascending order, so a pixel has the same value to the last bit whichever window asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse

FULL_COVERAGE = 1.0 - 1e-6
HALF_COVERAGE = 0.5 - 1e-6


@dataclass(frozen=True)
class AxisFilter:
    """How one axis is resampled.

    Attributes:
        start, end: the source pixels that contribute, half-open; empty when `start == end`.
        weights: float32[outputs, end - start], sparse; a row sums to the share of its window that lies
            inside the source.
        inside: no output pixel reaches beyond the source.
        identity: the outputs are the source pixels themselves.
    """

    start: int
    end: int
    weights: scipy.sparse.csr_array
    inside: bool
    identity: bool


def plan_axis(first: float, step: float, part: slice, *, scale: float, length: int) -> AxisFilter:
    """Plan one axis.

    Args:
        first: where output pixel 0 starts, on the working grid.
        step: size of an output pixel on the working grid.
        part: the output pixels wanted.
        scale: source pixels per unit of the working grid; both have their origin in common.
        length: number of source pixels there are.
    """
    count = part.stop - part.start
    centers = (first + (np.arange(part.start, part.stop) + 0.5) * step) * scale
    width = max(step * scale, 1.0)
    low, high = centers - width / 2, centers + width / 2
    # Rounding noise must not pull in a neighbour with a weight of 1e-13.
    k0 = np.clip(np.floor(low + 1e-9), 0, length).astype(np.int64)
    k1 = np.clip(np.ceil(high - 1e-9), 0, length).astype(np.int64)
    sizes = np.maximum(k1 - k0, 0)
    used = sizes > 0
    start, end = (int(k0[used].min()), int(k1[used].max())) if used.any() else (0, 0)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    source = np.repeat(k0 - offsets[:-1], sizes) + np.arange(offsets[-1])
    overlap = np.minimum(np.repeat(high, sizes), source + 1) - np.maximum(np.repeat(low, sizes), source)
    weights = np.clip(overlap / width, 0.0, 1.0)
    covered = (low >= -1e-9) & (high <= length + 1e-9)
    if step * scale < 1.0:
        # Beyond the outermost pixel centres there is nothing to interpolate with: that pixel goes on.
        within = (centers >= 0) & (centers <= length) & used & ~covered
        sums = np.add.reduceat(np.append(weights, 0.0), offsets[:-1]) if count else np.zeros(0)
        weights /= np.repeat(np.where(within, sums, 1.0), sizes)
        covered |= within
    weights = weights.astype(np.float32)
    matrix = scipy.sparse.csr_array((weights, source - start, offsets), shape=(count, end - start))
    inside = bool(covered.all())
    identity = bool(count == end - start == len(weights) and (weights == 1).all())
    return AxisFilter(start, end, matrix, inside, identity)


def resample(
    pixels: np.ndarray, valid: np.ndarray | None, rows: AxisFilter, cols: AxisFilter
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image of which some pixels count for nothing.

    Args:
        pixels: float32[bands, rows.end - rows.start, cols.end - cols.start], finite.
        valid: bool of the same height and width, or None when every pixel is valid.
        rows, cols: the two axes.

    Returns:
        float32[bands, height, width], zero where invalid, and bool[height, width]: valid where at least
        half of a pixel's window is. Invalid pixels leave no trace in valid ones.
    """
    if valid is None and rows.inside and cols.inside:
        out = _apply(pixels, rows, cols)
        return out, np.ones(out.shape[1:], dtype=bool)
    if valid is None:
        valid = np.ones(pixels.shape[1:], dtype=bool)
    coverage = _apply(valid[None].astype(np.float32), rows, cols)[0]
    out = _apply(np.where(valid, pixels, np.float32(0)), rows, cols)
    partly = (coverage < FULL_COVERAGE) & (coverage > 0)
    out[:, partly] /= coverage[partly]
    kept = coverage >= HALF_COVERAGE
    out[:, ~kept] = 0
    return out, kept


def _apply(pixels: np.ndarray, rows: AxisFilter, cols: AxisFilter) -> np.ndarray:
    return np.stack([_apply_axis(_apply_axis(band, rows).T, cols).T for band in pixels])


def _apply_axis(band: np.ndarray, axis: AxisFilter) -> np.ndarray:
    """Resample float32[source, N] to float32[outputs, N]."""
    if axis.identity:
        return band
    if not band.flags.c_contiguous:
        band = cv2.transpose(band.T)  # numpy's own copy of a transposed array takes several times as long
    return axis.weights @ band
