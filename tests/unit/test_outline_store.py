"""Outlines that wait on the disk come back to the last bit, and a disk that is full is a sentence."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.errors import JobFolderError
from cadastral_vectorizer.engine.outline_store import OutlineStore


def make_outlines(number, seed=0):
    """Rings of many vertices, some with a hole, far from the origin."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(number):
        x, y = rng.uniform((4e5, 5e6), (5e5, 6e6))
        ring = shapely.Point(x, y).buffer(rng.uniform(2, 20), quad_segs=int(rng.integers(1, 60)))
        shape = ring.difference(shapely.Point(x, y).buffer(0.5)) if n % 3 == 0 else ring
        name = f"{rng.integers(2**40):012x}"
        found.append(Outline(name, shape, score=rng.random(), refined=n % 2 == 0, edge=n % 5 == 0))
    return found


def test_what_was_put_away_comes_back_sorted_and_bit_by_bit(tmp_path):
    outlines = make_outlines(60)
    with OutlineStore(tmp_path) as store:
        for part in (outlines[:25], [], outlines[25:26], outlines[26:]):
            store.add(part)
        assert len(store) == 60
        found = store.take()
        assert [f.id for f in store.take()] == [f.id for f in found]
    expected = sorted(outlines, key=lambda o: o.id)
    assert found == expected
    for one, other in zip(found, expected, strict=True):
        assert shapely.to_wkb(one.geometry) == shapely.to_wkb(other.geometry)
    assert list(tmp_path.iterdir()) == []  # not even a kill leaves it behind


def test_a_folder_that_is_gone_is_a_sentence(tmp_path):
    with pytest.raises(JobFolderError, match="cannot be kept in the job folder"):
        OutlineStore(tmp_path / "gone")


def test_a_full_disk_is_a_sentence(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        with OutlineStore(tmp_path) as store, pytest.raises(JobFolderError, match="is full.*Free some space"):
            store.add(make_outlines(100))
    finally:
        subprocess.run(["umount", tmp_path], check=True)
