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
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..contracts import Box, Grid
from ..errors import InvalidParameter, JobFolderError, RasterError
from .access import gdal_environment, open_dataset
from .bands import BandReader
from .placement import check_ground_pixel, is_mirrored, lay_grid, measure_grid, unmirror
from .resample import plan_axis, resample
from .stretch import Stretch, fit_stretch

_READ_PX = 4_000_000  # native pixels held at once, whatever box is asked for
_SAMPLE_PX = 4_000_000  # native pixels looked at for the stretch
_FINGERPRINT_PX = 1_000_000  # native pixels up to which a fingerprint looks at all of them


class RasterSource:
    """A raster opened for reading. Use `RasterSource.open`, as a context manager.

    Reads may come from any thread; they take turns.

    Attributes:
        path: as given.
        native: the raster's own grid.
        grid: the working grid: the same extent and rotation, other pixels; never mirrored, so in a south-up
            raster its first row is the file's last.
        stretch: how values become 8 bit; None for 8-bit rasters.
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
        crs: str = "",
    ) -> RasterSource:
        """Open a raster.

        Args:
            path: file or GDAL name. Network is used only where this names it.
            pixel_m: ground pixel of the working grid, metres; None keeps the native pixels.
            bands: three band numbers from 1 for red, green, blue, or one for grey; None takes the bands
                marked as red, green, blue, else the first three. A raster of one band is read as grey
                also where the usual (1, 2, 3) are asked for.
            min_pixel_m, max_pixel_m: native ground pixels outside are refused.
            skip_unreadable: treat damaged blocks as no-data instead of failing, and list them.
            crs: WKT of the CRS to use; where the file has another, a note says so. Empty for the file's.

        Raises:
            RasterError: the raster cannot serve as an orthophoto, with the reason.
            InvalidParameter: `bands` or `pixel_m` make no sense for it.
        """
        path = str(path)
        with gdal_environment(path):
            dataset = open_dataset(path)
            try:
                native, ground_m, notes = measure_grid(dataset, path, crs=crs)
                check_ground_pixel(native, path, min_pixel_m=min_pixel_m, max_pixel_m=max_pixel_m)
                grid, scale = lay_grid(unmirror(native), ground_m, pixel_m)
                reader = BandReader(dataset, path, bands=bands, skip_unreadable=skip_unreadable)
                reader.notes += notes
                return cls(
                    path, dataset, reader, native=native, grid=grid, scale=scale, skip_unreadable=skip_unreadable
                )
            except BaseException:
                dataset.close()
                raise

    def __init__(
        self,
        path: str,
        dataset: rasterio.DatasetReader,
        reader: BandReader,
        *,
        native: Grid,
        grid: Grid,
        scale: tuple[float, float],
        skip_unreadable: bool,
    ) -> None:
        self.path = path
        self.native = native
        self.grid = grid
        self._dataset = dataset
        self._reader = reader
        self._scale = scale  # native pixels per working pixel
        self._mirrored = is_mirrored(native)
        self._skip_unreadable = skip_unreadable
        self._lock = threading.RLock()
        self._levels: dict[int, rasterio.DatasetReader] = {}
        self._trusted: dict[int, bool] = {}
        self._notes: list[str] = list(reader.notes)
        self.stretch = None if reader.eight_bit else self._fit_stretch()

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
        """What the user should know about how the raster is read."""
        return (*self._notes, *self._gaps())

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers of the bands read, from 1: three, or one for grey or a palette."""
        return self._reader.bands

    @property
    def unreadable(self) -> tuple[Box, ...]:
        """Boxes of the file's pixels that were skipped so far, in order; only with `skip_unreadable`."""
        return self._reader.unreadable.boxes

    def keep_unreadable(self, file: Path) -> None:
        """Add what an earlier run noted in `file` to `unreadable`, and note there whatever is skipped from now on,
        so that a run that was stopped knows afterwards what its finished tiles did not see.

        Raises:
            JobFolderError: the file cannot be read or written.
        """
        with self._lock:
            self._reader.unreadable.keep(file)
            if self.unreadable and not self._skip_unreadable:
                raise JobFolderError(
                    f"The job in {file.parent} has left out parts of the raster that could not be read",
                    "Choose an empty job folder, or leave them out again",
                )

    def on_grid(self, box: Box) -> Box:
        """The box of the working grid that covers a box of the file's pixels."""
        x0, y0, x1, y1 = box
        if self._mirrored:
            y0, y1 = self.native.height - y1, self.native.height - y0
        across, down = self._scale
        return math.floor(x0 / across), math.floor(y0 / down), math.ceil(x1 / across), math.ceil(y1 / down)

    def read(
        self, box: tuple[float, float, float, float], *, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a box of the working grid.

        Each output pixel is the mean of the native pixels under it (interpolated between their centres
        where it is smaller than they are), the same to the last bit whichever box it is read in.

        Args:
            box: ``(x0, y0, x1, y1)`` in working-grid pixels; may hang over the raster's edge.
            size: output ``(width, height)`` in pixels; by default the size of the box, rounded.

        Returns:
            uint8[3, height, width] and bool[height, width]; invalid pixels are zero.

        Raises:
            RasterError: a part of the file cannot be read.
            JobFolderError: a skipped part cannot be noted (see `keep_unreadable`).
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
            for rows, cols in _blocks(height, width, step_y * scale_y, step_x * scale_x):
                y_axis = plan_axis(y0, step_y, rows, scale=scale_y, length=dataset.height)
                x_axis = plan_axis(x0, step_x, cols, scale=scale_x, length=dataset.width)
                if y_axis.start < y_axis.end and x_axis.start < x_axis.end:
                    native, ok = self._read_native(dataset, (x_axis.start, y_axis.start, x_axis.end, y_axis.end))
                    values, valid[rows, cols] = resample(native, ok, y_axis, x_axis)
                    pixels[:, rows, cols] = values + np.float32(0.5)
        return pixels, valid

    @cached_property
    def fingerprint(self) -> str:
        """What tells this raster from another wherever its file lies, 32 hexadecimal digits: size, types,
        place, bands read, and pixels sampled all over it."""
        dataset = self._dataset
        facts = [dataset.width, dataset.height, dataset.dtypes, repr(dataset.nodatavals), self.bands]
        facts += [self.native.transform, self.native.crs_wkt]
        with suppress(OSError, ValueError):
            file = Path(self.path)
            facts.append(file.stat().st_size if file.is_file() else 0)
        digest = hashlib.blake2s(repr(facts).encode(), digest_size=16)
        with self._lock, gdal_environment(self.path):
            for box in self._sample(_FINGERPRINT_PX, count=5, side=64):
                try:
                    digest.update(dataset.read(window=Window.from_slices((box[1], box[3]), (box[0], box[2]))).tobytes())
                except (RasterioError, OSError) as error:
                    if not self._skip_unreadable:
                        raise self._reader.unreadable_at(box, error) from error
                    digest.update(b"unreadable")
        return digest.hexdigest()

    def _gaps(self) -> list[str]:
        """A note on what was left out."""
        boxes = self.unreadable
        if not boxes:
            return []
        share = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) / (self.native.width * self.native.height)
        x0, y0, x1, y1 = boxes[0]
        return [
            f"{len(boxes)} blocks of the raster ({max(min(share, 1.0), 1e-4):.2%}) cannot be read and were left out,"
            f" the first at pixels x {x0} to {x1}, y {y0} to {y1}: no building is found there"
        ]

    def _fit_stretch(self) -> Stretch:
        """Fit the stretch to pixels sampled all over the raster, the same ones whatever its file layout."""
        dataset = self._dataset
        sample = np.zeros((len(self.bands), 0))
        for count, side in ((8, 256), (32, 64)):  # the finer lattice where the first meets little but no-data
            parts = [self._reader.read(dataset, box) for box in self._sample(_SAMPLE_PX, count=count, side=side)]
            flat = [v.reshape(len(v), -1) if ok is None else v[:, ok] for v, ok in parts]
            sample = np.concatenate(flat, axis=1)
            if sample.shape[1] > 10_000:
                break
        if sample.shape[1] == 0:
            self._notes.append("No valid pixel was found where the raster was sampled for its range of values")
        stretch = fit_stretch(sample)
        ranges = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(stretch.low, stretch.high))
        self._notes.append(f"Values were stretched to 8 bit for the whole raster, by band: {ranges}")
        return stretch

    def _sample(self, whole_px: int, *, count: int, side: int) -> list[Box]:
        """Boxes spread over the native grid; one for all of it where that is no more than `whole_px`."""
        width, height = self.native.width, self.native.height
        if width * height <= whole_px:
            return [(0, 0, width, height)]
        return _spread(width, height, count=count, side=side)

    def _read_native(self, dataset: rasterio.DatasetReader, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """Read float32[3, H, W], 0..255, and validity (None: all valid) of a box of native pixels, counted from
        the corner of the working grid."""
        if self._mirrored:
            x0, y0, x1, y1 = box
            values, valid = self._reader.read(dataset, (x0, dataset.height - y1, x1, dataset.height - y0))
            values, valid = values[:, ::-1], valid if valid is None else valid[::-1]
        else:
            values, valid = self._reader.read(dataset, box)
        if self.stretch is not None:
            values = self.stretch.apply(values)
        pixels = values.astype(np.float32, copy=False)
        return (pixels if len(pixels) == 3 else np.repeat(pixels, 3, axis=0)), valid

    def _choose_level(self, scale: float) -> int | None:
        """The coarsest overview at least twice as fine as the output, if it is a true mean of the image."""
        factors = self._dataset.overviews(self.bands[0])
        for index in reversed(range(len(factors))):
            if factors[index] * 2 <= scale and self._is_trusted(index):
                return index
        return None

    def _open_level(self, level: int | None) -> tuple[rasterio.DatasetReader, float, float]:
        """A level's dataset, and its pixels per working pixel along x and y."""
        if level is None:
            return self._dataset, *self._scale
        if level not in self._levels:
            self._levels[level] = open_dataset(self.path, overview=level)
        dataset = self._levels[level]
        share = dataset.width / self._dataset.width, dataset.height / self._dataset.height
        return dataset, self._scale[0] * share[0], self._scale[1] * share[1]

    def _is_trusted(self, level: int) -> bool:
        """Whether an overview holds means of the image. Nearest-neighbour ones are shifted: not used."""
        if level not in self._trusted:
            try:
                self._trusted[level] = self._holds_means(level)
            except (RasterError, ValueError):
                self._trusted[level] = False
        return self._trusted[level]

    def _holds_means(self, level: int) -> bool:
        """Compare an overview with means and with single pixels of the image where it is sampled."""
        overview, _, _ = self._open_level(level)
        full = self._dataset
        scales = full.width / overview.width, full.height / overview.height
        from_mean, from_single, count = 0.0, 0.0, 0
        for box in _spread(overview.width, overview.height, count=3, side=32):
            columns, rows = slice(box[0], box[2]), slice(box[1], box[3])
            x_axis = plan_axis(0, 1, columns, scale=scales[0], length=full.width)
            y_axis = plan_axis(0, 1, rows, scale=scales[1], length=full.height)
            native, ok = self._read_native(full, (x_axis.start, y_axis.start, x_axis.end, y_axis.end))
            mean, both = resample(native, ok, y_axis, x_axis)
            found, found_ok = self._read_native(overview, box)
            if found_ok is not None:
                both &= found_ok
            y = ((np.arange(box[1], box[3]) + 0.5) * scales[1]).astype(int) - y_axis.start
            x = ((np.arange(box[0], box[2]) + 0.5) * scales[0]).astype(int) - x_axis.start
            from_mean += float(np.abs(found - mean)[:, both].sum()) / 3
            from_single += float(np.abs(native[:, y[:, None], x] - mean)[:, both].sum()) / 3
            count += int(both.sum())
        # Rounding is allowed for, and lossy compression as long as it is small beside the image's texture.
        return from_mean <= 0.5 * count or from_mean <= min(2.5 * count, 0.4 * from_single)


def _blocks(height: int, width: int, scale_y: float, scale_x: float) -> Iterator[tuple[slice, slice]]:
    """Cut an output of `height` x `width` so that each piece needs about `_READ_PX` source pixels."""
    side = math.sqrt(_READ_PX)
    tall, wide = (max(1, int(side / max(scale, 1.0))) for scale in (scale_y, scale_x))
    for row in range(0, height, tall):
        for col in range(0, width, wide):
            yield slice(row, min(row + tall, height)), slice(col, min(col + wide, width))


def _spread(width: int, height: int, *, count: int, side: int) -> list[Box]:
    """At most `count` x `count` boxes of at most `side` pixels, spread evenly over a raster."""

    def axis(length: int) -> list[tuple[int, int]]:
        number = min(count, max(1, length // side))
        starts = [(length - min(side, length)) * i // max(number - 1, 1) for i in range(number)]
        return [(start, start + min(side, length)) for start in starts]

    return [(x0, y0, x1, y1) for y0, y1 in axis(height) for x0, x1 in axis(width)]
