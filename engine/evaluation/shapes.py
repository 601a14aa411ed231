"""How alike two outlines are: PoLiS, Hausdorff, boundary IoU, C-IoU and tangent angles, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import shapely

from .boundaries import Samples, Segments, boundary_segments, nearest_on_boundary, sample_boundaries
from .overlap import map_chunks

_CHUNK = 1024
_SAMPLES = 96
"""Boundaries get about this many sample points, at least every half metre (see `sample_spacing`)."""
_MAX_STRETCH = 2.0
"""Girard et al. leave out pieces whose projection is stretched or shrunk more than this."""

_CORNER_DEG = 10.0


@dataclass(frozen=True)
class ShapeErrors:
    """Differences of matched outlines, float64[K] each.

    Attributes:
        polis_m: PoLiS distance, metres.
        hausdorff_m: Hausdorff distance of the boundaries, metres.
        hausdorff95_m: greater of the two directed 95th percentiles, metres.
        tangent_deg: greatest angle between the outlines' directions, 0..90 degrees; NaN where no part of the
            predicted boundary projects well.
        predicted_vertices, reference_vertices: distinct vertices.
    """

    polis_m: np.ndarray
    hausdorff_m: np.ndarray
    hausdorff95_m: np.ndarray
    tangent_deg: np.ndarray
    predicted_vertices: np.ndarray
    reference_vertices: np.ndarray


def measure_shapes(predicted: np.ndarray, reference: np.ndarray) -> ShapeErrors:
    """Measure pairs of polygons, object[K] each, in metres; holes count as boundary.

    PoLiS after Avbelj et al. (2015), over distinct vertices; tangent angles after Girard et al. (2021).
    Distances along the boundaries are sampled, so Hausdorff is low by at most half the sample spacing.
    """
    table = map_chunks(lambda part: _measure_chunk(predicted[part], reference[part]), len(predicted), size=_CHUNK)
    return ShapeErrors(*table.T)


def sample_spacing(segments: Segments) -> np.ndarray:
    """float64[N]: an ``_SAMPLES``-th of the perimeter, at most half a metre and at least 1 cm."""
    perimeter = np.bincount(segments.owner, weights=segments.length, minlength=segments.count)
    return np.clip(perimeter / _SAMPLES, 0.01, 0.5)


def _measure_chunk(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """float64[K, 6] in the order of `ShapeErrors`."""
    if not len(predicted):
        return np.empty((0, len(fields(ShapeErrors))))
    a, b = boundary_segments(predicted), boundary_segments(reference)
    on_a = sample_boundaries(a, spacing=sample_spacing(a))
    on_b = sample_boundaries(b, spacing=sample_spacing(b))
    a_to_b, foot, where = nearest_on_boundary(on_a.xy, on_a.owner, b)
    b_to_a, _, _ = nearest_on_boundary(on_b.xy, on_b.owner, a)
    polis = (_vertex_mean(on_a, a_to_b, a.count) + _vertex_mean(on_b, b_to_a, b.count)) / 2
    (a_95, a_most), (b_95, b_most) = _extremes(on_a.owner, a_to_b), _extremes(on_b.owner, b_to_a)
    return np.column_stack(
        (
            polis,
            np.maximum(a_most, b_most),
            np.maximum(a_95, b_95),
            _tangent_angle_deg(on_a, foot, b.direction[where], a.count),
            a.vertices_per_owner(),
            b.vertices_per_owner(),
        )
    )


def _vertex_mean(samples: Samples, distance: np.ndarray, count: int) -> np.ndarray:
    owner = samples.owner[samples.vertex]
    return np.bincount(owner, weights=distance[samples.vertex], minlength=count) / np.bincount(owner, minlength=count)


def _extremes(owner: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64[N] 95th percentile, linearly interpolated, and float64[N] greatest of each owner's values."""
    ordered = values[np.lexsort((values, owner))]
    count = np.bincount(owner)
    last = np.cumsum(count) - 1
    position = last - 0.05 * (count - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, last)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low]), ordered[last]


def _tangent_angle_deg(samples: Samples, foot: np.ndarray, tangent: np.ndarray, count: int) -> np.ndarray:
    """float64[N] of pieces between samples against their projections; `tangent` is that at each foot."""
    edge = samples.xy[samples.following] - samples.xy
    projected = foot[samples.following] - foot
    length, projected_length = np.hypot(*edge.T), np.hypot(*projected.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = length / projected_length
        cosine = np.abs(np.einsum("ij,ij->i", edge, projected)) / (length * projected_length)
    # A piece whose projection goes round a corner has no tangent to be compared with.
    straight = np.einsum("ij,ij->i", tangent, tangent[samples.following]) > np.cos(np.radians(_CORNER_DEG))
    kept = straight & (stretch > 1 / _MAX_STRETCH) & (stretch < _MAX_STRETCH)
    angle = np.full(count, -1.0)
    np.maximum.at(angle, samples.owner[kept], np.degrees(np.arccos(np.clip(cosine[kept], 0.0, 1.0))))
    return np.where(angle < 0, np.nan, angle)


def boundary_iou(predicted: np.ndarray, reference: np.ndarray, *, band_m: float) -> np.ndarray:
    """Boundary IoU (Cheng et al. 2021) of pairs of polygons, on vector geometry.

    IoU of the two inner bands, the places of each polygon within `band_m` of its boundary (true to a hundredth
    of it); a polygon thinner than twice the band
    is all band, so the figure turns into IoU for small buildings.

    Args:
        predicted, reference: object[K] each, metres.
        band_m: more than 0.

    Returns:
        float64[K], 0..1.
    """

    def measure(part: slice) -> np.ndarray:
        a, b = predicted[part], reference[part]
        # Outlines of thousands of vertices, such as traced pixels, take minutes without this simplification.
        a_core, b_core = (shapely.buffer(shapely.simplify(g, band_m / 100), -band_m) for g in (a, b))
        area = shapely.area
        # The bands are polygons less their cores; inclusion and exclusion avoids cutting rings with rings.
        common = (
            area(shapely.intersection(a, b))
            - area(shapely.intersection(a_core, b))
            - area(shapely.intersection(a, b_core))
            + area(shapely.intersection(a_core, b_core))
        )
        union = area(a) - area(a_core) + area(b) - area(b_core) - common
        return np.clip(np.divide(common, union, out=np.zeros(len(a)), where=union > 0), 0.0, 1.0)

    return map_chunks(measure, len(predicted))


def complexity_aware_iou(iou: np.ndarray, predicted_vertices: np.ndarray, reference_vertices: np.ndarray) -> np.ndarray:
    """C-IoU (Zorzi et al. 2022): ``IoU (1 - |N - N'| / (N + N'))``, float64[K]."""
    total = predicted_vertices + reference_vertices
    return iou * (1 - np.abs(predicted_vertices - reference_vertices) / total)
