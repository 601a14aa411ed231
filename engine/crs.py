"""Coordinate reference systems: where a raster lies, how large its pixels are, where metres are metres.

Longitudes and latitudes here are degrees on the *own* geodetic base of the CRS in question, counted from
that base's prime meridian: nothing in this module shifts datums unless `transform_geometries` is asked to
go between two of them. Coordinates are always (x, y) = (easting, northing) or (longitude, latitude).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pyproj
import pyproj.network
import shapely
from pyproj.crs import CRS, ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion
from pyproj.exceptions import ProjError

from .errors import EngineError

SCALE_LIMIT = 1e-3
"""Greatest deviation of a map's point scale from 1 at which its metres count as metres."""

_CENTER_STEP_DEG = 0.1
"""Local projections are centred on this lattice, so that neighbouring areas share one of them. At half a
step (5.6 km) from its centre a transverse Mercator is true to 4e-7."""

# Nobody asked for a download of datum grids.
pyproj.network.set_network_enabled(active=False)


def parse_crs(crs_wkt: str) -> CRS:
    """Read a CRS given as WKT, PROJJSON or ``EPSG:...``. Raises `EngineError` if it is none."""
    try:
        return _parse(crs_wkt)
    except (ProjError, TypeError, ValueError) as error:
        raise EngineError(
            f"The coordinate system {_shorten(crs_wkt)!r} is not understood",
            "Assign a known one, such as EPSG:32633",
        ) from error


def name_of_crs(crs_wkt: str) -> str:
    """What a CRS is called. Raises `EngineError` if it is none."""
    return parse_crs(crs_wkt).name


def choose_crs(own: str, given: str, corners: list[tuple[float, float]], path: str) -> tuple[str, list[str]]:
    """The CRS of a raster's file, unless another is given that puts the raster elsewhere.

    Two texts may well mean the same system, so positions are compared, not texts.

    Args:
        own, given: WKT; empty for none.
        corners: of the raster, the last one across from the first.
        path: what a note calls the raster.

    Returns:
        The WKT, and a note where the file's own is not used.
    """
    if not given or not own:
        return given or own, []
    if own == given or _agree(own, given, corners):
        return own, []
    name = name_of_crs(given)
    return given, [f"{name!r} is used for {path}, as asked, although the file itself names another coordinate system"]


def metric_crs(crs_wkt: str, *, lon: float, lat: float) -> str:
    """Choose the CRS in which lengths and areas around a place are computed.

    Args:
        crs_wkt: CRS of the data.
        lon, lat: the place, degrees on the geodetic base of `crs_wkt` (see `center_lonlat`).

    Returns:
        `crs_wkt` unchanged where it is already metric there (see `is_metric`); else the WKT of a
        transverse Mercator with scale 1, centred on the nearest tenth of a degree, on the same geodetic
        base, so that going there and back is exact and shifts no datum.

    Raises:
        EngineError: the CRS is unknown or not tied to the Earth.
    """
    if is_metric(crs_wkt, lon=lon, lat=lat):
        return crs_wkt
    lon_0 = round(round(lon / _CENTER_STEP_DEG) * _CENTER_STEP_DEG, 6)
    lat_0 = round(round(lat / _CENTER_STEP_DEG) * _CENTER_STEP_DEG, 6)
    local = ProjectedCRS(
        name=f"Local transverse Mercator {lat_0:g} {lon_0:g}",
        conversion=TransverseMercatorConversion(
            latitude_natural_origin=lat_0, longitude_natural_origin=lon_0, scale_factor_natural_origin=1.0
        ),
        geodetic_crs=_geodetic_base(crs_wkt),
    )
    return local.to_wkt()


def is_metric(crs_wkt: str, *, lon: float, lat: float) -> bool:
    """Say whether a CRS is projected, in metres, and true to `SCALE_LIMIT` in every direction at a place.

    Args:
        crs_wkt: CRS to judge.
        lon, lat: the place, degrees on the geodetic base of `crs_wkt`.

    Raises:
        EngineError: the CRS is unknown or not tied to the Earth.
    """
    crs = _horizontal(crs_wkt)
    if not crs.is_projected or any(axis.unit_conversion_factor != 1.0 for axis in crs.axis_info[:2]):
        return False
    factor = _degrees_per_unit(crs_wkt)
    x, y = _from_base(crs_wkt).transform(lon / factor, lat / factor)
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    reach_m = 50.0
    angles = np.linspace(0.0, np.pi, 4, endpoint=False)
    step = reach_m * np.column_stack((np.cos(angles), np.sin(angles)))
    try:
        ground_m = _ground_distances_m(crs_wkt, (x, y) - step, (x, y) + step)
    except EngineError:
        return False
    return bool(np.all(np.abs(2 * reach_m / ground_m - 1.0) <= SCALE_LIMIT))


