"""Time, memory and gain of `refine` on a layer of thousands of roughly drawn buildings, and whether all come back.

    python benchmarks/rough_layer.py buildings.gpkg mosaic.vrt work/rough_layer --features 10000 [--qgis]

The buildings of a layer (such as one `benchmarks/scale.py` left) are drawn roughly: a third as boxes, a third as few
corners off by about 0.7 m, a third moved by a metre. Feature ids have gaps, and the layer has attributes of its own.
The engine does the work, or `cadastral:refinepolygons` of qgis_process and what it starts; the memory is that of the
largest process. IoU is that with the outlines the drawings were made from.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from cadastral_vectorizer.engine.evaluation.overlap import iou_of

KINDS = ("box", "few corners", "moved")


def draw_roughly(outlines: np.ndarray, kinds: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Rough polygons of the outlines; `kinds` are indices of `KINDS`, `scale` is map units a metre."""
    few = [shapely.get_coordinates(o.simplify(1.2 * scale).exterior)[:-1] for o in outlines]
    off = shapely.make_valid([shapely.Polygon(p + rng.normal(0, 0.7 * scale, p.shape)) for p in few])
    off = np.where(shapely.get_type_id(off) == 3, off, shapely.convex_hull(off))
    moves = scale * np.column_stack((np.cos(kinds * 7.0), np.sin(kinds * 7.0)))
    moved = [shapely.transform(o, lambda points, m=m: points + m) for o, m in zip(outlines, moves, strict=True)]
    return np.choose(kinds, [shapely.envelope(outlines), off, np.array(moved, object)])


def write_drawings(buildings: str, path: Path, count: int) -> tuple[gpd.GeoDataFrame, np.ndarray]:
    """Write the drawings of `count` buildings that lie together; ids have gaps. Returns them and the buildings."""
    table = gpd.read_file(buildings)
    places = shapely.get_coordinates(shapely.centroid(table.geometry.to_numpy()))
    table = table.iloc[np.argsort(np.abs(places - places.mean(axis=0)).max(axis=1), kind="stable")[:count]]
    scale = 1 / np.cos(np.radians(table.geometry.to_crs(4326).total_bounds[1])) if table.crs.to_epsg() == 3857 else 1.0
    rng, outlines = np.random.default_rng(7), table.geometry.to_numpy()
    kinds = rng.integers(3, size=len(outlines))
    drawn = gpd.GeoDataFrame(
        {"parcel": [f"P-{n:06d}" for n in range(len(table))], "score": np.arange(len(table)) / 7, "kind": kinds,
         "fid": 5 + 3 * np.arange(len(table))},
        geometry=gpd.GeoSeries(draw_roughly(outlines, kinds, scale, rng), crs=table.crs),
    )  # fmt: skip
    path.unlink(missing_ok=True)
    drawn.to_file(path, layer="drawings", driver="GPKG")
    return drawn, outlines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("buildings")
    parser.add_argument("raster")
    parser.add_argument("work", type=Path)
    parser.add_argument("--features", type=int, default=10_000)
    parser.add_argument("--qgis", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    drawings, output = options.work / "drawings.gpkg", options.work / "refined.gpkg"
    drawn, outlines = write_drawings(options.buildings, drawings, options.features)
    output.unlink(missing_ok=True)
    if options.qgis:
        command = [str(Path(__file__).parents[1] / "scripts/qgis_process"), "run", "cadastral:refinepolygons", "--",
                   f"INPUT={drawings}", f"RASTER={options.raster}", f"OUTPUT={output}"]  # fmt: skip
    else:
        command = [sys.executable, "-m", "cadastral_vectorizer.engine", "refine", "--input", str(drawings), "--raster",
                   options.raster, "--output", str(output)]  # fmt: skip
    begun = time.monotonic()
    with (options.work / "run.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own programs
        _, status, usage = os.wait4(process.pid, 0)
    if status or not output.exists():
        raise SystemExit(f"The run failed; see {options.work / 'run.log'}")
    cpu_s = usage.ru_utime + usage.ru_stime
    print(f"{len(drawn)} features: {cpu_s:.0f} s of CPU ({1e3 * cpu_s / len(drawn):.1f} ms each), "
          f"{time.monotonic() - begun:.0f} s of clock, peak {usage.ru_maxrss / 1e6:.2f} GB")  # fmt: skip
    refined = pyogrio.read_dataframe(output, fid_as_index=True)
    assert len(refined) == len(drawn) and set(refined.index) == set(drawn["fid"]), "feature ids differ"
    again = refined.loc[drawn["fid"]]
    assert list(again["parcel"]) == list(drawn["parcel"]), "an attribute is on another feature"
    assert np.array_equal(again["score_input"].to_numpy(), drawn["score"].to_numpy()), "a number changed"
    assert not again.geometry.is_empty.any() and again.geometry.is_valid.all(), "a shape is lost or broken"
    print("ids, attributes and shapes are all there")
    before = iou_of(drawn.geometry.to_numpy(), outlines)
    after = iou_of(again.geometry.to_numpy(), outlines)
    for name, chosen in zip(KINDS, (drawn["kind"].to_numpy() == n for n in range(len(KINDS))), strict=True):
        print(f"{name}: {chosen.sum()} drawn, {again['refined'].to_numpy()[chosen].sum()} redrawn, "
              f"IoU {before[chosen].mean():.3f} -> {after[chosen].mean():.3f}, "
              f"closer than drawn {(after > before)[chosen].mean():.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
