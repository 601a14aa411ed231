"""Several orthophotos to one building layer: each by itself, then one owner for every building seen twice."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from ..models.package import ModelPackage, open_package
from .about import VERSION
from .area import AreaOutside, read_area
from .config import SeveralConfig, VectorizeConfig
from .contracts import Grid, Outline
from .crs import center_lonlat, metric_crs, transform_geometries
from .errors import JobFolderError
from .job_folder import require_plain
from .output import require_writable, write_buildings
from .pipeline import metric_plane, vectorize
from .progress import Reporter
from .raster.access import explain
from .raster.mosaic import gather, look_at, write_mosaic
from .raster.source import RasterSource
from .unite import View, unite

WORK_SHARE = 0.97  # of the progress bar
DONE = "done.json"
FIELDS = {
    "id": str, "score": float, "refined": bool, "edge": bool, "regularized": str, "max_shift_m": float,
    "iou_raw": float, "check": str,
}  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """One raster to work on: a file, or a mosaic of files that are its sheets.

    Attributes:
        config: its own job.
        grid: working grid.
        native_m: ground pixel of the file, metres.
        fingerprint: of its pixels.
    """

    config: VectorizeConfig
    grid: Grid
    native_m: float
    fingerprint: str

    @property
    def pixels(self) -> int:
        """Number of working pixels."""
        return self.grid.width * self.grid.height


def vectorize_several(config: SeveralConfig, reporter: Reporter) -> dict[str, Any]:
    """Turn several orthophotos, of any CRS, ground pixel and type, into one layer in the CRS of the first used.

    Sheets cut along one grid are put together first. Each raster then is a job of its own in a folder of the job
    folder, so that a run that was stopped goes on where it was. Of a building that several show one outline is kept,
    by the rules of `unite`: rasters rank by ground pixel (to the centimetre, none finer than the model's), then by
    their order.

    Returns:
        Fields of the result event: those of `vectorize`, summed up, and ``rasters``.

    Raises:
        EngineError: with what happened and what to do; finished work stays in the job folder.
    """
    config.validate()
    require_plain(Path(config.job_folder))
    require_writable(config.output)
    package = open_package(config.model)
    photos = list(_open_photos(config, package, reporter))
    whole, done, results = sum(photo.pixels for photo in photos), 0, []
    for number, photo in enumerate(photos, 1):
        with reporter.span(WORK_SHARE * done / whole, WORK_SHARE * (done + photo.pixels) / whole):
            reporter.log(f"Raster {number} of {len(photos)}: {photo.config.raster}")
            results.append(_work_on(photo, package, reporter))
        done += photo.pixels
    crs_wkt = photos[0].grid.crs_wkt
    metric_wkt = _common_plane(photos, crs_wkt)
    pixel_m = float(package.manifest["pixel_m"])
    views = [
        View(
            outlines=read_buildings(result["output"], photo.grid.crs_wkt, metric_wkt),
            footprint=_footprint(photo.grid, metric_wkt),
            rank=(round(max(photo.native_m, pixel_m), 2), number),
        )
        for number, (photo, result) in enumerate(zip(photos, results, strict=True))
    ]
    outlines = unite(
        views, tolerance_m=config.tolerance_m, regularization=config.regularization, reporter=reporter
    )
    seen = sum(len(view.outlines) for view in views)
    if len(photos) > 1:
        reporter.log(f"{seen} outlines in {len(photos)} rasters are {len(outlines)} buildings")
    signature = {
        "model": package.name, "model_hash": package.hash, "version": VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "parameters": config.to_dict(),
        "stretch": [result.get("stretch") for result in results],
    }  # fmt: skip
    write_buildings(
        outlines, config.output, metric_wkt=metric_wkt, crs_wkt=crs_wkt, model=package.name, metadata=signature
    )
    reporter.progress(1.0, f"{len(outlines)} buildings")
    return {
        "output": config.output, "layer": "buildings", "buildings": len(outlines),
        "rasters": len(config.more_rasters) + 1,
        **{name: sum(result[name] for result in results) for name in ("left_out", "seconds", "megapixels")},
        "device": results[0]["device"], "precision": results[0]["precision"], **signature,
    }  # fmt: skip


def read_buildings(path: str, crs_wkt: str, metric_wkt: str) -> list[Outline]:
    """Outlines, in the CRS `metric_wkt`, of a layer `vectorize` wrote in `crs_wkt`. Raises `JobFolderError`."""
    try:
        frame = gpd.read_file(path, layer="buildings")
        shapes = transform_geometries(frame.geometry.to_numpy(), crs_wkt, metric_wkt)
        return [
            Outline(geometry=shape, **{n: kind(v) for (n, kind), v in zip(FIELDS.items(), values, strict=True)})
            for shape, *values in zip(shapes, *(frame[name] for name in FIELDS), strict=True)
        ]
    except Exception as error:  # a file of our own that is damaged: pyogrio raises several unrelated types
        raise JobFolderError(
            f"{path} is damaged ({explain(error)})", "Delete that folder and run again; the other rasters are kept"
        ) from error


def _open_photos(config: SeveralConfig, package: ModelPackage, reporter: Reporter) -> Iterator[Photo]:
    """The rasters the area reaches, all looked at before the work on any begins. Raises `EngineError`."""
    low, high = package.manifest.get("pixel_range_m", (0.0, math.inf))
    outside: AreaOutside | None = None
    found = False
    for own in _put_together(config, reporter):
        reporter.check()
        with RasterSource.open(
            own.raster, pixel_m=float(package.manifest["pixel_m"]), bands=own.bands or None,
            min_pixel_m=low, max_pixel_m=high, skip_unreadable=own.skip_unreadable, crs=own.crs,
        ) as source:  # fmt: skip
            try:
                if own.area:
                    read_area(own.area, source.grid, metric_plane(source.grid))
            except AreaOutside as error:
                reporter.log(f"Outside the area: {own.raster}")
                outside = error
                continue
            found = True
            yield Photo(own, source.grid, source.native.pixel_m, source.fingerprint)
    if outside is not None and not found:
        raise outside


def _put_together(config: SeveralConfig, reporter: Reporter) -> Iterator[VectorizeConfig]:
    """The jobs, those for sheets that were cut along one grid as one, so that buildings across their borders are
    seen whole. Raises `EngineError`."""
    jobs = config.each()
    sheets = [look_at(job.raster, job.crs) for job in jobs]
    for group in gather(sheets):
        job = jobs[group[0]]
        if len(group) > 1:
            mosaic = Path(job.job_folder) / "mosaic.vrt"
            try:
                mosaic.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise JobFolderError(
                    f"The job folder {mosaic.parent} cannot be made ({error.strerror})", "Choose another folder"
                ) from error
            write_mosaic([sheet for k in group if (sheet := sheets[k])], mosaic)
            reporter.log(f"{len(group)} rasters are sheets of one grid and are read as one")
            job = replace(job, raster=str(mosaic))
        yield job


def _work_on(photo: Photo, package: ModelPackage, reporter: Reporter) -> dict[str, Any]:
    """The result event of one raster; that of an earlier run where it is complete."""
    config = photo.config
    record = Path(config.job_folder) / DONE
    asked = {**config.to_dict(), "pixels": photo.fingerprint, "model": package.hash, "version": VERSION}
    if config.area:
        asked["area"] = _digest(config.area)
    same = json.loads(json.dumps(asked))
    for name in ("raster", "output", "job_folder", "threads", "batch_size"):  # these change no building
        same.pop(name)
    earlier = _read_record(record)
    if earlier.get("asked") == same and Path(config.output).is_file():
        reporter.progress(1.0, "already done")
        return earlier["result"]
    result = vectorize(config, reporter)
    part = record.with_suffix(".part")
    try:
        part.write_text(json.dumps({"asked": same, "result": result}), encoding="utf-8")
        os.replace(part, record)
    except OSError as error:
        raise JobFolderError(
            f"{record} cannot be written ({error.strerror})", "Free some space and run again to continue"
        ) from error
    return result


def _read_record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8")) if file.stat().st_size < 2**26 else {}
        result = record["result"]
        numbers = all(isinstance(result[name], (int, float)) for name in ("left_out", "seconds", "megapixels"))
        return record if numbers and {"output", "device", "precision"} <= set(result) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _common_plane(photos: list[Photo], crs_wkt: str) -> str:
    """The metric CRS at the middle of all rasters."""
    edges = [transform_geometries(np.array([_frame(s.grid)], object), s.grid.crs_wkt, crs_wkt)[0] for s in photos]
    lon, lat = center_lonlat(crs_wkt, tuple(shapely.total_bounds(edges)))
    return metric_crs(crs_wkt, lon=lon, lat=lat)


def _footprint(grid: Grid, metric_wkt: str) -> shapely.Polygon:
    return transform_geometries(np.array([_frame(grid)], object), grid.crs_wkt, metric_wkt)[0]


def _frame(grid: Grid) -> shapely.Polygon:
    """The outer edge of a grid on the map, with enough points to stay true in another projection."""
    edge = shapely.segmentize(shapely.box(0, 0, grid.width, grid.height), max(grid.width, grid.height) / 16)
    return shapely.transform(edge, grid.to_map)
