"""Comparison table of the geometry stages on hand-drawn and generated buildings with known noise.

Every building of 30 m2 or more is rasterised at 0.15 m; correlated noise of about one pixel (a Gaussian
field added to the signed distance) is put on its edge, and the pixel outline of what remains is the
input of every method. The truth is the drawn outline itself, or that of generated scenes of every
style, where neighbours touch and have each other's corners in their common walls. Amplitude and correlation are set so
that the plain outlines and Douglas-Peucker score as in docs/geometry.md.

    python benchmarks/geometry.py --shapes zanzibar_building_polygons.gpkg --scenes 2 [--half odd] [--limit 1000]
        [--qgis-python /usr/bin/python3] [--buildingregulariser-python env/bin/python]
        [--noise-px 1.0 --blur-px 2.0]
    python benchmarks/geometry.py --shapes ... --scale 100000

The engine was tuned on the even buildings; `--half odd` reports on the others only. Times are processor
time of one core without building the input; the two baselines in other environments report their own.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import shapely
from cadastral_vectorizer.engine.config import STYLES
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.geometry import shape_outlines
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.scenes import generate_scene
from cadastral_vectorizer.engine.walls.corners import place_vertices
from cadastral_vectorizer.engine.walls.fits import FREE, Pieces, fit_lines
from cadastral_vectorizer.engine.walls.rings import sample_rings
from rasterio import features
from rasterio.transform import Affine

PIXEL_M = 0.15
NOISE_PX = 0.88
BLUR_PX = 1.6  # sigma of the blur; the correlation falls to exp(-1) at twice that
TOLERANCE_M = 0.6
MIN_AREA_M2 = 30.0
FINE = 3  # sub-pixels per pixel while the distance is computed; odd, so that one is the centre
CORNER_CAP_M = 3.0


def noisy_pixel_outline(
    truth: shapely.Polygon, rng: np.random.Generator, *, noise_px: float = NOISE_PX, blur_px: float = BLUR_PX
) -> shapely.Polygon:
    """The outline of `truth` along pixel edges after rasterisation with correlated edge noise."""
    left, bottom, right, top = truth.bounds
    pad = 12
    # A grid that is not aligned with the building: the phase is random, as in a real orthophoto.
    x0, y0 = left - (pad + rng.random()) * PIXEL_M, top + (pad + rng.random()) * PIXEL_M
    width = int((right - left) / PIXEL_M) + 2 * pad + 2
    height = int((top - bottom) / PIXEL_M) + 2 * pad + 2
    fine = Affine(PIXEL_M / FINE, 0, x0, 0, -PIXEL_M / FINE, y0)
    inside = features.rasterize([(truth, 1)], (height * FINE, width * FINE), transform=fine, dtype=np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance -= cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed_px = (distance[FINE // 2 :: FINE, FINE // 2 :: FINE] - 0.5 * np.sign(distance[1::FINE, 1::FINE])) / FINE
    field = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), blur_px)
    field *= 2 * np.sqrt(np.pi) * blur_px  # blurring left a deviation of 1 / (2 sqrt(pi) sigma)
    mask = (signed_px + noise_px * field > 0).astype(np.uint8)
    shapes = features.shapes(mask, mask > 0, 4, Affine(PIXEL_M, 0, x0, 0, -PIXEL_M, y0))
    return max((shapely.geometry.shape(s) for s, _ in shapes), key=lambda p: p.area)


def load_pairs(shapes: Path, *, noise_px: float, blur_px: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Hand-drawn outlines and their noisy pixel outlines, two arrays of polygons."""

    def drawn() -> np.ndarray:
        truths = gpd.read_file(shapes).geometry.values
        return np.array([g for g in truths if g.is_valid and g.area >= MIN_AREA_M2])

    return _noisy_pairs(f"geometry_pairs_{seed}", drawn, noise_px=noise_px, blur_px=blur_px, seed=seed)


