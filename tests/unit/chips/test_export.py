"""Chips from orthophotos and outlines: nothing shared between splits, nothing lost in silence."""

from __future__ import annotations

import json
from collections import Counter

import cv2
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.chips.blocks import Block, choose_validation, windows
from cadastral_vectorizer.engine.config import ExportConfig
from cadastral_vectorizer.engine.errors import Cancelled, EngineError, OutputError, RasterError, VectorError
from cadastral_vectorizer.engine.export import export_chips
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.training.chips import load_chips
from rasterio.transform import from_origin

LEFT, TOP, PIXEL = 500_000.0, 5_200_000.0, 0.25
CRS = "EPSG:32633"
STEP = 5  # grey levels from cell to cell: JPEG cannot mix them up


class Listener(Reporter):
    """Keeps the log."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, event, **fields):
        if event == "log":
            self.lines.append((fields["level"], fields["message"]))


def write_raster(path, *, size=640, pixel=PIXEL, left=LEFT, top=TOP):
    """A raster whose red and green tell in which 4 m cell of ground a pixel lies; blue is never black."""
    y, x = np.mgrid[:size, :size]
    east = (left - LEFT + (x + 0.5) * pixel) // 4
    south = (TOP - top + (y + 0.5) * pixel) // 4
    image = np.stack((40 + STEP * (east % 42), 40 + STEP * (south % 42), np.full_like(east, 255))).astype(np.uint8)
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": CRS}
    with rasterio.open(path, "w", transform=from_origin(left, top, pixel, pixel), **profile) as file:
        file.write(image)
    return str(path)


def house(x, y, side=8.0):
    """A square whose upper left corner lies x metres east and y metres south of the raster's."""
    return shapely.box(LEFT + x, TOP - y - side, LEFT + x + side, TOP - y)


def write_layer(path, shapes, crs=CRS):
    gpd.GeoDataFrame(geometry=list(shapes), crs=CRS).to_crs(crs).to_file(path)
    return str(path)


HOUSES = [house(6 + 20 * i, 6 + 20 * j) for i in range(8) for j in range(8)]


def export(folder, shapes=HOUSES, *, rasters=None, crs=CRS, reporter=None, area=None, **changes):
    """Export; returns the result, the report and the chips."""
    rasters = rasters or (write_raster(folder / "a.tif"),)
    settings = {"pixel_m": PIXEL, "chip_px": 256, "overlap_px": 64, **changes}
    if area is not None:
        settings["area"] = write_layer(folder / "area.gpkg", [area])
    config = ExportConfig(rasters=tuple(rasters), annotations=write_layer(folder / "a.gpkg", shapes, crs),
                          output_folder=str(folder / "chips"), **settings)  # fmt: skip
    result = export_chips(config, reporter or Reporter())
    report = json.loads((folder / "chips" / "report.json").read_text())
    return result, report, load_chips(folder / "chips")


def ground(chip):
    """4 m cells of ground shown in a chip; the rims of what is blank are left out, JPEG smears them."""
    red, green, blue = (chip.image[..., k].astype(int) for k in range(3))
    sharp = cv2.erode((blue > 200).astype(np.uint8), np.ones((17, 17), np.uint8), borderValue=0) > 0
    cells = (np.rint((band[sharp] - 40) / STEP).astype(int).tolist() for band in (red, green))
    return {cell for cell, pixels in Counter(zip(*cells, strict=True)).items() if pixels > 8}


def interior(cells):
    """Cells whose neighbours are there, too: the others may straddle the border of a block."""
    return {(x, y) for x, y in cells if {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} <= cells}


def test_splits_share_no_ground(tmp_path):
    result, report, chips = export(tmp_path, chip_px=200, overlap_px=80)
    assert report["blocks"]["validation"] >= 1
    seen = {split: set() for split in ("train", "val")}
    for chip in chips:
        seen[chip.split] |= ground(chip)
    assert len(seen["val"]) > 50 and len(seen["train"]) > 300
    assert not seen["train"] & interior(seen["val"])
    assert not seen["val"] & interior(seen["train"])
    first = next(c for c in chips if c.split == "val")
    assert first.buildings and 0.1 < result["buildings"]["val"] / len(HOUSES) < 0.35


def test_a_second_raster_of_the_same_ground_shows_nothing_of_the_validation_blocks(tmp_path):
    rasters = (
        write_raster(tmp_path / "a.tif"),
        write_raster(tmp_path / "b.tif", left=LEFT + 13, top=TOP - 9, pixel=0.3, size=500),
    )
    _, _, chips = export(tmp_path, rasters=rasters)
    boxes = [c for c in chips if c.split == "val"]
    assert {c.source for c in chips} == {"a", "b"} and boxes
    kept_aside = set().union(*(interior(ground(c)) for c in boxes))
    assert len(kept_aside) > 20
    for chip in chips:
        if chip.split == "train":
            assert not ground(chip) & kept_aside, chip.name


