"""Detected buildings against the existing cadastre: what changed on the ground.

Two polygons belong together when they share at least `min_overlap` of the smaller one. Groups of polygons that
belong together are then read as one case each: one to one is unchanged, shifted or modified; one to several
is split; several to one is merged; alone is new or demolished.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..config import CompareConfig
from ..crs import transform_geometries
from ..errors import VectorError
from ..progress import Reporter
from .layers import Layer, Plane, read_layers, write_layer
from .overlap import Pairs, iou_of, map_chunks, overlap_pairs
from .pictures import write_atomically
from .shapes import measure_shapes

STATUSES = ("unchanged", "modified", "shifted", "split", "merged", "new", "demolished")
ALIGNED_IOU = 0.85
"""A shifted building covers its old outline this well once it is moved back."""
CERTAIN_IOU = 0.5
"""Two polygons that overlap this well are one building, whatever else they touch."""


@dataclass(frozen=True)
class Links:
    """Polygons that belong together.

    Attributes:
        detected, cadastral: int64[K].
        iou: float64[K].
    """

    detected: np.ndarray
    cadastral: np.ndarray
    iou: np.ndarray

    def where(self, mask: np.ndarray) -> Links:
        """The links for which bool[K] `mask` holds."""
        return Links(self.detected[mask], self.cadastral[mask], self.iou[mask])


def compare_with_cadastre(config: CompareConfig, reporter: Reporter) -> dict[str, Any]:
    """Say what became of every building of the cadastre, and which are new.

    Writes a layer ``changes`` with one feature per finding (see `_FIELDS`): geometry of the cadastre where
    nothing changed or the building is gone, of the detection else; identifiers of the cadastre are kept.

    Returns:
        ``output`` (path), ``summary`` (per status: number of features, of cadastral buildings, and areas),
        ``figures`` (the same, flat), ``seconds``.

    Raises:
        VectorError: a layer cannot be read, or both are empty.
        OutputError: the result cannot be written.
        Cancelled: the user asked to stop.
    """
    began = time.monotonic()
    reporter.progress(0.0, "Reading layers")
    (detected,), cadastre, plane = read_layers(
        [config.predicted], config.cadastre, config.area, reporter, reference_id=config.cadastre_id
    )
    if not len(detected) and not len(cadastre):
        raise VectorError("Neither layer has a polygon to compare", "Check the layers, and the area if one was given")
    _check_identifiers(cadastre, reporter)
    _check_extent(detected, cadastre, plane, reporter)
    reporter.progress(0.2, "Finding counterparts")
    pairs = overlap_pairs(detected.geometries, cadastre.geometries)
    if not len(pairs) and len(detected) and len(cadastre):
        reporter.warn("No detection overlaps the cadastre; check the coordinate systems and the places")
    links = find_links(pairs, detected, cadastre, min_overlap=config.min_overlap)
    reporter.progress(0.5, "Comparing outlines")
    findings = pd.concat(
        [part for part in _find(links, detected, cadastre, config, reporter) if len(part)], ignore_index=True
    )
    # The order of the cadastre, then the new buildings: independent of how the comparison went.
    findings = findings.sort_values(["order", "part"], kind="stable", ignore_index=True)
    reporter.progress(0.85, "Writing")
    frame = _to_frame(findings, detected, cadastre, plane)
    write_layer(config.output, "changes", frame)
    summary = summarize(findings)
    figures: dict[str, float | None] = {
        f"{status}_{name}": value for status, row in summary.items() for name, value in row.items()
    }
    figures |= _common_shift(findings)
    if config.figures:
        content = {"summary": summary, "figures": figures, "parameters": config.to_dict()}
        write_atomically(config.figures, json.dumps(content, indent=2, allow_nan=False).encode())
    for status in STATUSES:
        row = summary[status]
        reporter.log(f"{status}: {row['findings']} ({row['cadastral']} cadastral, {row['detected']} detected)")
    reporter.progress(1.0, "Done")
    return {
        "output": config.output,
        "summary": summary,
        "figures": figures,
        "seconds": round(time.monotonic() - began, 2),
    }


def _check_identifiers(cadastre: Layer, reporter: Reporter) -> None:
    double = len(cadastre) - len(set(cadastre.ids.tolist()))
    if double:
        reporter.warn(f"{cadastre.name}: {double} features repeat the identifier of another; both are kept as they are")


def _check_extent(detected: Layer, cadastre: Layer, plane: Plane, reporter: Reporter) -> None:
    if plane.area is not None or not len(detected):
        return
    extent = shapely.box(*shapely.total_bounds(detected.geometries))
    outside = int((~shapely.intersects(extent, cadastre.geometries)).sum())
    if outside:
        reporter.warn(
            f"{outside} of {len(cadastre)} buildings of {cadastre.name} lie outside the extent of the detections and"
            " count as demolished; give the area in which buildings were looked for to leave them out"
        )


def find_links(pairs: Pairs, detected: Layer, cadastre: Layer, *, min_overlap: float) -> Links:
    """Polygons that belong together: enough of the smaller one is shared.

    A pair with IoU of at least `CERTAIN_IOU` that is each other's best is one building; so are, best first,
    the pairs of a group in which several meet several. Whatever else touches such a building belongs to it
    only if it lies mostly inside: then it is a piece of a split or a merge.
    """
    d_area, c_area = shapely.area(detected.geometries), shapely.area(cadastre.geometries)
    smaller = np.minimum(d_area[pairs.predicted], c_area[pairs.reference])
    pairs = pairs.where(pairs.intersection / smaller >= min_overlap)
    d, c, iou = pairs.predicted, pairs.reference, pairs.iou
    best_d, best_c = np.zeros(len(detected)), np.zeros(len(cadastre))
    np.maximum.at(best_d, d, iou)
    np.maximum.at(best_c, c, iou)
    certain = (iou >= CERTAIN_IOU) & (iou == best_d[d]) & (iou == best_c[c])

    def choose() -> np.ndarray:
        settled_d, settled_c = np.zeros(len(detected), bool), np.zeros(len(cadastre), bool)
        settled_d[d[certain]] = settled_c[c[certain]] = True
        piece = (pairs.intersection / d_area[d] >= CERTAIN_IOU) & ~settled_d[d]
        piece |= (pairs.intersection / c_area[c] >= CERTAIN_IOU) & ~settled_c[c]
        return certain | piece | ~(settled_d[d] | settled_c[c])

    links = Links(d, c, iou)
    chosen = choose()
    group, d_count, c_count = _groups(links.where(chosen), len(detected), len(cadastre))
    tangled = np.flatnonzero(chosen & (np.minimum(d_count, c_count)[group[d]] >= 2))
    taken_d, taken_c = set(d[certain].tolist()), set(c[certain].tolist())
    for index in tangled[np.argsort(-iou[tangled], kind="stable")].tolist():
        if int(d[index]) not in taken_d and int(c[index]) not in taken_c:
            certain[index] = True
            taken_d.add(int(d[index]))
            taken_c.add(int(c[index]))
    return links.where(choose())


def _groups(links: Links, n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64[n + m] group of each detection and then of each cadastral building, and how many of each it has."""
    edges = coo_matrix((np.ones(len(links.iou), bool), (links.detected, links.cadastral + n)), shape=(n + m, n + m))
    count, group = connected_components(edges, directed=False)
    return group, np.bincount(group[:n], minlength=count), np.bincount(group[n:], minlength=count)


