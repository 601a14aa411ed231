"""Bad input ends in one sentence, an exit code that is not zero, and nothing under the output's name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from osgeo import gdal, osr
from support import MODEL, QGIS_PROCESS, polygon_file, read_layer


@pytest.fixture
def refused(vectorize, tmp_path):
    """Vectorize into a fresh folder; returns the sentence after seeing that nothing was left there."""

    def run(raster, **parameters):
        folder = tmp_path / "results"
        folder.mkdir()
        done = vectorize(raster, folder / "out.gpkg", **parameters)
        sentence = done.sentence
        assert list(folder.iterdir()) == []
        return sentence

    return run


@pytest.fixture
def raster(tmp_path):
    """Write a raster: ``raster(bands=3, kind=gdal.GDT_Byte, crs=32633, size=256)``."""

    def write(bands=3, kind=gdal.GDT_Byte, crs=32633, size=256):
        path = str(tmp_path / "photo.tif")
        dataset = gdal.GetDriverByName("GTiff").Create(path, size, size, bands, kind)
        dataset.SetGeoTransform((500000, 0.3, 0, 4000000, 0, -0.3))
        if crs:
            reference = osr.SpatialReference()
            reference.ImportFromEPSG(crs)
            dataset.SetProjection(reference.ExportToWkt())
        scale = 255 if kind == gdal.GDT_Byte else 2047
        generator = np.random.default_rng(1)
        for band in range(1, bands + 1):
            dataset.GetRasterBand(band).WriteArray(generator.integers(0, scale, (size, size)))
        return path

    return write


def test_a_raster_that_is_missing(refused, tmp_path):
    assert "nowhere.tif" in refused(tmp_path / "nowhere.tif")


def test_a_raster_without_crs(refused, raster):
    sentence = refused(raster(crs=None))
    assert "has no coordinate system. Assign one" in sentence


@pytest.mark.parametrize(("bands", "kind"), [(1, gdal.GDT_Byte), (3, gdal.GDT_UInt16), (3, gdal.GDT_Float32)])
def test_other_bands_and_types_work_or_are_refused_in_a_sentence(vectorize, raster, tmp_path, bands, kind):
    output = tmp_path / "out.gpkg"
    done = vectorize(raster(bands=bands, kind=kind), output)
    if done.returncode == 0:
        assert len(read_layer(output)[0]) == 12
    else:
        assert len(done.sentence) > 30
        assert not output.exists()


def test_a_file_that_is_no_raster(refused, tmp_path):
    path = tmp_path / "text.tif"
    path.write_text("not a raster")
    assert "text.tif" in refused(path)


def test_a_raster_that_is_cut_off(refused, scene, tmp_path):
    path = tmp_path / "cut.tif"
    data = scene[0].read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert len(refused(path)) > 30


def test_an_area_outside_the_raster(refused, scene, tmp_path):
    area = polygon_file(tmp_path / "area.gpkg", ["POLYGON((0 0, 10 0, 10 10, 0 10, 0 0))"])
    assert "outside" in refused(scene[0], AREA=area).lower()


def test_an_area_without_size(refused, scene, tmp_path):
    point = "500000 4650000"
    area = polygon_file(tmp_path / "area.gpkg", [f"POLYGON(({point}, {point}, {point}, {point}))"])
    assert len(refused(scene[0], AREA=area)) > 30


def test_an_area_without_polygons(refused, scene, tmp_path):
    area = polygon_file(tmp_path / "area.gpkg", [])
    assert "no polygons" in refused(scene[0], AREA=area)


def test_a_model_package_with_a_wrong_hash(refused, scene, tmp_path):
    package = tmp_path / "package"
    with zipfile.ZipFile(MODEL) as archive:
        archive.extractall(package)
    weights = package / "detector.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert "wrong SHA-256" in refused(scene[0], MODEL=package)


def test_a_model_package_of_an_unknown_architecture(refused, scene, tmp_path):
    package = tmp_path / "package"
    with zipfile.ZipFile(MODEL) as archive:
        archive.extractall(package)
    manifest = json.loads((package / "model.json").read_text())
    manifest["detector"]["architecture"] = "from_the_future"
    (package / "model.json").write_text(json.dumps(manifest))
    assert "from_the_future" in refused(scene[0], MODEL=package)


def test_a_model_package_that_is_missing(refused, scene, tmp_path):
    assert "nothing.zip" in refused(scene[0], MODEL=tmp_path / "nothing.zip")


def test_an_output_that_cannot_be_written(vectorize, scene, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "cannot be written" in vectorize(scene[0], blocked / "out.gpkg").sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full(vectorize, scene, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        sentence = vectorize(scene[0], disk / "out.gpkg").sentence
        assert "cannot be written" in sentence or "space" in sentence or "disk" in sentence
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_missing_environment_is_one_sentence_that_says_what_to_run(vectorize, scene, tmp_path):
    profile = tmp_path / "profile"
    plugins = profile / "profiles" / "default" / "python" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "cadastral_vectorizer").symlink_to(QGIS_PROCESS.parent.parent)
    binary = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    variables = {
        **os.environ,
        "QGIS_CUSTOM_CONFIG_PATH": str(profile),
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_OPTS": "",
    }

    def call(*arguments):
        return subprocess.run([binary, *arguments], capture_output=True, text=True, env=variables, check=False)

    assert call("plugins", "enable", "cadastral_vectorizer").returncode == 0
    output = tmp_path / "out.gpkg"
    done = call("run", "cadastral:vectorizebuildings", "--", f"INPUT={scene[0]}", f"OUTPUT={output}")
    assert done.returncode != 0
    assert done.stderr.count("is not set up. Run 'Set up the environment' (cadastral:setupenvironment) first.") == 1
    assert not output.exists()