def test_labels_are_the_outlines_and_holes_stay(tmp_path):
    court = house(60, 60, 30).difference(house(70, 70, 10))
    _, report, chips = export(tmp_path, [court, house(10, 10)], val_share=0.0, chip_px=640, overlap_px=0)
    (chip,) = chips
    assert report["annotations"]["with_holes"] == 1
    row, col = int(75 / PIXEL), int(75 / PIXEL)
    assert chip.labels[row, col] == 0 and chip.labels[int(65 / PIXEL), int(65 / PIXEL)] > 0
    assert (chip.labels == chip.labels[int(65 / PIXEL), int(65 / PIXEL)]).sum() == (30**2 - 10**2) / PIXEL**2
    assert (chip.labels == chip.labels[int(12 / PIXEL), int(12 / PIXEL)]).sum() == 8**2 / PIXEL**2


def test_outside_the_area_nothing_is_known(tmp_path):
    area = shapely.box(LEFT, TOP - 160, LEFT + 77, TOP)
    result, report, chips = export(tmp_path, area=area, val_share=0.0, chip_px=640, overlap_px=0)
    (chip,) = chips
    assert (chip.labels[:, int(77 / PIXEL) :] == -1).all() and (chip.labels[:, : int(77 / PIXEL) - 1] >= 0).all()
    assert result["used"] == 4 * 8
    assert report["skipped"] == {"outside the annotated area": 4 * 8}


def test_what_is_marked_as_no_building_is_known_ground_wherever_it_lies(tmp_path):
    """Two yards: one in the annotated area, one far outside, where nothing else is known."""
    area = shapely.box(LEFT, TOP - 40, LEFT + 40, TOP)
    yards = [house(22, 22, 6), house(115, 115, 10), house(900, 900), house(6, 6)]
    negatives = write_layer(tmp_path / "yards.gpkg", yards, "EPSG:4326")
    listener = Listener()
    _, report, chips = export(
        tmp_path, area=area, negatives=negatives, val_share=0.0, chip_px=640, overlap_px=0, reporter=listener
    )
    (chip,) = chips
    assert report["negatives"] == {"given": 4, "used": 2}
    assert sorted(tuple(round(v * PIXEL) for v in place) for place in chip.negatives) == [(25, 25), (120, 120)]
    assert (chip.labels[int(116 / PIXEL) : int(124 / PIXEL), int(116 / PIXEL) : int(124 / PIXEL)] == 0).all()
    assert chip.labels[int(128 / PIXEL), int(120 / PIXEL)] == -1
    assert chip.labels[int(10 / PIXEL), int(10 / PIXEL)] > 0  # outlined: the outline counts
    assert any("2 places marked as no building" in message for _, message in listener.lines)


def test_chips_of_marked_places_do_not_count_as_empty_ones(tmp_path):
    few = [house(6 + 20 * i, 6) for i in range(8)]
    negatives = write_layer(tmp_path / "yards.gpkg", [house(120, 120)])
    _, _, chips = export(tmp_path, few, chip_px=128, overlap_px=0, empty_share=0.0, val_share=0.0, negatives=negatives)
    assert [c.buildings for c in chips if c.negatives] == [0]


def test_another_crs_is_reprojected(tmp_path):
    _, _, straight = export(tmp_path, val_share=0.0, chip_px=640)
    (tmp_path / "degrees").mkdir()
    _, _, degrees = export(tmp_path / "degrees", crs="EPSG:4326", val_share=0.0, chip_px=640)
    a, b = (chips[0].labels > 0 for chips in (straight, degrees))
    assert (a != b).mean() < 1e-3 and a.sum() > 10_000


def test_what_is_skipped_is_counted_by_reason(tmp_path):
    corners = ((100, 10), (110, 20), (110, 10), (100, 20))
    bow = shapely.Polygon([(LEFT + x, TOP - y) for x, y in corners])
    two = shapely.MultiPolygon([house(50, 10), house(50, 40)])
    shapes = [house(10, 10), house(5000, 10), shapely.Polygon(), None, bow, two, house(80, 80, 0.4),
              house(10, 10)]  # fmt: skip
    listener = Listener()
    result, report, _ = export(tmp_path, shapes, reporter=listener)
    assert report["skipped"] == result["skipped"] == {
        "empty geometry": 2, "outside the rasters": 1, "too small, on no-data or covered by others": 2,
    }  # fmt: skip
    assert report["skipped_features"]["outside the rasters"] == [1]
    assert report["annotations"]["repaired"] == 1 and report["annotations"]["multi_part"] == 2
    assert any("outside the rasters" in message for _, message in listener.lines)


