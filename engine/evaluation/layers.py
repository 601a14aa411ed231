"""Polygon layers brought to one metric plane: read, cleaned, reprojected, and bounded by an area.

Everything that is changed or left out on the way is counted and said; nothing disappears in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely

from ..crs import center_lonlat, metric_crs, parse_crs, transform_geometries
from ..errors import VectorError
from ..geopackage import write_geopackage
from ..network import vector_access
from ..progress import Reporter

_POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True)
class Layer:
    """Polygons of one layer in the plane of the comparison.

    Attributes:
        name: for people.
        ids: object[N] of str; the ``id`` field, else the feature id.
        scores: float64[N], 1 where the layer has none.
        scored: the layer has scores.
        geometries: object[N], valid two-dimensional (multi)polygons in metres.
        raw: object[N], the same before repair.
        inside: bool[N], at least half of the polygon lies in the area of the comparison.
        crs_wkt: CRS of the file; empty when it has none.
    """

    name: str
    ids: np.ndarray
    scores: np.ndarray
    scored: bool
    geometries: np.ndarray
    raw: np.ndarray
    inside: np.ndarray
    crs_wkt: str

    def __len__(self) -> int:
        return len(self.geometries)


@dataclass(frozen=True)
class Plane:
    """Where a comparison is computed.

    Attributes:
        crs_wkt: metric CRS; empty when no layer has one, then units count as metres.
        area: polygon bounding the comparison; None for no bound.
    """

    crs_wkt: str
    area: shapely.Geometry | None = None


def read_layers(
    paths: list[str], reference: str, area: str, reporter: Reporter, *, id_field: str = "id", reference_id: str = "id"
) -> tuple[list[Layer], Layer, Plane]:
    """Read predicted layers and a reference into one metric plane.

    The plane is the reference's CRS where that is metric, else a local transverse Mercator on its datum.
    Invalid polygons are repaired, multi-part ones kept as one feature, everything else left out; a layer
    in another CRS is reprojected, one without a CRS is taken to be in the reference's.

    Args:
        paths: predicted layers; ``path|layername=name`` chooses a layer.
        reference: reference layer.
        area: layer whose polygons bound the comparison; empty for none. Polygons that do not touch it are
            left out, those less than half in it are marked (see `Layer.inside`).
        reporter: gets one line for each thing that was changed or left out.
        id_field, reference_id: field of the identifier; the feature id where it does not exist.

    Raises:
        VectorError: a layer cannot be read, or the area has no polygon.
        EngineError: there is no way between two of the coordinate systems.
    """
    frames = [_read(path, id_field) for path in paths]
    true = _read(reference, reference_id)
    known = next((f.crs for f in (true, *frames) if f.crs is not None), None)
    crs_wkt = ""
    if known is None:
        reporter.warn("No layer has a coordinate system; their units are taken as metres")
    else:
        home = next(f for f in (true, *frames) if f.crs is not None)
        bounds = next((b for b in (_bounds(f) for f in (home, true, *frames)) if b), None)
        crs_wkt = home.crs.to_wkt()
        if bounds:
            lon, lat = center_lonlat(crs_wkt, bounds)
            crs_wkt = metric_crs(crs_wkt, lon=lon, lat=lat)
            if crs_wkt != home.crs.to_wkt():
                reporter.log(f"Compared in a local metric coordinate system ({parse_crs(crs_wkt).name})")
    for frame in frames:
        if frame.crs is not None and true.crs is not None and frame.crs != true.crs:
            reporter.log(
                f"{frame.attrs['name']} is in {frame.crs.name}, {true.attrs['name']} in {true.crs.name}:"
                " reprojected for the comparison"
            )
    bound = _read_area(area, crs_wkt, reporter) if area else None
    layers = [_to_layer(frame, crs_wkt, bound, reporter) for frame in (*frames, true)]
    return layers[:-1], layers[-1], Plane(crs_wkt, bound)


def write_layer(path: str, layer: str, frame: geopandas.GeoDataFrame) -> None:
    """Write a GeoPackage whole or not at all. Raises `OutputError` when the place cannot be written."""
    multi = bool((shapely.get_type_id(frame.geometry.to_numpy()) == shapely.GeometryType.MULTIPOLYGON).any())
    write_geopackage(frame, path, layer=layer, geometry_type="MultiPolygon" if multi else "Polygon")


def read_vectors(path: str, wanted: tuple[str, ...] = ()) -> tuple[geopandas.GeoDataFrame, str]:
    """Read geometry and some fields of a vector layer.

    Args:
        path: anything GDAL opens; ``path|layername=name`` chooses a layer, else the first with polygons is taken.
        wanted: fields, in any case; those that do not exist are left out.

    Returns:
        The layer, fields named as in `wanted`, feature ids as index; and its name.

    Raises:
        VectorError: it cannot be read, or has no geometry.
    """
    source, _, layer = path.partition("|layername=")
    try:
        with vector_access(source):
            found = pyogrio.list_layers(source)
            polygonal = [name for name, kind in found if kind and "Polygon" in kind] or [name for name, kind in found]
            name = layer or (polygonal[0] if polygonal else None)
            fields = {field.lower(): field for field in reversed(list(pyogrio.read_info(source, layer=name)["fields"]))}
            columns = {fields[field.lower()]: field for field in wanted if field.lower() in fields}
            frame = pyogrio.read_dataframe(source, layer=name, columns=list(columns), fid_as_index=True)
    except Exception as error:  # pyogrio, GDAL and GEOS raise many types
        raise VectorError(
            f"{path} cannot be read as a vector layer ({' '.join(str(error).split())})", "Check the path and the file"
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise VectorError(f"{path} has no geometry", "Give a polygon layer")
    if frame.crs is not None and frame.crs.name.startswith("Undefined "):  # what GeoPackages write for none
        frame = frame.set_crs(None, allow_override=True)
    return frame.rename(columns=columns), layer or Path(source).stem


def _read(path: str, id_field: str) -> geopandas.GeoDataFrame:
    """Read geometry, identifier and score of a layer into columns ``id`` and ``score``; its name as attribute."""
    frame, name = read_vectors(path, (id_field, "score"))
    own = frame.index.to_series()
    ids = frame[id_field].where(frame[id_field].notna(), own) if id_field in frame else own
    score = pd.to_numeric(frame["score"], errors="coerce") if "score" in frame else np.nan
    geometry = frame.geometry
    result = geopandas.GeoDataFrame({"id": ids.astype(str), "score": score}, geometry=geometry, crs=geometry.crs)
    result.attrs["name"] = name
    return result


def _bounds(frame: geopandas.GeoDataFrame) -> tuple[float, float, float, float] | None:
    if not len(frame) or not np.isfinite(frame.total_bounds).all():
        return None
    west, south, east, north = map(float, frame.total_bounds)
    return west, south, east, north


def _to_layer(frame: geopandas.GeoDataFrame, crs_wkt: str, area: shapely.Geometry | None, reporter: Reporter) -> Layer:
    name = frame.attrs["name"]
    raw = shapely.force_2d(frame.geometry.to_numpy())
    usable = ~(shapely.is_missing(raw) | shapely.is_empty(raw)) & _finite(raw)
    usable &= np.isin(shapely.get_type_id(raw), (*_POLYGONAL, shapely.GeometryType.GEOMETRYCOLLECTION))
    own_wkt = frame.crs.to_wkt() if frame.crs is not None else ""
    if crs_wkt and not own_wkt:
        reporter.warn(f"{name} has no coordinate system and is taken to be in {parse_crs(crs_wkt).name}")
    moved = raw[usable]
    if crs_wkt and own_wkt:
        moved = transform_geometries(moved, own_wkt, crs_wkt)
    geometries, repaired = _polygons(moved)
    kept = shapely.area(geometries) > 0
    if repaired:
        reporter.warn(f"{name}: {repaired} invalid polygons were repaired for the comparison")
    lost = len(raw) - int(kept.sum())
    if lost:
        reporter.warn(f"{name}: {lost} features without a usable polygon were left out")
    multi = int((shapely.get_num_geometries(geometries[kept]) > 1).sum())
    if multi:
        reporter.log(f"{name}: {multi} multi-part polygons count as one feature each")
    selected = np.flatnonzero(usable)[kept]
    geometries, moved = geometries[kept], moved[kept]
    inside, touching = _place(geometries, area)
    if not touching.all():
        reporter.log(f"{name}: {int((~touching).sum())} polygons outside the area are not compared")
    scores = frame["score"].to_numpy(dtype=float)[selected]
    scored = bool(np.isfinite(scores).any())
    if scored and not np.isfinite(scores).all():
        reporter.warn(f"{name}: {int((~np.isfinite(scores)).sum())} features without a score count as score 0")
    scores = np.where(np.isfinite(scores), scores, 0.0) if scored else np.ones(len(scores))
    return Layer(
        name,
        frame["id"].to_numpy(dtype=object)[selected][touching],
        scores[touching],
        scored,
        geometries[touching],
        moved[touching],
        inside[touching],
        own_wkt,
    )


def _finite(geometries: np.ndarray) -> np.ndarray:
    xy, owner = shapely.get_coordinates(geometries, return_index=True)
    finite = np.ones(len(geometries), dtype=bool)
    finite[owner[~np.isfinite(xy).all(axis=1)]] = False
    return finite


def _polygons(geometries: np.ndarray) -> tuple[np.ndarray, int]:
    """Valid polygonal geometries, and how many had to be repaired."""
    broken = ~shapely.is_valid(geometries)
    broken |= shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION
    repaired = geometries.copy()
    if broken.any():
        mended = shapely.make_valid(geometries[broken], method="structure", keep_collapsed=False)
        for position, geometry in zip(np.flatnonzero(broken), mended, strict=True):
            parts = shapely.get_parts(geometry)
            parts = parts[np.isin(shapely.get_type_id(parts), _POLYGONAL)]
            repaired[position] = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    return repaired, int(broken.sum())


def _place(geometries: np.ndarray, area: shapely.Geometry | None) -> tuple[np.ndarray, np.ndarray]:
    """bool[N] at least half inside the area, bool[N] touching it."""
    if area is None:
        everywhere = np.ones(len(geometries), dtype=bool)
        return everywhere, everywhere
    shapely.prepare(area)
    touching = shapely.intersects(area, geometries)
    inside = shapely.contains(area, geometries)
    border = np.flatnonzero(touching & ~inside)
    if len(border):
        share = shapely.area(shapely.intersection(geometries[border], area)) / shapely.area(geometries[border])
        inside[border] = share >= 0.5
    return inside, touching


def _read_area(path: str, crs_wkt: str, reporter: Reporter) -> shapely.Geometry:
    frame = _read(path, "")
    raw = shapely.force_2d(frame.geometry.to_numpy())
    raw = raw[~(shapely.is_missing(raw) | shapely.is_empty(raw))]
    raw = raw[np.isin(shapely.get_type_id(raw), _POLYGONAL)]
    if not len(raw):
        raise VectorError(f"The area {path} has no polygon", "Give a polygon layer or leave the area empty")
    if crs_wkt and frame.crs is not None:
        raw = transform_geometries(raw, frame.crs.to_wkt(), crs_wkt)
    elif crs_wkt:
        reporter.warn(f"{frame.attrs['name']} has no coordinate system and is taken to be in the layers'")
    return shapely.union_all(_polygons(raw)[0])