def load_scene_pairs(scenes: int, *, noise_px: float, blur_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of generated scenes, some of each style, and their noisy pixel outlines."""

    def generated() -> np.ndarray:
        truths = []
        for k, (style, seed) in enumerate((style, seed) for style in STYLES for seed in range(scenes)):
            scene = generate_scene(width_px=512, height_px=512, pixel_m=0.25, style=style, seed=1000 + seed)
            x, y = 500_000 + 1000 * (k % 10), 9_000_000 + 1000 * (k // 10)
            truths += [
                shapely.transform(p, lambda xy, x=x, y=y: xy * (0.25, -0.25) + (x, y)) for p in scene.outlines
            ]
        return np.array([g for g in truths if g.is_valid and g.area >= MIN_AREA_M2])

    return _noisy_pairs(f"geometry_scene_pairs_{scenes}", generated, noise_px=noise_px, blur_px=blur_px, seed=2)


def _noisy_pairs(
    name: str, make: Callable[[], np.ndarray], *, noise_px: float, blur_px: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    cache = Path(tempfile.gettempdir()) / f"{name}_{noise_px:g}_{blur_px:g}.pickle"
    if cache.exists():
        return pickle.loads(cache.read_bytes())  # noqa: S301 - written by the lines below
    truths, rng = make(), np.random.default_rng(seed)
    raws = np.array([noisy_pixel_outline(t, rng, noise_px=noise_px, blur_px=blur_px) for t in truths])
    cache.write_bytes(pickle.dumps((truths, raws)))
    return truths, raws


def corners(polygon: shapely.Polygon) -> np.ndarray:
    """Distinct vertices of all rings, float64[N, 2]."""
    rings = [polygon.exterior, *polygon.interiors]
    return np.concatenate([shapely.get_coordinates(r)[:-1] for r in rings])


def edges(polygon: shapely.Polygon) -> np.ndarray:
    """Edges of all rings as complex start and end, complex128[N, 2]."""
    parts = []
    for ring in [polygon.exterior, *polygon.interiors]:
        z = shapely.get_coordinates(ring) @ (1, 1j)
        parts.append(np.column_stack((z[:-1], z[1:])))
    return np.concatenate(parts)


def measure_pair(truth: shapely.Polygon, found: shapely.Polygon) -> tuple[float, ...]:
    """IoU, PoLiS, mean squared corner distance and corners, edge angle error (deg), vertices."""
    overlap = shapely.intersection(truth, found if found.is_valid else shapely.make_valid(found)).area
    iou = overlap / (truth.area + found.area - overlap)
    a, b = corners(truth), corners(found)
    to_found = shapely.distance(shapely.points(a), shapely.boundary(found)).mean()
    to_truth = shapely.distance(shapely.points(b), shapely.boundary(truth)).mean()
    nearest = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2)).min(1)
    squares = (np.minimum(nearest, CORNER_CAP_M) ** 2).sum()
    te, fe = edges(truth), edges(found)
    fe = fe[fe[:, 0] != fe[:, 1]]
    middles = shapely.points(*np.array([fe.mean(1).real, fe.mean(1).imag]))
    lines = shapely.linestrings(np.stack((te.real, te.imag), 2))
    nearest_edge = shapely.STRtree(lines).nearest(middles)
    along = te[nearest_edge]
    turn = np.angle((fe[:, 1] - fe[:, 0]) * np.conj(along[:, 1] - along[:, 0]), deg=True)
    turn = np.abs((turn + 90) % 180 - 90)
    length = np.abs(fe[:, 1] - fe[:, 0])
    return iou, (to_found + to_truth) / 2, squares, len(a), (turn * length).sum() / length.sum(), len(b)


def measure(truths: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """The figures of the table: means over buildings; corners and vertices over all of them."""
    given = np.array([f is not None and not f.is_empty for f in found])
    t = np.array([measure_pair(a, b) for a, b in zip(truths[given], found[given])])
    return {
        "IoU": t[:, 0].sum() / len(truths),
        "PoLiS m": t[:, 1].mean(),
        "corner RMSE m": np.sqrt(t[:, 2].sum() / t[:, 3].sum()),
        "per building": np.sqrt(t[:, 2] / t[:, 3]).mean(),
        "angle deg": t[:, 4].mean(),
        "vertices": t[:, 5].sum() / t[:, 3].sum(),
        "invalid": float((~shapely.is_valid(found[given])).sum()),
        "lost": float((~given).sum()),
    }


def oracle(truths: np.ndarray, raws: np.ndarray) -> np.ndarray:
    """True corners known: the raw outline between them fitted by least squares, neighbours intersected."""
    rings = sample_rings(shapely.get_exterior_ring(raws), step_m=0.15)
    owner, start = [], []
    for k, truth in enumerate(truths):
        corner = shapely.get_coordinates(truth.exterior)[:-1] @ (1, 1j) - rings.centre[k]
        samples = rings.xy[rings.first[k] : rings.first[k + 1]]
        at = np.unique(np.abs(samples[:, None] - corner).argmin(0))
        owner += [k] * len(at)
        start += list(at)
    pieces = Pieces(np.array(owner), np.array(start), np.full(len(owner), FREE))
    lines = fit_lines(rings, pieces, directions=np.zeros((len(raws), 0)), trim_m=0.0)
    ring, vertex = place_vertices(rings, pieces, lines, 1.2, 0.3)
    vertex = vertex + rings.centre[ring]
    return np.array([shapely.Polygon(np.column_stack((v.real, v.imag))) for v in split(vertex, ring)])


def split(values: np.ndarray, owner: np.ndarray) -> list[np.ndarray]:
    return np.split(values, np.flatnonzero(np.diff(owner)) + 1)


def engine(raws: np.ndarray, *, regularization: str, tolerance_m: float = TOLERANCE_M) -> np.ndarray:
    """All metric stages of the engine, neighbours joined; None where an outline was left out."""
    outlines = [Outline(id=f"{k:06d}", geometry=g) for k, g in enumerate(raws)]
    found, _ = shape_outlines(
        outlines,
        tolerance_m=tolerance_m,
        regularization=regularization,
        min_area_m2=0.0,
        snap_m=0.3,
        reporter=Reporter(),
        keep_covered=True,
    )
    out = np.full(len(raws), None, object)
    out[[int(o.id) for o in found]] = [o.geometry for o in found]
    return out


ORTHOGONALIZE = """
import sys, time
sys.path.append("/usr/share/qgis/python/plugins")
from qgis.core import QgsApplication, QgsFeatureRequest, QgsProcessingContext
application = QgsApplication([], False); application.initQgis()
from processing.core.Processing import Processing
import processing
Processing.initialize()
context = QgsProcessingContext()
context.setInvalidGeometryCheck(QgsFeatureRequest.GeometryNoCheck)
began = time.process_time()
processing.run("native:orthogonalize", {"INPUT": sys.argv[1], "ANGLE_TOLERANCE": 15, "MAX_ITERATIONS": 1000,
                                        "OUTPUT": sys.argv[2]}, context=context)
print("seconds", time.process_time() - began, flush=True)
import os; os._exit(0)
"""
BUILDINGREGULARISER = """
import sys, time
import geopandas as gpd
from buildingregulariser import regularize_geodataframe
table = gpd.read_file(sys.argv[1])
began = time.process_time()
out = regularize_geodataframe(table, simplify_tolerance=0.5, num_cores=1)
print("seconds", time.process_time() - began)
out[["k", "geometry"]].to_file(sys.argv[2])
"""


def elsewhere(python: str, script: str, polygons: np.ndarray, crs: str) -> tuple[np.ndarray, float]:
    """Run a method that lives in another Python; returns polygons and its own seconds."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.gpkg", Path(folder) / "out.gpkg"
        gpd.GeoDataFrame({"k": range(len(polygons))}, geometry=polygons, crs=crs).to_file(source)
        code = Path(folder) / "method.py"
        code.write_text(script)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"QT_QPA_PLATFORM": "offscreen"}
        run = subprocess.run([python, code, source, target], capture_output=True, text=True, check=False, env=clean)
        if run.returncode:
            raise SystemExit(f"{python} failed: {run.stderr[-2000:]}")
        seconds = float(run.stdout.split("seconds")[1].split()[0])
        found = gpd.read_file(target)
    out = np.full(len(polygons), None, object)
    for k, geometry in zip(found["k"], found.geometry):
        if geometry is not None and not geometry.is_empty:
            out[k] = max(shapely.get_parts(geometry), key=lambda p: p.area)
    return out, seconds


