"""Orthophotos and hand-drawn outlines to a folder of training chips, with a report of what went in."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.features import rasterize

from .chips.annotations import NONE, Annotations, Drawing, clean_annotations
from .chips.blocks import Block, choose_block_m, choose_validation, lay_blocks, windows
from .chips.folder import ChipWriter
from .config import ExportConfig
from .contracts import Box, Grid
from .crs import transform_geometries
from .errors import OutputError, VectorError
from .progress import Reporter
from .raster.source import RasterSource
from .regularize import read_layer

REPORT = "report.json"
SPLITS = ("train", "val")
LEAST_VALID = 0.05  # share of a chip that must show something known
LISTED = 1000  # feature numbers named in the report for each reason
SUSPICIOUS_SHARE = 0.5
NEGATIVE_MARGIN_M = 1.0  # around what is marked as no building the ground is known, too


@dataclass(frozen=True)
class Place:
    """One raster with what is drawn on it.

    Attributes:
        name: names its chips.
        source, grid: opened raster and its working grid.
        drawing: outlines in pixels of the grid.
        polygons: int64[N], which of the annotations they are.
        marks: int64[M], which of the negatives lie on it.
    """

    name: str
    source: RasterSource
    grid: Grid
    drawing: Drawing
    polygons: np.ndarray
    marks: np.ndarray


@dataclass(frozen=True)
class Window:
    """A chip to be written; `inhabited` where a building or a place marked as none may show."""

    place: int
    split: str
    box: Box
    inhabited: bool

    @property
    def order(self) -> bytes:
        """Decides which empty chips are kept."""
        return hashlib.sha256(repr((self.place, self.split, self.box)).encode()).digest()


def export_chips(config: ExportConfig, reporter: Reporter) -> dict[str, Any]:
    """Write a chip folder (see `engine/chips/folder.py`) and ``report.json`` in it, whole or not at all.

    Validation chips are whole blocks of ground; wherever a training chip reaches into one, of whichever
    raster, its pixels are blank and unknown, so no ground is in both splits.

    Returns:
        ``folder``, ``chips`` and ``buildings`` (by split), ``used``, ``skipped`` (count by reason) and
        ``report`` (path).

    Raises:
        VectorError: nothing usable is drawn on the rasters.
        RasterError: a raster cannot be used.
        OutputError: the folder cannot be written, or holds something else.
    """
    config.validate()
    target = Path(config.output_folder)
    _refuse_foreign(target)
    layer = read_layer(config.annotations)
    annotations = clean_annotations(layer.geometry.to_numpy())
    if not len(annotations.polygons):
        raise VectorError(f"The annotations {config.annotations} hold no usable polygon", "Draw some buildings first")
    drawn = Layers(
        annotations, layer.crs.to_wkt(),
        area=_read_polygons(config.area, "area") if config.area else None,
        negatives=_read_polygons(config.negatives, "negatives") if config.negatives else None,
    )  # fmt: skip
    with ExitStack() as stack:
        places = [_open_place(path, index, config, drawn, stack) for index, path in enumerate(config.rasters)]
        _account_for_places(places, annotations, with_area=bool(config.area))
        if not config.area:
            _warn_of_gaps(places, reporter)
        blocks, validation = _split(places, config)
        if config.val_share and not validation:
            reporter.warn("All buildings lie in one block: none is kept aside to measure with")
        hidden = [_on_grid(place.grid, places, validation) for place in places]
        chosen = _choose_windows(places, validation, config)
        part = target.with_name(target.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            facts = _write(part, chosen, places, hidden, annotations, config, reporter)
            given = len(drawn.negatives[0]) if drawn.negatives else 0
            facts = _describe(facts, config, places, blocks, validation, annotations, given)
            (part / REPORT).write_text(json.dumps(facts, indent=1), encoding="utf-8")
            if target.exists():
                shutil.rmtree(target)
            part.rename(target)
        except OSError as error:
            raise OutputError(
                f"The chip folder {target} cannot be written ({error.strerror})", "Choose another folder"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    for reason, count in facts["skipped"].items():
        reporter.log(f"{count} annotations skipped: {reason}")
    if unused := given - facts["negatives_used"]:
        reporter.warn(f"{unused} places marked as no building lie on no raster, are too small, or are outlined, too")
    return {
        "folder": str(target), "report": str(target / REPORT), "used": facts["used"], "skipped": facts["skipped"],
        **{name: {split: facts["splits"][split][name] for split in SPLITS} for name in ("chips", "buildings")},
    }  # fmt: skip


def _refuse_foreign(target: Path) -> None:
    """Raise `OutputError` for a folder that holds something other than chips."""
    if target.is_file():
        raise OutputError(f"{target} is a file", "Choose a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / "annotations.json").exists():
        raise OutputError(f"The folder {target} is not empty", "Choose an empty one")


def _read_polygons(path: str, what: str) -> tuple[np.ndarray, str]:
    """object[N] of the polygons of a layer and the WKT of its CRS."""
    layer = read_layer(path)
    cleaned = clean_annotations(layer.geometry.to_numpy())
    if not len(cleaned.polygons):
        raise VectorError(f"The {what} {path} hold no usable polygon", "Draw one, or leave it empty")
    return cleaned.polygons, layer.crs.to_wkt()


@dataclass(frozen=True)
class Layers:
    """What a person drew: cleaned annotations with the WKT of their CRS, and polygons with theirs."""

    annotations: Annotations
    crs_wkt: str
    area: tuple[np.ndarray, str] | None
    negatives: tuple[np.ndarray, str] | None


def _open_place(path: str, index: int, config: ExportConfig, layers: Layers, stack: ExitStack) -> Place:
    crs = config.crs[index] if config.crs else ""
    source = stack.enter_context(RasterSource.open(path, pixel_m=config.pixel_m, crs=crs))
    if source.native.pixel_m > config.pixel_m:  # never magnify: there is nothing to be seen
        source = stack.enter_context(RasterSource.open(path, pixel_m=source.native.pixel_m, crs=crs))
    grid = source.grid
    outlines, polygons = _lay(layers.annotations.polygons, layers.crs_wkt, grid)
    known = None
    if layers.area is not None:
        polygons_of_area, wkt = layers.area
        frame = shapely.box(*_footprint(grid, wkt))
        inside, _ = _lay(shapely.intersection(polygons_of_area, frame), wkt, grid)
        known = shapely.intersection(shapely.union_all(inside), shapely.box(0, 0, grid.width, grid.height))
    negatives, marks = _lay(*layers.negatives, grid) if layers.negatives else (NONE, np.zeros(0, np.int64))
    stem = re.sub(r"[^\w.-]+", "-", Path(path).stem) or "raster"
    name = f"{stem}-{index}" if sum(Path(p).stem == Path(path).stem for p in config.rasters) > 1 else stem
    drawing = Drawing(outlines, known, negatives, margin_px=NEGATIVE_MARGIN_M / grid.pixel_m)
    return Place(name, source, grid, drawing, polygons, marks)


def _lay(polygons: np.ndarray, crs_wkt: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Those of some polygons that lie on a grid, in its pixels, and int64[K] which they are."""
    near = np.flatnonzero(shapely.intersects(polygons, shapely.box(*_footprint(grid, crs_wkt))))
    shapes = shapely.make_valid(_to_pixels(polygons[near], crs_wkt, grid))
    on = shapely.area(shapely.intersection(shapes, shapely.box(0, 0, grid.width, grid.height))) > 0
    return shapes[on], near[on]