def _find(
    links: Links, detected: Layer, cadastre: Layer, config: CompareConfig, reporter: Reporter
) -> list[pd.DataFrame]:
    """Findings as tables with the columns ``status, detected, cadastral, group, order, part`` and measures."""
    n, m = len(detected), len(cadastre)
    group, d_count, c_count = _groups(links, n, m)
    single = (d_count == 1) & (c_count == 1)
    one = links.where(single[group[links.detected]])
    several = links.where(~single[group[links.detected]])
    split = d_count[group[several.detected]] >= c_count[group[several.detected]]
    alone_d = np.flatnonzero(c_count[group[:n]] == 0)
    alone_c = np.flatnonzero(d_count[group[n:]] == 0)
    area = shapely.area(detected.geometries[alone_d])
    # Half of a building outside the area says nothing about its being new or gone.
    new = alone_d[(area >= config.min_area_m2) & detected.inside[alone_d]]
    gone = alone_c[cadastre.inside[alone_c]]
    small = int((area < config.min_area_m2).sum())
    if small:
        reporter.log(f"{small} detections without a counterpart are smaller than {config.min_area_m2:g} m2: left out")
    return [
        _compare_pairs(one, detected, cadastre, config),
        _divided(several.where(split), "split", several.where(split).detected, detected, cadastre),
        _divided(several.where(~split), "merged", several.where(~split).detected, detected, cadastre),
        pd.DataFrame({"status": "new", "detected": new, "cadastral": -1, "order": m + new, "part": 0}),
        pd.DataFrame({"status": "demolished", "detected": -1, "cadastral": gone, "order": gone, "part": 0}),
    ]