def timed(method: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    began = time.process_time()
    found = method()
    return found, time.process_time() - began


def compare(what: str, truths: np.ndarray, raws: np.ndarray, options: argparse.Namespace) -> None:
    """Print the table."""
    coarse = shapely.simplify(raws, 0.5)
    methods: dict[str, Callable[[], tuple[np.ndarray, float]]] = {
        "raw pixel outline": lambda: (raws, 0.0),
        "Douglas-Peucker 0.3 m": lambda: timed(lambda: shapely.simplify(raws, 0.3)),
        "Douglas-Peucker 0.5 m": lambda: timed(lambda: shapely.simplify(raws, 0.5)),
    }
    if options.qgis_python:
        methods["native:orthogonalize after 0.5 m"] = lambda: elsewhere(
            options.qgis_python, ORTHOGONALIZE, coarse, "EPSG:32737"
        )
    if options.buildingregulariser_python:
        methods["buildingregulariser 0.5 m"] = lambda: elsewhere(
            options.buildingregulariser_python, BUILDINGREGULARISER, raws, "EPSG:32737"
        )
    methods["oracle: true corners known"] = lambda: (oracle(truths, raws), 0.0)
    for mode in ("none", "right_angles", "diagonals", "any_angle"):
        methods[f"engine, {mode}, {options.tolerance_m:g} m"] = lambda mode=mode: timed(
            lambda: engine(raws, regularization=mode, tolerance_m=options.tolerance_m)
        )
    rows = []
    for name, method in methods.items():
        found, seconds = method()
        figures = measure(truths, found)
        figures["polygons/s"] = round(len(raws) / seconds) if seconds else float("nan")
        rows.append((name, figures))
        print(f"done: {name}", file=sys.stderr)
    print(f"{len(raws)} {what}\n")
    print("| | " + " | ".join(rows[0][1]) + " |")
    print("|---" * (len(rows[0][1]) + 1) + "|")
    for name, figures in rows:
        cells = [f"{v:.3f}" if k not in ("invalid", "lost", "polygons/s") else f"{v:.0f}" for k, v in figures.items()]
        print(f"| {name} | " + " | ".join(cells) + " |")


def scale(raws: np.ndarray, number: int) -> None:
    """Shape many polygons, copies of the noisy outlines side by side, and check the result."""
    outlines: list[Outline] = []
    for k in range(-(-number // len(raws))):
        moved = shapely.transform(raws, lambda xy, k=k: xy + [k % 10 * 4000, k // 10 * 4000])
        outlines += [Outline(id=f"{k:03d}{n:05d}", geometry=g, score=0.5) for n, g in enumerate(moved)]
    outlines = outlines[:number]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, began = time.monotonic(), _processor_time()
    found, left_out = shape_outlines(
        outlines,
        tolerance_m=TOLERANCE_M,
        regularization="right_angles",
        min_area_m2=6.0,
        snap_m=0.3,
        reporter=Reporter(),
    )
    seconds, wall = _processor_time() - began, time.monotonic() - wall
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shapes = np.array([o.geometry for o in found])
    a, b = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    a, b = a[a < b], b[a < b]
    overlaps = shapely.area(shapely.intersection(shapes[a], shapes[b])) > 0
    slivers = 2 * shapely.area(shapes) / shapely.length(shapes) < 0.3
    print(f"{number} polygons: {seconds:.1f} s of processor time, {wall:.1f} s of wall time, {left_out} left out")
    print(f"memory {before:.0f} MB before, {after:.0f} MB at most, helpers not counted")
    print(f"{(~shapely.is_valid(shapes)).sum()} invalid, {overlaps.sum()} overlapping of {len(a)} touching pairs, "
          f"{slivers.sum()} slivers")


def _processor_time() -> float:
    """Seconds of this process and of its helpers that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=Path, required=True, help="GeoPackage of hand-drawn buildings")
    parser.add_argument("--half", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--scenes", type=int, default=0, help="generated scenes of each style, for a second table")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--scale", type=int, default=0, help="number of polygons for the scale run")
    parser.add_argument("--tolerance-m", type=float, default=TOLERANCE_M)
    parser.add_argument("--noise-px", type=float, default=NOISE_PX)
    parser.add_argument("--blur-px", type=float, default=BLUR_PX)
    parser.add_argument("--qgis-python", default="", help="Python that imports qgis")
    parser.add_argument("--buildingregulariser-python", default="", help="Python that imports buildingregulariser")
    options = parser.parse_args()
    truths, raws = load_pairs(options.shapes, noise_px=options.noise_px, blur_px=options.blur_px)
    if options.scale:
        scale(raws, options.scale)
        return
    part = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[options.half]
    last = options.limit or None
    compare("hand-drawn buildings", truths[part][:last], raws[part][:last], options)
    if options.scenes:
        truths, raws = load_scene_pairs(options.scenes, noise_px=options.noise_px, blur_px=options.blur_px)
        compare("buildings of generated scenes", truths[:last], raws[:last], options)


if __name__ == "__main__":
    main()
