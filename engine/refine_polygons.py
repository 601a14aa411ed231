"""The `refine` job: boxes, brush strokes and rough polygons over an orthophoto to precise polygons."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from ..models.package import ModelPackage, open_package
from .about import VERSION
from .config import RefineConfig
from .contours import outline_instance
from .contracts import Grid, Instance, Outline
from .crs import transform_geometries
from .errors import ModelPackageError, VectorError
from .geometry import shape_outlines
from .geopackage import write_geopackage
from .memory import give_back
from .output import require_writable
from .output.buildings import count_vertices
from .pipeline import metric_plane
from .progress import Reporter
from .raster.source import RasterSource
from .refine.smooth import smooth_instance
from .regularize import read_layer
from .rough_features import RoughFeature, place_features

LAYER = "buildings"
QUALITY_FIELDS = (
    "score", "refined", "area_m2", "perimeter_m", "vertices", "regularized", "max_shift_m", "iou_raw", "iou_input",
    "edge", "check", "model",
)  # fmt: skip
BLOCK = 2000
"""Features refined together, with those around them."""
BLOCK_PX = 30_000_000
"""Pixels of masks held for them at most, unless one feature alone has more."""
_CELL_PX = 1024
_LEAST_PART = 0.1  # share of the largest part under which another part of a redrawn mask is a crumb
_OUTLINE = re.compile(r"(\d{9})\.\d{4}\.\d+")  # an outline's id in a text
_FAR = 0.4  # an IoU with the drawing below this is worth a look


Drawings = dict[str, shapely.Polygon]
"""Drawn polygons in working-grid pixels by name, see `_name`."""


@dataclasses.dataclass(frozen=True)
class Redrawn:
    """What became of one drawn polygon.

    Attributes:
        outlines: of the redrawn mask, metres; empty where the drawing was kept.
        certainty: what the network expects its IoU to be; NaN where it was not asked.
        kept: why the drawing was kept.
    """

    outlines: tuple[Outline, ...]
    certainty: float
    kept: str


def refine_file(config: RefineConfig, reporter: Reporter) -> dict[str, Any]:
    """Redraw the features of a vector layer after the image and write them to a GeoPackage.

    Every feature comes back once, with its attributes and the quality fields (a field of the same name
    that is already there is kept as ``<name>_input``). What cannot be refined keeps its shape, a stroke
    the area it covers, and says why in ``check``.

    Returns:
        ``output``, ``features``, ``refined``, ``seconds``, ``model``, ``model_hash``, ``device``,
        ``precision``, ``version``, ``date``, ``parameters``.

    Raises:
        VectorError, RasterError, ModelPackageError, OutputError: nothing can be done, and why.
    """
    config.validate()
    require_writable(config.output)
    began = time.monotonic()
    package = open_package(config.model)
    if not package.has_refiner:
        raise ModelPackageError(
            f"The model package {package.name} holds no refiner", "Choose one that does, or train one with trainrefiner"
        )
    table = read_layer(config.input)
    if table.empty:
        raise VectorError(f"{config.input} holds no features", "Choose another layer or selection")
    with open_raster(config, package) as source:
        metric_wkt = metric_plane(source.grid)
        features = place_features(
            table.geometry.to_numpy(), table.crs.to_wkt(), grid=source.grid, metric_wkt=metric_wkt,
            stroke_width_m=config.stroke_width_m,
        )  # fmt: skip
        reporter.progress(0.02, f"{sum(bool(f.pixels) for f in features)} of {len(features)} features on the raster")
        with reporter.span(0.02, 0.85):
            redrawn, device, precision = redraw(config, package, source, features, metric_wkt, reporter)
        raster = shapely.box(0, 0, source.grid.width, source.grid.height)
        for note in source.notes:
            reporter.warn(note)
    give_back()
    with reporter.span(0.85, 0.98):
        shaped, _ = shape_outlines(
            [o for answer in redrawn.values() for o in answer.outlines], tolerance_m=config.tolerance_m,
            regularization=config.regularization, min_area_m2=0.0, reporter=reporter, keep_covered=True,
        )  # fmt: skip
    found: dict[int, list[Outline]] = {}
    for outline in shaped:
        found.setdefault(_feature_of(outline.id), []).append(outline)
    rows = [describe(k, f, found.get(k, []), redrawn, raster) for k, f in enumerate(features)]
    signature = {
        "model": package.name,
        "model_hash": package.hash,
        "version": VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "parameters": config.to_dict(),
    }
    result = assemble(table, rows, metric_wkt, package.name)
    write_geopackage(result, config.output, layer=LAYER, geometry_type="MultiPolygon", metadata=signature)
    refined = int(result["refined"].sum())
    reporter.progress(1.0, f"{refined} of {len(result)} features refined")
    return {
        "output": config.output, "layer": LAYER, "features": len(result), "refined": refined,
        "seconds": round(time.monotonic() - began, 2), "device": device, "precision": precision, **signature,
    }  # fmt: skip


def open_raster(config: RefineConfig, package: ModelPackage) -> RasterSource:
    """The orthophoto on the working grid of the model."""
    low, high = package.manifest.get("pixel_range_m", (0.0, float("inf")))
    return RasterSource.open(
        config.raster, pixel_m=float(package.manifest["pixel_m"]), bands=config.bands or None, min_pixel_m=low,
        max_pixel_m=high, crs=config.crs,
    )  # fmt: skip


# -- the network's part ---------------------------------------------------------------------------------


def redraw(
    config: RefineConfig, package: ModelPackage, source: RasterSource, features: Sequence[RoughFeature],
    metric_wkt: str, reporter: Reporter,
) -> tuple[dict[str, Redrawn], str, str]:  # fmt: skip
    """Answers by name of the drawn polygon (see `_name`), and the device and precision used."""
    import torch

    from ..models.device import pick_bfloat16, pick_device
    from .refine.refine import Gate, Refiner

    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    device = pick_device(config.device)
    bfloat16 = pick_bfloat16(device, config.precision)
    gate = Gate(min_iou=0.1, min_certainty=config.min_certainty)
    refiner = Refiner(package.refiner(), device=device, bfloat16=bfloat16, gate=gate)
    drawings = {_name(k, n): p for k, f in enumerate(features) for n, p in enumerate(f.pixels)}
    answers: dict[str, Redrawn] = {}
    for own, around in blocks(drawings):
        done = len(answers) / len(drawings)
        reporter.progress(done, f"{len(answers)} of {len(drawings)} drawings looked at")
        with reporter.span(done, done + len(own) / len(drawings)):
            answers |= redraw_block(config, refiner, source, own, around, metric_wkt, reporter)
    return answers, str(device), "bfloat16" if bfloat16 else "float32"


def blocks(drawings: Drawings) -> Iterator[tuple[Drawings, Drawings]]:
    """Drawings cell by cell of the working grid, as many as may be held at once, each with those around."""
    names = list(drawings)
    bounds = shapely.bounds(np.array(list(drawings.values()), object)).reshape(-1, 4)
    size = np.maximum(bounds[:, 2:] - bounds[:, :2], 1.0)
    cells = np.floor(bounds[:, :2] / _CELL_PX).astype(int)
    order = np.lexsort((np.arange(len(names)), cells[:, 0], cells[:, 1]))
    reach = 1.5 * size.max(axis=1, initial=0)  # a crop shows about this much
    wide = shapely.box(*(bounds + np.column_stack((-reach, -reach, reach, reach))).T)
    tree = shapely.STRtree(shapely.box(*bounds.T))
    start = 0
    while start < len(order):
        pixels = np.cumsum(size[order[start : start + BLOCK]].prod(axis=1))
        own = order[start : start + max(1, int(np.searchsorted(pixels, BLOCK_PX, side="right")))]
        near = np.setdiff1d(tree.query(wide[own])[1], own)
        yield {names[k]: drawings[names[k]] for k in own}, {names[k]: drawings[names[k]] for k in near}
        start += len(own)


def redraw_block(
    config: RefineConfig, refiner: Any, source: RasterSource, own: Drawings, around: Drawings, metric_wkt: str,
    reporter: Reporter,
) -> dict[str, Redrawn]:  # fmt: skip
    """Redraw some drawings. Those around are redrawn with them, so that neighbours share contested ground the
    same way in whichever block they come, and forgotten."""
    from .refine.drawing import draw_polygon
    from .refine.refine import TOO_SMALL

    drawn = {name: draw_polygon(polygon, name) for name, polygon in (own | around).items()}
    before = [instance for instance in drawn.values() if instance is not None]
    with reporter.span(0, 1 / config.passes):
        answers = refiner.answer(before, source.read, reporter=reporter)
    for number in range(1, config.passes):
        with reporter.span(number / config.passes, (number + 1) / config.passes):
            again = refiner.answer([a.instance for a in answers], source.read, reporter=reporter)
        # What the last look kept may have been redrawn by an earlier one.
        answers = [
            new if not new.kept else dataclasses.replace(old, kept="" if old.instance.refined else new.kept)
            for old, new in zip(answers, again, strict=True)
        ]
    results = {}
    size_px = config.smoothing_m / source.grid.pixel_m
    for answer in answers:
        name = answer.instance.id
        if name in own:
            smooth = smooth_instance(answer.instance, config.smoothing, size_px=size_px)
            outlines = trace(smooth, source.grid, metric_wkt, answer.certainty) if not answer.kept else ()
            asked = answer.certainty > 0 or not answer.kept
            results[name] = Redrawn(outlines, answer.certainty if asked else float("nan"), answer.kept)
    for name in own:
        results.setdefault(name, Redrawn((), float("nan"), TOO_SMALL))
    return results


def trace(instance: Instance, grid: Grid, metric_wkt: str, certainty: float) -> tuple[Outline, ...]:
    """The outlines of a redrawn mask in metres, without crumbs, largest first."""
    polygons = outline_instance(instance, grid)
    polygons = [p for p in polygons if p.area >= _LEAST_PART * polygons[0].area]
    metric = transform_geometries(np.array(polygons, object), grid.crs_wkt, metric_wkt)
    return tuple(
        Outline(f"{instance.id}.{n}", polygon, score=certainty, refined=True, edge=instance.edge)
        for n, polygon in enumerate(metric)
    )


# -- features again -------------------------------------------------------------------------------------


def _name(feature: int, part: int) -> str:
    """Names sort like the features do, so that ties fall to the earlier one."""
    return f"{feature:09d}.{part:04d}"


def _feature_of(name: str) -> int:
    return int(name.partition(".")[0])


def describe(
    k: int, feature: RoughFeature, outlines: list[Outline], redrawn: dict[str, Redrawn], raster: shapely.Polygon
) -> dict[str, Any]:
    """Geometry, in metres, and quality fields of one feature from what became of its parts."""
    answers = [redrawn[_name(k, n)] for n in range(len(feature.pixels))]
    done = {o.id[: -len(o.id.rpartition(".")[2]) - 1] for o in outlines}
    kept_parts = [p for n, p in enumerate(feature.metric) if _name(k, n) not in done]
    shape = as_multipolygon([*(o.geometry for o in outlines), *kept_parts])
    certain = [a.certainty for a in answers]
    before = as_multipolygon(list(feature.metric))
    states = {o.regularized for o in outlines}
    edge = any(o.edge for o in outlines) or any(not raster.covers(p) for p in feature.pixels)
    row = {
        "geometry": shape,
        "score": min(certain, default=np.nan),
        "refined": bool(outlines),
        "regularized": ("kept" if "kept" in states else outlines[0].regularized) if outlines else "kept",
        "max_shift_m": max((o.max_shift_m for o in outlines), default=0.0),
        "iou_raw": min((o.iou_raw for o in outlines), default=1.0),
        "iou_input": overlap(before, shape) if outlines else 1.0,
        "edge": edge,
    }
    return {**row, "check": "; ".join(_reasons(feature, answers, outlines, row))}


def _reasons(
    feature: RoughFeature, answers: list[Redrawn], outlines: list[Outline], row: dict[str, Any]
) -> Iterator[str]:
    """Why a feature is worth a look, each reason once."""
    from .refine.refine import UNCHANGED

    if feature.check:
        yield feature.check
    if feature.kept:
        yield f"kept: {feature.kept}"
    yield from dict.fromkeys(f"kept: {a.kept}" for a in answers if a.kept not in ("", UNCHANGED))
    yield from dict.fromkeys(reason for o in outlines for reason in o.check.split("; ") if reason)
    if len(outlines) > sum(not a.kept for a in answers):
        yield "in several parts"
    if row["edge"]:
        yield "cut by the edge of the image"
    if row["iou_input"] < _FAR:
        yield "differs much from the drawing"


def as_multipolygon(polygons: list[shapely.Polygon]) -> shapely.MultiPolygon | None:
    """One valid multi-polygon; parts that touch along a wall become one; None without any."""
    if not polygons:
        return None
    whole = shapely.multipolygons(polygons)
    whole = whole if whole.is_valid else shapely.union_all(polygons)
    return whole if whole.geom_type == "MultiPolygon" else shapely.multipolygons([whole])


def overlap(first: shapely.Geometry, second: shapely.Geometry) -> float:
    """IoU of two valid geometries."""
    common = shapely.intersection(first, second).area
    return float(common / (first.area + second.area - common))


def assemble(table: gpd.GeoDataFrame, rows: list[dict[str, Any]], metric_wkt: str, model: str) -> gpd.GeoDataFrame:
    """The input table, in its CRS, with new geometry and the quality fields."""
    taken = {c: _free_name(f"{c}_input", table.columns) for c in table.columns if c in QUALITY_FIELDS}
    table = table.rename(columns=taken)
    metric = np.array([row["geometry"] for row in rows], object)
    untouched = np.array([not row["refined"] for row in rows])
    shapes = transform_geometries(metric, metric_wkt, table.crs.to_wkt())
    given = table.geometry.to_numpy()
    # What was kept as it was is not sent through two transformations.
    areal = np.char.find(shapely_types(given), "Polygon") >= 0
    sound = untouched & areal & shapely.is_valid(given)
    shapes[sound] = [as_multipolygon(list(shapely.get_parts(shapely.force_2d(g)))) for g in given[sound]]
    out = table.set_geometry(gpd.GeoSeries(shapes, index=table.index, crs=table.crs))
    for name in ("score", "max_shift_m", "iou_raw", "iou_input"):
        out[name] = np.round(np.array([row[name] for row in rows], float), 4)
    out["area_m2"], out["perimeter_m"] = np.round(shapely.area(metric), 2), np.round(shapely.length(metric), 2)
    out["vertices"] = np.array([sum(map(count_vertices, shapely.get_parts(m))) for m in metric], np.int32)
    for name in ("refined", "edge"):
        out[name] = np.array([row[name] for row in rows], bool)
    out["regularized"] = [row["regularized"] for row in rows]
    ids = [str(fid) for fid in table.index]
    out["check"] = [_OUTLINE.sub(lambda m: f"feature {ids[int(m[1])]}", row["check"]) for row in rows]
    out["model"] = np.where(untouched, "", model)
    out = out[[*(c for c in out.columns if c not in QUALITY_FIELDS), *QUALITY_FIELDS]]
    # GDAL takes a whole-number column named like the GeoPackage's id column as the feature id.
    return out.rename_axis(None).assign(fid=out.index.astype("int64")) if "fid" not in out else out


def shapely_types(geometries: np.ndarray) -> np.ndarray:
    """Type names, an empty text for None."""
    return np.array(["" if g is None else g.geom_type for g in geometries], str)


def _free_name(name: str, taken: Any) -> str:
    while name in taken:
        name += "_"
    return name
