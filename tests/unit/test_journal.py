from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cadastral_vectorizer.engine.contracts import Instance, Tile
from cadastral_vectorizer.engine.errors import JobFolderError
from cadastral_vectorizer.engine.journal import FILE_NAME, Journal

FINGERPRINT = {"raster": "abc", "model": "def", "parameters": {"score_threshold": 0.5, "tiles": [512, 96]}}


def make_tile(row: int, col: int) -> Tile:
    box = (col * 100, row * 100, col * 100 + 100, row * 100 + 100)
    return Tile(row, col, core=box, padded=box)


def make_instances(tile: Tile, count: int = 3) -> list[Instance]:
    rng = np.random.default_rng(tile.row * 1000 + tile.col)
    made = []
    for number in range(count):
        w, h = (int(n) for n in rng.integers(1, 60, size=2))
        x, y = (int(n) for n in rng.integers(0, 5000, size=2))
        made.append(
            Instance(
                id=f"{tile.row:03d}{tile.col:03d}-{number}",
                box=(x, y, x + w, y + h),
                probability=rng.integers(0, 256, size=(h, w), dtype=np.uint8),
                score=float(rng.random()),
                tile=(tile.row, tile.col),
                cut=bool(number % 2),
                edge=bool(number % 3),
                refined=number == 2,
            )
        )
    return made


def assert_same(found: Instance, expected: Instance) -> None:
    assert (found.id, found.box, found.score, found.tile) == (
        expected.id,
        expected.box,
        expected.score,
        expected.tile,
    )
    assert (found.cut, found.edge, found.refined) == (expected.cut, expected.edge, expected.refined)
    assert found.probability.dtype == np.uint8
    np.testing.assert_array_equal(found.probability, expected.probability)


def test_instances_come_back_to_the_last_bit_and_sorted(tmp_path):
    tiles = [make_tile(2, 1), make_tile(0, 3), make_tile(1, 1)]
    with Journal.open(tmp_path / "new" / "job", FINGERPRINT) as journal:
        for tile in tiles:
            journal.add(tile, make_instances(tile))
    with Journal.open(tmp_path / "new" / "job", FINGERPRINT) as journal:
        assert journal.done() == {(2, 1), (0, 3), (1, 1)}
        found = list(journal.instances())
        assert journal.notes == []
    expected = sorted((i for t in tiles for i in make_instances(t)), key=lambda i: i.id)
    assert len(found) == len(expected) == 9
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_an_empty_tile_counts_as_done(tmp_path):
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        journal.add(make_tile(4, 5), [])
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.done() == {(4, 5)} and list(journal.instances()) == []


def test_adding_a_tile_again_replaces_it(tmp_path):
    tile = make_tile(0, 0)
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        journal.add(tile, make_instances(tile, 5))
        journal.add(tile, make_instances(tile, 2))
        assert len(list(journal.instances())) == 2


def test_a_batch_is_recorded_whole_or_not_at_all(tmp_path):
    good, bad = make_tile(0, 0), make_tile(0, 1)
    broken = Instance("b", (0, 0, 5, 5), np.zeros((4, 5), np.uint8), 0.5)
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        with pytest.raises(ValueError, match="box"):
            journal.add_batch([(good, make_instances(good)), (bad, [broken])])
        assert journal.done() == set()
        journal.add_batch([(good, make_instances(good)), (bad, [])])
        assert journal.done() == {(0, 0), (0, 1)}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"raster": "other"}, "raster was"),
        ({"model": "other"}, "model was"),
        ({"parameters": {"score_threshold": 0.6, "tiles": [512, 96]}}, "parameters was"),
        ({"extra": 1}, "extra was nothing"),
    ],
)
def test_a_folder_of_another_job_is_refused_naming_what_differs(tmp_path, change, named):
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        journal.add(make_tile(0, 0), [])
    with pytest.raises(JobFolderError, match=named):
        Journal.open(tmp_path, {**FINGERPRINT, **change})
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.done() == {(0, 0)}


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    with Journal.open(tmp_path, FINGERPRINT):
        with pytest.raises(JobFolderError, match="in use by another run"):
            Journal.open(tmp_path, FINGERPRINT)
        code = textwrap.dedent(
            """
            import sys
            from cadastral_vectorizer.engine.journal import Journal
            from cadastral_vectorizer.engine.errors import JobFolderError
            try:
                Journal.open(sys.argv[1], {"raster": "abc"})
            except JobFolderError as error:
                print(error.what)
            """
        )
        run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
        assert "in use by another run" in run.stdout
    with Journal.open(tmp_path, FINGERPRINT):
        pass


