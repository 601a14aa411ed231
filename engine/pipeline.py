"""Orthophoto to building layer: the stages in order, and nothing else.

    RasterSource -> Tile -> Instance -> merged -> refined -> Outline -> shaped -> GeoPackage
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ..models.package import ModelPackage, open_package
from .about import VERSION
from .ahead import ahead
from .area import Area, read_area
from .blind_spots import mark_blind_spots
from .config import VectorizeConfig
from .contours.outlines import outline_instance
from .contracts import Grid, Instance, Outline, Tile
from .crs import center_lonlat, metric_crs, transform_geometries
from .geometry import shape_outlines
from .journal import Journal
from .merge.seams import merge_instances
from .output import require_writable, write_buildings
from .progress import Reporter
from .raster.source import RasterSource
from .raster.tiling import plan_tiles

DETECT_SHARE = 0.8  # of the progress bar
WEAK_SCORE = 0.15  # a score within this of the threshold is worth a look


def vectorize(config: VectorizeConfig, reporter: Reporter) -> dict[str, Any]:
    """Turn an orthophoto into a layer of building polygons.

    Returns:
        Fields of the result event: output, buildings, left_out, seconds, stages, megapixels, model,
        model_hash, device, precision, version, date, parameters, stretch (of other than 8-bit rasters).

    Raises:
        EngineError: with what happened and what to do; finished tiles stay in the job folder.
    """
    config.validate()
    require_writable(config.output)
    clock = Clock()
    package = open_package(config.model)
    low, high = package.manifest.get("pixel_range_m", (0.0, float("inf")))
    pixel_m = float(package.manifest["pixel_m"])
    with RasterSource.open(
        config.raster, pixel_m=pixel_m, bands=config.bands or None, min_pixel_m=low, max_pixel_m=high,
        skip_unreadable=config.skip_unreadable, crs=config.crs,
    ) as source:  # fmt: skip
        grid = source.grid
        reporter.log(
            f"{grid.width} x {grid.height} pixels of {grid.pixel_m:.3f} m "
            f"(raster {source.native.width} x {source.native.height} of {source.native.pixel_m:.3f} m)"
        )
        metric_wkt = metric_plane(grid)
        area = read_area(config.area, grid, metric_wkt) if config.area else None
        with clock.stage("detect"), reporter.span(0.0, DETECT_SHARE):
            tiles = plan(config, package, grid, area)
            seen, device, precision = detect(config, package, source, tiles, reporter)
        with clock.stage("merge"):
            instances = merge_instances(seen, tiles=tiles, grid=grid)
        if config.refine and package.has_refiner:
            with clock.stage("refine"), reporter.span(DETECT_SHARE, 0.92):
                instances = refine(config, package, source, instances, reporter)
        with clock.stage("contours"):
            outlines = mark_blind_spots(trace(instances, grid, metric_wkt, area), source, metric_wkt)
        for note in source.notes:
            reporter.warn(note)
        stretch = source.stretch.to_dict() if source.stretch else None
    with clock.stage("geometry"), reporter.span(0.92, 0.99):
        outlines, left_out = shape_outlines(
            outlines, tolerance_m=config.tolerance_m, regularization=config.regularization,
            min_area_m2=config.min_area_m2, reporter=reporter,
        )  # fmt: skip
        outlines = sorted((annotate(o, config.score_threshold) for o in outlines), key=lambda o: o.id)
    signature = {
        "model": package.name,
        "model_hash": package.hash,
        "version": VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "parameters": config.to_dict(),
        "stretch": stretch,
    }
    with clock.stage("write"):
        write_buildings(
            outlines, config.output, metric_wkt=metric_wkt, crs_wkt=grid.crs_wkt, model=package.name, metadata=signature
        )
    reporter.progress(1.0, f"{len(outlines)} buildings")
    if left_out:
        reporter.log(f"{left_out} outlines under the minimum area of {config.min_area_m2:g} m2 were left out")
    megapixels = grid.width * grid.height / 1e6
    return {
        "output": config.output, "layer": "buildings", "buildings": len(outlines), "left_out": left_out,
        "seconds": round(clock.total(), 2), "stages": clock.rounded(), "megapixels": round(megapixels, 3),
        "device": device, "precision": precision, **signature,
    }  # fmt: skip


# -- stages ---------------------------------------------------------------------------------------------


def plan(config: VectorizeConfig, package: ModelPackage, grid: Grid, area: Area | None) -> list[Tile]:
    """The tiles to look at; their size is the model's unless the user chose one."""
    tile_px = config.tile_size_px or int(package.manifest.get("tile_size_px", 512))
    overlap_px = config.overlap_px or min(int(package.manifest.get("overlap_px", 160)), tile_px // 2)
    return plan_tiles(grid, tile_px=tile_px, overlap_px=overlap_px, area=area.pixels if area else None)


def detect(
    config: VectorizeConfig, package: ModelPackage, source: RasterSource, tiles: Sequence[Tile], reporter: Reporter
) -> tuple[list[Instance], str, str]:
    """All instances of all tiles, and the device and precision used; finished tiles come from the journal."""
    import torch

    from ..models.detector import predict
    from ..models.device import pick_bfloat16, pick_device
    from .detect import Detector, usual_batch
    from .segment import segment

    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    device = pick_device(config.device)
    bfloat16 = pick_bfloat16(device, config.precision)
    batch = config.batch_size or usual_batch(device, tiles)
    with Journal.open(config.job_folder, fingerprint(config, package, source)) as journal:
        source.keep_unreadable(Path(config.job_folder) / "unreadable.jsonl")
        for note in journal.notes:
            reporter.warn(note)
        done = journal.done()
        todo = [t for t in tiles if (t.row, t.col) not in done]
        if done:
            reporter.log(f"Continuing: {len(tiles) - len(todo)} of {len(tiles)} tiles are already done")
        if todo:
            network, find = (package.segmenter(), segment) if package.has_segmenter else (package.detector(), predict)
            detector = Detector(
                network, find=find, device=device, bfloat16=bfloat16, batch_size=batch,
                score_threshold=config.score_threshold,
                score_exponent=float(package.manifest.get("score_exponent", 1.0)),
            )  # fmt: skip
            finished, started = 0, time.monotonic()
            for part, images, valid in ahead(read_tiles(source, todo, batch)):
                reporter.progress(finished / len(todo), _pace(finished, len(todo), started))
                found = look(detector, part, images, valid, source.grid, reporter)
                journal.add_batch(list(zip(part, found, strict=True)))
                finished += len(part)
        wanted = {(t.row, t.col) for t in tiles}
        instances = [i for i in journal.instances() if i.tile in wanted]
    reporter.progress(1.0, f"{len(instances)} detections in {len(tiles)} tiles")
    return instances, str(device), "bfloat16" if bfloat16 else "float32"


def look(
    detector: Any, tiles: Sequence[Tile], images: Sequence[np.ndarray], valid: Sequence[np.ndarray], grid: Grid,
    reporter: Reporter,
) -> list[list[Instance]]:  # fmt: skip
    """Detect in the tiles that hold anything; the others are empty without asking the network."""
    seen = [i for i, known in enumerate(valid) if known.any()]
    found: list[list[Instance]] = [[] for _ in tiles]
    if seen:
        held = ([items[i] for i in seen] for items in (tiles, images, valid))
        for i, instances in zip(seen, detector.detect(*held, grid, reporter), strict=True):
            found[i] = instances
    return found


def refine(
    config: VectorizeConfig, package: ModelPackage, source: RasterSource, instances: list[Instance], reporter: Reporter
) -> list[Instance]:
    """Masks repaired with the image."""
    from ..models.device import pick_bfloat16, pick_device
    from .refine.refine import Refiner

    device = pick_device(config.device)
    refiner = Refiner(package.refiner(), device=device, bfloat16=pick_bfloat16(device, config.precision))
    return refiner.refine_instances(instances, source.read, reporter=reporter)


def trace(instances: Sequence[Instance], grid: Grid, metric_wkt: str, area: Area | None) -> list[Outline]:
    """Masks to raw outlines in metres; here pixels end. Parts of a mask become outlines of their own."""
    parts = [(i, n, p) for i in instances for n, p in enumerate(outline_instance(i, grid))]
    geometry = transform_geometries(np.array([p for _, _, p in parts], dtype=object), grid.crs_wkt, metric_wkt)
    inside = np.ones(len(parts), bool)
    border = np.zeros(len(parts), bool)
    if area is not None:
        shapely.prepare(area.metres)
        inside = shapely.intersects(area.metres, geometry)
        border = inside & ~shapely.contains_properly(area.metres, geometry)
    return [
        Outline(
            id=i.id if n == 0 else f"{i.id}-{n + 1}", geometry=polygon, score=i.score, refined=i.refined,
            edge=bool(i.edge or i.cut or on_border),
        )
        for (i, n, _), polygon, keep, on_border in zip(parts, geometry, inside, border, strict=True)
        if keep
    ]  # fmt: skip


def annotate(outline: Outline, score_threshold: float) -> Outline:
    """Add the reasons for a look in the field that the whole run knows about."""
    reasons = [outline.check] if outline.check else []
    if outline.edge:
        reasons.append("cut by the edge of the image or area")
    if outline.score < score_threshold + WEAK_SCORE * (1 - score_threshold):
        reasons.append("low score")
    return dataclasses.replace(outline, check="; ".join(reasons))


# -- helpers --------------------------------------------------------------------------------------------


def metric_plane(grid: Grid) -> str:
    """The metric CRS of the geometry stages, as WKT."""
    corners = grid.to_map(np.array([[0, 0], [grid.width, 0], [0, grid.height], [grid.width, grid.height]], float))
    lon, lat = center_lonlat(grid.crs_wkt, (*corners.min(0), *corners.max(0)))
    return metric_crs(grid.crs_wkt, lon=lon, lat=lat)


def fingerprint(config: VectorizeConfig, package: ModelPackage, source: RasterSource) -> dict[str, Any]:
    """What a job folder belongs to: raster, model, and the parameters that decide what is detected."""
    return {
        "raster": source.fingerprint,
        "model": package.hash,
        "score_threshold": config.score_threshold,
        "tile_size_px": config.tile_size_px,
        "overlap_px": config.overlap_px,
        "precision": config.precision,
    }


def read_tiles(
    source: RasterSource, tiles: Sequence[Tile], batch: int
) -> Iterator[tuple[Sequence[Tile], list[np.ndarray], list[np.ndarray]]]:
    """Batches of tiles with their pixels and what of them is valid."""
    for start in range(0, len(tiles), batch):
        part = tiles[start : start + batch]
        pixels = [source.read(t.padded) for t in part]
        yield part, [p for p, _ in pixels], [v for _, v in pixels]


def _pace(finished: int, total: int, started: float) -> str:
    if not finished:
        return f"{total} tiles"
    left = (time.monotonic() - started) / finished * (total - finished)
    return f"tile {finished} of {total}, {left / 60:.0f} min left" if left > 90 else f"tile {finished} of {total}"


class Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as `name`."""
        start = time.monotonic()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - start

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self._start

    def rounded(self) -> dict[str, float]:
        """Stages to hundredths of a second."""
        return {name: round(seconds, 2) for name, seconds in self.stages.items()}
