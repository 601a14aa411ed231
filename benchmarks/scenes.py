"""Time of generated scenes, by style: `python benchmarks/scenes.py [--size-px 1024] [--pixel-m 0.2] [--seeds 3]`.

Prints one line per style: processor seconds per scene (one core), buildings, megapixels per second, and
the process's peak memory so far. Run with OMP_NUM_THREADS=1 for figures of one core.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from cadastral_vectorizer.engine.config import STYLES
from cadastral_vectorizer.engine.scenes import generate_scene


def main(argv: list[str] | None = None) -> None:
    """Measure and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=1024)
    parser.add_argument("--pixel-m", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--styles", nargs="*", default=STYLES, choices=STYLES)
    options = parser.parse_args(argv)
    generate_scene(width_px=64, height_px=64, pixel_m=0.3)  # first use of the libraries
    write = sys.stdout.write
    write(f"{'style':18}{'s/scene':>9}{'worst':>8}{'buildings':>11}{'Mpx/s':>8}{'peak MB':>9}\n")
    for style in options.styles:
        seconds, buildings = [], []
        for seed in range(options.seeds):
            start = time.process_time()
            scene = generate_scene(
                width_px=options.size_px, height_px=options.size_px, pixel_m=options.pixel_m, style=style, seed=seed
            )
            seconds.append(time.process_time() - start)
            buildings.append(len(scene.outlines))
        mean = sum(seconds) / len(seconds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        speed = options.size_px**2 / 1e6 / mean
        count = sum(buildings) / len(buildings)
        write(f"{style:18}{mean:9.2f}{max(seconds):8.2f}{count:11.0f}{speed:8.2f}{peak:9.0f}\n")


if __name__ == "__main__":
    main()
