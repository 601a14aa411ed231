"""Hostile packages, layers, chip and job folders: a sentence or a sound reading, never a traceback or a hang."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import check, meet  # noqa: E402

PROGRAM = Path(__file__).with_name("bad_inputs.py")


def test_some_bad_inputs_of_every_kind(tmp_path):
    reports = meet(PROGRAM, tmp_path, range(0, 144, 3))
    check(reports)
    assert len(reports) == 48 and len({report["what"] for report in reports}) >= 15
    assert {report["kind"] for report in reports} == {"sentence", "result"}
    assert not list(tmp_path.parent.rglob("evil*"))  # nothing was written where an archive wanted it


@pytest.mark.slow
def test_hundreds_of_bad_inputs_end_in_a_sentence_or_a_sound_reading(tmp_path):
    reports = []
    for first in range(0, 720, 120):
        reports += meet(PROGRAM, tmp_path, range(first, first + 120))
    check(reports)
    refused = [r for r in reports if r["kind"] == "sentence" or "refused" in r["outcome"]]
    assert len(reports) == 720 and len(refused) >= 400


def test_a_package_may_not_reach_outside_its_folder_or_hang(tmp_path):
    from cadastral_vectorizer.engine.errors import ModelPackageError
    from cadastral_vectorizer.models.manifest import BUNDLED
    from cadastral_vectorizer.models.package import open_package

    with zipfile.ZipFile(BUNDLED) as archive:
        manifest = archive.read("model.json")
    outside = tmp_path / "outside.json"
    outside.write_bytes(manifest)
    linked, piped, blocked = (tmp_path / name for name in ("linked", "piped", "pipe.zip"))
    linked.mkdir()
    (linked / "model.json").symlink_to(outside)
    with pytest.raises(ModelPackageError, match="outside its folder"):
        open_package(linked)
    piped.mkdir()
    os.mkfifo(piped / "model.json")
    with pytest.raises(ModelPackageError, match="is no file"):
        open_package(piped)
    os.mkfifo(blocked)
    with pytest.raises(ModelPackageError, match="is no file"):
        open_package(blocked)


def test_a_network_larger_than_its_weights_is_not_built(tmp_path):
    """Four thousand channels everywhere would fill the memory before the weights could be compared."""
    from cadastral_vectorizer.engine.errors import ModelPackageError
    from cadastral_vectorizer.models.package import open_package, write_package
    from cadastral_vectorizer.models.refiners import build_refiner

    state = build_refiner("guided", {"width": 8}).state_dict()
    package = write_package(
        tmp_path / "m.zip", name="large", pixel_m=0.2, networks={"refiner": ("guided", {"width": 4000}, state)},
        training={}, metrics={},
    )  # fmt: skip
    with pytest.raises(ModelPackageError, match="do not fit its architecture"):
        package.refiner()
    with pytest.raises(ModelPackageError, match="damaged.*parameter 100000"):
        write_package(
            tmp_path / "n.zip", name="huge", pixel_m=0.2, networks={"refiner": ("guided", {"width": 100_000}, state)},
            training={}, metrics={},
        )  # fmt: skip
    assert open_package(package.path).has_refiner
