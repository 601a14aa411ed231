"""The frozen values that travel between the stages, and the coordinate conventions they share.

Pixel coordinates are ``(x, y)``: x to the right, y down, ``(0, 0)`` is the *outer corner* of the
top-left pixel, so pixel ``[row, col]`` covers ``[col, col + 1) x [row, row + 1)`` and its centre is
``(col + 0.5, row + 0.5)``. Arrays are indexed ``[row, col]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely

Box = tuple[int, int, int, int]
"""Half-open pixel box ``(x_min, y_min, x_max, y_max)`` on the working grid."""


@dataclass(frozen=True)
class Grid:
    """A pixel grid on the map.

    Attributes:
        width, height: size in pixels.
        transform: ``(a, b, c, d, e, f)`` of ``X = a x + b y + c``, ``Y = d x + e y + f``; any
            rotation, shear or orientation.
        crs_wkt: coordinate reference system of X, Y as WKT.
        pixel_m: mean ground size of a pixel in metres, measured on the ellipsoid.
    """

    width: int
    height: int
    transform: tuple[float, float, float, float, float, float]
    crs_wkt: str
    pixel_m: float

    def to_map(self, xy: np.ndarray) -> np.ndarray:
        """Map pixel coordinates, float64[N, 2], to map coordinates, float64[N, 2]."""
        a, b, c, d, e, f = self.transform
        x, y = xy[:, 0], xy[:, 1]
        return np.column_stack((a * x + b * y + c, d * x + e * y + f))

    def to_pixels(self, xy: np.ndarray) -> np.ndarray:
        """Map coordinates, float64[N, 2], to pixel coordinates, float64[N, 2]."""
        a, b, c, d, e, f = self.transform
        return (xy - (c, f)) @ np.linalg.inv(np.array([[a, b], [d, e]])).T


@dataclass(frozen=True, order=True)
class Tile:
    """One piece of the grid.

    The cores partition the grid; the padded windows overlap by the context the network needs.
    """

    row: int
    col: int
    core: Box
    padded: Box


@dataclass(frozen=True)
class Instance:
    """One building as pixels.

    Attributes:
        id: stable within a job, independent of processing order.
        box: half-open box of `mask` on the working grid.
        probability: uint8[H, W], 0..255 = probability 0..1 that the pixel is this building;
            ``probability >= 128`` is the mask.
        score: detector's confidence, 0..1.
        tile: ``(row, col)`` of the tile it was seen in.
        cut: touches a border of its padded window that is not the raster's edge.
        edge: touches the raster's edge or no-data.
        refined: the refiner changed it and the gate accepted the change.
    """

    id: str
    box: Box
    probability: np.ndarray
    score: float
    tile: tuple[int, int] = (0, 0)
    cut: bool = False
    edge: bool = False
    refined: bool = False

    @property
    def mask(self) -> np.ndarray:
        """bool[H, W]."""
        return self.probability >= 128


@dataclass(frozen=True)
class Outline:
    """One building as a polygon in a metric CRS.

    Attributes:
        id: that of the instance.
        geometry: single polygon, holes allowed, in metres.
        score: 0..1.
        refined: see `Instance.refined`.
        edge: touches the raster's edge, no-data or the area's border.
        regularized: status of the regularisation: ``""`` (not asked), ``right_angles``,
            ``diagonals``, ``any_angle``, ``circle``, or ``kept`` (could not be regularised).
        max_shift_m: greatest distance between the raw outline and this one, metres.
        iou_raw: IoU of this outline with the raw one.
        check: why it is worth a look in the field; empty when it is not.
    """

    id: str
    geometry: shapely.Polygon
    score: float = 1.0
    refined: bool = False
    edge: bool = False
    regularized: str = ""
    max_shift_m: float = 0.0
    iou_raw: float = 1.0
    check: str = field(default="")
