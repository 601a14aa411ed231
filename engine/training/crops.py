"""Training crops: any place, rotation, scale and mirror image of the chips, in one resampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .chips import UNKNOWN, Chip

BUILDING_SHARE = 0.75  # of the crops are centred near a building; the rest anywhere
NEGATIVE_SHARE = 0.6  # of that rest, where a source has places marked as no building, near one of them


@dataclass(frozen=True)
class Crop:
    """uint8[S, S, 3] RGB and int32[S, S] labels (0 background, >0 building, -1 unknown)."""

    image: np.ndarray
    labels: np.ndarray


class CropSampler:
    """Draws crops from chips of many sources so that none dominates.

    Args:
        chips: at least one.
        size_px: side of a crop.
        pixel_m: ground pixel the model works at.
        scale_range: crops are drawn at ``pixel_m`` times a factor from this range (log-uniform),
            the large-scale jitter of Ghiasi et al. 2021.
        source_weights: relative share per source; the square root of its number of buildings
            where not given.
    """

    def __init__(
        self,
        chips: Sequence[Chip],
        *,
        size_px: int,
        pixel_m: float,
        scale_range: tuple[float, float],
        source_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.size_px, self.pixel_m, self.scale_range = size_px, pixel_m, scale_range
        self._chips: dict[str, list[Chip]] = {}
        for chip in chips:
            self._chips.setdefault(chip.source, []).append(chip)
        self.sources = sorted(self._chips)
        given = source_weights or {}
        weights = [
            given.get(s, float(np.sqrt(1 + sum(c.buildings for c in self._chips[s])))) for s in self.sources
        ]
        self._share = np.asarray(weights) / np.sum(weights)
        self._areas = {
            s: np.asarray([c.labels.size * c.pixel_m**2 for c in group]) for s, group in self._chips.items()
        }
        self._centres = {id(c): _centres(c.labels) for c in chips}
        self._negatives = {
            s: [(chip, np.asarray(place)) for chip in group for place in chip.negatives]
            for s, group in self._chips.items()
        }
        self._halves = {id(c): cv2.resize(c.image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for c in chips}

    def draw(self, rng: np.random.Generator) -> Crop:
        """One crop; the generator alone decides which."""
        source = self.sources[rng.choice(len(self.sources), p=self._share)]
        near_building = rng.random() < BUILDING_SHARE
        marked = self._negatives[source]
        if marked and not near_building and rng.random() < NEGATIVE_SHARE:
            chip, centre = marked[rng.integers(len(marked))]
            spread = 0.35
        else:
            chip, centre, spread = self._choose(source, rng, near_building=near_building)
        factor = float(np.exp(rng.uniform(*np.log(self.scale_range)))) * self.pixel_m / chip.pixel_m
        reach = self.size_px * factor
        height, width = chip.labels.shape
        centre = centre + rng.uniform(-spread, spread, 2) * reach
        # keep most of the crop inside the chip: what lies outside teaches nothing
        margin = np.minimum(0.48 * reach, (width / 2, height / 2))
        centre = np.clip(centre, margin, (width, height) - margin)
        angle = rng.integers(4) * np.pi / 2 + (rng.uniform(-np.pi / 4, np.pi / 4) if rng.random() < 0.5 else 0.0)
        return self._resample(chip, centre, factor, angle, mirrored=rng.random() < 0.5)

    def _choose(
        self, source: str, rng: np.random.Generator, *, near_building: bool
    ) -> tuple[Chip, np.ndarray, float]:
        """A chip, a place in it, and how far from there a crop may lie, as a share of its side."""
        group, weights = self._chips[source], self._areas[source]
        if near_building:
            counts = np.asarray([len(self._centres[id(c)]) for c in group], float)
            weights = counts if counts.sum() else weights
        chip = group[rng.choice(len(group), p=weights / weights.sum())]
        centres = self._centres[id(chip)]
        if near_building and len(centres):
            return chip, centres[rng.integers(len(centres))], 0.35
        height, width = chip.labels.shape
        return chip, rng.uniform(0, 1, 2) * (width, height), 0.0

    def _resample(self, chip: Chip, centre: np.ndarray, factor: float, angle: float, *, mirrored: bool) -> Crop:
        """Crop pixel (x, y) shows the chip at ``centre + factor R (x + 0.5 - S/2, y + 0.5 - S/2)``."""
        cos, sin = factor * np.cos(angle), factor * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        if mirrored:
            linear[:, 0] *= -1
        half = np.full(2, 0.5 - self.size_px / 2)

        def matrix(scale: float) -> np.ndarray:
            offset = (linear @ half + centre) * scale - 0.5
            return np.column_stack((linear * scale, offset))

        size = (self.size_px, self.size_px)
        image, scale = (self._halves[id(chip)], 0.5) if factor > 1.5 else (chip.image, 1.0)
        inverse = cv2.WARP_INVERSE_MAP
        pixels = cv2.warpAffine(image, matrix(scale), size, flags=cv2.INTER_LINEAR | inverse)
        labels = cv2.warpAffine(
            chip.labels.astype(np.float32), matrix(1.0), size, flags=cv2.INTER_NEAREST | inverse,
            borderMode=cv2.BORDER_CONSTANT, borderValue=float(UNKNOWN),
        )  # fmt: skip
        return Crop(pixels, labels.astype(np.int32))


def _centres(labels: np.ndarray) -> np.ndarray:
    """float[N, 2] centres (x, y) of the buildings."""
    rows, cols = np.nonzero(labels > 0)
    values = labels[rows, cols]
    counts = np.bincount(values)
    present = np.flatnonzero(counts)
    if not len(present):
        return np.zeros((0, 2))
    x = np.bincount(values, cols + 0.5)[present] / counts[present]
    y = np.bincount(values, rows + 0.5)[present] / counts[present]
    return np.column_stack((x, y))