WRITER = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[2])
    from test_journal_parts import FINGERPRINT, make_instances, make_tile
    from cadastral_vectorizer.engine.journal import Journal
    with Journal.open(sys.argv[1], FINGERPRINT) as journal:
        done = journal.done()
        for row in range(1000):
            if (row, 0) not in done:
                journal.add(make_tile(row, 0), make_instances(make_tile(row, 0)))
                print(row, flush=True)
    """
)


def test_a_writer_killed_at_any_moment_loses_nothing_it_reported(tmp_path):
    # The helpers of this file, importable by the writer under a name of their own.
    (tmp_path / "test_journal_parts.py").write_bytes(Path(__file__).read_bytes())
    job = tmp_path / "job"
    reported: set[int] = set()
    for delay_s in (0.0, 0.013, 0.05, 0.11):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, job, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        lines = [writer.stdout.readline()]  # wait until it works
        time.sleep(delay_s)
        os.kill(writer.pid, signal.SIGKILL)
        out, err = writer.communicate()
        assert lines[0], err
        new = {int(line) for line in (lines[0] + out).split("\n") if line.strip()}
        assert not new & reported, "finished work was done again"
        reported |= new
        with Journal.open(job, FINGERPRINT) as journal:
            done = {row for row, _ in journal.done()}
            assert reported <= done and len(done) <= len(reported) + 1
            reported = done
            for found in journal.instances():
                tile = make_tile(*found.tile)
                assert_same(found, next(i for i in make_instances(tile) if i.id == found.id))
            assert journal.notes == []


def filled(folder, tiles: int = 40) -> bytes:
    with Journal.open(folder, FINGERPRINT) as journal:
        journal.add_batch([(make_tile(r, 0), make_instances(make_tile(r, 0))) for r in range(tiles)])
    return (folder / FILE_NAME).read_bytes()


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory) -> bytes:
    return filled(tmp_path_factory.mktemp("filled"))


@pytest.mark.parametrize("seed", range(24))
def test_a_damaged_file_yields_only_what_was_written_or_starts_anew(tmp_path, journal_bytes, seed):
    data = bytearray(journal_bytes)
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        del data[int(rng.integers(1, len(data))) :]
    elif seed % 3 == 1:
        for _ in range(int(rng.integers(1, 30))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    else:
        start = int(rng.integers(len(data)))
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    (tmp_path / FILE_NAME).write_bytes(data)
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        done = journal.done()
        for found in journal.instances():
            assert found.tile in done
            assert_same(found, next(i for i in make_instances(make_tile(*found.tile)) if i.id == found.id))
        assert len(done) == 40 or journal.notes
        journal.add(make_tile(99, 99), make_instances(make_tile(99, 99)))
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.done() == done | {(99, 99)}


@pytest.mark.parametrize("junk", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_junk_in_place_of_the_journal_is_set_aside(tmp_path, junk):
    (tmp_path / FILE_NAME).write_bytes(junk)
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.done() == set()
        assert bool(journal.notes) == bool(junk)
        journal.add(make_tile(0, 0), [])
    assert len(list(tmp_path.glob("journal.damaged-*"))) == bool(junk)


def test_a_database_with_other_contents_is_set_aside(tmp_path):
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.executescript("CREATE TABLE tile (a); CREATE TABLE instance (b); CREATE TABLE job (c)")
    database.close()
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.done() == set() and "set aside" in journal.notes[0]


def test_a_mask_that_claims_a_monstrous_size_is_dropped(tmp_path):
    filled(tmp_path, 3)
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("UPDATE instance SET x1 = 2000000000, y1 = 2000000000 WHERE row = 1")
    database.commit()
    database.close()
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.done() == {(0, 0), (2, 0)}
        assert "1 tiles" in journal.notes[0]


def test_a_folder_that_cannot_be_made_or_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(JobFolderError, match="cannot be made"):
        Journal.open(file / "job", FINGERPRINT)
    (tmp_path / "job" / FILE_NAME).mkdir(parents=True)
    with pytest.raises(JobFolderError, match="cannot be read or written"):
        Journal.open(tmp_path / "job", FINGERPRINT)


def test_a_full_disk_ends_in_a_sentence_and_the_work_goes_on_once_mended(tmp_path):
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        journal.add(make_tile(0, 0), make_instances(make_tile(0, 0)))
        # SQLite reports a full disk the same way when it may not grow the file.
        journal._database.execute("PRAGMA max_page_count = 12")
        big = Instance("big", (0, 0, 600, 600), np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8), 0.5)
        with pytest.raises(JobFolderError, match="disk .* is full"):
            journal.add(make_tile(0, 1), [big])
        assert journal.done() == {(0, 0)}
        journal._database.execute("PRAGMA max_page_count = 100000")
        journal.add(make_tile(0, 1), [big])
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.done() == {(0, 0), (0, 1)} and journal.notes == []


FILLER = textwrap.dedent(
    """
    import resource, signal, sys
    import numpy as np
    from cadastral_vectorizer.engine.contracts import Instance, Tile
    from cadastral_vectorizer.engine.errors import JobFolderError
    from cadastral_vectorizer.engine.journal import Journal
    limit = int(sys.argv[2])
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    rng = np.random.default_rng(0)
    try:
        with Journal.open(sys.argv[1], {"raster": "abc"}) as journal:
            for row in range(200):
                box = (0, 0, 100, 100)
                mask = rng.integers(0, 256, (100, 100), np.uint8)
                journal.add(Tile(row, 0, box, box), [Instance(str(row), box, mask, 0.5, (row, 0))])
                print(row, flush=True)
    except JobFolderError as error:
        print("SENTENCE", error, flush=True)
    """
)


def fill(folder, limit: int) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-c", FILLER, folder, str(limit)], capture_output=True, text=True, timeout=120
    )
    *rows, last = run.stdout.splitlines()
    assert last.startswith("SENTENCE"), run.stderr
    return len(rows), last


def test_a_file_that_may_not_grow_ends_in_a_sentence_and_keeps_what_was_reported(tmp_path):
    written, sentence = fill(tmp_path / "job", 400_000)
    assert 10 < written < 60 and "job folder" in sentence
    with Journal.open(tmp_path / "job", {"raster": "abc"}) as journal:
        assert len(journal.done()) == written and journal.notes == []


def test_a_full_file_system_ends_in_a_sentence_and_keeps_what_was_reported(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        written, sentence = fill(tmp_path / "job", 0)
        assert 10 < written < 60 and "is full" in sentence
        with Journal.open(tmp_path / "job", {"raster": "abc"}) as journal:
            assert len(journal.done()) == written and journal.notes == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def redraw(before: Instance) -> Instance:
    """Something else in its place, all of it."""
    x0, y0, x1, y1 = before.box
    mask = np.full((y1 - y0 + 2, x1 - x0 + 1), 200, np.uint8)
    return replace(before, box=(x0 - 1, y0 - 1, x1, y1 + 1), probability=mask, score=0.25, refined=True,
                   edge=not before.edge, cut=not before.cut)  # fmt: skip


def test_what_became_of_masks_comes_back_to_the_last_bit(tmp_path):
    first, second, third = (replace(i, refined=False) for i in make_instances(make_tile(0, 0)))
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.find_redrawn(first) is None
        journal.add_redrawn([(first, redraw(first)), (second, second)])
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert_same(journal.find_redrawn(first), redraw(first))
        assert journal.find_redrawn(second) is second
        assert journal.find_redrawn(third) is None
        assert journal.instances_of(make_tile(0, 0)) == [] and journal.done() == set()


def test_an_answer_belongs_to_one_mask_to_the_last_bit(tmp_path):
    before = replace(make_instances(make_tile(0, 0))[0], refined=False)
    other = before.probability.copy()
    other[0, 0] ^= 1
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        journal.add_redrawn([(before, redraw(before))])
        assert journal.find_redrawn(replace(before, probability=other)) is None
        x0, y0, x1, y1 = before.box
        assert journal.find_redrawn(replace(before, box=(x0 + 1, y0, x1 + 1, y1))) is None


@pytest.mark.parametrize("damage", ["x0 = x0 + 1", "probability = x'00'", "probability = NULL", "x1 = 2000000000",
                                    "y0 = 'a'", "checksum = x''"])  # fmt: skip
def test_a_damaged_answer_is_asked_for_again(tmp_path, damage):
    before = replace(make_instances(make_tile(0, 0))[0], refined=False)
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        journal.add_redrawn([(before, redraw(before))])
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute(f"UPDATE redrawn SET {damage}")
    database.commit()
    database.close()
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        assert journal.find_redrawn(before) is None
        journal.add_redrawn([(before, redraw(before))])
        assert_same(journal.find_redrawn(before), redraw(before))


def test_tiles_come_back_one_by_one_in_their_own_order(tmp_path):
    tile, other = make_tile(3, 1), make_tile(3, 2)
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        journal.add_batch([(other, make_instances(other)), (tile, make_instances(tile)[::-1])])
        for one, expected in zip(journal.instances_of(tile), make_instances(tile)[::-1], strict=True):
            assert_same(one, expected)


def test_answers_that_are_none_are_refused(tmp_path):
    first, second, _ = (replace(i, refined=False) for i in make_instances(make_tile(0, 0)))
    with Journal.open(tmp_path, FINGERPRINT) as journal:
        with pytest.raises(ValueError, match="redrawn"):
            journal.add_redrawn([(first, redraw(second))])
        assert journal.find_redrawn(first) is None
