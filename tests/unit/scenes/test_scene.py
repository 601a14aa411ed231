"""Generated scenes: truth that fits the pixels, clean geometry, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.config import STYLES
from cadastral_vectorizer.engine.errors import Cancelled, InvalidParameter
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.scenes import Scene, generate_scene
from cadastral_vectorizer.engine.scenes.styles import MIXES, TABLE


def small(style: str = "mixed", **changes: float) -> Scene:
    """A scene of about 75 x 75 m."""
    values = {"width_px": 300, "height_px": 280, "pixel_m": 0.25, "density": 0.9, "seed": 3} | changes
    return generate_scene(style=style, **values)


@pytest.fixture(scope="module", params=STYLES)
def scene(request: pytest.FixtureRequest) -> Scene:
    return small(request.param)


def test_styles_offered_are_the_styles_known() -> None:
    assert set(STYLES) == set(TABLE) | set(MIXES)


def test_every_style_renders_an_image_with_contrast(scene: Scene) -> None:
    assert scene.image.shape == (280, 300, 3)
    assert scene.image.dtype == np.uint8
    assert scene.image.std() > 8


def test_outlines_are_valid_single_polygons_inside_the_image(scene: Scene) -> None:
    for outline in scene.outlines:
        assert outline.geom_type == "Polygon"
        assert outline.is_valid, shapely.is_valid_reason(outline)
        assert shapely.covers(shapely.box(0, 0, 300, 280), outline)


def test_outlines_never_overlap_and_common_walls_have_common_vertices(scene: Scene) -> None:
    outlines = np.array(scene.outlines, dtype=object)
    assert shapely.coverage_is_valid(outlines)
    assert shapely.union_all(outlines).area == pytest.approx(shapely.area(outlines).sum(), rel=1e-9)


def test_the_same_arguments_give_the_same_scene() -> None:
    first, again, other = small(seed=11), small(seed=11), small(seed=12)
    assert (first.image == again.image).all()
    assert [o.wkb for o in first.outlines] == [o.wkb for o in again.outlines]
    assert not (first.image == other.image).all()


def test_nothing_outside_the_arguments_decides() -> None:
    np.random.seed(1)  # noqa: NPY002  (the global state is what must not matter)
    first = small("informal", seed=4, width_px=150)
    np.random.seed(2)  # noqa: NPY002
    assert (first.image == small("informal", seed=4, width_px=150).image).all()


def test_buildings_grow_with_density() -> None:
    counts = [
        sum(
            len(small("european_suburb", pixel_m=0.45, width_px=220, density=density, seed=seed).outlines)
            for seed in (1, 2)
        )
        for density in (0.0, 0.35, 1.0)
    ]
    assert counts[0] == 0
    assert 0 < counts[1] < counts[2]


@pytest.mark.parametrize("style", ["terraces", "dense_town"])
def test_courtyards_and_shared_walls_appear(style: str) -> None:
    scenes = [small(style, pixel_m=0.4, seed=seed) for seed in range(4)]
    outlines = [np.array(scene.outlines, dtype=object) for scene in scenes]
    touching = [shapely.STRtree(some).query(some, predicate="touches").shape[1] for some in outlines]
    assert sum(touching) > 40
    if style == "dense_town":
        assert any(len(outline.interiors) for some in outlines for outline in some)


def test_unknown_style_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"style is 'brutalist'\. Choose one of mixed, "):
        small("brutalist")


def test_cancelling_stops_the_work() -> None:
    reporter = Reporter()
    reporter.cancel()
    with pytest.raises(Cancelled):
        generate_scene(width_px=64, height_px=64, pixel_m=0.3, reporter=reporter)
