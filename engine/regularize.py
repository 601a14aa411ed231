"""The `regularize` job: any polygon layer to straightened, topologically clean polygons."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from .config import RegularizeConfig
from .contracts import Outline
from .crs import center_lonlat, metric_crs, transform_geometries
from .errors import VectorError
from .geometry import shape_outlines
from .geopackage import write_geopackage
from .network import vector_access
from .progress import Reporter

OUTPUT_LAYER = "buildings"
QUALITY_FIELDS = ("area_m2", "perimeter_m", "vertices", "regularized", "max_shift_m", "iou_raw", "check")
_CRUMB = 1e-3
_CELL_DEG = 2.0  # a local projection centred on the middle of a cell this size is true to 2e-4


def regularize_file(config: RegularizeConfig, reporter: Reporter) -> dict[str, Any]:
    """Straighten the polygons of a vector layer and write them to a GeoPackage.

    Every feature keeps its id and all its attributes; the quality fields are added (a field of the
    same name that is already there is kept as ``<name>_input``). Only polygons under the minimum
    area are left out, and counted. What cannot be worked on is kept as it was and says why in
    ``check``.

    Args:
        config: input (``path`` or ``path|layername=name``), output, tolerances.
        reporter: progress, log and the wish to cancel.

    Returns:
        ``output``, ``buildings``, ``left_out``, ``seconds``.

    Raises:
        VectorError: the input cannot be read, has no CRS or no polygons.
        OutputError: the result cannot be written.
    """
    config.validate()
    began = time.monotonic()
    table = read_layer(config.input)
    crs_wkt = table.crs.to_wkt()
    reporter.progress(0.05, f"{len(table)} features read")
    features = [_take_apart(g) for g in table.geometry.to_numpy()]
    scores = _scores(table)
    results: dict[int, dict[str, Any]] = {}
    left_out: set[int] = set()
    groups = _metric_groups(features, crs_wkt)
    if features and not groups:
        raise VectorError(f"{config.input} has no polygons", "Choose a polygon layer")
    for n, (metric_wkt, members) in enumerate(groups):
        with reporter.span(0.05 + 0.85 * n / len(groups), 0.05 + 0.85 * (n + 1) / len(groups)):
            shaped, small = _shape_group(features, members, scores, crs_wkt, metric_wkt, config, reporter)
        results.update(shaped)
        left_out |= small
    result = _assemble(table, features, results, left_out)
    write_layer(result, config.output)
    reporter.progress(1.0, f"{len(result)} features written")
    return {
        "output": config.output,
        "buildings": len(result),
        "left_out": len(left_out),
        "seconds": round(time.monotonic() - began, 2),
    }


@dataclass(frozen=True)
class Feature:
    """One input feature: its valid polygons, or the reason why it is kept as it is."""

    polygons: tuple[shapely.Polygon, ...]
    check: str = ""
    reason: str = ""


def read_layer(source: str) -> gpd.GeoDataFrame:
    """Read the first polygon layer of a vector file, or the one named after ``|layername=``.

    Raises:
        VectorError: no such file or layer, unreadable, or without a coordinate system.
    """
    path, _, options = source.partition("|")
    layer = next((o[10:] for o in options.split("|") if o.startswith("layername=")), None)
    if not Path(path).exists() and "://" not in path and not path.startswith("/vsi"):
        raise VectorError(f"There is no file {path}", "Choose an existing vector file")
    try:
        with vector_access(path):
            layers = pyogrio.list_layers(path)
        if layer is None:
            names = [str(n) for n, kind in layers if kind is not None]
            polygonal = [str(n) for n, kind in layers if kind and ("Polygon" in kind or "Surface" in kind)]
            layer = next(iter([*polygonal, *names]), None)
        elif layer not in layers[:, 0]:
            raise VectorError(f"{path} has no layer {layer!r}", f"It has: {', '.join(map(str, layers[:, 0]))}")
        if layer is None:
            raise VectorError(f"{path} has no layer with geometry", "Choose a polygon layer")
        with vector_access(path):
            table = pyogrio.read_dataframe(path, layer=layer, fid_as_index=True)
            table = _restore_integers(table, pyogrio.read_info(path, layer=layer))
    except VectorError:
        raise
    except Exception as error:  # pyogrio and GDAL raise many types
        reason = " ".join(str(error).split())
        raise VectorError(f"{path} cannot be read ({reason})", "Check the file in QGIS") from error
    if table.crs is None:
        raise VectorError(
            f"The layer {layer!r} has no coordinate system", "Assign the right one in QGIS (Layer > Set CRS)"
        )
    return table


def write_layer(table: gpd.GeoDataFrame, output: str) -> None:
    """Write a GeoPackage whole or not at all. Raises `OutputError`."""
    kinds = set(table.geom_type.dropna())
    kind = "Polygon" if kinds <= {"Polygon"} else "MultiPolygon" if kinds <= {"Polygon", "MultiPolygon"} else "Unknown"
    write_geopackage(table, output, layer=OUTPUT_LAYER, geometry_type=kind)


def _restore_integers(table: gpd.GeoDataFrame, info: dict[str, Any]) -> gpd.GeoDataFrame:
    """Whole numbers that became floats because some are missing become whole numbers again."""
    for name, kind in zip(info["fields"], info["dtypes"]):
        if name in table and str(kind).startswith(("int", "bool")) and table[name].dtype.kind in "fO":
            table[name] = table[name].astype("boolean" if str(kind) == "bool" else str(kind).replace("int", "Int"))
    return table


def _take_apart(geometry: shapely.Geometry | None) -> Feature:
    """The polygons of a feature, repaired where they are not valid."""
    if geometry is None or geometry.is_empty:
        return Feature((), reason="has no geometry")
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        return Feature((), reason="has coordinates that are not numbers")
    flat = shapely.force_2d(geometry)
    if "Polygon" not in flat.geom_type and flat.geom_type != "GeometryCollection":
        return Feature((), reason=f"is a {flat.geom_type}, not a polygon")
    check = ""
    if not flat.is_valid:
        check = f"repaired: {shapely.is_valid_reason(flat).split('[')[0].strip().lower()}"
        flat = shapely.make_valid(flat, method="structure", keep_collapsed=False)
    parts = [p for p in shapely.get_parts(shapely.get_parts(flat)) if p.geom_type == "Polygon" and p.area > 0]
    if check and parts:
        # Where lines crossed by a hair, a repair leaves crumbs.
        largest = max(p.area for p in parts)
        parts = [p for p in parts if p.area > _CRUMB * largest]
    return Feature(tuple(parts), check) if parts else Feature((), reason="has no area")


def _scores(table: gpd.GeoDataFrame) -> np.ndarray:
    """Priority of features where outlines overlap: a ``score`` field where there is one."""
    if "score" in table and pd.api.types.is_numeric_dtype(table["score"]):
        return table["score"].astype(float).fillna(0.0).to_numpy()
    return np.ones(len(table))


def _metric_groups(features: list[Feature], crs_wkt: str) -> list[tuple[str, list[int]]]:
    """Features that can be worked on, grouped by the metric CRS that is true where they lie."""
    members = [k for k, f in enumerate(features) if f.polygons]
    if not members:
        return []
    bounds = np.array([shapely.total_bounds(list(features[k].polygons)) for k in members])
    whole = (bounds[:, 0].min(), bounds[:, 1].min(), bounds[:, 2].max(), bounds[:, 3].max())
    lon, lat = center_lonlat(crs_wkt, whole)
    metric_wkt = metric_crs(crs_wkt, lon=lon, lat=lat)
    if metric_wkt == crs_wkt:
        return [(metric_wkt, members)]
    centres = shapely.points((bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2)
    lonlat = shapely.get_coordinates(transform_geometries(centres, crs_wkt, "OGC:CRS84"))
    if np.ptp(lonlat, axis=0).max() <= _CELL_DEG:
        return [(metric_wkt, members)]
    cells: dict[tuple[int, int], list[int]] = {}
    for k, (x, y) in zip(members, np.floor(lonlat / _CELL_DEG).astype(int)):
        cells.setdefault((int(x), int(y)), []).append(k)
    middle = _CELL_DEG / 2
    return [
        (metric_crs(crs_wkt, lon=x * _CELL_DEG + middle, lat=y * _CELL_DEG + middle), ks)
        for (x, y), ks in sorted(cells.items())
    ]


def _shape_group(
    features: list[Feature],
    members: list[int],
    scores: np.ndarray,
    crs_wkt: str,
    metric_wkt: str,
    config: RegularizeConfig,
    reporter: Reporter,
) -> tuple[dict[int, dict[str, Any]], set[int]]:
    """Shape the features of one metric CRS.

    Returns:
        Geometry in the layer's CRS and quality fields by feature, and the features left out.
    """
    parts = [(k, p) for k in members for p in features[k].polygons]
    metric = transform_geometries(np.array([p for _, p in parts], object), crs_wkt, metric_wkt)
    # Ids sort like the features do, so that ties between outlines fall to the earlier feature.
    outlines = [
        Outline(id=f"{k:09d}.{n:06d}", geometry=g, score=float(scores[k]), check=features[k].check)
        for n, ((k, _), g) in enumerate(zip(parts, metric))
    ]
    shaped, _ = shape_outlines(
        outlines,
        tolerance_m=config.tolerance_m,
        regularization=config.regularization,
        min_area_m2=config.min_area_m2,
        snap_m=config.snap_m,
        reporter=reporter,
        keep_covered=True,
    )
    back = transform_geometries(np.array([o.geometry for o in shaped], object), metric_wkt, crs_wkt)
    found: dict[int, list[tuple[Outline, shapely.Polygon]]] = {}
    for outline, geometry in zip(shaped, back):
        found.setdefault(int(outline.id.split(".")[0]), []).append((outline, geometry))
    return {k: _describe(parts) for k, parts in found.items()}, set(members) - set(found)


def _describe(parts: list[tuple[Outline, shapely.Polygon]]) -> dict[str, Any]:
    """Geometry and quality fields of one feature from its shaped parts."""
    outlines = [o for o, _ in parts]
    shapes = [o.geometry for o in outlines]
    checks = dict.fromkeys(c for o in outlines for c in o.check.split("; ") if c)
    states = {o.regularized for o in outlines}
    geometry = parts[0][1] if len(parts) == 1 else shapely.MultiPolygon([g for _, g in parts])
    return {
        # Parts that came to share a wall are one polygon.
        "geometry": geometry if len(parts) == 1 or geometry.is_valid else shapely.union_all([g for _, g in parts]),
        "area_m2": round(sum(s.area for s in shapes), 2),
        "perimeter_m": round(sum(s.length for s in shapes), 2),
        "vertices": int(sum(shapely.get_num_coordinates(s) - 1 - len(s.interiors) for s in shapes)),
        "regularized": "kept" if "kept" in states else outlines[0].regularized,
        "max_shift_m": max(o.max_shift_m for o in outlines),
        "iou_raw": min(o.iou_raw for o in outlines),
        "check": "; ".join(checks),
    }


def _assemble(
    table: gpd.GeoDataFrame, features: list[Feature], results: dict[int, dict[str, Any]], left_out: set[int]
) -> gpd.GeoDataFrame:
    """The input table with new geometry and the quality fields, without what was left out."""
    taken = [c for c in table.columns if c in QUALITY_FIELDS]
    table = table.rename(columns={c: _free_name(f"{c}_input", table.columns) for c in taken})
    untouched = {"area_m2": np.nan, "perimeter_m": np.nan, "vertices": 0, "regularized": "kept"}
    untouched |= {"max_shift_m": 0.0, "iou_raw": 1.0}
    rows = []
    for k, feature in enumerate(features):
        kept = {"geometry": table.geometry.iloc[k], **untouched, "check": feature.reason}
        rows.append(results.get(k, kept))
    shapes = np.array([r["geometry"] for r in rows], object)
    out = table.set_geometry(gpd.GeoSeries(shapes, index=table.index, crs=table.crs))
    for name in QUALITY_FIELDS:
        out[name] = [r[name] for r in rows]
    names = {f"{k:09d}": str(fid) for k, fid in enumerate(table.index)}
    out["check"] = [re.sub(r"(\d{9})\.\d{6}", lambda m: f"feature {names[m[1]]}", c) for c in out["check"]]
    out["vertices"] = out["vertices"].astype("int32")
    out = out[[k not in left_out for k in range(len(out))]]
    # GDAL takes a whole-number column named like the GeoPackage's id column as the feature id.
    return out.rename_axis(None).assign(fid=out.index.astype("int64")) if "fid" not in out else out


def _free_name(name: str, taken: pd.Index) -> str:
    while name in taken:
        name += "_"
    return name
