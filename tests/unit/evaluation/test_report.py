"""The report page: self-contained, complete, readable in a browser and on paper."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.config import EvaluateConfig
from cadastral_vectorizer.engine.evaluation.charts import Series, histogram, line_chart, shift_map
from cadastral_vectorizer.engine.evaluation.evaluate import evaluate_file
from cadastral_vectorizer.engine.progress import Reporter
from rasterio.transform import Affine

X, Y = 500000.0, 5000000.0


class Checker(HTMLParser):
    """Collects tags, references to other files, and whether what was opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.sources, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with a raster, two layers and hostile names."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(2)
    houses = [
        shapely.box(X + 20 * (k % 6), Y + 20 * (k // 6), X + 20 * (k % 6) + 12, Y + 20 * (k // 6) + 9)
        for k in range(30)
    ]
    shifts = [(1.5, 1.0), *rng.normal(0, 0.2, (25, 2))]
    found = [shapely.transform(h, lambda xy, d=d: xy + d) for h, d in zip(houses, shifts)]
    frame = geopandas.GeoDataFrame(
        {"id": ["<script>alert(1)</script>"] + [f"p{k}" for k in range(25)], "score": rng.random(26)},
        geometry=found, crs="EPSG:32633",
    )  # fmt: skip
    frame.to_file(folder / "a & b.gpkg", layer="a & b")
    frame[["geometry"]].to_file(folder / "second.gpkg")
    geopandas.GeoDataFrame(geometry=houses, crs="EPSG:32633").to_file(folder / "truth.gpkg")
    transform = Affine.translation(X - 5, Y + 110) @ Affine.rotation(-2) @ Affine.scale(0.25, -0.25)
    with rasterio.open(
        folder / "o.tif", "w", driver="GTiff", width=520, height=480, count=3, dtype="uint8", crs="EPSG:32633",
        transform=transform,
    ) as sink:  # fmt: skip
        sink.write(rng.integers(60, 180, (3, 480, 520), dtype=np.uint8))
    evaluate_file(
        EvaluateConfig(
            str(folder / "a & b.gpkg"),
            str(folder / "truth.gpkg"),
            raster=str(folder / "o.tif"),
            report=str(folder / "report.html"),
            others=(str(folder / "second.gpkg"),),
        ),
        Reporter(),
    )
    return folder / "report.html"


def test_page_is_well_formed_and_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert all(source.startswith("data:") for source in checker.sources)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "script" not in checker.tags
    assert "<script>alert(1)</script>" in "".join(checker.text)
    assert checker.tags.count("h1") == 1


def test_page_has_every_part(page):
    checker = Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    words = " ".join(checker.text)
    for part in (
        "a & b against truth", "Models side by side", "Found, missed, invented", "Shape of the outlines found",
        "Position of corners", "order P/0393", "GOST R 59562", "ASPRS 2023", "no compliance with any limit follows",
        "Topology of the predicted layer", "The worst 20", "Parameters", "times enlarged",
    ):  # fmt: skip
        assert part in words
    assert checker.tags.count("img") == 20
    assert checker.tags.count("svg") == 5
    assert not re.search(r"\b(nan|None|inf)\b", words.replace("None of", ""))


def test_report_without_raster_draws_the_worst_as_outlines(tmp_path):
    for name, width in (("a", 10), ("b", 11)):
        houses = [shapely.box(X, Y, X + width, Y + 8), shapely.box(X + 50, Y, X + 60, Y + 8)]
        geopandas.GeoDataFrame(geometry=houses, crs="EPSG:32633").to_file(tmp_path / f"{name}.gpkg")
    paths = str(tmp_path / "a.gpkg"), str(tmp_path / "b.gpkg")
    evaluate_file(EvaluateConfig(*paths, report=str(tmp_path / "r.html")), Reporter())
    checker = Checker()
    checker.feed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert checker.open == []
    assert checker.tags.count("img") == 0
    assert "The worst 1" in " ".join(checker.text)


def test_page_opens_in_a_browser_with_all_its_parts_on_it(page, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here to open the report in")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.count("<img") == 20
    assert done.stdout.count("<svg") == 5
    assert "The worst 20" in done.stdout


def test_charts_survive_degenerate_data():
    empty, one = np.empty(0), np.array([0.5])
    for x in (empty, one, np.array([0.0, np.inf])):
        Checker().feed(line_chart([Series("a", x, x)], x_label="x", y_label="y", mark=(float("nan"), 1.0)))
        Checker().feed(histogram(x, x_label="x", y_label="n", x_range=(0.0, 1.0)))
    assert shift_map(np.empty((0, 2)), np.empty((0, 2)), np.array([], dtype=object)) == ""
    assert "<svg" in shift_map(np.zeros((1, 2)), np.zeros((1, 2)), np.array([], dtype=object))
    many = np.random.default_rng(0).uniform(0, 1e4, (5000, 2))
    drawn = shift_map(many, np.ones((5000, 2)), np.array([], dtype=object))
    assert "means over lattice cells" in drawn
    assert drawn.count("<circle") <= 1200
