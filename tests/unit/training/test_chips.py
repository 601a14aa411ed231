"""Chip folders: what is written comes back, and damage ends in a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cadastral_vectorizer.engine.chips.folder import ChipWriter, encode_rle
from cadastral_vectorizer.engine.errors import TrainingError
from cadastral_vectorizer.engine.training.chips import UNKNOWN, decode_rle, load_chips
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_come_back(mask):
    assert (decode_rle(encode_rle(mask)) == mask).all()


def scene():
    labels = np.zeros((40, 60), np.int32)
    labels[5:20, 5:25] = 1
    labels[9:13, 10:14] = 0  # a courtyard
    labels[5:20, 25:40] = 2  # shares a wall
    labels[30:, :] = UNKNOWN
    image = np.full((40, 60, 3), (200, 60, 20), np.uint8)
    return image, labels


def write(folder):
    with ChipWriter(folder, info={"licence": "none"}) as writer:
        writer.add("a", *scene(), split="train", source="somewhere", pixel_m=0.2)
        writer.add("b", *scene(), split="val", source="elsewhere", pixel_m=0.1)


def test_labels_holes_and_unknown_areas_come_back(tmp_path):
    write(tmp_path)
    chip = load_chips(tmp_path, "train")[0]
    assert (chip.labels == scene()[1]).all()
    assert (chip.name, chip.source, chip.pixel_m, chip.buildings) == ("a", "somewhere", 0.2, 2)
    assert abs(chip.image.astype(int) - scene()[0]).max() < 6  # RGB order kept through JPEG


def test_places_marked_as_no_building_come_back_as_ground(tmp_path):
    image, labels = scene()
    marked = np.zeros(labels.shape, bool)
    marked[22:28, 44:52] = True
    with ChipWriter(tmp_path) as writer:
        writer.add("a", image, labels, split="train", source="s", pixel_m=0.2, negatives=[marked])
    (chip,) = load_chips(tmp_path)
    assert chip.negatives == ((48.0, 25.0),) and (chip.labels == labels).all()


def test_splits_are_apart(tmp_path):
    write(tmp_path)
    assert [c.name for c in load_chips(tmp_path, "val")] == ["b"]
    assert len(load_chips(tmp_path)) == 2


def test_a_folder_without_chips_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"annotations.json is missing"):
        load_chips(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"images": 3, "annotations": []}', '{"images": [{}], "annotations": []}']
)
def test_damaged_annotations_are_refused(tmp_path, text):
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(TrainingError):
        load_chips(tmp_path)


def test_a_missing_image_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "b.jpg").unlink()
    with pytest.raises(TrainingError, match="b.jpg"):
        load_chips(tmp_path)


def test_an_image_outside_the_folder_is_refused(tmp_path):
    write(tmp_path / "chips")
    (tmp_path / "secret.jpg").write_bytes((tmp_path / "chips" / "images" / "a.jpg").read_bytes())
    file = tmp_path / "chips" / "annotations.json"
    coco = json.loads(file.read_text())
    coco["images"][0]["file_name"] = "../secret.jpg"
    file.write_text(json.dumps(coco))
    with pytest.raises(TrainingError, match="outside"):
        load_chips(tmp_path / "chips")


def test_damaged_run_lengths_are_refused(tmp_path):
    write(tmp_path)
    file = tmp_path / "annotations.json"
    coco = json.loads(file.read_text())
    coco["annotations"][0]["segmentation"]["counts"] = [1, 2, 3]
    file.write_text(json.dumps(coco))
    with pytest.raises(TrainingError, match="damaged"):
        load_chips(tmp_path)