def center_lonlat(crs_wkt: str, bounds: tuple[float, float, float, float]) -> tuple[float, float]:
    """Longitude and latitude of the middle of map bounds ``(x_min, y_min, x_max, y_max)``.

    Raises:
        EngineError: the CRS is unknown, not tied to the Earth, or does not reach that place.
    """
    middle = np.array([[(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2]])
    lon, lat = _to_lonlat(crs_wkt, middle)[0]
    return float(lon), float(lat)


def ground_pixel_m(
    transform: tuple[float, float, float, float, float, float], crs_wkt: str, x_px: float, y_px: float
) -> tuple[float, float]:
    """Measure a pixel on the ellipsoid, for any CRS (degrees, feet, Web Mercator) and any rotation.

    Args:
        transform: ``(a, b, c, d, e, f)`` of ``X = a x + b y + c``, ``Y = d x + e y + f``.
        crs_wkt: CRS of X, Y.
        x_px, y_px: middle of the pixel, pixel coordinates.

    Returns:
        Ground length in metres of one step along a row and of one step along a column.

    Raises:
        EngineError: the CRS is unknown, not tied to the Earth, or does not reach that place.
    """
    a, b, c, d, e, f = transform
    half = np.array([[0.5, 0.0], [0.0, 0.5]])
    middle = np.array([x_px, y_px])

    def to_map(xy: np.ndarray) -> np.ndarray:
        return np.column_stack((a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f))

    along_row, along_col = _ground_distances_m(crs_wkt, to_map(middle - half), to_map(middle + half))
    return float(along_row), float(along_col)


def transform_geometries(geoms: np.ndarray, from_wkt: str, to_wkt: str) -> np.ndarray:
    """Bring geometries from one CRS to another, in two dimensions.

    Args:
        geoms: object[N] of shapely geometries; None and empty ones pass through.
        from_wkt, to_wkt: the two systems; datums are shifted where they differ.

    Returns:
        object[N]; the input itself where nothing is to be done.

    Raises:
        EngineError: a CRS is unknown, there is no way between the two, or a coordinate lies outside
            the area where one exists.
    """
    geoms = np.asarray(geoms, dtype=object)
    source, target = parse_crs(from_wkt), parse_crs(to_wkt)
    if from_wkt == to_wkt or source == target:
        return geoms
    try:
        transformer = _transformer(from_wkt, to_wkt)
    except ProjError as error:
        raise EngineError(
            f"There is no way from the coordinate system {source.name!r} to {target.name!r}",
            "Reproject the layer in QGIS first",
        ) from error

    def move(xy: np.ndarray) -> np.ndarray:
        moved = np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
        if not np.isfinite(moved).all():
            raise EngineError(
                f"Coordinates in {source.name!r} lie outside the area where {target.name!r} is defined",
                "Check that the layers have the right coordinate systems",
            )
        return moved

    return np.asarray(shapely.transform(geoms, move), dtype=object)


def _agree(own: str, given: str, corners: list[tuple[float, float]]) -> bool:
    """Whether two systems put the same coordinates at the same places, to a millionth of the raster's size."""
    points = shapely.points(corners)
    try:
        moved = transform_geometries(points, own, given)
    except EngineError:
        return False
    size = max(shapely.distance(points[0], points[-1]), 1e-9)
    return bool((shapely.distance(points, moved) <= 1e-6 * size).all())


def _ground_distances_m(crs_wkt: str, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Geodesic lengths, float64[N], between map positions, float64[N, 2] each."""
    start, end = _to_lonlat(crs_wkt, start), _to_lonlat(crs_wkt, end)
    geod = _geodetic_base(crs_wkt).get_geod()
    if geod is None:
        raise _out_of_reach(crs_wkt)
    lengths_m = np.asarray(geod.inv(start[:, 0], start[:, 1], end[:, 0], end[:, 1])[2])
    if not (np.isfinite(lengths_m).all() and (lengths_m > 0).all()):
        raise _out_of_reach(crs_wkt)
    return lengths_m


def _to_lonlat(crs_wkt: str, xy: np.ndarray) -> np.ndarray:
    """Map positions, float64[N, 2], to degrees on the own geodetic base, float64[N, 2]."""
    lonlat = np.column_stack(_to_base(crs_wkt).transform(xy[:, 0], xy[:, 1])) * _degrees_per_unit(crs_wkt)
    if not np.isfinite(lonlat).all() or np.abs(lonlat[:, 1]).max() > 90.0:
        raise _out_of_reach(crs_wkt)
    return lonlat


def _out_of_reach(crs_wkt: str) -> EngineError:
    return EngineError(
        f"The data lie outside the area where {_parse(crs_wkt).name!r} is defined",
        "Check that the layer has the right coordinate system",
    )


def _shorten(text: str) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= 60 else text[:57] + "..."


@lru_cache(maxsize=64)
def _parse(crs_wkt: str) -> CRS:
    return CRS.from_user_input(crs_wkt)


@lru_cache(maxsize=64)
def _horizontal(crs_wkt: str) -> CRS:
    """The two-dimensional part of a CRS, without height and without a bound datum shift."""
    crs = parse_crs(crs_wkt)
    while crs.is_bound or crs.is_compound:
        inner = crs.source_crs if crs.is_bound else crs.sub_crs_list[0]
        assert inner is not None  # both kinds are made of other systems
        crs = inner
    return crs.to_2d()


@lru_cache(maxsize=64)
def _geodetic_base(crs_wkt: str) -> CRS:
    """The geographic CRS a CRS is built on."""
    base = _horizontal(crs_wkt).geodetic_crs
    if base is None or not base.is_geographic:
        raise EngineError(
            f"The coordinate system {parse_crs(crs_wkt).name!r} does not say where on the Earth it lies",
            "Georeference the data in a geographic or projected coordinate system",
        )
    return base.to_2d()


@lru_cache(maxsize=64)
def _degrees_per_unit(crs_wkt: str) -> float:
    """Degrees in one unit of the geodetic base (which may count in grads)."""
    factor = math.degrees(_geodetic_base(crs_wkt).axis_info[0].unit_conversion_factor)
    return 1.0 if abs(factor - 1.0) < 1e-9 else factor


@lru_cache(maxsize=64)
def _to_base(crs_wkt: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(_horizontal(crs_wkt), _geodetic_base(crs_wkt), always_xy=True)


@lru_cache(maxsize=64)
def _from_base(crs_wkt: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(_geodetic_base(crs_wkt), _horizontal(crs_wkt), always_xy=True)


@lru_cache(maxsize=64)
def _transformer(from_wkt: str, to_wkt: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(parse_crs(from_wkt), parse_crs(to_wkt), always_xy=True)