def _compare_pairs(links: Links, detected: Layer, cadastre: Layer, config: CompareConfig) -> pd.DataFrame:
    """One detection, one cadastral building: unchanged, shifted or modified."""
    new, old = detected.geometries[links.detected], cadastre.geometries[links.cadastral]
    shift = shapely.get_coordinates(shapely.centroid(new)) - shapely.get_coordinates(shapely.centroid(old))
    length = np.hypot(*shift.T)
    shapes = measure_shapes(new, old)
    count = shapely.get_num_coordinates(new)
    aligned = shapely.transform(new, lambda xy: xy - np.repeat(shift, count, axis=0))
    aligned_iou = map_chunks(lambda part: iou_of(aligned[part], old[part]), len(new))
    unchanged = shapes.hausdorff95_m <= config.tolerance_m
    shifted = ~unchanged & (length > config.shift_m) & (aligned_iou >= ALIGNED_IOU)
    added = map_chunks(lambda part: shapely.area(shapely.difference(new[part], old[part])), len(new))
    removed = map_chunks(lambda part: shapely.area(shapely.difference(old[part], new[part])), len(new))
    return pd.DataFrame(
        {
            "status": np.select([unchanged, shifted], ["unchanged", "shifted"], "modified"),
            "detected": links.detected,
            "cadastral": links.cadastral,
            "order": links.cadastral,
            "part": 0,
            "iou": links.iou,
            "hausdorff_m": shapes.hausdorff_m,
            "hausdorff95_m": shapes.hausdorff95_m,
            "dx_m": shift[:, 0],
            "dy_m": shift[:, 1],
            "shift_m": length,
            "added_m2": added,
            "removed_m2": removed,
        }
    )


def _divided(links: Links, status: str, detections: np.ndarray, detected: Layer, cadastre: Layer) -> pd.DataFrame:
    """One row per detection of a split or merge, under the cadastral building it overlaps most."""
    order = np.lexsort((links.cadastral, -links.iou, detections))
    rows, first = np.unique(detections[order], return_index=True)
    main = links.cadastral[order][first]
    partners: dict[int, list[int]] = {}
    for row, cadastral in zip(links.detected.tolist(), links.cadastral.tolist(), strict=True):
        partners.setdefault(row, []).append(cadastral)
    table = pd.DataFrame(
        {"status": status, "detected": rows, "cadastral": main, "order": main, "iou": links.iou[order][first]}
    )
    table["partners"] = [sorted(partners[row]) for row in rows.tolist()]
    table["part"] = table.groupby("cadastral").cumcount() + 1
    return table


_FIELDS = (
    "status", "cadastre_id", "cadastre_ids", "part", "detected_id", "score", "iou", "dx_m", "dy_m", "shift_m",
    "hausdorff_m", "area_before_m2", "area_after_m2", "area_change_m2", "area_change_pct", "added_m2", "removed_m2",
)  # fmt: skip
"""Of the output: `cadastre_id` is that of the cadastre, or a new one made of the place for new buildings;
`cadastre_ids` lists all buildings of a merge; `part` numbers the pieces of a split from 1."""


