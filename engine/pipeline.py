"""Orthophoto to building layer: the stages in order, and nothing else.

    RasterSource -> Tile -> Instance -> merged -> refined -> Outline -> shaped -> GeoPackage
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from ..models.package import ModelPackage, open_package
from .about import VERSION
from .ahead import ahead
from .area import Area, read_area
from .blind_spots import keep_seen, mark_blind_spots
from .clock import Clock
from .config import VectorizeConfig
from .contours.outlines import outline_instance
from .contracts import Grid, Instance, Outline, Tile
from .crs import center_lonlat, metric_crs, transform_geometries
from .errors import InvalidParameter
from .fills import filled_areas
from .finishing import Finisher
from .geometry import shape_outlines
from .journal import Journal
from .memory import give_back
from .outline_store import OutlineStore
from .output import require_writable, write_buildings
from .progress import Reporter
from .raster.source import RasterSource
from .raster.tiling import plan_tiles
from .refine.smooth import smooth_instance

if TYPE_CHECKING:
    from .refine.stream import RefineStream

NETWORK_SHARE = 0.92  # of the progress bar
PIXEL_REACH = 2.0  # how far the working pixel may be from the model's: it has learnt from 0.6 to 1.8 times that
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
    with RasterSource.open(
        config.raster, pixel_m=choose_pixel(config, package), bands=config.bands or None,
        min_pixel_m=low, max_pixel_m=high, skip_unreadable=config.skip_unreadable, crs=config.crs,
    ) as source:  # fmt: skip
        grid = source.grid
        reporter.log(
            f"{grid.width} x {grid.height} pixels of {grid.pixel_m:.3f} m "
            f"(raster {source.native.width} x {source.native.height} of {source.native.pixel_m:.3f} m)"
        )
        metric_wkt = metric_plane(grid)
        area = read_area(config.area, grid, metric_wkt) if config.area else None
        with reporter.span(0.0, NETWORK_SHARE):
            outlines, means = find_outlines(config, package, source, area, metric_wkt, clock, reporter)
        outlines = mark_blind_spots(outlines, source, metric_wkt)
        for note in source.notes:
            reporter.warn(note)
        stretch = source.stretch.to_dict() if source.stretch else None
    with clock.stage("geometry"), reporter.span(NETWORK_SHARE, 0.99):
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
        "device": str(means.device), "precision": means.precision, **signature,
    }  # fmt: skip


# -- stages ---------------------------------------------------------------------------------------------


def plan(config: VectorizeConfig, package: ModelPackage, grid: Grid, area: Area | None) -> list[Tile]:
    """The tiles to look at; their size is the model's unless the user chose one."""
    tile_px = config.tile_size_px or int(package.manifest.get("tile_size_px", 512))
    overlap_px = config.overlap_px or min(int(package.manifest.get("overlap_px", 160)), tile_px // 2)
    return plan_tiles(grid, tile_px=tile_px, overlap_px=overlap_px, area=area.pixels if area else None)


def choose_pixel(config: VectorizeConfig, package: ModelPackage) -> float:
    """Ground pixel of the working grid: the model's unless the user chose one. Raises `InvalidParameter`."""
    trained_m = float(package.manifest["pixel_m"])
    if config.pixel_m and not trained_m / PIXEL_REACH <= config.pixel_m <= trained_m * PIXEL_REACH:
        raise InvalidParameter(
            f"The model works at {trained_m:g} m, and {config.pixel_m:g} m is too far from that",
            f"Choose a ground pixel of {trained_m / PIXEL_REACH:g} to {trained_m * PIXEL_REACH:g} m, or 0",
        )
    return config.pixel_m or trained_m


def count_looks(config: VectorizeConfig, package: ModelPackage) -> int:
    """Directions every tile is seen from: the model's number unless the user chose one."""
    return config.looks or int(package.manifest.get("looks", 1))


def find_outlines(
    config: VectorizeConfig, package: ModelPackage, source: RasterSource, area: Area | None, metric_wkt: str,
    clock: Clock, reporter: Reporter,
) -> tuple[list[Outline], Means]:  # fmt: skip
    """Raw outlines in metres, in the order of their ids."""
    tiles = plan(config, package, source.grid, area)
    means = Means.choose(config)
    with (
        Journal.open(config.job_folder, fingerprint(config, package, source, tiles, means)) as journal,
        OutlineStore(config.job_folder) as store,
    ):
        source.keep_unreadable(Path(config.job_folder) / "unreadable.jsonl")
        for note in journal.notes:
            reporter.warn(note)
        finisher = Finisher(
            tiles, source.grid, find=journal.instances_of, store=store, clock=clock,
            refining=refine(config, package, source, journal, means, reporter),
            trace=lambda instances: trace(config, instances, source.grid, metric_wkt, area),
        )  # fmt: skip
        work_through(tiles, detect(config, package, source, tiles, journal, means, clock, reporter), finisher, reporter)
        del finisher  # and the refiner with it: the geometry stages need the memory
        give_back()
        return store.take(), means


def work_through(
    tiles: Sequence[Tile], detected: Iterator[Sequence[Tile]], finisher: Finisher, reporter: Reporter
) -> None:
    """The detector works in a thread; what it has finished is merged, refined and outlined meanwhile."""
    finished, started = 0, time.monotonic()
    for part in ahead(detected):
        reporter.progress(finished / len(tiles), _pace(finished, len(tiles), started))
        finisher.add(part)
        finished += len(part)
    finisher.finish()


def detect(
    config: VectorizeConfig, package: ModelPackage, source: RasterSource, tiles: Sequence[Tile], journal: Journal,
    means: Means, clock: Clock, reporter: Reporter,
) -> Iterator[Sequence[Tile]]:  # fmt: skip
    """Tiles as their instances get into the journal; those that it holds already come first."""
    from ..models.detector import predict
    from .detect import Detector, usual_batch
    from .segment import segment

    done = journal.done()
    todo = [t for t in tiles if (t.row, t.col) not in done]
    held = [t for t in tiles if (t.row, t.col) in done]
    if held:
        reporter.log(f"Continuing: {len(held)} of {len(tiles)} tiles are already done")
    for tile in held:
        yield [tile]
    if not todo:
        return
    network, find = (package.segmenter(), segment) if package.has_segmenter else (package.detector(), predict)
    batch = config.batch_size or usual_batch(means.device, tiles)
    detector = Detector(
        means.share(network), find=find, device=means.device, bfloat16=means.bfloat16, batch_size=batch,
        score_threshold=config.score_threshold, score_exponent=float(package.manifest.get("score_exponent", 1.0)),
        looks=count_looks(config, package),
    )  # fmt: skip
    for part, images, valid in ahead(read_tiles(source, todo, batch, clock)):
        with clock.stage("detect"):
            found = look(detector, part, images, valid, source.grid, reporter)
            journal.add_batch(list(zip(part, found, strict=True)))
        yield part


def look(
    detector: Any, tiles: Sequence[Tile], images: Sequence[np.ndarray], valid: Sequence[np.ndarray], grid: Grid,
    reporter: Reporter,
) -> list[list[Instance]]:  # fmt: skip
    """Detect in the tiles that hold anything; the others are empty without asking the network."""
    valid = [known & ~filled_areas(image) for image, known in zip(images, valid, strict=True)]
    seen = [i for i, known in enumerate(valid) if known.any()]
    found: list[list[Instance]] = [[] for _ in tiles]
    if seen:
        held = ([items[i] for i in seen] for items in (tiles, images, valid))
        for i, instances in zip(seen, detector.detect(*held, grid, reporter), strict=True):
            shown = (keep_seen(instance, tiles[i], valid[i]) for instance in instances)
            found[i] = [instance for instance in shown if instance is not None]
    return found


def refine(
    config: VectorizeConfig, package: ModelPackage, source: RasterSource, journal: Journal, means: Means,
    reporter: Reporter,
) -> RefineStream | None:  # fmt: skip
    """What repairs masks with the image; None where that is not wanted or the model has no refiner."""
    from .refine.refine import Refiner
    from .refine.stream import RefineStream

    if not (config.refine and package.has_refiner):
        return None
    refiner = Refiner(means.share(package.refiner()), device=means.device, bfloat16=means.bfloat16)
    return RefineStream(refiner, source.read, find=journal.find_redrawn, keep=journal.add_redrawn, reporter=reporter)


def trace(
    config: VectorizeConfig, instances: Sequence[Instance], grid: Grid, metric_wkt: str, area: Area | None
) -> list[Outline]:
    """Masks to raw outlines in metres; here pixels end. Parts of a mask become outlines of their own."""
    size_px = config.smoothing_m / grid.pixel_m
    smooth = (smooth_instance(i, config.smoothing, size_px=size_px) for i in instances)
    apart = config.split_terraces
    parts = [(i, n, p) for i in smooth for n, p in enumerate(outline_instance(i, grid, party_walls=apart))]
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


@dataclasses.dataclass(frozen=True)
class Means:
    """What the networks run on.

    Attributes:
        device: a `torch.device`.
        bfloat16: run convolutions in bfloat16.
    """

    device: Any
    bfloat16: bool
    _turn: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def choose(cls, config: VectorizeConfig) -> Means:
        """The device that is asked for; this many threads on a CPU."""
        import torch

        from ..models.device import pick_bfloat16, pick_device

        torch.set_num_threads(config.threads or os.cpu_count() or 1)
        device = pick_device(config.device)
        return cls(device, pick_bfloat16(device, config.precision))

    @property
    def precision(self) -> str:
        """As the configuration names it."""
        return "bfloat16" if self.bfloat16 else "float32"

    def share(self, network: Any) -> Any:
        """A network that waits until no other one of these is at work: two at once would fight for the cores."""

        def begin(*_: Any) -> None:
            self._turn.acquire()

        def end(*_: Any) -> None:
            self._turn.release()

        network.register_forward_pre_hook(begin)
        network.register_forward_hook(end, always_call=True)
        return network


def fingerprint(
    config: VectorizeConfig, package: ModelPackage, source: RasterSource, tiles: Sequence[Tile], means: Means
) -> dict[str, Any]:
    """What a job folder belongs to: raster, model, and all that decides what the networks are shown and say."""
    windows = np.array([(t.row, t.col, *t.core, *t.padded) for t in sorted(tiles)], dtype="<i8")
    return {
        "raster": source.fingerprint,
        "model": package.hash,
        "score_threshold": config.score_threshold,
        "pixel_m": choose_pixel(config, package),
        "tile_size_px": config.tile_size_px,
        "overlap_px": config.overlap_px,
        "looks": count_looks(config, package),
        "tiles of the area": hashlib.blake2s(windows.tobytes(), digest_size=16).hexdigest(),
        "device": means.device.type,
        "precision": means.precision,
        "version": VERSION,
    }


def read_tiles(
    source: RasterSource, tiles: Sequence[Tile], batch: int, clock: Clock
) -> Iterator[tuple[Sequence[Tile], list[np.ndarray], list[np.ndarray]]]:
    """Batches of tiles with their pixels and what of them is valid."""
    for start in range(0, len(tiles), batch):
        part = tiles[start : start + batch]
        with clock.stage("read"):
            pixels = [source.read(t.padded) for t in part]
        yield part, [p for p, _ in pixels], [v for _, v in pixels]


def _pace(finished: int, total: int, started: float) -> str:
    if not finished:
        return f"{total} tiles"
    left = (time.monotonic() - started) / finished * (total - finished)
    return f"tile {finished} of {total}, {left / 60:.0f} min left" if left > 90 else f"tile {finished} of {total}"
