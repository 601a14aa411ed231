"""Folders and files that somebody else prepared, or that change while they are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from cadastral_vectorizer.engine.errors import JobFolderError, RasterError
from cadastral_vectorizer.engine.job_folder import require_plain
from cadastral_vectorizer.engine.journal import FILE_NAME, Journal
from cadastral_vectorizer.engine.raster.source import RasterSource
from rasterio.transform import from_origin


def write_photo(path, side=512):
    pixels = np.random.default_rng(0).integers(1, 255, (3, side, side), np.uint8)
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", crs="EPSG:32633",
        transform=from_origin(5e5, 5.5e6, 0.2, 0.2), **options,
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    return path


@pytest.mark.parametrize("name", [FILE_NAME, "unreadable.jsonl", "done.part", "raster-1/journal.sqlite", "folder"])
def test_a_job_folder_with_links_is_refused_and_nothing_is_written_through_them(tmp_path, name):
    victim, folder = tmp_path / "victim", tmp_path / "job"
    victim.write_text("precious")
    (folder / name).parent.mkdir(parents=True)
    (folder / name).symlink_to(tmp_path if name == "folder" else victim)
    with pytest.raises(JobFolderError, match="which no job has put there"):
        Journal.open(folder, {"raster": "r"})
    assert victim.read_text() == "precious"


def test_a_pipe_in_a_job_folder_does_not_hang_and_a_linked_folder_will_do(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    Journal.open(linked, {"raster": "r"}).close()
    require_plain(linked)
    os.mkfifo(folder / "unreadable.jsonl")
    with pytest.raises(JobFolderError, match="unreadable.jsonl"):
        require_plain(linked)
    require_plain(tmp_path / "not there yet")


@pytest.mark.parametrize("how", ["cut", "emptied", "overwritten", "removed"])
def test_a_raster_that_changes_while_it_is_read_ends_in_a_sentence_or_reads_on(tmp_path, how):
    path = write_photo(tmp_path / "photo.tif", side=1500)
    with RasterSource.open(path, pixel_m=None) as source:
        source.read((0, 0, 100, 100))
        data = path.read_bytes()
        if how == "cut":
            os.truncate(path, len(data) // 3)
        elif how == "emptied":
            os.truncate(path, 0)
        elif how == "overwritten":
            path.write_bytes(bytes(len(data)))
        else:
            path.unlink()
        if how == "removed":  # what is open stays readable
            assert source.read((1200, 1200, 1500, 1500))[1].all()
        else:
            with pytest.raises(RasterError, match="cannot be read at pixels .* run again with the same job folder"):
                source.read((1200, 1200, 1500, 1500))


@pytest.mark.parametrize("name", [
    "$(touch evil).tif", "a;touch evil;.tif", "`touch evil`.tif", "it's \"so\" & <so>.tif", "-o.tif", "%s%n.tif",
    "ünï ćödé 建物.tif", "a\nb.tif",
])  # fmt: skip
def test_no_name_of_a_file_is_taken_for_anything_else(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_photo(tmp_path / name, side=256)
    for given in (path, Path(name)):
        with RasterSource.open(given, pixel_m=0.3) as source:
            assert source.read((0, 0, 50, 50))[1].all()
    assert not list(tmp_path.rglob("evil"))


def test_a_sentence_stays_one_line_whatever_the_name(tmp_path):
    path = tmp_path / "two\nlines.tif"
    path.write_text("text")
    with pytest.raises(RasterError) as caught:
        RasterSource.open(path, pixel_m=None)
    assert "\n" not in str(caught.value)
