"""Generated scenes as training chips, so that a detector does not forget what it has not seen for a while."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rasterio.features import rasterize

from .chips.folder import ChipWriter
from .config import STYLES
from .progress import Reporter
from .scenes.scene import generate_scene

SIZE_PX = 704
PIXEL_M = (0.12, 0.28)
SOURCE = "generated"


def write_scene_chips(
    folder: str | Path, count: int, *, seed: int, reporter: Reporter, by_style: bool = False, kept_aside: int = 0
) -> None:
    """Write a chip folder of `count` scenes of all styles in turn, split ``train``.

    Args:
        kept_aside: as many of them, spread over the styles, are of the split ``val`` instead.
        by_style: each style is a source of its own, ``scene-<style>``, to be weighted apart; else all
            are the source `SOURCE`.

    Raises:
        OutputError: the folder cannot be written.
    """
    styles = [style for style in STYLES if style != "mixed"]
    with ChipWriter(folder, info={"generated": __name__}) as writer:
        for index in range(count):
            reporter.progress(index / count, f"Generating scene {index + 1} of {count}")
            rng = np.random.default_rng((seed, index))
            pixel_m = float(np.exp(rng.uniform(*np.log(PIXEL_M))))
            style = styles[index % len(styles)]
            scene = generate_scene(
                width_px=SIZE_PX, height_px=SIZE_PX, pixel_m=pixel_m, style=style,
                density=float(rng.uniform(0.4, 1.0)), seed=int(rng.integers(2**31)),
            )  # fmt: skip
            labels = np.zeros((SIZE_PX, SIZE_PX), np.int32)
            for value, outline in enumerate(scene.outlines, start=1):
                labels[rasterize([outline], labels.shape) > 0] = value
            source = f"scene-{style}" if by_style else SOURCE
            split = "val" if (index + 1) * kept_aside // count > index * kept_aside // count else "train"
            writer.add(f"scene-{index:04d}", scene.image, labels, split=split, source=source, pixel_m=pixel_m)
