"""Detected buildings against the cadastre: every kind of change, identifiers, bad input."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.config import CompareConfig
from cadastral_vectorizer.engine.errors import InvalidParameter, VectorError
from cadastral_vectorizer.engine.evaluation.compare_cadastre import STATUSES, compare_with_cadastre
from cadastral_vectorizer.engine.progress import Reporter

X, Y = 500000.0, 5000000.0


class Listener(Reporter):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, event, **fields):
        if event == "log":
            self.lines.append(fields["message"])


def house(x, y, width=12.0, height=10.0):
    return shapely.box(X + x, Y + y, X + x + width, Y + y + height)


def write(path, geometries, *, crs="EPSG:32633", to_crs=None, **columns):
    frame = geopandas.GeoDataFrame(columns, geometry=list(geometries), crs=crs)
    (frame.to_crs(to_crs) if to_crs else frame).to_file(path)
    return str(path)


CADASTRE = {
    "77:01:1": house(0, 0),  # unchanged
    "77:01:2": house(30, 0),  # an annex was built
    "77:01:3": house(60, 0),  # moved by two metres
    "77:01:4": house(90, 0, 24),  # two buildings now
    "77:01:5": house(130, 0),  # one building with the next
    "77:01:6": house(142, 0),
    "77:01:7": house(180, 0),  # gone
}
DETECTED = {
    "a": house(0.2, -0.1),
    "b": house(30, 0).union(house(42, 0, 5, 5)),
    "c": house(62, 0),
    "d": house(90, 0, 11.5),
    "e": house(102.5, 0, 11.5),
    "f": house(130, 0, 24),
    "g": house(220, 0),  # new
    "h": house(260, 0, 2, 2),  # too small to be a building
}


@pytest.fixture
def village(tmp_path):
    return {
        "predicted": write(
            tmp_path / "found.gpkg", DETECTED.values(), id=list(DETECTED), score=np.linspace(0.9, 0.2, 8)
        ),
        "cadastre": write(tmp_path / "cadastre.gpkg", CADASTRE.values(), cad_num=list(CADASTRE)),
        "output": str(tmp_path / "changes.gpkg"),
        "cadastre_id": "cad_num",
    }


def run(listener=None, **options):
    return compare_with_cadastre(CompareConfig.from_dict(options), listener or Listener())


def test_buildings_outside_the_extent_of_the_detections_are_pointed_out(village, tmp_path):
    far = [*CADASTRE.values(), house(900, 900)]
    village["cadastre"] = write(tmp_path / "wide.gpkg", far, cad_num=[*CADASTRE, "77:01:8"])
    listener = Listener()
    assert run(listener, **village)["summary"]["demolished"]["findings"] == 2
    assert any(line.startswith("1 of 8 buildings of wide lie outside the extent") for line in listener.lines)
    listener = Listener()
    run(listener, **village, area=write(tmp_path / "area.gpkg", [house(-10, -10, 300, 40)]))
    assert not any("outside the extent" in line for line in listener.lines)


def test_every_kind_of_change_is_told_apart(village):
    listener = Listener()
    result = run(listener, **village)
    counts = {status: row["findings"] for status, row in result["summary"].items()}
    assert counts == {
        "unchanged": 1, "modified": 1, "shifted": 1, "split": 2, "merged": 1, "new": 1, "demolished": 1,
    }  # fmt: skip
    assert result["summary"]["split"] == {"findings": 2, "cadastral": 1, "detected": 2}
    assert result["summary"]["merged"] == {"findings": 1, "cadastral": 2, "detected": 1}
    assert any("1 detections without a counterpart are smaller than 10 m2" in line for line in listener.lines)
    frame = geopandas.read_file(village["output"], layer="changes").set_index("detected_id", drop=False)
    assert frame.loc[list("abcdefg"), "status"].tolist() == [
        "unchanged", "modified", "shifted", "split", "split", "merged", "new",
    ]  # fmt: skip
    assert frame.loc[list("abcdef"), "cadastre_id"].tolist() == [
        "77:01:1", "77:01:2", "77:01:3", "77:01:4", "77:01:4", "77:01:5",
    ]  # fmt: skip


def test_how_much_a_building_changed(village):
    run(**village)
    frame = geopandas.read_file(village["output"]).set_index("cadastre_id")
    annex = frame.loc["77:01:2"]
    assert (annex["area_before_m2"], annex["area_after_m2"]) == pytest.approx((120, 145))
    assert (annex["area_change_m2"], annex["area_change_pct"]) == pytest.approx((25, 25 / 1.2))
    assert (annex["added_m2"], annex["removed_m2"]) == pytest.approx((25, 0), abs=1e-6)
    moved = frame.loc["77:01:3"]
    assert (moved["dx_m"], moved["dy_m"], moved["shift_m"]) == pytest.approx((2, 0, 2), abs=1e-6)
    merged = frame[frame["status"] == "merged"].iloc[0]
    assert merged["cadastre_ids"] == "77:01:5,77:01:6"
    assert merged["area_before_m2"] == pytest.approx(240)
    assert frame.loc["77:01:4", "part"].tolist() == [1, 2]


def test_unchanged_and_demolished_keep_the_cadastres_geometry(village):
    run(**village)
    frame = geopandas.read_file(village["output"]).set_index("cadastre_id")
    for identifier in ("77:01:1", "77:01:7"):
        assert frame.loc[identifier].geometry.equals(CADASTRE[identifier])
    assert frame.loc["77:01:3"].geometry.equals(DETECTED["c"])


def test_identifiers_do_not_depend_on_the_order_of_the_detections(village, tmp_path):
    run(**village)
    first = geopandas.read_file(village["output"])
    names = list(DETECTED)[::-1]
    village["predicted"] = write(tmp_path / "turned.gpkg", [DETECTED[n] for n in names], id=names, score=[0.5] * 8)
    run(**village)
    second = geopandas.read_file(village["output"])
    columns = ["status", "cadastre_id", "cadastre_ids", "detected_id"]
    key = ["cadastre_id", "detected_id"]
    assert first[columns].sort_values(key).values.tolist() == second[columns].sort_values(key).values.tolist()
    new = first[first["status"] == "new"].iloc[0]
    assert new["cadastre_id"].startswith("new-")


def test_tolerances_decide(village):
    loose = run(**village, tolerance_m=3.0)["summary"]
    assert (loose["unchanged"]["findings"], loose["shifted"]["findings"]) == (2, 0)
    strict = run(**village, tolerance_m=0.05, shift_m=0.1)["summary"]
    assert (strict["unchanged"]["findings"], strict["shifted"]["findings"]) == (0, 2)
    every = run(**village, min_area_m2=0.0)["summary"]
    assert every["new"]["findings"] == 2
    with pytest.raises(InvalidParameter, match="tolerance_m"):
        run(**village, tolerance_m=0.0)


def test_neighbour_that_laps_over_is_no_merge(tmp_path):
    result = run(
        predicted=write(tmp_path / "p.gpkg", [house(0, 0, 15), house(15, 0, 9)]),
        cadastre=write(tmp_path / "c.gpkg", [house(0, 0), house(12, 0)]),
        output=str(tmp_path / "o.gpkg"),
    )
    counts = {status: row["findings"] for status, row in result["summary"].items() if row["findings"]}
    assert counts == {"modified": 2}


def test_terrace_divided_elsewhere_is_modified_house_by_house(tmp_path):
    # Old party walls at 12 and 24, new ones at 7 and 17: each overlaps two, none well.
    result = run(
        predicted=write(tmp_path / "p.gpkg", [house(0, 0, 7), house(7, 0, 10), house(17, 0, 19)]),
        cadastre=write(tmp_path / "c.gpkg", [house(0, 0), house(12, 0), house(24, 0)]),
        output=str(tmp_path / "o.gpkg"),
    )
    counts = {status: row["findings"] for status, row in result["summary"].items() if row["findings"]}
    assert counts == {"modified": 3}


def test_common_shift_of_the_whole_cadastre_is_reported(tmp_path):
    houses = [house(30 * k, 0) for k in range(5)]
    result = run(
        predicted=write(tmp_path / "p.gpkg", [shapely.transform(h, lambda xy: xy + (1.5, -0.5)) for h in houses]),
        cadastre=write(tmp_path / "c.gpkg", houses),
        output=str(tmp_path / "o.gpkg"),
        figures=str(tmp_path / "f.json"),
    )
    figures = result["figures"]
    assert (figures["median_dx_m"], figures["median_dy_m"]) == pytest.approx((1.5, -0.5))
    assert figures["shifted_findings"] == 5
    assert json.loads((tmp_path / "f.json").read_text())["figures"] == figures


def test_another_crs_is_reprojected_and_the_cadastres_is_kept(village, tmp_path):
    village["predicted"] = write(tmp_path / "deg.gpkg", DETECTED.values(), to_crs="EPSG:4326", id=list(DETECTED))
    listener = Listener()
    summary = run(listener, **village)["summary"]
    assert [summary[status]["findings"] for status in STATUSES] == [1, 1, 1, 2, 1, 1, 1]
    assert any("reprojected" in line for line in listener.lines)
    assert geopandas.read_file(village["output"]).crs == "EPSG:32633"


def test_area_says_nothing_of_buildings_mostly_outside(village, tmp_path):
    area = write(tmp_path / "area.gpkg", [shapely.box(X - 10, Y - 10, X + 182, Y + 20)])
    summary = run(**village, area=area)["summary"]
    assert (summary["demolished"]["findings"], summary["new"]["findings"]) == (0, 0)
    assert summary["merged"]["findings"] == 1


def test_empty_layers_mean_all_new_or_all_demolished(village, tmp_path):
    empty = write(tmp_path / "empty.gpkg", [])
    gone = run(**{**village, "predicted": empty})["summary"]
    assert {s: r["findings"] for s, r in gone.items() if r["findings"]} == {"demolished": 7}
    fresh = run(**{**village, "cadastre": empty})["summary"]
    assert {s: r["findings"] for s, r in fresh.items() if r["findings"]} == {"new": 7}
    with pytest.raises(VectorError, match="Neither layer has a polygon"):
        run(**{**village, "cadastre": empty, "predicted": empty})


def test_repeated_identifiers_are_kept_and_said(village, tmp_path):
    village["cadastre"] = write(tmp_path / "c.gpkg", CADASTRE.values(), cad_num=["x", *["y"] * 6])
    listener = Listener()
    run(listener, **village)
    assert any("5 features repeat the identifier" in line for line in listener.lines)


def test_every_cadastral_building_and_every_detection_is_accounted_for(tmp_path):
    rng = np.random.default_rng(5)
    corners = rng.uniform(0, 200, (150, 2)) + (X, Y)
    boxes = shapely.box(*corners.T, *(corners + rng.uniform(5, 20, (150, 2))).T)
    cadastre = write(tmp_path / "c.gpkg", boxes[:90], id=[f"c{k}" for k in range(90)])
    predicted = write(
        tmp_path / "p.gpkg", shapely.transform(boxes[50:], lambda xy: xy + 0.7), id=[f"p{k}" for k in range(100)]
    )
    run(predicted=predicted, cadastre=cadastre, output=str(tmp_path / "o.gpkg"), min_area_m2=0.0)
    frame = geopandas.read_file(tmp_path / "o.gpkg")
    listed = {i for ids in frame["cadastre_ids"].dropna() for i in ids.split(",")}
    assert listed == {f"c{k}" for k in range(90)}
    assert set(frame["detected_id"].dropna()) == {f"p{k}" for k in range(100)}
