"""What whole runs are worth on the test areas: orthophoto in, finished polygons out, against the truth.

    python benchmarks/accuracy.py ../shared/data [--split test] [--model PACKAGE]

Only georeferenced sources: images without a CRS are no orthophotos to `vectorize`. Default parameters.
Images of a source are pooled by summing buildings, hits and false alarms; IoU and PoLiS are means over
matched buildings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import geopandas as gpd
from cadastral_vectorizer.engine.config import EvaluateConfig, VectorizeConfig
from cadastral_vectorizer.engine.evaluation.evaluate import evaluate_file
from cadastral_vectorizer.engine.pipeline import vectorize
from cadastral_vectorizer.engine.progress import Reporter

UNSEEN = ("oam_catanduanes", "oam_dhaka")


def measure(image: Path, truth: gpd.GeoDataFrame, folder: Path, model: str) -> dict[str, float]:
    """Hits, predictions, truths and sums over matched buildings of one image."""
    run = VectorizeConfig(
        raster=str(image), output=str(folder / f"{image.stem}.gpkg"), job_folder=str(folder / image.stem), model=model
    )
    found = vectorize(run, Reporter())["buildings"]
    counts = {"truths": len(truth), "found": found, "hits": 0.0, "iou": 0.0, "polis": 0.0, "vertices": 0.0}
    if not found or truth.empty:
        return counts
    reference = folder / f"{image.stem}-truth.gpkg"
    truth.to_file(reference)
    figures = evaluate_file(
        EvaluateConfig(predicted=run.output, reference=str(reference), raster=str(image)), Reporter()
    )["figures"]
    hits = round((figures["recall"] or 0) * len(truth))
    for name, key in (("iou", "mean_iou_matched"), ("polis", "polis_m"), ("vertices", "vertex_ratio")):
        counts[name] = hits * (figures[key] or 0)
    return {**counts, "hits": hits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="")
    options = parser.parse_args()
    splits = json.loads((options.data / "splits.json").read_text())["splits"]
    sources = [s for s in sorted(splits, key=lambda s: (s not in UNSEEN, s)) if options.split in splits[s]]
    print("| place | buildings | precision | recall | F1 | IoU of hits | PoLiS of hits (m) | vertices / true |")
    print("|---|---|---|---|---|---|---|---|")
    for source in sources:
        layer = options.data / source / "buildings.gpkg"
        if not layer.exists():
            continue
        outlines = gpd.read_file(layer, layer="buildings")
        total: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as folder:
            for name in splits[source][options.split]:
                image = options.data / source / "images" / name
                for key, value in measure(
                    image, outlines[outlines["image"] == name], Path(folder), options.model
                ).items():
                    total[key] = total.get(key, 0.0) + value
        hits, found, truths = total["hits"], max(total["found"], 1), max(total["truths"], 1)
        means = " | ".join(f"{total[k] / max(hits, 1):.2f}" for k in ("iou", "polis", "vertices"))
        print(
            f"| {source}{' (unseen)' if source in UNSEEN else ''} | {total['truths']:.0f} | {hits / found:.2f} | "
            f"{hits / truths:.2f} | {2 * hits / (found + truths):.2f} | {means} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