def _footprint(grid: Grid, crs_wkt: str) -> tuple[float, float, float, float]:
    """Bounds of a grid in another CRS, somewhat enlarged."""
    edge = shapely.get_coordinates(shapely.segmentize(shapely.box(0, 0, grid.width, grid.height), grid.width / 16))
    ring = np.array([shapely.Polygon(grid.to_map(edge))], object)
    x0, y0, x1, y1 = transform_geometries(ring, grid.crs_wkt, crs_wkt)[0].bounds
    margin = 0.05 * max(x1 - x0, y1 - y0)
    return x0 - margin, y0 - margin, x1 + margin, y1 + margin


def _to_pixels(geometries: np.ndarray, crs_wkt: str, grid: Grid) -> np.ndarray:
    """Geometries of a CRS in pixels of a grid."""
    a, b, c, d, e, f = grid.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    on_map = transform_geometries(geometries, crs_wkt, grid.crs_wkt)
    return np.asarray(shapely.transform(on_map, lambda xy: (xy - (c, f)) @ inverse.T), dtype=object)


def _account_for_places(places: Sequence[Place], annotations: Annotations, *, with_area: bool) -> None:
    """Note which annotations lie on no raster or in no area. Raises `VectorError` when none is left."""
    on, inside = set(), set()
    for place in places:
        on |= set(place.polygons.tolist())
        inside |= set(place.polygons[place.drawing.inside].tolist())
    everything = set(range(len(annotations.polygons)))
    annotations.skip("outside the rasters", annotations.features[sorted(everything - on)])
    annotations.skip("outside the annotated area", annotations.features[sorted(on - inside)])
    if not on:
        raise VectorError("No annotation lies on a raster", "Check the coordinate systems of both")
    if not inside and with_area:
        raise VectorError("No annotation lies in the annotated area", "Draw the area around the outlined buildings")


