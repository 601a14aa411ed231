"""Sheets of one orthophoto, cut along lines of one grid, put together again as a virtual raster."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import shapely
from rasterio.enums import ColorInterp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import JobFolderError
from ..network import is_remote
from .access import gdal_environment, open_dataset

ALIGNED_PX = 0.01
"""How far the corners of sheets may lie beside a common grid."""
SPARSE = 4.0
"""A mosaic this many times larger than its sheets is mostly empty, and not made."""
_GDAL_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
               "int32": "Int32", "float32": "Float32", "float64": "Float64"}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """A raster file and what decides whether it fits to others.

    Attributes:
        path: the file.
        width, height: in pixels.
        transform: ``(a, b, c, d, e, f)``.
        kind: whatever must be the same in one mosaic: CRS, size of a pixel, types and meaning of the bands.
    """

    path: str
    width: int
    height: int
    transform: tuple[float, ...]
    kind: tuple

    def offset(self, other: Sheet) -> tuple[float, float]:
        """Pixels from the corner of `other` to this one's, along rows and columns."""
        a, b, c, d, e, f = self.transform
        step = np.linalg.solve([[a, b], [d, e]], [c - other.transform[2], f - other.transform[5]])
        return float(step[0]), float(step[1])


def look_at(path: str, crs: str = "") -> Sheet | None:
    """What is to be known of a raster, or None where it cannot be part of a mosaic. Raises `RasterError`."""
    if is_remote(path) or not Path(path).is_file():
        return None
    with gdal_environment(path), open_dataset(path) as dataset:
        transform = tuple(dataset.transform[:6])
        a, b, _, d, e, _ = transform
        plain = all(dtype in _GDAL_TYPES for dtype in dataset.dtypes) and ColorInterp.palette not in dataset.colorinterp
        if not plain or not math.isfinite(sum(transform)) or abs(a * e - b * d) < 1e-30:
            return None
        own = dataset.crs.to_wkt() if dataset.crs else ""
        side = math.sqrt(abs(a * e - b * d))
        steps = tuple(round(value / side, 9) for value in (a, b, d, e))
        kind = (own, crs, float(f"{side:.9g}"), steps, dataset.dtypes, dataset.colorinterp)
        return Sheet(os.path.abspath(path), dataset.width, dataset.height, transform, kind)


def gather(sheets: Sequence[Sheet | None]) -> list[list[int]]:
    """Group sheets of one kind that lie on one grid and touch or overlap; each group in the order given.

    Args:
        sheets: None stays alone.

    Returns:
        Indices; groups in the order of their first sheets.
    """
    alike: dict[tuple, list[int]] = defaultdict(list)
    groups: list[list[int]] = []
    for number, sheet in enumerate(sheets):
        if sheet is None:
            groups.append([number])
        else:
            alike[sheet.kind].append(number)
    for numbers in alike.values():
        groups += _touching(numbers, [sheets[k] for k in numbers])  # type: ignore[misc]
    return sorted(groups)


def _touching(numbers: list[int], sheets: list[Sheet]) -> list[list[int]]:
    corners = np.array([sheet.offset(sheets[0]) for sheet in sheets])
    lattice = corners % 1.0  # sheets on another grid than the first may share one among themselves
    sizes = np.array([(sheet.width, sheet.height) for sheet in sheets])
    frames = shapely.box(*corners.T, *(corners + sizes).T)
    a, b = shapely.STRtree(frames).query(frames, predicate="dwithin", distance=ALIGNED_PX)
    apart = np.abs(lattice[a] - lattice[b])
    fits = (np.minimum(apart, 1.0 - apart) <= ALIGNED_PX).all(axis=1)
    links = coo_array((np.ones(fits.sum(), bool), (a[fits], b[fits])), shape=(len(sheets), len(sheets)))
    label = connected_components(links, directed=False)[1]
    groups = []
    for value in np.unique(label):
        members = np.flatnonzero(label == value)
        x0, y0, x1, y1 = shapely.total_bounds(frames[members])
        dense = (x1 - x0) * (y1 - y0) <= SPARSE * shapely.area(frames[members]).sum()
        groups += [[numbers[k] for k in members]] if dense else [[numbers[k]] for k in members]
    return groups


def write_mosaic(sheets: Sequence[Sheet], target: Path) -> None:
    """Write a virtual raster of sheets that `gather` put together; where they overlap the first is on top.

    Each file's own no-data, mask or alpha says what it shows; what none shows is masked.

    Raises:
        JobFolderError: it cannot be written.
    """
    offsets = np.round([sheet.offset(sheets[0]) for sheet in sheets]).astype(int)
    corner = offsets.min(axis=0)
    offsets -= corner
    width, height = (offsets + [(sheet.width, sheet.height) for sheet in sheets]).max(axis=0)
    a, b, c, d, e, f = sheets[0].transform
    origin = c + a * corner[0] + b * corner[1], f + d * corner[0] + e * corner[1]
    crs, dtypes, roles = sheets[0].kind[0], sheets[0].kind[4], sheets[0].kind[5]
    bands = [number for number, role in enumerate(roles, 1) if role != ColorInterp.alpha]

    def sources(band: str, option: str) -> str:
        return "".join(
            f"<ComplexSource><SourceFilename>{escape(sheet.path)}</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{sheet.width}" ySize="{sheet.height}"/>'
            f'<DstRect xOff="{x}" yOff="{y}" xSize="{sheet.width}" ySize="{sheet.height}"/>{option}</ComplexSource>'
            for sheet, (x, y) in list(zip(sheets, offsets, strict=True))[::-1]
        )

    text = "".join(
        f'<VRTRasterBand dataType="{_GDAL_TYPES[dtypes[band - 1]]}" band="{number}"><ColorInterp>'
        f"{roles[band - 1].name.capitalize()}</ColorInterp>{sources(str(band), '<UseMaskBand>true</UseMaskBand>')}"
        "</VRTRasterBand>"
        for number, band in enumerate(bands, 1)
    )
    mask = f'<VRTRasterBand dataType="Byte">{sources(f"mask,{bands[0]}", "<NODATA>0</NODATA>")}</VRTRasterBand>'
    place = ", ".join(repr(float(value)) for value in (origin[0], a, b, origin[1], d, e))
    part = target.with_suffix(".part")
    try:
        part.write_text(
            f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(crs)}</SRS>'
            f"<GeoTransform>{place}</GeoTransform>{text}<MaskBand>{mask}</MaskBand></VRTDataset>",
            encoding="utf-8",
        )
        os.replace(part, target)
    except OSError as error:
        raise JobFolderError(f"{target} cannot be written ({error.strerror})", "Free some space") from error
