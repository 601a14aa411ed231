"""Model packages: written, opened, and refused with a sentence when they are not what they claim."""

from __future__ import annotations

import json
import pickle
import zipfile

import pytest
import torch
from cadastral_vectorizer.engine.errors import ModelPackageError
from cadastral_vectorizer.models.detector import build_detector
from cadastral_vectorizer.models.package import open_package, write_package

TINY = {"widths": [16, 16, 32, 32], "fpn_channels": 16, "rpn_channels": 16, "box_width": 32, "mask_width": 16,
        "dense_width": 16}  # fmt: skip


@pytest.fixture
def package(tmp_path):
    torch.manual_seed(3)
    model = build_detector("compact", TINY)
    return write_package(
        tmp_path / "m.zip", name="tiny", pixel_m=0.2, networks={"detector": ("compact", TINY, model.state_dict())},
        training={"sources": []}, metrics={}, tile_size_px=256,
    ), model  # fmt: skip


def rewrite(path, **changes):
    """The package with some of its files replaced."""
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    files.update({name.replace("__", "."): data for name, data in changes.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def change_manifest(path, **changes):
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("model.json"))
    rewrite(path, model__json=json.dumps({**manifest, **changes}).encode())


def test_weights_come_back_in_half_precision(package):
    opened, model = package
    loaded = opened.detector().state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor.half().float() if tensor.is_floating_point() else tensor)
    assert opened.manifest["tile_size_px"] == 256 and opened.name.startswith("tiny (")


def test_a_folder_is_a_package_too(package, tmp_path):
    opened, _ = package
    with zipfile.ZipFile(opened.path) as archive:
        archive.extractall(tmp_path / "folder")
    assert open_package(tmp_path / "folder").hash == opened.hash


def test_wrong_hash_is_refused(package):
    opened, _ = package
    rewrite(opened.path, detector__safetensors=b"\0" * 100)
    with pytest.raises(ModelPackageError, match="wrong SHA-256"):
        open_package(opened.path).detector()


def test_a_pickle_in_place_of_weights_is_never_run(package, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    import hashlib

    data = pickle.dumps(Bomb())
    opened, _ = package
    entry = {**opened.manifest["detector"], "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(opened.path, detector__safetensors=data)
    change_manifest(opened.path, detector=entry)
    with pytest.raises(ModelPackageError, match="no safetensors"):
        open_package(opened.path).detector()
    assert not (tmp_path / "boom").exists()


def test_unknown_architecture_is_refused(package):
    opened, _ = package
    change_manifest(opened.path, detector={**opened.manifest["detector"], "architecture": "magic"})
    with pytest.raises(ModelPackageError, match="magic"):
        open_package(opened.path).detector()


def test_weights_of_another_shape_are_refused(package):
    opened, _ = package
    change_manifest(opened.path, detector={**opened.manifest["detector"], "parameters": {**TINY, "box_width": 48}})
    with pytest.raises(ModelPackageError, match="do not fit"):
        open_package(opened.path).detector()


def test_missing_refiner_is_said(package):
    opened, _ = package
    assert not opened.has_refiner
    with pytest.raises(ModelPackageError, match="no refiner"):
        opened.refiner()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 99}, {"bands": 8}, {"pixel_m": "large"}, {"pixel_m": 1e9}, {"name": None},
        {"detector": {"architecture": "compact", "parameters": {}, "file": "../../etc/passwd", "sha256": "0" * 64}},
        {"detector": {"architecture": "compact", "parameters": {}, "file": "/etc/passwd", "sha256": "0" * 64}},
        {"detector": {"architecture": "compact"}}, {"detector": 7},
    ],
)  # fmt: skip
def test_a_manifest_that_breaks_the_contract_is_refused(package, changes):
    opened, _ = package
    change_manifest(opened.path, **changes)
    with pytest.raises(ModelPackageError):
        open_package(opened.path)


def test_missing_file_folder_and_other_files_are_refused(tmp_path):
    with pytest.raises(ModelPackageError, match="does not exist"):
        open_package(tmp_path / "none.zip")
    with pytest.raises(ModelPackageError, match="model.json"):
        open_package(tmp_path)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ModelPackageError, match="no readable model package"):
        open_package(tmp_path / "text.zip")


def test_a_zip_that_claims_a_huge_manifest_is_refused(package):
    opened, _ = package
    rewrite(opened.path, model__json=b" " * (5 << 20))
    with pytest.raises(ModelPackageError, match="larger"):
        open_package(opened.path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"format": 1}', b"\xff\xfe"])
def test_damaged_manifests_are_refused(package, text):
    opened, _ = package
    rewrite(opened.path, model__json=text)
    with pytest.raises(ModelPackageError):
        open_package(opened.path)
