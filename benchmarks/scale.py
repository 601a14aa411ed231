"""Time and memory of whole runs on virtual mosaics of 25 to 1000 megapixels.

    python benchmarks/scale.py MOSAIC.tif [--sizes 25 100 400 1000] [--work FOLDER] [--threads N]

An orthophoto is repeated in a virtual raster, so that only its size grows and not the disk. Each begins at --origin:
in banepa_mosaic.tif the 25 megapixels from there are as densely built as the whole. Each size is run by the engine in
a process of its own, and the memory of that process and all that it starts is looked at twice a second. Job folders
stay in the work folder: a run that was killed goes on when called again, and its time then is that of what was left.

Prints a line per size: megapixels of the raster and of the working grid, buildings, seconds and processor seconds
for a megapixel of the raster, peak memory; below it the seconds of the stages, which overlap.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from html import escape
from pathlib import Path

import rasterio


def write_mosaic(source: Path, path: Path, *, width: int, height: int, x_px: int, y_px: int) -> None:
    """Write a virtual raster of `width` x `height` pixels that repeats `source` without end, seen from pixel
    ``(x_px, y_px)`` on."""
    with rasterio.open(source) as dataset:
        wide, tall, place, crs = dataset.width, dataset.height, dataset.transform, dataset.crs.to_wkt()
        colours = [dataset.colorinterp[n].name.capitalize() for n in range(3)]
    pieces = [
        (x, y) for y in range(-(y_px % tall), height, tall) for x in range(-(x_px % wide), width, wide)
    ]  # where its copies begin  # fmt: skip
    bands = []
    for number, colour in enumerate(colours, 1):
        parts = []
        for x, y in pieces:
            left, top = max(x, 0), max(y, 0)
            size = f'xSize="{min(x + wide, width) - left}" ySize="{min(y + tall, height) - top}"'
            parts.append(
                f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(source))}</SourceFilename>'
                f'<SourceBand>{number}</SourceBand><SrcRect xOff="{left - x}" yOff="{top - y}" {size}/>'
                f'<DstRect xOff="{left}" yOff="{top}" {size}/></SimpleSource>'
            )
        head = f'<VRTRasterBand dataType="Byte" band="{number}"><ColorInterp>{colour}</ColorInterp>'
        bands.append(f"{head}{''.join(parts)}</VRTRasterBand>")
    corner = (place.c + x_px * place.a, place.a, 0.0, place.f + y_px * place.e, 0.0, place.e)
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(crs)}</SRS>'
        f"<GeoTransform>{', '.join(map(repr, corner))}</GeoTransform>{''.join(bands)}</VRTDataset>"
    )


def tree_memory(root: int) -> int:
    """Bytes held by a process and all below it."""
    children: dict[int, list[int]] = {}
    held = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        held[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        total += held.get(process, 0)
        waiting += children.get(process, [])
    return total


def run(raster: Path, folder: Path, *, threads: int, model: str) -> dict:
    """One run of the engine: its result event, with ``wall_s``, ``cpu_s`` and ``peak_bytes``."""
    command = [sys.executable, "-m", "cadastral_vectorizer.engine", "vectorize", "--raster", str(raster)]
    command += ["--output", str(folder / "buildings.gpkg"), "--job-folder", str(folder), "--threads", str(threads)]
    command += ["--model", model] if model else []
    begun, peak = time.monotonic(), 0
    with (folder / "engine.log").open("a") as log, (folder / "result.json").open("w") as answer:
        process = subprocess.Popen(command, stdout=answer, stderr=log)  # noqa: S603 - our own interpreter
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            peak = max(peak, tree_memory(process.pid))
            time.sleep(0.5)
    if status:
        raise SystemExit(f"The run ended with {os.waitstatus_to_exitcode(status)}; see {folder / 'engine.log'}")
    result = json.loads((folder / "result.json").read_text())
    cpu_s = usage.ru_utime + usage.ru_stime
    peak = max(peak, usage.ru_maxrss * 1024)
    return {**result, "wall_s": time.monotonic() - begun, "cpu_s": cpu_s, "peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mosaic", type=Path)
    parser.add_argument("--sizes", type=float, nargs="+", default=[25, 100, 400, 1000], help="megapixels")
    parser.add_argument("--origin", type=int, nargs=2, default=(6000, 600), help="corner, in its pixels")
    parser.add_argument("--work", type=Path, default=Path("work/scale"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--model", default="")
    options = parser.parse_args()
    print(f"{'Mpx':>7} {'working':>8} {'buildings':>9} {'s/Mpx':>7} {'CPU s/Mpx':>9} {'peak GB':>8}", flush=True)
    for size in options.sizes:
        side = round(math.sqrt(size * 1e6))
        folder = (options.work / f"{size:g}").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        raster = folder / "mosaic.vrt"
        x_px, y_px = options.origin
        write_mosaic(options.mosaic.resolve(), raster, width=side, height=side, x_px=x_px, y_px=y_px)
        done = run(raster, folder, threads=options.threads, model=options.model)
        mpx = side * side / 1e6
        print(
            f"{mpx:7.1f} {done['megapixels']:8.1f} {done['buildings']:9d} {done['wall_s'] / mpx:7.3f} "
            f"{done['cpu_s'] / mpx:9.3f} {done['peak_bytes'] / 1e9:8.2f}"
        )
        print("        " + ", ".join(f"{name} {seconds:g}" for name, seconds in done["stages"].items()), flush=True)


if __name__ == "__main__":
    main()
