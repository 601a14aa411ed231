"""The evaluation job on files: figures, match layer, bad input."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.config import EvaluateConfig
from cadastral_vectorizer.engine.errors import Cancelled, EngineError, InvalidParameter, OutputError, VectorError
from cadastral_vectorizer.engine.evaluation.evaluate import evaluate_file
from cadastral_vectorizer.engine.progress import Reporter

X, Y = 500000.0, 5000000.0


class Listener(Reporter):
    """Keeps what was reported."""

    def __init__(self):
        super().__init__()
        self.lines, self.fractions = [], []

    def emit(self, event, **fields):
        (self.lines if event == "log" else self.fractions).append(
            fields.get("message" if event == "log" else "fraction")
        )


def house(x, y, width=10.0, height=8.0):
    return shapely.box(X + x, Y + y, X + x + width, Y + y + height)


def write(path, geometries, *, crs="EPSG:32633", to_crs=None, **columns):
    frame = geopandas.GeoDataFrame(columns, geometry=list(geometries), crs=crs)
    (frame.to_crs(to_crs) if to_crs else frame).to_file(path, layer="buildings")
    return str(path)


@pytest.fixture
def street(tmp_path):
    """Five reference houses; three found (one by half a metre off), one split, one missed, one invented."""
    reference = [house(0, 0), house(20, 0), house(40, 0), house(60, 0, 30), house(100, 0)]
    predicted = [
        house(0, 0), house(20.3, 0.1), house(40, 0), house(60, 0, 14), house(75, 0, 14), house(130, 0),
    ]  # fmt: skip
    return {
        "predicted": write(
            tmp_path / "found.gpkg", predicted, id=[f"p{k}" for k in range(6)], score=[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
        ),
        "reference": write(tmp_path / "truth.gpkg", reference, id=[f"r{k}" for k in range(5)]),
    }


def run(reporter=None, **options):
    config = EvaluateConfig.from_dict(options)
    return evaluate_file(config, reporter or Listener())


def test_figures_of_a_street_by_hand(street):
    figures = run(**street)["figures"]
    assert {k: figures[k] for k in ("predicted", "reference", "tp", "fp", "fn", "splits", "merges")} == {
        "predicted": 6, "reference": 5, "tp": 3, "fp": 3, "fn": 2, "splits": 1, "merges": 0,
    }  # fmt: skip
    assert figures["precision"] == figures["correctness"] == pytest.approx(0.5)
    assert figures["recall"] == figures["completeness"] == pytest.approx(0.6)
    assert figures["F1"] == pytest.approx(6 / 11)
    assert figures["quality"] == pytest.approx(3 / 8)
    assert (figures["best_F1"], figures["best_threshold"]) == pytest.approx((0.75, 0.7))
    # Recall .6 at precision 1 up to IoU .90 (the shifted house has IoU .9186): 61 of 101 points.
    shifted = 9.7 * 7.9 / (160 - 9.7 * 7.9)
    assert 0.9 < shifted < 0.95
    assert figures["AP50"] == figures["AP75"] == pytest.approx(61 / 101)
    at_95 = (21 * 1 + 20 * 2 / 3) / 101
    assert figures["AP"] == figures["IoU50_95"] == pytest.approx((9 * 61 / 101 + at_95) / 10)
    common = 80 + 9.7 * 7.9 + 80 + 2 * 14 * 8
    assert figures["IoU"] == pytest.approx(common / (80 * 3 + 2 * 112 + 80 + 80 * 3 + 240 + 80 - common))
    assert figures["mean_iou_matched"] == pytest.approx((2 + shifted) / 3)
    assert figures["vertex_ratio"] == 1.0
    assert figures["c_iou"] == pytest.approx(figures["mean_iou_matched"])
    assert figures["corners_matched"] == figures["corners_reference"] == 12
    assert figures["corners_unmatched_share"] == 0
    assert (figures["corner_dx_m"], figures["corner_dy_m"]) == pytest.approx((0.1, 0.1 / 3), abs=1e-6)
    assert figures["corner_rmse_m"] == pytest.approx(np.sqrt(0.1 / 3), abs=1e-6)
    assert figures["corner_within_limit"] == pytest.approx(2 / 3)
    assert figures["max_tangent_angle_deg"] == pytest.approx(0, abs=1e-3)
    assert figures["AP_small"] is None  # the ground pixel is unknown
    json.dumps(figures, allow_nan=False)


def test_pixel_size_gives_the_figures_that_need_it(street):
    figures = run(**street, pixel_m=0.1)["figures"]
    # Houses of 80 m2 are 8000 px, the hall 24000: four medium ones, of which three were found, and a large one.
    assert figures["AP_small"] is None
    assert figures["AP_medium"] == pytest.approx((9 * 76 / 101 + (26 + 25 * 2 / 3) / 101) / 10)
    assert figures["AP_large"] == 0
    assert figures["boundary_band_m"] == pytest.approx(1.4)
    assert 0 < figures["boundary_AP"] <= figures["AP"]
    assert figures["AP50_raster"] == pytest.approx(figures["AP50"])
    assert figures["AP_raster"] == pytest.approx(figures["AP"], abs=0.02)


def test_match_layer_tells_the_fate_of_every_polygon(street, tmp_path):
    run(**street, matches=str(tmp_path / "out" / "matches.gpkg"))
    frame = geopandas.read_file(tmp_path / "out" / "matches.gpkg", layer="matches")
    assert list(frame.columns) == [
        "kind", "iou", "polis_m", "hausdorff_m", "dx_m", "dy_m", "predicted_id", "reference_id", "score", "geometry",
    ]  # fmt: skip
    assert frame["kind"].value_counts().to_dict() == {"tp": 3, "fp": 3, "split": 1, "fn": 1}
    assert frame.crs == "EPSG:32633"
    second = frame.set_index("predicted_id").loc["p1"]
    assert (second["reference_id"], second["kind"]) == ("r1", "tp")
    assert (second["dx_m"], second["dy_m"]) == pytest.approx((0.3, 0.1), abs=1e-6)
    assert second["score"] == 0.8
    assert second.geometry.equals(house(20.3, 0.1))
    split = frame[frame["kind"] == "split"].iloc[0]
    assert (split["reference_id"], split["predicted_id"]) == ("r3", "p3,p4")
    assert split.geometry.equals(house(60, 0, 30))
    missed = frame[frame["kind"] == "fn"].iloc[0]
    assert missed["reference_id"] == "r4"
    assert missed["predicted_id"] is None or missed["predicted_id"] != missed["predicted_id"]


def test_merge_keeps_the_swallowed_references(tmp_path):
    predicted = write(tmp_path / "p.gpkg", [house(0, 0, 30)])
    reference = write(tmp_path / "r.gpkg", [house(k * 10, 0) for k in range(3)], id=["a", "b", "c"])
    figures = run(predicted=predicted, reference=reference, matches=str(tmp_path / "m.gpkg"))["figures"]
    frame = geopandas.read_file(tmp_path / "m.gpkg").set_index("kind")
    assert frame.loc["merge", "reference_id"] == "a,b,c"
    assert (figures["merges"], figures["fp"], figures["fn"]) == (1, 1, 3)


def test_figures_file_equals_the_result(street, tmp_path):
    result = run(**street, figures=str(tmp_path / "figures.json"))
    assert json.loads((tmp_path / "figures.json").read_text()) == result["figures"]


def test_perfect_layer_has_perfect_figures_in_any_crs(tmp_path):
    houses = [house(k * 25, (k % 3) * 3, 8 + k, 9) for k in range(6)]
    reference = write(tmp_path / "r.gpkg", houses)
    for crs in ("EPSG:4326", "EPSG:3857", "EPSG:32633"):
        predicted = write(tmp_path / f"{crs[5:]}.gpkg", houses, to_crs=crs, score=[0.5] * 6)
        listener = Listener()
        figures = run(listener, predicted=predicted, reference=reference)["figures"]
        assert figures["AP"] == pytest.approx(1.0)
        assert figures["IoU"] == pytest.approx(1.0, abs=1e-5)
        assert figures["polis_m"] == pytest.approx(0.0, abs=1e-4)
        assert any("reprojected" in line for line in listener.lines) == (crs != "EPSG:32633")


def test_geographic_reference_is_measured_in_metres(tmp_path):
    houses = [house(k * 25, 0) for k in range(4)]
    predicted = [house(k * 25 + 0.3, 0) for k in range(4)]
    figures = run(
        predicted=write(tmp_path / "p.gpkg", predicted, to_crs="EPSG:4326"),
        reference=write(tmp_path / "r.gpkg", houses, to_crs="EPSG:4326"),
        matches=str(tmp_path / "m.gpkg"),
    )["figures"]
    assert figures["corner_rmse_m"] == pytest.approx(0.3, rel=1e-3)
    assert figures["reference_area_m2"] == pytest.approx(320, rel=1e-3)
    assert geopandas.read_file(tmp_path / "m.gpkg").crs == "EPSG:4326"


def test_area_leaves_out_what_lies_outside_and_ignores_what_is_cut(street, tmp_path):
    # Holds the first three houses and a corner of the fourth.
    area = write(tmp_path / "area.gpkg", [shapely.box(X - 5, Y - 5, X + 62, Y + 20)])
    figures = run(**street, area=area)["figures"]
    assert (figures["tp"], figures["fp"], figures["fn"]) == (3, 0, 0)
    assert figures["reference_ignored"] == 1
    assert figures["predicted_ignored"] == 1


def test_raster_gives_the_ground_pixel_and_a_warning_for_what_it_does_not_cover(street, tmp_path):
    raster = tmp_path / "ortho.tif"
    transform = rasterio.transform.from_origin(X - 5, Y + 15, 0.25, 0.25)
    with rasterio.open(
        raster,
        "w",
        driver="GTiff",
        width=300,
        height=120,
        count=3,
        dtype="uint8",
        crs="EPSG:32633",
        transform=transform,
    ) as sink:
        sink.write(np.full((3, 120, 300), 120, np.uint8))
    listener = Listener()
    figures = run(listener, **street, raster=str(raster))["figures"]
    assert figures["pixel_m"] == pytest.approx(0.25, rel=1e-3)
    assert figures["AP_raster"] == pytest.approx(figures["AP"], abs=0.05)
    assert any("1 of 5 reference polygons lie outside the raster" in line for line in listener.lines)


def test_several_layers_are_compared_side_by_side(street, tmp_path):
    better = write(tmp_path / "better.gpkg", [house(k * 20, 0) for k in range(3)] + [house(60, 0, 30)], score=[0.9] * 4)
    figures = run(**street, others=[better])["figures"]
    assert [row["name"] for row in figures["comparison"]] == ["found", "better"]
    assert [row["tp"] for row in figures["comparison"]] == [3, 4]


def test_missing_scores_count_as_one_and_it_is_said(tmp_path, street):
    predicted = write(tmp_path / "p.gpkg", [house(0, 0), house(300, 0)])
    listener = Listener()
    figures = run(listener, predicted=predicted, reference=street["reference"])["figures"]
    assert any("no score field: all scores are 1" in line for line in listener.lines)
    assert figures["best_threshold"] is None
    assert figures["AP50"] == pytest.approx(21 * 0.5 / 101)


def test_scores_that_are_text_or_partly_missing_are_read(tmp_path, street):
    predicted = write(tmp_path / "p.gpkg", [house(0, 0), house(20, 0)], score=["0.75", None])
    listener = Listener()
    figures = run(listener, predicted=predicted, reference=street["reference"])["figures"]
    assert any("1 features without a score count as score 0" in line for line in listener.lines)
    assert figures["scored"] is True


def test_broken_and_mixed_geometries_are_handled_and_counted(tmp_path, street):
    bowtie = shapely.Polygon([(X, Y), (X + 10, Y + 8), (X + 10, Y), (X, Y + 8)])
    double = shapely.MultiPolygon([house(20, 0), house(20, 30)])
    geometries = [bowtie, double, shapely.Point(X, Y), None, shapely.Polygon(), house(40, 0)]
    predicted = write(tmp_path / "p.gpkg", geometries)
    listener = Listener()
    figures = run(listener, predicted=predicted, reference=street["reference"])["figures"]
    said = " ".join(listener.lines)
    assert "1 invalid polygons were repaired" in said
    assert "3 features without a usable polygon were left out" in said
    assert "multi-part polygons count as one feature each" in said
    assert figures["predicted"] == 3
    assert figures["topology_invalid"] == 1


def test_no_overlap_at_all_gives_zeros_and_a_sentence(tmp_path, street):
    predicted = write(tmp_path / "p.gpkg", [house(9000, 0), house(9020, 0)], score=[0.5, 0.6])
    listener = Listener()
    figures = run(listener, predicted=predicted, reference=street["reference"])["figures"]
    assert any("No predicted polygon overlaps a reference polygon" in line for line in listener.lines)
    assert (figures["AP"], figures["IoU"], figures["F1"]) == (0, 0, 0)
    assert figures["polis_m"] is None


@pytest.mark.parametrize("report", [False, True])
def test_empty_layers_are_handled_with_a_sentence(tmp_path, street, report):
    empty = write(tmp_path / "empty.gpkg", [])
    options = {"matches": str(tmp_path / "m.gpkg"), "report": str(tmp_path / "r.html") if report else ""}
    listener = Listener()
    figures = run(listener, predicted=empty, reference=street["reference"], **options)["figures"]
    assert (figures["recall"], figures["AP"], figures["fn"], figures["precision"]) == (0, 0, 5, None)
    assert any("every reference building counts as missed" in line for line in listener.lines)
    assert set(geopandas.read_file(tmp_path / "m.gpkg")["kind"]) == {"fn"}
    figures = run(listener, predicted=street["predicted"], reference=empty, **options)["figures"]
    assert (figures["precision"], figures["AP"], figures["fp"], figures["recall"]) == (0, None, 6, None)
    with pytest.raises(VectorError, match="Neither layer has a polygon"):
        run(predicted=empty, reference=empty)


def test_layers_without_a_crs_are_taken_as_metres(tmp_path):
    predicted = write(tmp_path / "p.gpkg", [house(0, 0)], crs=None)
    reference = write(tmp_path / "r.gpkg", [house(0, 0)], crs=None)
    listener = Listener()
    result = run(listener, predicted=predicted, reference=reference, matches=str(tmp_path / "m.gpkg"))
    assert result["figures"]["IoU"] == pytest.approx(1)
    assert any("units are taken as metres" in line for line in listener.lines)


@pytest.mark.parametrize("code", [0, -1])
def test_undefined_coordinate_systems_of_geopackages_count_as_none(tmp_path, code):
    path = write(tmp_path / "a.gpkg", [house(0, 0), house(20, 0)], id=["a", "b"])
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for table in ("gpkg_contents", "gpkg_geometry_columns"):
            database.execute(f"UPDATE {table} SET srs_id = {code}")
    reporter = Listener()
    figures = run(reporter, predicted=path, reference=path)["figures"]
    assert (figures["tp"], figures["crs"]) == (2, "")
    assert "No layer has a coordinate system; their units are taken as metres" in reporter.lines


def test_layer_without_a_crs_is_taken_to_be_in_the_references(tmp_path, street):
    predicted = write(tmp_path / "p.gpkg", [house(0, 0)], crs=None)
    listener = Listener()
    assert run(listener, predicted=predicted, reference=street["reference"])["figures"]["tp"] == 1
    assert any("has no coordinate system" in line for line in listener.lines)


def test_bad_paths_are_refused_with_a_sentence(tmp_path, street):
    with pytest.raises(VectorError, match="cannot be read as a vector layer"):
        run(predicted=str(tmp_path / "missing.gpkg"), reference=street["reference"])
    (tmp_path / "broken.gpkg").write_bytes(b"not a database")
    with pytest.raises(VectorError, match="cannot be read as a vector layer"):
        run(predicted=str(tmp_path / "broken.gpkg"), reference=street["reference"])
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(VectorError, match="has no geometry"):
        run(predicted=str(tmp_path / "table.csv"), reference=street["reference"])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run(**street, matches=str(tmp_path / "file" / "m.gpkg"))
    assert not list(tmp_path.glob(".*.gpkg"))
    with pytest.raises(EngineError, match="cannot be opened"):
        run(**street, raster=str(tmp_path / "missing.tif"))
    with pytest.raises(VectorError, match="has no polygon"):
        run(**street, area=write(tmp_path / "line.gpkg", [shapely.LineString([(0, 0), (1, 1)])]))
    with pytest.raises(InvalidParameter):
        run(**street, limit_m=0.0)


def test_named_layer_of_a_file_is_chosen(tmp_path, street):
    frame = geopandas.GeoDataFrame(geometry=[house(0, 0)], crs="EPSG:32633")
    frame.to_file(tmp_path / "two.gpkg", layer="other")
    frame[:0].to_file(tmp_path / "two.gpkg", layer="empty")
    figures = run(predicted=f"{tmp_path / 'two.gpkg'}|layername=other", reference=street["reference"])["figures"]
    assert figures["predicted"] == 1


def test_first_layer_with_polygons_is_taken(tmp_path, street):
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(X, Y)], crs="EPSG:32633")
    points.to_file(tmp_path / "mixed.gpkg", layer="a_points")
    geopandas.GeoDataFrame(geometry=[house(0, 0)], crs="EPSG:32633").to_file(tmp_path / "mixed.gpkg", layer="houses")
    assert run(predicted=str(tmp_path / "mixed.gpkg"), reference=street["reference"])["figures"]["tp"] == 1


def test_cancelling_stops_and_writes_nothing(street, tmp_path):
    listener = Listener()
    listener.cancel()
    with pytest.raises(Cancelled):
        run(listener, **street, matches=str(tmp_path / "m.gpkg"))
    assert not (tmp_path / "m.gpkg").exists()


def test_progress_rises_to_one(street):
    listener = Listener()
    run(listener, **street)
    assert listener.fractions == sorted(listener.fractions)
    assert listener.fractions[-1] == 1.0