def _to_frame(findings: pd.DataFrame, detected: Layer, cadastre: Layer, plane: Plane) -> geopandas.GeoDataFrame:
    findings = findings.reindex(columns=[*findings.columns, *(c for c in ("partners",) if c not in findings)])
    d, c = findings["detected"].to_numpy(), findings["cadastral"].to_numpy()
    has_d, has_c = d >= 0, c >= 0
    geometry = np.empty(len(findings), dtype=object)
    geometry[has_d] = detected.geometries[d[has_d]]
    keeps_old = has_c & (findings["status"].isin(("unchanged", "demolished"))).to_numpy()
    geometry[keeps_old] = cadastre.geometries[c[keeps_old]]
    d_area, c_area = shapely.area(detected.geometries), shapely.area(cadastre.geometries)
    before, after = np.zeros(len(findings)), np.zeros(len(findings))
    after[has_d] = d_area[d[has_d]]
    before[has_c] = c_area[c[has_c]]
    several = findings["partners"].map(lambda p: isinstance(p, list)).to_numpy()
    lists = [
        p if isinstance(p, list) else ([k] if k >= 0 else []) for p, k in zip(findings["partners"], c, strict=True)
    ]
    merged = (findings["status"] == "merged").to_numpy()
    before[merged] = [c_area[np.array(lists[k])].sum() for k in np.flatnonzero(merged)]
    out = pd.DataFrame(index=findings.index)
    out["status"] = findings["status"].astype(object)
    out["cadastre_id"] = [cadastre.ids[k] if k >= 0 else None for k in c]
    fresh = ~has_c
    out.loc[fresh, "cadastre_id"] = [_new_identifier(g) for g in geometry[fresh]]
    out["cadastre_ids"] = [",".join(str(cadastre.ids[k]) for k in found) if found else None for found in lists]
    out["part"] = np.where(several, findings["part"], 0)
    out["detected_id"] = [detected.ids[k] if k >= 0 else None for k in d]
    out["score"] = np.where(has_d, detected.scores[np.maximum(d, 0)], np.nan) if len(detected) else np.nan
    for name in ("iou", "dx_m", "dy_m", "shift_m", "hausdorff_m", "added_m2", "removed_m2"):
        out[name] = findings[name].astype(float) if name in findings else np.nan
    out["area_before_m2"], out["area_after_m2"] = before, after
    # A piece of a split has no area of its own in the cadastre to be compared with.
    change = np.where(findings["status"] == "split", np.nan, after - before)
    out["area_change_m2"] = change
    out["area_change_pct"] = np.divide(100 * change, before, out=np.full(len(out), np.nan), where=before > 0)
    crs_wkt = cadastre.crs_wkt or plane.crs_wkt
    if plane.crs_wkt:
        geometry = transform_geometries(geometry, plane.crs_wkt, crs_wkt)
    return geopandas.GeoDataFrame(out[list(_FIELDS)], geometry=geometry, crs=crs_wkt or None)


def _new_identifier(geometry: shapely.Geometry) -> str:
    """An identifier that depends on the outline alone, so that the same detection always gets the same."""
    return "new-" + hashlib.sha256(shapely.to_wkb(shapely.set_precision(geometry, 0.01))).hexdigest()[:12]


def summarize(findings: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Per status: rows, distinct cadastral buildings and distinct detections."""
    summary = {}
    for status in STATUSES:
        rows = findings[findings["status"] == status]
        cadastral = set(rows["cadastral"]) - {-1}
        if "partners" in rows:
            cadastral |= {k for partners in rows["partners"] if isinstance(partners, list) for k in partners}
        summary[status] = {
            "findings": len(rows),
            "cadastral": len(cadastral),
            "detected": len(set(rows["detected"]) - {-1}),
        }
    return summary


def _common_shift(findings: pd.DataFrame) -> dict[str, float | None]:
    """Median shift over all one-to-one pairs: an offset of the whole cadastre, or of the orthophoto."""
    found = findings.dropna(subset=["dx_m"]) if "dx_m" in findings else findings[:0]
    if not len(found):
        return {"median_dx_m": None, "median_dy_m": None}
    return {"median_dx_m": float(found["dx_m"].median()), "median_dy_m": float(found["dy_m"].median())}
