"""Rings resampled at even steps, many at a time, and sums over any piece of them in constant time.

Everything here works on all rings of a batch at once: rings lie one after the other in flat arrays,
and a *piece* is ``(ring, i, j)``: the samples ``i, i + 1, ..., j - 1`` of a ring, counted around
its end, ``0 <= i < n`` and ``i < j <= i + n``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely

MAX_SAMPLES = 6000
"""Of one ring; a longer ring is sampled more coarsely, which bounds memory for 50,000-vertex outlines."""
MIN_SAMPLES = 24


@dataclass(frozen=True)
class Rings:
    """Evenly sampled closed rings.

    Attributes:
        xy: complex128[N], samples of all rings relative to `centre` of their ring.
        first: int64[R + 1], where each ring begins in `xy`; the last entry is N.
        step_m: float64[R], distance between samples along the ring.
        centre: complex128[R].
    """

    xy: np.ndarray
    first: np.ndarray
    step_m: np.ndarray
    centre: np.ndarray

    @cached_property
    def count(self) -> np.ndarray:
        """int64[R], samples of each ring."""
        return np.diff(self.first)

    @cached_property
    def sums(self) -> np.ndarray:
        """float64[5, N + 1], running sums of x, y, x*x, x*y, y*y; not everyone who samples needs them."""
        x, y = self.xy.real, self.xy.imag
        sums = np.zeros((5, len(x) + 1))
        for total, term in zip(sums, (x, y, x * x, x * y, y * y)):
            np.cumsum(term, out=total[1:])
        return sums

    def at(self, ring: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Samples by ring and index (any integer, counted around), complex128."""
        return self.xy[self.first[ring] + index % self.count[ring]]

    def piece_moments(self, ring: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, ...]:
        """Number, mean x, mean y and central second moments xx, xy, yy (sums) of pieces."""
        first, n = self.first[ring], self.count[ring]
        x, y, xx, xy, yy = total = self.sums.take(first + np.minimum(j, n), 1) - self.sums.take(first + i, 1)
        wrapped = np.flatnonzero(j > n)
        total[:, wrapped] += self.sums[:, (first + j - n)[wrapped]] - self.sums[:, first[wrapped]]
        m = (j - i).astype(float)
        mx, my = x / m, y / m
        cxx = xx - m * mx * mx
        cxy = xy - m * mx * my
        cyy = yy - m * my * my
        return m, mx, my, cxx, cxy, cyy


def sample_rings(rings: np.ndarray, *, step_m: float) -> Rings:
    """Resample closed rings at even steps of about `step_m`.

    Args:
        rings: array of shapely LinearRings, none empty or of zero length.
    """
    xy, owner = shapely.get_coordinates(rings, return_index=True)
    z = as_complex(xy)
    begin = np.searchsorted(owner, np.arange(len(rings)))
    centre = np.add.reduceat(z, begin) / np.diff(np.append(begin, len(z)))
    z = z - centre[owner]
    length = np.abs(np.diff(z, prepend=z[:1]))
    length[begin] = 0.0
    travelled = np.cumsum(length)
    base = travelled[begin]
    around = np.append(base[1:], travelled[-1]) - base
    n = np.clip(np.ceil(around / step_m), MIN_SAMPLES, MAX_SAMPLES).astype(np.int64)
    first = np.concatenate(([0], np.cumsum(n)))
    ring = np.repeat(np.arange(len(rings)), n)
    step = around / n
    # Half a step in, so that no sample falls on the end of a ring, where the next one begins.
    where = base[ring] + (np.arange(first[-1]) - first[ring] + 0.5) * step[ring]
    samples = np.interp(where, travelled, z.real) + 1j * np.interp(where, travelled, z.imag)
    return Rings(samples, first, step, centre)


def as_complex(xy: np.ndarray) -> np.ndarray:
    """Coordinates float64[N, 2] as complex128[N]."""
    return np.ascontiguousarray(xy, float).view(np.complex128)[:, 0]
