"""Packs generated scenes of every style into a chip folder.

    python benchmarks/pack_scene_chips.py chips/scenes 120
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import STYLES
from cadastral_vectorizer.engine.scenes.scene import generate_scene
from rasterio.features import rasterize

SIZE_PX = 704
PIXEL_M = (0.12, 0.28)


def main(target: Path, count: int) -> None:
    styles = [s for s in STYLES if s != "mixed"]
    with ChipWriter(target, info={"generated": "cadastral_vectorizer.engine.scenes"}) as writer:
        for index in range(count):
            rng = np.random.default_rng(index)
            style = styles[index % len(styles)]
            pixel_m = float(np.exp(rng.uniform(*np.log(PIXEL_M))))
            scene = generate_scene(
                width_px=SIZE_PX, height_px=SIZE_PX, pixel_m=pixel_m, style=style,
                density=float(rng.uniform(0.4, 1.0)), seed=10_000 + index,
            )  # fmt: skip
            labels = np.zeros((SIZE_PX, SIZE_PX), np.int32)
            for value, outline in enumerate(scene.outlines, start=1):
                if (mask := rasterize([outline], labels.shape) > 0).any():
                    labels[mask] = value
            writer.add(
                f"scene-{index:04d}", scene.image, labels, split="train", source=f"scene-{style}", pixel_m=pixel_m
            )
            print(f"{index:4d} {style:18} {pixel_m:.3f} m {len(scene.outlines)} buildings")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
