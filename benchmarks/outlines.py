"""Polygons from the masks that the networks really make, against the truth.

    python benchmarks/outlines.py --cache work/geometry [--data ../shared/data --split val] [--scenes 1 --seed 7100]
        [--model PACKAGE] [--modes right_angles] [--tolerance-m 1.0] [--sources scene]

The noise of `benchmarks/geometry.py` is a pixel wide and alike along the outline; a network rounds corners, bulges,
loses what a tree covers and takes in what lies beside a wall. Raw outlines of detector and refiner are made once for
every image and kept under `--cache`; those that overlap a true outline by 0.5 (IoU) are measured against it: raw, and
after all metric stages with each mode and tolerance. Cut by the border of the image, raw or true: left out. Truth is
without vertices that lie on a straight wall.
"""

from __future__ import annotations

import argparse
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from cadastral_vectorizer.engine.clock import Clock
from cadastral_vectorizer.engine.config import STYLES, VectorizeConfig
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.crs import transform_geometries
from cadastral_vectorizer.engine.geometry import shape_outlines
from cadastral_vectorizer.engine.pipeline import find_outlines, metric_plane
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.raster.source import RasterSource
from cadastral_vectorizer.engine.scenes import generate_scene
from cadastral_vectorizer.models.package import open_package
from geometry import corners, edges, measure_pair
from rasterio.transform import Affine

MODES = ("none", "right_angles", "diagonals", "any_angle")
MIN_IOU = 0.5
SHARP_DEG = 50.0
SHORT_M = 0.5
STRAIGHT_M = 0.05
SCENE_PX, SCENE_PIXEL_M = 768, 0.2
APART_M = 100_000.0  # images are laid side by side this far apart


@dataclass(frozen=True)
class Seen:
    """One image: raw outlines as the geometry stages get them, and the truth, in the same metres."""

    source: str
    image: str
    outlines: list[Outline]
    truths: list[shapely.Polygon]


def look_at(raster: Path, source: str, truths: list[shapely.Polygon], truth_crs: str, model: str) -> Seen:
    """Run detector, merging, refiner and contours on one raster."""
    package = open_package(model)
    with tempfile.TemporaryDirectory() as folder:
        config = VectorizeConfig(
            raster=str(raster), output=str(Path(folder) / "b.gpkg"), job_folder=folder, model=model, threads=1
        )
        with RasterSource.open(config.raster, pixel_m=float(package.manifest["pixel_m"])) as opened:
            metric = metric_plane(opened.grid)
            outlines, _ = find_outlines(config, package, opened, None, metric, Clock(), Reporter())
    there = transform_geometries(np.array(truths, object), truth_crs, metric) if truths else []
    return Seen(source, raster.name, outlines, list(there))


def real_images(data: Path, split: str) -> list[tuple[Path, str, list[shapely.Polygon], str]]:
    """Georeferenced images of a split with their whole outlines."""
    out = []
    for source, parts in json.loads((data / "splits.json").read_text())["splits"].items():
        table = data / source / "buildings.gpkg"
        if not table.exists():
            continue
        drawn = gpd.read_file(table)
        for name in parts.get(split, []):
            mine = drawn[drawn["image"] == name]
            whole = mine[mine["clipped"] == 0] if "clipped" in mine else mine
            polygons = [p for p in shapely.get_parts(whole.geometry.to_numpy()) if p.is_valid]
            out.append((data / source / "images" / name, source, polygons, drawn.crs.to_wkt()))
    return out


def collect(options: argparse.Namespace) -> list[Seen]:
    """All images, from the cache where they are there."""
    options.cache.mkdir(parents=True, exist_ok=True)
    seen = []
    for raster, source, truths, crs in real_images(options.data, options.split) if options.data else []:
        held = options.cache / f"{source}_{raster.stem}.pickle"
        seen.append(_cached(held, partial(look_at, raster, source, truths, crs, options.model)))
    for style in STYLES if options.scenes else ():
        for seed in range(options.seed, options.seed + options.scenes):
            held = options.cache / f"scene_{style}_{seed}.pickle"
            seen.append(_cached(held, partial(look_at_scene, style, seed, options.cache, options.model)))
    return seen


def _cached(held: Path, make: Callable[[], Seen]) -> Seen:
    if not held.exists():
        seen = make()
        held.write_bytes(pickle.dumps((seen.source, seen.image, seen.outlines, seen.truths)))
    return Seen(*pickle.loads(held.read_bytes()))  # noqa: S301 - written by the line above


def look_at_scene(style: str, seed: int, folder: Path, model: str) -> Seen:
    """Run them on a generated scene, which is kept beside the cache."""
    scene = generate_scene(width_px=SCENE_PX, height_px=SCENE_PX, pixel_m=SCENE_PIXEL_M, style=style, seed=seed)
    place = Affine(SCENE_PIXEL_M, 0, 500_000, 0, -SCENE_PIXEL_M, 5_300_000)
    raster = folder / f"scene_{style}_{seed}.tif"
    bands = np.moveaxis(scene.image, -1, 0) if scene.image.shape[-1] == 3 else scene.image
    with rasterio.open(
        raster, "w", driver="GTiff", width=SCENE_PX, height=SCENE_PX, count=3, dtype="uint8", crs="EPSG:32633",
        transform=place, compress="deflate",
    ) as file:  # fmt: skip
        file.write(bands)
    inside = shapely.box(1, 1, SCENE_PX - 1, SCENE_PX - 1)
    whole = [p for p in scene.outlines if inside.contains(p)]
    truths = [shapely.transform(p, lambda xy: xy * (place.a, place.e) + (place.c, place.f)) for p in whole]
    return look_at(raster, "scene", truths, rasterio.crs.CRS.from_epsg(32633).to_wkt(), model)


