"""All metric stages in a row: what comes out, what is said about it, and golden shapes."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine import geometry
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.errors import Cancelled
from cadastral_vectorizer.engine.geometry import shape_outlines
from cadastral_vectorizer.engine.progress import Reporter
from shapely import affinity, box

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
shapes = SimpleNamespace(**runpy.run_path(str(HERE / "shapes.py")))
MODES = ("none", "right_angles", "diagonals", "any_angle")


class Recorder(Reporter):
    """Keeps the log and the progress."""

    def __init__(self):
        super().__init__()
        self.lines, self.fractions = [], []

    def emit(self, event, **fields):
        if event == "log":
            self.lines.append(fields["message"])
        else:
            self.fractions.append(fields["fraction"])


def shape(polygons, reporter=None, *, scores=None, **options):
    options = {"tolerance_m": 0.6, "regularization": "right_angles", "min_area_m2": 0.0, "snap_m": 0.3} | options
    scores = scores or [0.9] * len(polygons)
    outlines = [Outline(id=f"{k:04d}", geometry=p, score=s) for k, (p, s) in enumerate(zip(polygons, scores))]
    return shape_outlines(outlines, reporter=reporter or Reporter(), **options)


def street(seed=7):
    """Every shape once, 40 m apart, as noisy pixel outlines, and the truth."""
    truth = [affinity.translate(shapes.place(s), 40 * k, 0) for k, s in enumerate(shapes.SHAPES.values())]
    return truth, [shapes.pixel_outline(t, seed=seed + k) for k, t in enumerate(truth)]


@pytest.mark.parametrize("mode", MODES)
def test_every_outline_comes_back_measured(mode):
    truth, raws = street()
    found, left_out = shape(raws, regularization=mode)
    assert left_out == 0
    assert [o.id for o in found] == [f"{k:04d}" for k in range(len(raws))]
    for outline, raw, true in zip(found, raws, truth):
        assert outline.geometry.is_valid
        assert outline.geometry.geom_type == "Polygon"
        assert outline.max_shift_m == pytest.approx(shapely.hausdorff_distance(outline.geometry, raw), abs=0.011)
        assert outline.max_shift_m <= 0.6 + 0.01
        assert outline.iou_raw == pytest.approx(shapes.iou(outline.geometry, raw), abs=0.01)
        assert shapes.iou(outline.geometry, true) > 0.95
        assert outline.regularized == ("" if mode == "none" else outline.regularized)
        assert mode == "none" or outline.regularized in (mode, "circle", "kept")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(shapes.SHAPES))
def test_golden_shapes(name, mode):
    """Results as they were when last looked at; set UPDATE_GOLDEN=1 to write them anew, and look."""
    raw = shapes.pixel_outline(shapes.place(shapes.SHAPES[name]), seed=11)
    (found,), _ = shape([raw], regularization=mode)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("UPDATE_GOLDEN"):
        now = {"regularized": found.regularized, "wkt": shapely.to_wkt(found.geometry, 2)}
        golden.setdefault(name, {})[mode] = now
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    expected = shapely.from_wkt(golden[name][mode]["wkt"])
    assert found.regularized == golden[name][mode]["regularized"]
    assert shapely.get_num_coordinates(found.geometry) == shapely.get_num_coordinates(expected)
    assert shapely.hausdorff_distance(found.geometry, expected) < 0.03


def test_golden_file_holds_a_dozen_shapes_in_every_mode():
    golden = json.loads(GOLDEN.read_text())
    assert set(golden) == set(shapes.SHAPES)
    assert len(golden) >= 12
    assert all(set(by_mode) == set(MODES) for by_mode in golden.values())


def test_result_does_not_depend_on_order_or_blocks(monkeypatch):
    _, raws = street()
    whole, _ = shape(raws)
    monkeypatch.setattr(geometry, "BLOCK", 5)
    pieces, _ = shape(raws)
    assert all(a.geometry.equals_exact(b.geometry, 0) for a, b in zip(whole, pieces))
    outlines = [Outline(id=f"{k:04d}", geometry=p, score=0.9) for k, p in enumerate(raws)][::-1]
    options = {"tolerance_m": 0.6, "regularization": "right_angles", "min_area_m2": 0.0, "snap_m": 0.3}
    back, _ = shape_outlines(outlines, reporter=Reporter(), **options)
    assert all(a.geometry.equals_exact(b.geometry, 0) for a, b in zip(whole, back[::-1]))


def test_a_noisy_terrace_shares_its_walls():
    houses = [box(8 * k, 0, 8 * k + 8, 11 + k % 2) for k in range(5)]
    raws = [shapes.pixel_outline(shapes.place(h), seed=k) for k, h in enumerate(houses)]
    found, _ = shape(raws, snap_m=0.6)
    polygons = np.array([o.geometry for o in found])
    assert shapely.coverage_is_valid(polygons)
    for a, b in zip(polygons[:-1], polygons[1:]):
        assert shapely.intersection(shapely.boundary(a), shapely.boundary(b)).length > 9


def test_small_outlines_are_left_out_and_counted():
    recorder = Recorder()
    found, left_out = shape([box(0, 0, 10, 10), box(50, 0, 52, 2)], recorder, min_area_m2=6.0)
    assert [o.id for o in found] == ["0000"]
    assert left_out == 1
    assert any("1 outlines smaller than 6 m2" in line for line in recorder.lines)


def test_covered_outlines_are_counted_or_kept_and_marked():
    recorder, twins = Recorder(), [box(0, 0, 10, 10), box(0, 0, 10, 10)]
    found, left_out = shape(twins, recorder)
    assert (len(found), left_out) == (1, 1)
    assert any("lie on others" in line for line in recorder.lines)
    kept, left_out = shape(twins, keep_covered=True)
    assert (len(kept), left_out) == (2, 0)
    assert kept[1].check == "lies on 0000"


def test_an_outline_without_area_is_handed_through():
    sliver = shapely.Polygon([(50, 0), (50, 5), (50.000001, 5)])
    found, left_out = shape([box(0, 0, 10, 10), sliver])
    assert left_out == 0
    assert found[1].geometry.equals(sliver)
    assert found[1].regularized == "kept"
    assert found[1].check == "has no area"


def test_specks_of_noise_in_a_roof_are_no_courtyards():
    roof = box(0, 0, 12, 10).difference(box(5, 5, 5.3, 5.3))
    (found,), _ = shape([roof])
    assert not found.geometry.interiors


@pytest.mark.parametrize("mode", MODES)
def test_tolerance_zero_only_joins_and_rounds(mode):
    raw = shapes.pixel_outline(shapes.place(shapes.SHAPES["l"]))
    (found,), _ = shape([raw], tolerance_m=0.0, regularization=mode)
    assert shapely.hausdorff_distance(found.geometry, raw) <= 0.0072


def test_an_outline_of_50000_vertices_is_worked_on():
    raw = shapely.Point(0, 0).buffer(300, quad_segs=12_500)
    (found,), _ = shape([raw])
    assert found.geometry.is_valid
    assert shapely.get_num_coordinates(found.geometry) < 1000
    assert found.max_shift_m <= 0.6


def test_nothing_in_nothing_out():
    assert shape([]) == ([], 0)


def test_cancel_is_heard():
    reporter = Reporter()
    reporter.cancel()
    with pytest.raises(Cancelled):
        shape([box(0, 0, 10, 10)], reporter)


def test_progress_grows_to_the_end():
    recorder = Recorder()
    shape(street()[1], recorder)
    assert recorder.fractions == sorted(recorder.fractions)
    assert recorder.fractions[-1] == 1.0
