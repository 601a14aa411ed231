"""The bands of a raster: which ones make the picture, and which of their pixels mean something."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..contracts import Box
from ..errors import InvalidParameter, RasterError
from .access import explain
from .unreadable import UnreadableBlocks


class BandReader:
    """Reads chosen bands of a raster, or of its overviews, with their validity.

    Attributes:
        bands: numbers of the bands read, from 1: three, or one for grey or a palette.
        eight_bit: values are 0..255 as they are.
        notes: what the user should know about the choice.
        unreadable: native boxes that were skipped, only with `skip_unreadable`.
    """

    unreadable: UnreadableBlocks

    def __init__(
        self,
        dataset: rasterio.DatasetReader,
        path: str,
        *,
        bands: tuple[int, ...] | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        """Raises `RasterError` if the raster has no bands that make a picture, `InvalidParameter` if the
        bands asked for are none of them."""
        self.notes: list[str] = []
        self.unreadable = UnreadableBlocks()
        self._path = path
        self._native = dataset
        self._skip_unreadable = skip_unreadable
        if any(np.dtype(dtype).kind not in "uif" for dtype in dataset.dtypes):
            raise RasterError(f"{path} holds values that are no plain numbers", "Use an orthophoto")
        roles = dict(zip(dataset.indexes, dataset.colorinterp))
        self._alpha = next((band for band, role in roles.items() if role == ColorInterp.alpha), None)
        self.bands = self._choose(roles, bands)
        flags = dataset.mask_flag_enums[self.bands[0] - 1]
        self._masked = MaskFlags.per_dataset in flags and self._alpha is None
        self._nodata = [_as_stored(dataset.nodatavals[band - 1], dataset.dtypes[band - 1]) for band in self.bands]
        self._palette = self._read_palette() if roles[self.bands[0]] == ColorInterp.palette else None
        self.eight_bit = self._palette is not None or all(dataset.dtypes[band - 1] == "uint8" for band in self.bands)

    def read(self, dataset: rasterio.DatasetReader, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a box of pixels of the raster or one of its overviews.

        Returns:
            Values in the raster's own type, [3 or 1, H, W], finite; and bool[H, W], or None where every
            pixel is valid.

        Raises:
            RasterError: the box cannot be read, named in the message.
        """
        try:
            values, valid = self._read_window(dataset, box)
        except (RasterioError, OSError, MemoryError) as error:
            if not self._skip_unreadable:
                raise self.unreadable_at(box, error) from error
            values, valid = self._read_around_damage(dataset, box)
        if self._palette is not None:
            values = self._palette[:, np.clip(values[0], 0, self._palette.shape[1] - 1)]
        return values, valid

    def unreadable_at(self, box: Box, error: BaseException) -> RasterError:
        """The error for a box of the file's pixels that cannot be read."""
        return RasterError(
            f"{self._path} cannot be read at pixels x {box[0]} to {box[2]}, y {box[1]} to {box[3]} ({explain(error)})",
            "Check that the file is complete and its drive connected, then run again with the same job folder",
        )

    def _choose(self, roles: dict[int, ColorInterp], asked: tuple[int, ...] | None) -> tuple[int, ...]:
        usable = [band for band, role in roles.items() if role != ColorInterp.alpha]
        if len(usable) == 1 and (asked is None or asked in ((1, 2, 3), tuple(usable))):
            if roles[usable[0]] != ColorInterp.palette:
                self.notes.append(
                    "The raster has one band: it is read as grey, and models trained on colour find less in it"
                )
            return tuple(usable)
        if asked is not None:
            if len(asked) not in (1, 3) or any(band not in roles for band in asked):
                raise InvalidParameter(
                    f"Bands {', '.join(map(str, asked))} were asked of {self._path}, which has {len(roles)}",
                    "Choose three of its bands for red, green and blue, or one for grey",
                )
            return tuple(asked)
        if len(usable) < 3:
            raise RasterError(
                f"{self._path} has {len(usable)} bands, neither grey nor colour",
                "Use a raster with three bands, or choose one band",
            )
        by_role = {role: band for band, role in reversed(roles.items())}
        named = [by_role.get(role) for role in (ColorInterp.red, ColorInterp.green, ColorInterp.blue)]
        if None not in named:
            return tuple(band for band in named if band)
        if len(usable) > 3:
            first = ", ".join(map(str, usable[:3]))
            self.notes.append(f"Bands {first} of {len(usable)} are taken as red, green and blue")
        return tuple(usable[:3])

    def _read_palette(self) -> np.ndarray | None:
        """uint8[3, entries], or None where the band has none."""
        with suppress(ValueError, RasterioError):
            colors = self._native.colormap(self.bands[0])
            palette = np.zeros((3, max(colors) + 1), dtype=np.uint8)
            for index, color in colors.items():
                palette[:, index] = color[:3]
            return palette
        return None

    def _read_window(self, dataset: rasterio.DatasetReader, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        window = Window.from_slices((box[1], box[3]), (box[0], box[2]))
        wanted = [*self.bands, self._alpha] if self._alpha else list(self.bands)
        values = dataset.read(wanted, window=window)
        valid = np.ones(values.shape[1:], dtype=bool)
        if self._alpha:
            valid &= values[-1] > 0
            values = values[:-1]
        if self._masked:
            valid &= dataset.read_masks(self.bands[0], window=window) > 0
        if all(value is not None for value in self._nodata):
            # Black in one band is a colour; black in all of them is no-data.
            valid &= (values != np.array(self._nodata, dtype=values.dtype).reshape(-1, 1, 1)).any(axis=0)
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            valid &= finite.all(axis=0)
            values = np.where(finite, values, 0)
        return values, (None if valid.all() else valid)

    def _on_native(self, dataset: rasterio.DatasetReader, box: Box) -> Box:
        """A box of an overview in pixels of the raster."""
        across, down = self._native.width / dataset.width, self._native.height / dataset.height
        x0, y0, x1, y1 = box
        return math.floor(x0 * across), math.floor(y0 * down), math.ceil(x1 * across), math.ceil(y1 * down)

    def _read_around_damage(self, dataset: rasterio.DatasetReader, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Read block by block, leaving out the blocks that cannot be read."""
        shape = (box[3] - box[1], box[2] - box[0])
        wanted = [*self.bands, self._alpha] if self._alpha else list(self.bands)
        dtype = np.result_type(*(dataset.dtypes[band - 1] for band in wanted))
        values = np.zeros((len(self.bands), *shape), dtype=dtype)
        valid = np.zeros(shape, dtype=bool)
        height, width = dataset.block_shapes[0]
        for y0 in range(box[1] - box[1] % height, box[3], height):
            for x0 in range(box[0] - box[0] % width, box[2], width):
                part = (max(x0, box[0]), max(y0, box[1]), min(x0 + width, box[2]), min(y0 + height, box[3]))
                here = np.s_[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]]
                try:
                    found, ok = self._read_window(dataset, part)
                except (RasterioError, OSError):
                    block = (x0, y0, min(x0 + width, dataset.width), min(y0 + height, dataset.height))
                    self.unreadable.add(self._on_native(dataset, block))
                    continue
                values[(slice(None), *here)] = found
                valid[here] = True if ok is None else ok
        return values, valid


def _as_stored(value: float | None, dtype: str) -> float | None:
    """A no-data value as the band stores it; None if it has none or cannot hold it."""
    if value is None or value != value:
        return None  # NaN is caught with all that is not finite
    kind = np.dtype(dtype)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return float(kind.type(value))
    limits = np.iinfo(kind)
    return int(value) if limits.min <= value <= limits.max and float(value).is_integer() else None