def test_coarse_rasters_are_not_magnified_and_fine_ones_are_averaged(tmp_path):
    rasters = (write_raster(tmp_path / "a.tif"), write_raster(tmp_path / "b.tif", pixel=0.5, size=320, left=LEFT + 200))
    shapes = [*HOUSES, *(house(206 + 20 * i, 6 + 20 * j) for i in range(6) for j in range(6))]
    _, report, chips = export(tmp_path, shapes, rasters=rasters, pixel_m=0.4)
    assert {r["name"]: round(r["pixel_m"], 3) for r in report["rasters"]} == {"a": 0.4, "b": 0.5}
    assert {round(c.pixel_m, 2) for c in chips} == {0.4, 0.5}


def test_empty_chips_stay_below_their_share_and_the_same_call_gives_the_same_chips(tmp_path):
    few = [house(6 + 20 * i, 6) for i in range(8)]
    first = export(tmp_path, few, chip_px=128, overlap_px=0, empty_share=0.5)
    names = [(c.name, int(c.labels.sum())) for c in first[2]]
    again = export(tmp_path, few, chip_px=128, overlap_px=0, empty_share=0.5)
    assert names == [(c.name, int(c.labels.sum())) for c in again[2]]
    train = [c for c in first[2] if c.split == "train"]
    assert 0 < sum(not c.buildings for c in train) <= 0.5 * len(train) + 1
    none = export(tmp_path, few, chip_px=128, overlap_px=0, empty_share=0.0)[2]
    assert all(c.buildings for c in none if c.split == "train")


def test_undrawn_surroundings_are_warned_of_unless_an_area_is_given(tmp_path):
    corner = [house(4, 4), house(16, 4), house(4, 16), house(16, 16)]
    listener = Listener()
    export(tmp_path, corner, reporter=listener)
    assert any(level == "warning" and "no annotated area" in message for level, message in listener.lines)
    listener = Listener()
    export(tmp_path, corner, reporter=listener, area=shapely.box(LEFT, TOP - 40, LEFT + 40, TOP))
    assert not [message for level, message in listener.lines if "no annotated area" in message]


def test_overlapping_outlines_share_the_ground_and_the_smaller_one_stays_whole(tmp_path):
    _, report, chips = export(tmp_path, [house(20, 20, 20), house(36, 36)], val_share=0.0, chip_px=640)
    labels = chips[0].labels
    sizes = sorted(np.bincount(labels[labels > 0])[1:] * PIXEL**2)
    assert report["used"] == 2 and sizes == [8 * 8, 20 * 20 - 4 * 4]


def test_three_polygons_far_apart_leave_one_for_validation(tmp_path):
    result, _, _ = export(tmp_path, [house(10, 10), house(100, 10), house(60, 120)])
    assert result["buildings"]["val"] == 1 and result["buildings"]["train"] == 2


@pytest.mark.parametrize(
    ("shapes", "changes", "kind", "sentence"),
    [
        ([shapely.Polygon()], {}, VectorError, "no usable polygon"),
        ([shapely.Point(LEFT, TOP)], {}, VectorError, "no usable polygon"),
        ([house(9000, 9000)], {}, VectorError, "lies on a raster"),
        (HOUSES, {"area": shapely.box(LEFT + 900, TOP, LEFT + 999, TOP + 99)}, VectorError, "annotated area"),
        (HOUSES, {"negatives": "missing.gpkg"}, VectorError, "missing.gpkg"),
        (HOUSES, {"rasters": ("missing.tif",)}, RasterError, "missing.tif"),
        (HOUSES, {"chip_px": 40}, EngineError, "chip_px"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, shapes, changes, kind, sentence):
    with pytest.raises(kind, match=sentence):
        export(tmp_path, shapes, **changes)
    assert not (tmp_path / "chips").exists() and not (tmp_path / "chips.part").exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not empty"):
        export(tmp_path)
    assert (tmp_path / "chips" / "letter.txt").read_text() == "dear"


def test_cancel_leaves_nothing_behind(tmp_path):
    reporter = Reporter()
    reporter.cancel()
    with pytest.raises(Cancelled):
        export(tmp_path, reporter=reporter)
    assert not list(tmp_path.glob("chips*"))


def test_windows_cover_and_stay_inside():
    boxes = list(windows(1000, 300, side_px=256, overlap_px=64))
    assert {b[2] - b[0] for b in boxes} == {256} and {b[3] - b[1] for b in boxes} == {256}
    seen = np.zeros((300, 1000), bool)
    for x0, y0, x1, y1 in boxes:
        seen[y0:y1, x0:x1] = True
    assert seen.all()
    assert list(windows(100, 50, side_px=256, overlap_px=64)) == [(0, 0, 100, 50)]


@pytest.mark.parametrize("seed", range(5))
def test_validation_blocks_leave_something_to_learn_from(seed):
    two = [Block(0, 0, i, (0, 0, 1, 1), n) for i, n in enumerate((5, 100))]
    assert len(choose_validation(two, share=0.2, seed=seed)) == 1
    assert choose_validation(two[:1], share=0.2, seed=seed) == []
    many = [Block(0, i, 0, (0, 0, 1, 1), 10) for i in range(20)]
    assert sum(b.buildings for b in choose_validation(many, share=0.25, seed=seed)) == 50