def _warn_of_gaps(places: Sequence[Place], reporter: Reporter) -> None:
    """Tell whoever gave no area that undrawn buildings are learnt as ground."""
    hull = sum(shapely.convex_hull(shapely.union_all(p.drawing.outlines)).area for p in places)
    share = hull / sum(place.grid.width * place.grid.height for place in places)
    if share < SUSPICIOUS_SHARE:
        reporter.warn(
            f"The outlines reach over {share:.0%} of the orthophotos only, and no annotated area is given: "
            "buildings that are not outlined will be learnt as ground"
        )


def _split(places: Sequence[Place], config: ExportConfig) -> tuple[list[Block], list[Block]]:
    """All blocks, and those for validation."""
    block_m = config.block_m
    if not block_m:
        extents = []
        for place in places:
            bounds = shapely.box(*shapely.total_bounds(place.drawing.outlines)) if len(place.polygons) else None
            frame = shapely.box(0, 0, place.grid.width, place.grid.height)
            settled = shapely.intersection(place.drawing.known or frame, bounds).area if bounds else 0.0
            extents.append(settled * place.grid.pixel_m**2)
        block_m = choose_block_m(extents, chip_m=config.chip_px * config.pixel_m)
    blocks = []
    for index, place in enumerate(places):
        outlines = place.drawing.outlines[place.drawing.inside]
        centres = shapely.get_coordinates(shapely.centroid(outlines)).reshape(-1, 2)
        blocks += lay_blocks(index, place.grid, centres, block_m=block_m)
    return blocks, choose_validation(blocks, share=config.val_share, seed=config.seed)


def _on_grid(grid: Grid, places: Sequence[Place], validation: Sequence[Block]) -> np.ndarray:
    """object[K]: the validation blocks of all rasters that reach into a grid, in its pixels."""
    frame = shapely.box(0, 0, grid.width, grid.height)
    found = []
    for index, place in enumerate(places):
        boxes = np.array([shapely.box(*b.box) for b in validation if b.raster == index], object)
        if place.grid != grid and len(boxes):
            near = shapely.box(*_footprint(grid, place.grid.crs_wkt))
            edges = shapely.segmentize(boxes, place.grid.width / 16)
            on_map = shapely.transform(edges, place.grid.to_map)
            on_map = on_map[shapely.intersects(on_map, near)]
            boxes = _to_pixels(on_map, place.grid.crs_wkt, grid)
        found.append(boxes[shapely.intersects(boxes, frame)] if len(boxes) else boxes)
    return np.concatenate(found) if found else np.zeros(0, object)


def _choose_windows(places: Sequence[Place], validation: Sequence[Block], config: ExportConfig) -> list[Window]:
    """The chips worth writing: all with buildings, and as many empty ones as wanted."""
    candidates: list[Window] = []
    for index, place in enumerate(places):
        width, height = place.grid.width, place.grid.height
        boxes = [("train", b) for b in windows(width, height, side_px=config.chip_px, overlap_px=config.overlap_px)]
        for block in validation:
            if block.raster == index:
                x0, y0, x1, y1 = block.box
                pieces = windows(x1 - x0, y1 - y0, side_px=2 * config.chip_px, overlap_px=0)
                boxes += [("val", (x0 + a, y0 + b, x0 + c, y0 + d)) for a, b, c, d in pieces]
        for split, box in boxes:
            if place.drawing.is_wanted(box):
                inhabited = bool(place.drawing.inside[place.drawing.near(box)].any())
                inhabited |= len(place.drawing.marks_near(box)) > 0
                candidates.append(Window(index, split, box, inhabited))
    chosen = []
    for split in SPLITS:
        mine = [w for w in candidates if w.split == split]
        full = [w for w in mine if w.inhabited]
        empty = sorted((w for w in mine if not w.inhabited), key=lambda w: w.order)
        most = round(len(full) * config.empty_share / (1 - config.empty_share))
        chosen += full + empty[:most]
    return sorted(chosen, key=lambda w: (w.place, w.split, w.box[1], w.box[0]))


