"""The surface a scene is painted on: colour, height above ground, and how the sun strikes it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .coverage import polygon_coverage
from .noise import SPARE_PX, NoiseFields
from .palettes import rgb


@dataclass(frozen=True)
class Sun:
    """Where the light comes from, in image axes (x right, y down).

    Attributes:
        direction: unit vector towards the sun, ``(x, y, z)``.
        ambient: share of the light that also reaches shadows, 0..1.
    """

    direction: tuple[float, float, float]
    ambient: float


@dataclass(frozen=True)
class Window:
    """A rectangle of the canvas and the metric coordinates of its pixel centres, float32[H, W]."""

    rows: slice
    cols: slice
    x: np.ndarray
    y: np.ndarray

    @property
    def at(self) -> tuple[slice, slice]:
        """Index of the window in a canvas array."""
        return self.rows, self.cols

    def frame(self, cx: float, cy: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates along and across a direction, relative to a centre, metres."""
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = self.x - np.float32(cx), self.y - np.float32(cy)
        return dx * c + dy * s, dy * c - dx * s


class Canvas:
    """Colour float32[H, W, 3] in 0..1, height float32[H, W] in metres, light float32[H, W].

    Light is the sunlight a surface receives relative to level ground. Coordinates of all painting are
    metres from the outer corner of the upper left pixel, x right, y down.
    """

    def __init__(self, rng: np.random.Generator, width: int, height: int, pixel_m: float, sun: Sun) -> None:
        self.rng, self.pixel_m, self.sun = rng, pixel_m, sun
        self.size_px = (width, height)
        self.colour = np.zeros((height, width, 3), np.float32)
        self.height = np.zeros((height, width), np.float32)
        self.light = np.ones((height, width), np.float32)
        self.drought = np.float32(rng.beta(0.9, 1.6) * 0.9)
        self.noise = NoiseFields(rng, width, height, pixel_m)

    def window(self, ring: np.ndarray, pad_m: float = 0.0) -> Window | None:
        """The window around some points, float64[N, 2] metres; None when it misses the canvas."""
        low = np.floor((ring.min(axis=0) - pad_m) / self.pixel_m).astype(int)
        high = np.ceil((ring.max(axis=0) + pad_m) / self.pixel_m).astype(int)
        return self._window(low[0], low[1], high[0], high[1])

    def _window(self, x0: int, y0: int, x1: int, y1: int) -> Window | None:
        width, height = self.size_px
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if x0 >= x1 or y0 >= y1:
            return None
        x = ((np.arange(x0, x1) + 0.5) * self.pixel_m).astype(np.float32)
        y = ((np.arange(y0, y1) + 0.5) * self.pixel_m).astype(np.float32)
        grid_x, grid_y = np.meshgrid(x, y)
        return Window(slice(y0, y1), slice(x0, x1), grid_x, grid_y)

    def whole(self) -> Window:
        """The window over everything."""
        window = self._window(0, 0, *self.size_px)
        assert window is not None
        return window

    def offset(self) -> tuple[int, int]:
        """A random offset for `NoiseFields.cut`."""
        return int(self.rng.integers(SPARE_PX)), int(self.rng.integers(SPARE_PX))

    def exact_mask(self, rings: list[np.ndarray]) -> tuple[Window, np.ndarray] | None:
        """Exact coverage of a polygon given by rings in metres, cropped to the canvas."""
        share, x, y = polygon_coverage([ring / self.pixel_m for ring in rings])
        window = self._window(x, y, x + share.shape[1], y + share.shape[0])
        if window is None:
            return None
        rows = slice(window.rows.start - y, window.rows.stop - y)
        cols = slice(window.cols.start - x, window.cols.stop - x)
        return window, share[rows, cols]

    def ground_mask(self, ring: np.ndarray) -> tuple[Window, np.ndarray] | None:
        """Anti-aliased mask of a ring in metres; quick rather than exact, for ground surfaces."""
        window = self.window(ring, self.pixel_m)
        if window is None:
            return None
        mask = np.zeros(window.x.shape, np.uint8)
        local = ring / self.pixel_m - (window.cols.start + 0.5, window.rows.start + 0.5)
        local = np.clip(np.round(local * 16), -(2**26), 2**26).astype(np.int32)
        cv2.fillPoly(mask, [local], 255, cv2.LINE_AA, 4)
        return window, mask.astype(np.float32) / 255

    def line_mask(self, line: np.ndarray, width_m: float) -> tuple[Window, np.ndarray] | None:
        """Anti-aliased mask of a line in metres with the given width."""
        window = self.window(line, width_m)
        if window is None:
            return None
        mask = np.zeros(window.x.shape, np.uint8)
        local = line / self.pixel_m - (window.cols.start + 0.5, window.rows.start + 0.5)
        local = np.round(local * 16).astype(np.int32)
        thickness = max(int(round(width_m / self.pixel_m)), 1)
        cv2.polylines(mask, [local], False, 255, thickness, cv2.LINE_AA, 4)
        # Lines thinner than a pixel keep their contrast in proportion.
        strength = min(width_m / self.pixel_m, 1.0)
        return window, mask.astype(np.float32) * np.float32(strength / 255)

    def put(
        self,
        window: Window,
        mask: np.ndarray,
        colour: np.ndarray | tuple[float, float, float],
        height: np.ndarray | float | None = None,
        light: np.ndarray | float = 1.0,
    ) -> None:
        """Blend a surface in; `mask` is float32[H, W] in 0..1. Without a height it lies on what is there."""
        at = window.at
        alpha = mask[..., None]
        self.colour[at] += alpha * (np.asarray(colour, np.float32) - self.colour[at])
        if height is not None:
            self.height[at] += mask * (height - self.height[at])
            self.light[at] += mask * (light - self.light[at])

    def shadow(self) -> np.ndarray:
        """float32[H, W], 1 where the sun is hidden behind something higher.

        Ray marching through the height field, the reach doubling in every step.
        """
        x, y, z = self.sun.direction
        flat = float(np.hypot(x, y)) or 1e-6
        dx, dy = x / flat, y / flat
        drop = z / flat * self.pixel_m
        top, reach, highest = self.height.copy(), 1.0, float(self.height.max())
        width, height = self.size_px
        while reach * drop < highest and reach < max(width, height):
            shift = np.array([[1, 0, reach * dx], [0, 1, reach * dy]])
            moved = cv2.warpAffine(
                top,
                shift,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=0,
            )
            np.maximum(top, moved - np.float32(reach * drop), out=top)
            reach *= 2
        return np.clip((top - self.height - 0.2) / 0.4, 0, 1)

    def lit(self, shadow: np.ndarray, at: tuple[slice, slice]) -> np.ndarray:
        """float32[H, W, 3]: the colours under sun and sky in a part of the canvas; shadows are bluish."""
        direct = self.light[at] * (1 - shadow[at])
        ambient = self.sun.ambient
        sky = rgb([0.92, 0.99, 1.12]) * np.float32(ambient)
        sunlight = rgb([1.03, 1.0, 0.95]) * np.float32(1 - ambient)
        return self.colour[at] * (sky + direct[..., None] * sunlight)


def soft_box(u: np.ndarray, v: np.ndarray, half_u: float, half_v: float, pixel_m: float) -> np.ndarray:
    """Anti-aliased rectangle around the origin of ``(u, v)``, float32[H, W] in 0..1."""
    edge_u = np.clip((half_u - np.abs(u)) / pixel_m + 0.5, 0, 1)
    return edge_u * np.clip((half_v - np.abs(v)) / pixel_m + 0.5, 0, 1)


def soft_disc(u: np.ndarray, v: np.ndarray, radius: float, pixel_m: float) -> np.ndarray:
    """Anti-aliased disc around the origin of ``(u, v)``, float32[H, W] in 0..1."""
    return np.clip((radius - np.hypot(u, v)) / pixel_m + 0.5, 0, 1)