@dataclass(frozen=True)
class Laid:
    """All images side by side: outlines, and which of them have which truth."""

    outlines: list[Outline]
    truths: dict[str, shapely.Polygon]
    source: dict[str, str]


def lay_out(seen: list[Seen]) -> Laid:
    """Images side by side, matched."""
    outlines: list[Outline] = []
    truths: dict[str, shapely.Polygon] = {}
    source: dict[str, str] = {}
    for number, image in enumerate(seen):
        def move(g, n=number):
            return shapely.transform(g, lambda xy: xy + [n * APART_M, 0.0])

        mine = [replace(o, id=f"{number:03d}/{o.id}", geometry=move(o.geometry)) for o in image.outlines]
        outlines += mine
        wanted = np.array([move(shapely.simplify(t, STRAIGHT_M)) for t in image.truths], object)
        tree = shapely.STRtree(wanted)
        for outline in mine:
            near = tree.query(outline.geometry, predicate="intersects")
            if outline.edge or not len(near):
                continue
            common = shapely.area(shapely.intersection(outline.geometry, wanted[near]))
            iou = common / (outline.geometry.area + shapely.area(wanted[near]) - common)
            if iou.max() >= MIN_IOU:
                truths[outline.id], source[outline.id] = wanted[near[iou.argmax()]], image.source
    return Laid(outlines, truths, source)


def shortest_wall_m(polygon: shapely.Polygon) -> float:
    """The shortest wall, neighbours' corners on straight walls left out."""
    return float(np.abs(np.diff(edges(shapely.simplify(polygon, STRAIGHT_M)), axis=1)).min())


def least_corner_deg(polygon: shapely.Polygon) -> float:
    """The sharpest corner of all rings, inward or outward, degrees between its walls."""
    least = 180.0
    for ring in shapely.get_rings(polygon):
        z = shapely.get_coordinates(ring)[:-1] @ np.array([1, 1j])
        edge = np.roll(z, -1) - z
        least = min(least, 180.0 - np.abs(np.angle(edge / np.roll(edge, 1), deg=True)).max())
    return float(least)


def figures(truths: list[shapely.Polygon], found: list[Outline]) -> dict[str, float]:
    """Means over buildings; vertices over all of them, without those on a straight wall (a neighbour's corner)."""
    table = np.array([measure_pair(t, o.geometry) for t, o in zip(truths, found)])
    bends = np.array([len(corners(shapely.simplify(o.geometry, STRAIGHT_M))) for o in found])
    simple = table[:, 3] == 4
    return {
        "IoU": table[:, 0].mean(),
        "PoLiS m": table[:, 1].mean(),
        "corner RMSE m": np.sqrt(table[:, 2].sum() / table[:, 3].sum()),
        "angle deg": table[:, 4].mean(),
        "vertices": bends.sum() / table[:, 3].sum(),
        f"sharper {SHARP_DEG:g}": np.mean([least_corner_deg(o.geometry) < SHARP_DEG for o in found]),
        f"walls < {SHORT_M:g} m": np.mean([shortest_wall_m(o.geometry) < SHORT_M for o in found]),
        "kept": np.mean([o.regularized == "kept" for o in found]),
        "right number": (table[:, 3] == bends).mean(),
        "4 stay 4": (bends[simple] == 4).mean() if simple.any() else float("nan"),
        "8+ for 4": (bends[simple] >= 8).mean() if simple.any() else float("nan"),
    }


def shape(laid: Laid, *, mode: str, tolerance_m: float) -> dict[str, Outline]:
    """All metric stages, with the defaults of the `vectorize` job but for the two arguments."""
    least = VectorizeConfig(raster="", output="", job_folder="").min_area_m2
    found, _ = shape_outlines(
        laid.outlines, tolerance_m=tolerance_m, regularization=mode, min_area_m2=least, reporter=Reporter()
    )
    return {o.id: o for o in found}


def show(laid: Laid, rows: dict[str, dict[str, Outline]], sources: list[str]) -> None:
    """One table per source, all of them first."""
    common = sorted(set(laid.truths).intersection(*rows.values()))
    for what in sources:
        mine = [k for k in common if laid.source[k] == what or what == "all" or (what == "real" and
                laid.source[k] != "scene")]
        if not mine:
            continue
        truths = [laid.truths[k] for k in mine]
        print(f"\n{what}: {len(mine)} buildings, {np.mean([len(t.exterior.coords) == 5 for t in truths]):.0%} with"
              " four corners\n")
        for number, (name, found) in enumerate(rows.items()):
            got = figures(truths, [found[k] for k in mine])
            if not number:
                print("| | " + " | ".join(got) + " |\n" + "|---" * (len(got) + 1) + "|")
            print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in got.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for raw outlines")
    parser.add_argument("--data", type=Path, help="folder of orthophotos with splits.json")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--scenes", type=int, default=0, help="generated scenes of each style")
    parser.add_argument("--seed", type=int, default=7100)
    parser.add_argument("--model", default="")
    parser.add_argument("--modes", nargs="*", default=MODES)
    parser.add_argument("--tolerance-m", nargs="*", type=float, default=[1.0])
    parser.add_argument("--sources", nargs="*", default=["real", "scene"])
    options = parser.parse_args()
    laid = lay_out(collect(options))
    rows = {"raw": {o.id: o for o in laid.outlines}}
    for tolerance_m in options.tolerance_m:
        for mode in options.modes:
            rows[f"{mode}, {tolerance_m:g} m"] = shape(laid, mode=mode, tolerance_m=tolerance_m)
    show(laid, rows, options.sources)


if __name__ == "__main__":
    main()