def _write(
    folder: Path, chosen: Sequence[Window], places: Sequence[Place], hidden: Sequence[np.ndarray],
    annotations: Annotations, config: ExportConfig, reporter: Reporter,
) -> dict[str, Any]:  # fmt: skip
    """Write the chips; returns counts by split and the annotations shown, and notes those never shown."""
    shown: dict[str, set[int]] = {split: set() for split in SPLITS}
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    marked: set[int] = set()
    trees = [shapely.STRtree(shapes) for shapes in hidden]
    with ChipWriter(folder, info={"settings": {**config.to_dict(), "output_folder": ""}}) as writer:
        for number, window in enumerate(chosen):
            reporter.progress(number / len(chosen), f"chip {number + 1} of {len(chosen)}")
            place = places[window.place]
            pixels, valid = place.source.read(window.box)
            if window.split == "train":
                veiled = hidden[window.place][trees[window.place].query(shapely.box(*window.box))]
                covered = _cover(veiled, window.box)
                pixels[:, covered] = 0
                valid &= ~covered
            labels, drawn = place.drawing.draw(window.box, valid)
            negatives, marks = place.drawing.draw_negatives(window.box, labels)
            shows_nothing = window.inhabited and not len(drawn) and not negatives and window.split == "train"
            if not negatives and ((labels >= 0).mean() < LEAST_VALID or shows_nothing):
                counts[window.split]["left_out"] += 1
                continue
            writer.add(
                f"{place.name}-{window.split}-{number:05d}", np.ascontiguousarray(pixels.transpose(1, 2, 0)), labels,
                split=window.split, source=place.name, pixel_m=place.grid.pixel_m, negatives=negatives,
            )  # fmt: skip
            marked |= set(place.marks[marks].tolist())
            counts[window.split].update(chips=1, empty=int(not len(drawn)), outlines=len(drawn))
            shown[window.split] |= set(place.polygons[drawn].tolist())
    everything = shown["train"] | shown["val"]
    could = {int(i) for place in places for i in place.polygons[place.drawing.inside]}
    annotations.skip(
        "too small, on no-data or covered by others", annotations.features[sorted(could - everything)]
    )
    names = ("chips", "empty", "outlines", "left_out")
    return {
        "splits": {s: {**{n: counts[s][n] for n in names}, "buildings": len(shown[s])} for s in SPLITS},
        "used": len(everything),
        "negatives_used": len(marked),
    }


def _cover(shapes: np.ndarray, box: Box) -> np.ndarray:
    """bool[H, W], every pixel of a window that the shapes touch."""
    shape = (box[3] - box[1], box[2] - box[0])
    if not len(shapes):
        return np.zeros(shape, bool)
    moved = shapely.transform(shapes, lambda xy: xy - box[:2])
    return rasterize(moved, shape, all_touched=True, dtype=np.uint8) > 0


def _describe(
    facts: dict[str, Any], config: ExportConfig, places: Sequence[Place], blocks: Sequence[Block],
    validation: Sequence[Block], annotations: Annotations, given: int,
) -> dict[str, Any]:  # fmt: skip
    """The report; `given` places are marked as no building."""
    return {
        **facts,
        "annotations": dict(annotations.counts),
        "negatives": {"given": given, "used": facts["negatives_used"]},
        "skipped": {reason: len(features) for reason, features in annotations.skipped.items()},
        "skipped_features": {reason: features[:LISTED] for reason, features in annotations.skipped.items()},
        "blocks": {
            "all": len(blocks),
            "with_buildings": sum(b.buildings > 0 for b in blocks),
            "validation": len(validation),
        },
        "rasters": [
            {
                "name": place.name, "path": path, "native_pixel_m": place.source.native.pixel_m,
                "pixel_m": place.grid.pixel_m, "width_px": place.grid.width, "height_px": place.grid.height,
                "annotations": len(place.polygons), "notes": list(place.source.notes),
            }
            for path, place in zip(config.rasters, places, strict=True)
        ],
        "settings": config.to_dict(),
    }  # fmt: skip
