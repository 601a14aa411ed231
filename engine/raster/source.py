"""An orthophoto as the engine sees it: 8-bit RGB on a grid of the ground pixel the model wants."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..contracts import Box, Grid
from ..crs import ground_pixel_m
from ..errors import EngineError, InvalidParameter, RasterError
from .access import gdal_environment, open_dataset
from .resample import plan_axis, resample
from .stretch import Stretch, fit_stretch

SNAP = 0.02
"""Native pixels within this share of the wanted size are used as they are: resampling would only blur."""

_READ_PX = 4_000_000  # native pixels held at once, whatever box is asked for
_SAMPLE_PX = 4_000_000  # native pixels looked at for the stretch


class RasterSource:
    """A raster opened for reading. Use `RasterSource.open`, as a context manager.

    Reads may come from any thread, one at a time.

    Attributes:
        path: as given.
        native: the raster's own grid.
        grid: the working grid: the same corner, rotation and orientation, other pixels.
        bands: numbers of the bands read, from 1; one number for a grey image.
        stretch: how values become 8 bit; None for 8-bit rasters.
        notes: what the user should know about how the raster is read.
        unreadable: native boxes that were skipped, only with `skip_unreadable`.
    """

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        pixel_m: float | None,
        bands: tuple[int, ...] | None = None,
        min_pixel_m: float = 0.0,
        max_pixel_m: float = math.inf,
        skip_unreadable: bool = False,
    ) -> RasterSource:
        """Open a raster.

        Args:
            path: file or GDAL name. Network is used only where this names it.
            pixel_m: ground pixel of the working grid, metres; None keeps the native grid.
            bands: three band numbers from 1 for red, green, blue, or one for grey; None takes the bands
                marked as red, green, blue, else the first three.
            min_pixel_m, max_pixel_m: native ground pixels outside are refused.
            skip_unreadable: treat damaged blocks as no-data instead of failing.

        Raises:
            RasterError: the raster cannot serve as an orthophoto, with the reason.
            InvalidParameter: `bands` or `pixel_m` make no sense for it.
        """
        return cls(str(path), pixel_m, bands, (min_pixel_m, max_pixel_m), skip_unreadable)

    def __init__(
        self,
        path: str,
        pixel_m: float | None,
        bands: tuple[int, ...] | None,
        limits_m: tuple[float, float],
        skip_unreadable: bool,
    ) -> None:
        self.path = path
        self.unreadable: list[Box] = []
        self._notes: list[str] = []
        self._skip_unreadable = skip_unreadable
        self._lock = threading.RLock()
        self._levels: dict[int, rasterio.DatasetReader] = {}
        self._trusted: dict[int, bool] = {}
        with gdal_environment(path):
            self._dataset = open_dataset(path)
        try:
            self._scale, self.native, self.grid = self._measure(pixel_m, limits_m)
            self.bands = self._choose_bands(bands)
            self._inspect_bands()
            self.stretch = self._fit_stretch()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RasterSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Reads fail afterwards."""
        with self._lock:
            for dataset in (self._dataset, *self._levels.values()):
                dataset.close()
            self._levels.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def read(
        self, box: tuple[float, float, float, float], *, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a box of the working grid.

        Each output pixel is the mean of the native pixels under it (interpolated between their centres
        where it is smaller than they are), in the same place to the last bit whichever box it is read in.

        Args:
            box: ``(x0, y0, x1, y1)`` in working-grid pixels; may hang over the raster's edge.
            size: output ``(width, height)`` in pixels; by default the size of the box, rounded.

        Returns:
            uint8[3, height, width] and bool[height, width]; invalid pixels are zero.

        Raises:
            RasterError: a part of the file cannot be read.
            InvalidParameter: the box is empty.
        """
        x0, y0, x1, y1 = map(float, box)
        width, height = size if size is not None else (round(x1 - x0), round(y1 - y0))
        if not (width > 0 and height > 0 and x1 > x0 and y1 > y0):
            raise InvalidParameter(f"The box {box} holds no pixels", "Choose a larger one")
        step_x, step_y = (x1 - x0) / width, (y1 - y0) / height
        pixels = np.zeros((3, height, width), dtype=np.uint8)
        valid = np.zeros((height, width), dtype=bool)
        with self._lock, gdal_environment(self.path):
            level = self._choose_level(min(step_x * self._scale[0], step_y * self._scale[1]))
            dataset, scale_x, scale_y = self._open_level(level)
            per_block = [max(1, int(math.sqrt(_READ_PX) / max(s, 1.0))) for s in (step_x * scale_x, step_y * scale_y)]
            for row in range(0, height, per_block[1]):
                rows = min(per_block[1], height - row)
                y_axis = plan_axis(y0 + row * step_y, step_y, rows, scale=scale_y, length=dataset.height)
                for col in range(0, width, per_block[0]):
                    cols = min(per_block[0], width - col)
                    x_axis = plan_axis(x0 + col * step_x, step_x, cols, scale=scale_x, length=dataset.width)
                    if x_axis.start == x_axis.end or y_axis.start == y_axis.end:
                        continue
                    here = np.s_[row : row + rows, col : col + cols]
                    native, mask = self._read_native(dataset, (x_axis.start, y_axis.start, x_axis.end, y_axis.end))
                    values, valid[here] = resample(native, mask, y_axis, x_axis)
                    pixels[(slice(None), *here)] = np.floor(values + np.float32(0.5)).astype(np.uint8)
        return pixels, valid

    @cached_property
    def fingerprint(self) -> str:
        """What tells this raster from another wherever the file lies: layout of values and place, and
        pixels sampled all over it. 32 hexadecimal digits."""
        dataset = self._dataset
        digest = hashlib.blake2s(digest_size=16)
        facts = (
            dataset.width,
            dataset.height,
            dataset.dtypes,
            repr(dataset.nodatavals),
            tuple(dataset.transform)[:6],
            self.native.crs_wkt,
        )
        digest.update(repr(facts).encode())
        with suppress(OSError, ValueError):
            file = Path(self.path)
            digest.update(str(file.stat().st_size if file.is_file() else 0).encode())
        with self._lock, gdal_environment(self.path):
            for window in _spread(dataset.width, dataset.height, count=8, side=32):
                try:
                    digest.update(dataset.read(window=window).tobytes())
                except (RasterioError, OSError):
                    digest.update(b"unreadable")
        return digest.hexdigest()

    def _measure(self, pixel_m: float | None, limits_m: tuple[float, float]) -> tuple[tuple[float, float], Grid, Grid]:
        """Find native pixels per working pixel along x and y, the native grid, and the working grid."""
        dataset = self._dataset
        a, b, c, d, e, f = transform = dataset.transform[:6]
        if dataset.transform.is_identity or not math.isfinite(sum(transform)) or a * e == b * d:
            gcps = bool(dataset.gcps[0]) or dataset.rpcs is not None
            raise RasterError(
                f"{self.path} is not georeferenced" + (" other than by control points" if gcps else ""),
                "Warp it to a map projection first" if gcps else "Georeference it first",
            )
        if not dataset.crs:
            raise RasterError(
                f"{self.path} has no coordinate system",
                "Assign one, for example with 'Assign projection' in QGIS",
            )
        width, height = dataset.width, dataset.height
        try:
            crs_wkt = dataset.crs.to_wkt()
            ground_x, ground_y = ground_pixel_m(transform, crs_wkt, width / 2, height / 2)
        except EngineError as error:
            raise RasterError(f"{self.path}: {error.what}", error.todo) from error
        except (RasterioError, ValueError) as error:
            raise RasterError(
                f"The coordinate system of {self.path} is not understood", "Assign a known one"
            ) from error
        native_m = math.sqrt(ground_x * ground_y)
        native = Grid(width, height, transform, crs_wkt, native_m)
        if not limits_m[0] <= native_m <= limits_m[1]:
            raise RasterError(
                f"A pixel of {self.path} is {native_m:.3g} m on the ground,"
                f" outside the {limits_m[0]:.3g} to {limits_m[1]:.3g} m that can be used",
                "Use imagery of another resolution or another model",
            )
        if pixel_m is None:
            return (1.0, 1.0), native, native
        if not (math.isfinite(pixel_m) and pixel_m > 0):
            raise InvalidParameter(f"The ground pixel is {pixel_m:g} m", "Choose a positive size")
        scale = pixel_m / ground_x, pixel_m / ground_y
        if all(abs(s - 1.0) <= SNAP for s in scale):
            return (1.0, 1.0), native, native
        # Whole pixels that cover the raster; what hangs over by less than a thousandth does not count.
        size = [max(1, math.ceil(n / s - 1e-3)) for n, s in zip((width, height), scale, strict=True)]
        working = (a * scale[0], b * scale[1], c, d * scale[0], e * scale[1], f)
        return scale, native, Grid(size[0], size[1], working, crs_wkt, pixel_m)

    def _choose_bands(self, asked: tuple[int, ...] | None) -> tuple[int, ...]:
        dataset = self._dataset
        if any(np.dtype(dtype).kind not in "uif" for dtype in dataset.dtypes):
            raise RasterError(f"{self.path} holds values that are no plain numbers", "Use an orthophoto")
        roles = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
        usable = [band for band, role in roles.items() if role != ColorInterp.alpha]
        if len(usable) == 1 and asked in (None, (1, 2, 3), tuple(usable)):
            if roles[usable[0]] != ColorInterp.palette:
                self._notes.append(
                    "The raster has one band: it is read as grey, and models trained on colour find less"
                )
            return tuple(usable)
        if asked is not None:
            missing = [band for band in asked if band not in roles]
            if missing or len(asked) not in (1, 3):
                raise InvalidParameter(
                    f"Bands {asked} were asked of {self.path}, which has {dataset.count}",
                    "Choose three of its bands for red, green and blue, or one for grey",
                )
            return tuple(asked)
        if len(usable) < 3:
            raise RasterError(
                f"{self.path} has {len(usable)} bands, neither grey nor colour",
                "Use a raster with three bands or choose one band",
            )
        by_role = {role: band for band, role in reversed(roles.items())}
        marked = tuple(by_role.get(role, 0) for role in (ColorInterp.red, ColorInterp.green, ColorInterp.blue))
        if all(marked):
            return marked
        if len(usable) > 3:
            self._notes.append(f"Bands 1, 2, 3 of {len(usable)} are taken as red, green and blue")
        return tuple(usable[:3])

    def _inspect_bands(self) -> None:
        """Learn how invalid pixels are marked and whether values are indices into a palette."""
        dataset = self._dataset
        alphas = [b for b, role in zip(dataset.indexes, dataset.colorinterp, strict=True) if role == ColorInterp.alpha]
        self._alpha = alphas[0] if alphas else None
        flags = dataset.mask_flag_enums[self.bands[0] - 1]
        self._masked = MaskFlags.per_dataset in flags and self._alpha is None
        nodata = [dataset.nodatavals[band - 1] for band in self.bands]
        self._nodata = [_as_dtype(value, dataset.dtypes[b - 1]) for value, b in zip(nodata, self.bands, strict=True)]
        self._palette: np.ndarray | None = None
        if len(self.bands) == 1 and dataset.colorinterp[self.bands[0] - 1] == ColorInterp.palette:
            with suppress(ValueError):
                colors = dataset.colormap(self.bands[0])
                self._palette = np.zeros((max(colors) + 1, 3), dtype=np.uint8)
                for index, color in colors.items():
                    self._palette[index] = color[:3]
        self._eight_bit = self._palette is not None or all(
            np.dtype(dataset.dtypes[band - 1]) == np.uint8 for band in self.bands
        )

    def _fit_stretch(self) -> Stretch | None:
        if self._eight_bit:
            return None
        dataset = self._dataset
        if dataset.width * dataset.height <= _SAMPLE_PX:
            lattices = [[Window(0, 0, dataset.width, dataset.height)]]
        else:
            lattices = [
                _spread(dataset.width, dataset.height, count=8, side=256),
                _spread(dataset.width, dataset.height, count=32, side=64),
            ]
        sample = np.zeros((len(self.bands), 0))
        with gdal_environment(self.path):
            for lattice in lattices:
                parts = [self._read_values(dataset, _window_box(window)) for window in lattice]
                sample = np.concatenate(
                    [values[:, ok] if ok is not None else values.reshape(len(values), -1) for values, ok in parts],
                    axis=1,
                )
                if sample.shape[1] > 10_000:
                    break
        if sample.shape[1] == 0:
            self._notes.append("No valid pixel was found where the raster was sampled for its range of values")
        stretch = fit_stretch(sample)
        ranges = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(stretch.low, stretch.high, strict=True))
        self._notes.append(f"Values were stretched to 8 bit for the whole raster, by band: {ranges}")
        return stretch

    def _read_native(self, dataset: rasterio.DatasetReader, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """Read float32[3, H, W], 0..255, and validity (None: all valid) of a box of native pixels."""
        values, valid = self._read_values(dataset, box)
        if self._palette is not None:
            index = np.minimum(values[0], len(self._palette) - 1)
            values = self._palette[index].transpose(2, 0, 1)
        if self.stretch is not None:
            if valid is not None:
                values = np.where(valid, values, 0)
            values = self.stretch.apply(values)
        pixels = values.astype(np.float32, copy=False)
        return (np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels), valid

    def _read_values(self, dataset: rasterio.DatasetReader, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """Read raw values of the chosen bands, [bands, H, W], and validity (None: all valid)."""
        window = Window.from_slices((box[1], box[3]), (box[0], box[2]))
        try:
            return self._read_window(dataset, window)
        except (RasterioError, OSError, MemoryError) as error:
            if not self._skip_unreadable:
                raise RasterError(
                    f"{self.path} cannot be read at pixels x {box[0]} to {box[2]}, y {box[1]} to {box[3]}"
                    f" ({' '.join(str(error).split()).rstrip('.')[:200]})",
                    "Check that the file is complete and its drive is connected, then run again with the same"
                    " job folder",
                ) from error
        return self._read_around_damage(dataset, box)

    def _read_around_damage(self, dataset: rasterio.DatasetReader, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Read block by block, leaving out the blocks that cannot be read."""
        shape = (box[3] - box[1], box[2] - box[0])
        values = np.zeros((len(self.bands), *shape), dtype=np.result_type(*dataset.dtypes))
        valid = np.zeros(shape, dtype=bool)
        block_h, block_w = dataset.block_shapes[0]
        for y0 in range(box[1] - box[1] % block_h, box[3], block_h):
            for x0 in range(box[0] - box[0] % block_w, box[2], block_w):
                part = max(x0, box[0]), max(y0, box[1]), min(x0 + block_w, box[2]), min(y0 + block_h, box[3])
                here = np.s_[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]]
                try:
                    found, ok = self._read_window(dataset, Window.from_slices((part[1], part[3]), (part[0], part[2])))
                except (RasterioError, OSError):
                    if dataset is self._dataset and part not in self.unreadable:
                        self.unreadable.append(part)
                    continue
                values[(slice(None), *here)] = found
                valid[here] = True if ok is None else ok
        return values, valid

    def _read_window(self, dataset: rasterio.DatasetReader, window: Window) -> tuple[np.ndarray, np.ndarray | None]:
        wanted = list(self.bands) + ([self._alpha] if self._alpha else [])
        values = dataset.read(wanted, window=window)
        valid = np.ones(values.shape[1:], dtype=bool)
        if self._alpha:
            valid &= values[-1] > 0
            values = values[:-1]
        if self._masked:
            valid &= dataset.read_masks(self.bands[0], window=window) > 0
        if all(value is not None for value in self._nodata):
            # Black in one band is a colour; black in all of them is no-data.
            valid &= (values != np.array(self._nodata).reshape(-1, 1, 1)).any(axis=0)
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            valid &= finite.all(axis=0)
            values = np.where(finite, values, 0)
        return values, (None if valid.all() else valid)

    def _choose_level(self, scale: float) -> int | None:
        """The coarsest overview at least twice as fine as the output, if it is a true mean of the image."""
        factors = self._dataset.overviews(self.bands[0])
        for index in reversed(range(len(factors))):
            if factors[index] * 2 <= scale and self._is_trusted(index):
                return index
        return None

    def _open_level(self, level: int | None) -> tuple[rasterio.DatasetReader, float, float]:
        if level is None:
            return self._dataset, *self._scale
        if level not in self._levels:
            self._levels[level] = open_dataset(self.path, overview=level)
        dataset = self._levels[level]
        return (
            dataset,
            self._scale[0] * dataset.width / self._dataset.width,
            self._scale[1] * dataset.height / self._dataset.height,
        )

    def _is_trusted(self, level: int) -> bool:
        """Compare an overview with means of the native pixels; nearest-neighbour ones are shifted."""
        if level not in self._trusted:
            try:
                self._trusted[level] = self._overview_error(level) <= 2.0
            except (RasterError, ValueError):
                self._trusted[level] = False
        return self._trusted[level]

    def _overview_error(self, level: int) -> float:
        """Mean difference between an overview and the means it should hold, in grey levels."""
        overview, _, _ = self._open_level(level)
        scales = self._dataset.width / overview.width, self._dataset.height / overview.height
        errors = []
        for window in _spread(overview.width, overview.height, count=2, side=32):
            box = _window_box(window)
            x_axis = plan_axis(box[0], 1, box[2] - box[0], scale=scales[0], length=self._dataset.width)
            y_axis = plan_axis(box[1], 1, box[3] - box[1], scale=scales[1], length=self._dataset.height)
            native, ok = self._read_native(self._dataset, (x_axis.start, y_axis.start, x_axis.end, y_axis.end))
            mean, mean_ok = resample(native, ok, y_axis, x_axis)
            found, found_ok = self._read_native(overview, box)
            both = mean_ok & (found_ok if found_ok is not None else True)
            if both.any():
                errors.append(float(np.abs(mean - found)[:, both].mean()))
        return max(errors, default=0.0)


def _spread(width: int, height: int, *, count: int, side: int) -> list[Window]:
    """Windows of at most `side` pixels, spread evenly over a raster, the same for every file layout."""

    def axis(length: int) -> Iterator[tuple[int, int]]:
        number = min(count, max(1, length // side))
        for i in range(number):
            start = (length - min(side, length)) * i // max(number - 1, 1)
            yield start, start + min(side, length)

    return [Window.from_slices(rows, cols) for rows in axis(height) for cols in axis(width)]


def _window_box(window: Window) -> Box:
    x0, y0 = int(window.col_off), int(window.row_off)
    return x0, y0, x0 + int(window.width), y0 + int(window.height)


def _as_dtype(value: float | None, dtype: str) -> float | None:
    """A no-data value as the band stores it; None if it has none or cannot hold it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None  # NaN is caught with all that is not finite
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return float(kind.type(value))
    limits = np.iinfo(kind)
    return int(value) if limits.min <= value <= limits.max and float(value).is_integer() else None
