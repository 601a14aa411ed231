"""A whole scene: land is cut, built on, painted, lit and photographed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from ..config import STYLES, require_choice
from ..errors import InvalidParameter
from ..progress import Reporter
from .blocks import Plan, use_block
from .buildings import paint_building
from .camera import photograph
from .canvas import Canvas, Sun
from .ground import cover, mark_street
from .outlines import finish_outlines, without_overlaps
from .palettes import pick
from .parcels import Bend, lay_streets
from .styles import MIXES, TABLE
from .trees import plant_groves

MARGIN_M = 25.0
LARGEST_MPX = 100  # about 6 GB of memory


@dataclass(frozen=True)
class Scene:
    """A generated orthophoto and its truth.

    Attributes:
        image: uint8[H, W, 3] RGB.
        outlines: visible roof outlines in pixel coordinates (see `engine.contracts`), clipped to the
            image, without overlaps; common walls have the same vertices on both sides.
        style: the style asked for.
    """

    image: np.ndarray
    outlines: tuple[shapely.Polygon, ...]
    style: str


def generate_scene(
    *,
    width_px: int,
    height_px: int,
    pixel_m: float,
    style: str = "mixed",
    density: float = 0.8,
    seed: int = 1,
    reporter: Reporter | None = None,
) -> Scene:
    """Generate an orthophoto and its true building outlines; the same arguments give the same scene.

    Args:
        width_px, height_px: size of the image; pixel_m: ground size of a pixel in metres.
        style: one of `config.STYLES`; ``mixed`` puts two or three of them side by side.
        density: share of parcels that carry a building, 0..1.
        reporter: gets progress and may cancel.

    Raises:
        InvalidParameter: the style is unknown or the scene too large.
    """
    require_choice("style", style, STYLES)
    if width_px * height_px > LARGEST_MPX * 1e6:
        raise InvalidParameter(
            f"A scene of {width_px} x {height_px} pixels is larger than {LARGEST_MPX} megapixels",
            "Generate several smaller scenes with different seeds",
        )
    report = (reporter or Reporter()).progress
    rng = np.random.default_rng([seed, 20])
    size_m = (width_px * pixel_m, height_px * pixel_m)
    names = MIXES.get(style, (style,))
    if len(names) > 1:
        names = tuple(rng.choice(names, size=min(int(rng.integers(1, 4)), len(names)), replace=False))
    styles = [TABLE[str(name)] for name in names]
    canvas = Canvas(rng, width_px, height_px, pixel_m, _sun(rng, styles[0].overcast))
    main = styles[0]
    cover(canvas, _frame_ring(size_m), pick(rng, main.streets))
    blocks, streets = lay_streets(rng, main, size_m, MARGIN_M)
    bend = Bend(rng, main.curve_m)
    plan = Plan()
    for index, block in enumerate(blocks):
        report(0.3 * index / len(blocks), "Building streets and blocks")
        here = styles[int(rng.choice(len(styles), p=_shares(len(styles))))]
        use_block(canvas, plan, here, block, bend, density)
    for street in streets:
        mark_street(canvas, street, bend.ring(street.line, closed=False), main.cars)
    frame = shapely.box(0, 0, *size_m)
    near = [b for b in plan.buildings if shapely.intersects(frame, b.outline)]
    buildings = without_overlaps(near)
    by_height = sorted(buildings, key=lambda b: max(part.eave_m for part in b.parts))
    for index, building in enumerate(by_height):
        report(0.3 + 0.4 * index / len(by_height), "Painting roofs")
        paint_building(canvas, building)
    report(0.7, "Planting trees")
    plant_groves(canvas, plan.groves, buildings)
    report(0.9, "Taking the photograph")
    image = photograph(canvas, haze=main.haze)
    outlines = finish_outlines([b.outline for b in buildings], pixel_m, width_px, height_px)
    return Scene(image, tuple(outlines), style)


def _sun(rng: np.random.Generator, overcast: float) -> Sun:
    """A sun between low winter and high noon; overcast now and then."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(28, 72))
    ambient = rng.uniform(0.68, 0.93) if rng.random() < overcast else rng.uniform(0.28, 0.62)
    flat = np.cos(elevation)
    return Sun((flat * np.cos(azimuth), flat * np.sin(azimuth), float(np.sin(elevation))), float(ambient))


def _shares(count: int) -> np.ndarray:
    """The first style takes most of the blocks."""
    shares = 0.5 ** np.arange(count)
    return shares / shares.sum()


def _frame_ring(size_m: tuple[float, float]) -> np.ndarray:
    width, height = size_m
    return np.array([[-2.0, -2.0], [width + 2, -2], [width + 2, height + 2], [-2, height + 2]])
