"""Speed and memory of a whole run, and what it costs beyond the bare network.

    python benchmarks/vectorize.py ORTHOPHOTO [--model PACKAGE] [--threads N]

Prints Mpx/s of the working grid, seconds per stage, peak memory of the engine process, and the ratio of
the whole run to the networks' bare forward passes: the detector's on the same tiles with the pixels
already in memory, timed after the run, and the refiner's on the same crops, timed within it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from cadastral_vectorizer.engine.cli import keep_freed_memory
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.detect import usual_batch
from cadastral_vectorizer.engine.pipeline import plan, vectorize
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.raster.source import RasterSource
from cadastral_vectorizer.models.device import pick_bfloat16, pick_device
from cadastral_vectorizer.models.package import open_package
from cadastral_vectorizer.models.refiners import MaskRefiner
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


def time_forward_passes(config: VectorizeConfig) -> float:
    """Seconds the bare detector takes for all tiles, pixels already in memory."""
    package = open_package(config.model)
    device = pick_device(config.device)
    bfloat16 = pick_bfloat16(device, config.precision)
    model = package.detector().to(device, memory_format=torch.channels_last)
    seconds = 0.0
    with RasterSource.open(config.raster, pixel_m=package.manifest["pixel_m"]) as source, torch.inference_mode():
        tiles = plan(config, package, source.grid, None)
        batch = config.batch_size or usual_batch(device, tiles)
        for start in range(0, len(tiles), batch):
            pixels = [torch.from_numpy(source.read(t.padded)[0]) for t in tiles[start : start + batch]]
            height = max(p.shape[1] for p in pixels) + 63 & ~63
            width = max(p.shape[2] for p in pixels) + 63 & ~63
            padding = [(0, width - p.shape[2], 0, height - p.shape[1]) for p in pixels]
            images = torch.stack([torch.nn.functional.pad(p, q) for p, q in zip(pixels, padding, strict=True)])
            begin = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                model(images.to(device))
            seconds += time.perf_counter() - begin
    return seconds


@contextmanager
def refiner_clock() -> Iterator[list[float]]:
    """Collects the seconds of every forward pass of a refiner inside the block."""
    spent: list[float] = []
    begun: list[float] = []

    def before(module: torch.nn.Module, _: object) -> None:
        if isinstance(module, MaskRefiner):
            begun.append(time.perf_counter())

    def after(module: torch.nn.Module, _: object, __: object) -> None:
        if isinstance(module, MaskRefiner):
            spent.append(time.perf_counter() - begun.pop())

    hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after)
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raster")
    parser.add_argument("--model", default="")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        config = VectorizeConfig(
            raster=options.raster, output=str(Path(folder) / "b.gpkg"), job_folder=folder, model=options.model,
            threads=options.threads,
        )  # fmt: skip
        begin = time.perf_counter()
        open_package(config.model).detector()
        start_up = time.perf_counter() - begin
        with refiner_clock() as refining:
            result = vectorize(config, Reporter())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    detecting = time_forward_passes(config)
    bare = detecting + sum(refining)
    seconds = result["seconds"]
    print(f"{result['megapixels']:.1f} Mpx, {result['buildings']} buildings, {result['device']} {result['precision']}")
    print(f"whole run      {seconds:8.2f} s  {result['megapixels'] / seconds:6.2f} Mpx/s")
    for name, value in result["stages"].items():
        print(f"  {name:12} {value:8.2f} s  {value / seconds:6.1%}")
    print(f"start-up       {start_up:8.2f} s  (importing torchvision, before the run; once per process)")
    print(f"bare detector  {detecting:8.2f} s  {result['megapixels'] / detecting:6.2f} Mpx/s")
    print(f"bare refiner   {sum(refining):8.2f} s")
    print(f"whole run / bare networks {seconds / bare:.2f}")
    print(f"peak memory of the engine {peak:.2f} GiB")


if __name__ == "__main__":
    main()
