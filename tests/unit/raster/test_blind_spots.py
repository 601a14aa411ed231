"""Blocks that cannot be read: left out only by choice, noted over interruptions, marked in the result."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.blind_spots import REASON, keep_seen, mark_blind_spots
from cadastral_vectorizer.engine.contracts import Instance, Outline, Tile
from cadastral_vectorizer.engine.errors import JobFolderError, RasterError
from cadastral_vectorizer.engine.raster.source import RasterSource
from cadastral_vectorizer.engine.raster.unreadable import UnreadableBlocks
from rasterio.transform import Affine

SIDE, WIDTH, HEIGHT = 128, 512, 384
UTM = "EPSG:32633"


def damage_block(path, column, row):
    """Overwrite a block of a compressed, tiled GeoTIFF with noise."""
    with rasterio.open(path) as dataset:
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
        )
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(255 for _ in range(size)))


@pytest.fixture(params=["north-up", "south-up"])
def damaged(write_raster, request):
    """A raster whose block in the third column and second row of the *picture* is broken, whichever way it is up."""
    image = np.random.default_rng(0).integers(1, 255, (3, HEIGHT, WIDTH), np.uint8)
    options = {"tiled": True, "blockxsize": SIDE, "blockysize": SIDE, "compress": "deflate"}
    if request.param == "south-up":
        path = write_raster(image[:, ::-1], transform=Affine(0.2, 0, 5e5, 0, 0.2, 5.5e6 - HEIGHT * 0.2), **options)
        damage_block(path, 2, HEIGHT // SIDE - 2)
    else:
        path = write_raster(image, **options)
        damage_block(path, 2, 1)
    return path


def square(number, x_px, y_px, side_px=10):
    """An outline of pixels of the picture, in metres."""
    x, y = 5e5 + 0.2 * x_px, 5.5e6 - 0.2 * y_px
    return Outline(str(number), shapely.box(x, y - 0.2 * side_px, x + 0.2 * side_px, y), check="before")


@pytest.mark.parametrize("pixel_m", [None, 0.3])
def test_what_lies_beside_a_skipped_block_is_marked_and_nothing_else(damaged, pixel_m):
    outlines = [square(1, 244, 150), square(2, 300, 118), square(3, 100, 100), square(4, 400, 300), square(5, 386, 200)]
    with RasterSource.open(damaged, pixel_m=pixel_m, skip_unreadable=True) as source:
        _, valid = source.read((0, 0, source.grid.width, source.grid.height))
        share = valid.mean()
        marked = mark_blind_spots(outlines, source, UTM)
        notes = source.notes
    assert share == pytest.approx(1 - SIDE * SIDE / (WIDTH * HEIGHT), abs=0.01)
    assert [o.id for o in marked if o.edge] == ["1", "2", "5"]
    assert all((o.check == f"before; {REASON}") == o.edge for o in marked)
    assert "cannot be read and were left out" in notes[-1]


def test_what_a_network_sees_where_the_raster_shows_nothing_is_no_building():
    tile = Tile(0, 0, core=(100, 200, 180, 280), padded=(90, 190, 190, 290))
    valid = np.ones((100, 100), bool)
    valid[:, 50:] = False  # from x = 140 on

    def keep(x0, y0, x1, y1, mask=None):
        mask = np.full((y1 - y0, x1 - x0), 200, np.uint8) if mask is None else mask
        return keep_seen(Instance("i", (x0, y0, x1, y1), mask, 0.9), tile, valid)

    assert keep(100, 200, 130, 230).probability.all()
    for x in (120, 130):
        kept = keep(x, 200, x + 30, 230)
        assert kept.box == (x, 200, x + 30, 230)
        assert kept.probability[:, : 140 - x].all() and not kept.probability[:, 140 - x :].any()
    assert keep(131, 200, 161, 230) is None and keep(150, 200, 180, 230) is None
    ring = np.zeros((20, 40), np.uint8)
    ring[:, :8] = 255  # the box reaches into nothing, the mask does not
    assert np.array_equal(keep(132, 200, 172, 220, ring).probability, ring)


def test_without_the_choice_the_run_is_refused_before_it_begins(damaged):
    with RasterSource.open(damaged, pixel_m=None) as source, pytest.raises(RasterError, match="cannot be read"):
        _ = source.fingerprint


def test_a_stopped_run_remembers_what_its_finished_tiles_did_not_see(damaged, tmp_path):
    note = tmp_path / "unreadable.jsonl"
    with RasterSource.open(damaged, pixel_m=None, skip_unreadable=True) as source:
        source.keep_unreadable(note)
        source.read((0, 0, WIDTH, HEIGHT))
        first = source.unreadable
    with note.open("a") as file:
        file.write("\n[12, 3")  # torn by a crash
    with RasterSource.open(damaged, pixel_m=None, skip_unreadable=True) as again:
        again.keep_unreadable(note)
        assert again.unreadable == first and len(first) == 1
        assert len(mark_blind_spots([square(1, 244, 150)], again, UTM)) == 1
        assert mark_blind_spots([square(1, 244, 150)], again, UTM)[0].edge
    with RasterSource.open(damaged, pixel_m=None) as strict, pytest.raises(JobFolderError, match="has left out parts"):
        strict.keep_unreadable(note)


def test_the_note_survives_any_text_and_says_when_it_cannot_be_written(tmp_path):
    note = tmp_path / "unreadable.jsonl"
    note.write_bytes(b"\x00\xff{}[1,2,3,4]\n[[[[\n[1,2,3]\n[1, 2, 3, true]\n[5, 6, 7, 8]\n" + b"[" * 10_000)
    blocks = UnreadableBlocks()
    blocks.keep(note)
    assert blocks.boxes == ((5, 6, 7, 8),)
    blocks.add((1, 2, 3, 4))
    again = UnreadableBlocks()
    again.keep(note)
    assert again.boxes == ((1, 2, 3, 4), (5, 6, 7, 8))
    with pytest.raises(JobFolderError, match="cannot be"):
        UnreadableBlocks().keep(tmp_path / ("x" * 300))
    gone = UnreadableBlocks()
    gone.keep(tmp_path / "no folder" / "note")
    with pytest.raises(JobFolderError, match="cannot be written"):
        gone.add((0, 0, 1, 1))


def test_a_crs_from_outside_is_used_where_the_file_has_none_or_another(write_raster, noise):
    utm, other = (rasterio.crs.CRS.from_epsg(code).to_wkt() for code in (32633, 32634))
    with RasterSource.open(write_raster(noise, crs=None), pixel_m=None, crs=utm) as source:
        assert source.grid.crs_wkt == utm and not source.notes
    path = write_raster(noise)
    with RasterSource.open(path, pixel_m=None) as source:
        own = source.grid.crs_wkt
    with RasterSource.open(path, pixel_m=None, crs='PROJCS["my zone",' + utm.split(",", 1)[1]) as source:
        assert source.grid.crs_wkt == own and not source.notes  # another text, the same place
    with RasterSource.open(path, pixel_m=None, crs=other) as source:
        assert source.grid.crs_wkt == other
        assert "although the file itself names another" in source.notes[0]
    with pytest.raises(RasterError, match="is not understood"):
        RasterSource.open(write_raster(noise, crs=None), pixel_m=None, crs="nonsense")


@pytest.mark.slow
def test_a_run_that_met_a_damaged_block_goes_on_where_it_was_when_it_may_skip_it(write_raster, tmp_path):
    from cadastral_vectorizer.engine.config import VectorizeConfig
    from cadastral_vectorizer.engine.pipeline import vectorize
    from cadastral_vectorizer.engine.progress import Reporter

    class Heard(Reporter):
        def __init__(self):
            super().__init__()
            self.lines = []

        def log(self, message, level="info"):
            self.lines.append(message)

    side = 1152  # too large for the fingerprint to look at every pixel
    image = np.full((3, side, side), 90, np.uint8) + np.random.default_rng(0).integers(0, 9, (3, side, side), np.uint8)
    path = write_raster(image, tiled=True, blockxsize=SIDE, blockysize=SIDE, compress="deflate")
    damage_block(path, 7, 7)
    asked = {"raster": str(path), "output": str(tmp_path / "o.gpkg"), "batch_size": 1, "tile_size_px": 256}

    def run(folder, **settings):
        heard = Heard()
        result = vectorize(VectorizeConfig(job_folder=str(tmp_path / folder), **asked, **settings), heard)
        return result, heard.lines

    with pytest.raises(RasterError, match="same job folder"):
        run("job")
    result, lines = run("job", skip_unreadable=True)
    assert any(line.startswith("Continuing") for line in lines)
    assert any("1 blocks of the raster" in line for line in lines)
    assert result["buildings"] == run("fresh", skip_unreadable=True)[0]["buildings"]
    with pytest.raises(JobFolderError, match="has left out parts"):
        run("job")
