"""Orthophotos as pictures with outlines on them.

Pictures stay on the raster's own pixel grid, so any rotation or orientation of the raster is kept and
outlines are brought to it, never the other way round.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

import cv2
import numpy as np
import rasterio
import shapely
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import from_gcps
from rasterio.windows import Window

from ..crs import choose_crs
from ..errors import OutputError, RasterError

PREDICTED_RGB = (255, 222, 0)
REFERENCE_RGB = (0, 229, 255)
CASING_RGB = (16, 16, 24)
NO_DATA_GREY = 236
_SHIFT = 4  # fractional bits of the coordinates cv2 gets: outlines are placed to 1/16 pixel


class Orthophoto:
    """A raster read as an 8-bit RGB picture, whatever its bands, type and no-data.

    Args:
        path: anything GDAL opens.
        crs: WKT of its CRS, where the file has none or a wrong one.

    Raises:
        RasterError: the raster cannot be opened or has no bands.
    """

    def __init__(self, path: str, *, crs: str = "") -> None:
        try:
            self._dataset = rasterio.open(path)
        except rasterio.errors.RasterioError as error:
            raise RasterError(f"The raster {path} cannot be opened ({error})", "Check the path and the file") from error
        if self._dataset.count == 0:
            raise RasterError(f"The raster {path} has no bands", "Give an orthophoto")
        self.width, self.height = self._dataset.width, self._dataset.height
        gcps, gcp_crs = self._dataset.gcps
        located = not self._dataset.transform.is_identity or not gcps
        self.transform = self._dataset.transform if located else from_gcps(gcps)
        own = self._dataset.crs or gcp_crs
        corners = [self.transform * (x, y) for x in (0, self.width) for y in (0, self.height)]
        self.crs_wkt, self.notes = choose_crs(own.to_wkt() if own else "", crs, corners, path)
        self._bands, self._palette = self._choose_bands()
        self._range = self._display_range()

    def __enter__(self) -> Orthophoto:
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()

    def to_pixels(self, geometries: np.ndarray) -> np.ndarray:
        """Bring geometries in the raster's CRS to its pixel coordinates (outer corner is 0, 0)."""
        a, b, c, d, e, f = (~self.transform)[:6]
        return shapely.transform(
            geometries,
            lambda xy: np.column_stack((a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f)),
        )

    def read(self, window: Window | None = None, *, max_side_px: int = 1600, max_zoom: int = 4) -> np.ndarray:
        """Read a window, decimated to at most `max_side_px` or enlarged at most `max_zoom` times.

        Returns:
            uint8[H, W, 3] in RGB order. No-data is light grey.
        """
        window = window or Window(0, 0, self.width, self.height)
        side = max(window.width, window.height)
        scale = min(max_side_px / side, 1.0) if side > max_side_px else float(min(max_side_px // side, max_zoom))
        width, height = max(1, round(window.width * scale)), max(1, round(window.height * scale))
        shape = (int(min(height, np.ceil(window.height))), int(min(width, np.ceil(window.width))))
        image = self._read_rgb(window, shape)
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        return image

    def _choose_bands(self) -> tuple[list[int], np.ndarray | None]:
        interpretation = self._dataset.colorinterp
        if interpretation[0] == ColorInterp.palette:
            table = np.zeros((256, 3), np.uint8)
            for value, rgba in self._dataset.colormap(1).items():
                if value < 256:
                    table[value] = rgba[:3]
            return [1], table
        colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        if all(colour in interpretation for colour in colours):
            return [interpretation.index(colour) + 1 for colour in colours], None
        return ([1, 2, 3] if self._dataset.count >= 3 else [1]), None

    def _display_range(self) -> tuple[float, float] | None:
        """The 1st and 99th percentile over the bands shown; None where 8-bit values are shown as they are."""
        if self._palette is not None or self._dataset.dtypes[0] == "uint8":
            return None
        values, valid = self._read_raw(
            Window(0, 0, self.width, self.height),
            (min(self.height, 512), min(self.width, 512)),
            Resampling.nearest,
        )
        values = values[:, valid]
        if values.size == 0:
            return 0.0, 1.0
        low, high = np.percentile(values, (1, 99))
        return float(low), float(high if high > low else low + 1)

    def _read_raw(
        self, window: Window, shape: tuple[int, int], resampling: Resampling
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            values = self._dataset.read(
                self._bands, window=window, out_shape=(len(self._bands), *shape), resampling=resampling
            )
            valid = self._dataset.dataset_mask(window=window, out_shape=shape, resampling=Resampling.nearest) > 0
        except rasterio.errors.RasterioError as error:
            raise RasterError(f"The raster cannot be read ({error})", "Check the file, it may be damaged") from error
        return values, valid & np.isfinite(values).all(axis=0)

    def _read_rgb(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        decimated = shape[0] < window.height or shape[1] < window.width
        smooth = decimated and self._palette is None
        values, valid = self._read_raw(window, shape, Resampling.average if smooth else Resampling.nearest)
        if self._palette is not None:
            image = self._palette[np.clip(values[0], 0, 255).astype(np.uint8)]
        else:
            if self._range is not None:
                low, high = self._range
                scaled = (np.where(valid, values, low).astype(np.float32) - low) / (high - low)
                values = np.rint(np.clip(scaled, 0, 1) * 255)
            image = np.moveaxis(values.astype(np.uint8), 0, -1)
            image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        image = np.ascontiguousarray(image)
        image[~valid] = NO_DATA_GREY
        return image


def draw_outlines(
    image: np.ndarray, geometries: np.ndarray, colour: tuple[int, int, int], *, width_px: int = 2
) -> None:
    """Draw all rings of `geometries` into `image` with a dark casing.

    Args:
        image: uint8[H, W, 3], RGB, changed in place.
        geometries: polygons or lines in pixel coordinates of `image`, outer corner at (0, 0).
        colour: RGB.
        width_px: of the line; the casing adds one pixel on either side.
    """
    rings = _rings_near(geometries, image.shape[1], image.shape[0])
    for line_width, rgb in ((width_px + 2, CASING_RGB), (width_px, colour)):
        # Batches, because cv2 holds every point of one call at once.
        for start in range(0, len(rings), 4096):
            cv2.polylines(image, rings[start : start + 4096], False, rgb, line_width, cv2.LINE_AA, _SHIFT)


def _rings_near(geometries: np.ndarray, width: int, height: int) -> list[np.ndarray]:
    """The rings that come near the picture, cut to its surroundings, as fixed-point int32[N, 1, 2]."""
    parts = shapely.get_parts(np.asarray(geometries, dtype=object))
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    lines = np.concatenate([shapely.get_rings(parts[polygons]), parts[~polygons]])
    margin = 64.0
    frame = (-margin, -margin, width + margin, height + margin)
    west, south, east, north = shapely.bounds(lines).T if len(lines) else np.empty((4, 0))
    near = (east >= frame[0]) & (west <= frame[2]) & (north >= frame[1]) & (south <= frame[3])
    inside = (west >= frame[0]) & (east <= frame[2]) & (south >= frame[1]) & (north <= frame[3])
    lines = np.concatenate([lines[inside], shapely.get_parts(shapely.clip_by_rect(lines[near & ~inside], *frame))])
    lines = lines[shapely.get_num_coordinates(lines) > 1]
    # cv2 puts integer coordinates on pixel centres, we put them on pixel corners.
    points = np.rint((shapely.get_coordinates(lines) - 0.5) * (1 << _SHIFT)).astype(np.int32)
    ends = np.cumsum(shapely.get_num_coordinates(lines))
    return [ring.reshape(-1, 1, 2) for ring in np.split(points, ends[:-1])] if len(lines) else []


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8[H, W, 3] RGB as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def encode_jpeg(image: np.ndarray, *, quality: int = 85) -> bytes:
    """Encode uint8[H, W, 3] RGB as JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def write_atomically(path: str, content: bytes) -> None:
    """Write a whole file or nothing. Raises `OutputError` when the place cannot be written."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{uuid.uuid4().hex}", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            os.chmod(temporary, 0o644)  # noqa: S103 - an ordinary document, mkstemp makes it private
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error})", "Check the folder and the free space") from error
