"""COCO average precision of masks and boxes, small enough to travel with the training code.

Definitions as pycocotools (Lin et al. 2014): greedy matching by falling score, 101 recall points,
thresholds 0.50:0.05:0.95, small, medium and large at 32 x 32 and 96 x 96 pixels of the mask; without its cap
on detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

THRESHOLDS = np.round(np.arange(0.5, 1.0, 0.05), 2)
KINDS = ("mask", "box")
SIZES = ("all", "small", "medium", "large")
RANGES = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)], float)
IGNORED, FALSE, TRUE = -1, 0, 1
NEAR = 0.02  # an F1 within this of the best is as good: that much is luck where some hundred buildings are counted
NOTHING = -1.0  # a figure of a size of which there is no building, as in pycocotools


@dataclass
class MatchCollector:
    """Collects image by image; figures come at the end.

    Attributes:
        scores: of the predictions that count.
        outcomes: for each int8[2, 4, 10]: `TRUE`, `FALSE` or `IGNORED` by kind, size and threshold.
        counts: int64[2, 4] buildings by kind and size.
    """

    scores: list[float] = field(default_factory=list)
    outcomes: list[np.ndarray] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros((len(KINDS), len(SIZES)), np.int64))

    @property
    def truths(self) -> int:
        """Number of buildings."""
        return int(self.counts[0, 0])

    def add(
        self, boxes: Sequence[tuple[int, int, int, int]], masks: Sequence[np.ndarray], scores: Sequence[float],
        labels: np.ndarray,
    ) -> None:  # fmt: skip
        """Match the predictions of one image.

        Args:
            boxes, masks: half-open pixel boxes and bool masks of the predictions; the boxes that are compared
                are those of the masks.
            scores: their scores.
            labels: int32[H, W] truth; predictions mostly in unknown areas (-1) do not count.
        """
        truth = _Truth(labels)
        self.counts += truth.is_in_range.sum(axis=2)
        taken = np.zeros((len(KINDS), len(SIZES), len(THRESHOLDS), truth.count), bool)
        for index in np.argsort(-np.asarray(scores), kind="stable"):
            x0, y0, x1, y1 = boxes[index]
            mask = np.asarray(masks[index])
            under = labels[y0:y1, x0:x1][mask]
            if not under.size or (under < 0).mean() > 0.5:
                continue
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            tight = np.array((x0 + cols[0], y0 + rows[0], x0 + cols[-1] + 1, y0 + rows[-1] + 1), float)
            area = under.size
            in_range = (area >= RANGES[:, 0]) & (area <= RANGES[:, 1])
            overlaps = (truth.mask_overlaps(under), truth.box_overlaps(tight))
            outcome = np.stack([
                _match(hits, iou, taken[kind], truth.is_in_range[kind], in_range=in_range)
                for kind, (hits, iou) in enumerate(overlaps)
            ])  # fmt: skip
            self.scores.append(float(scores[index]))
            self.outcomes.append(outcome)

    def ranked(self, kind: str = "mask", size: str = "all", iou: float = 0.5) -> tuple[np.ndarray, np.ndarray, int]:
        """Scores that fall, bool[N] whether each is right, and the number of buildings, of one size."""
        k, s = KINDS.index(kind), SIZES.index(size)
        t = int(np.abs(THRESHOLDS - iou).argmin())
        if not self.scores:
            return np.zeros(0), np.zeros(0, bool), int(self.counts[k, s])
        order = np.argsort(-np.asarray(self.scores), kind="stable")
        states = np.asarray(self.outcomes)[order, k, s, t]
        counts = states != IGNORED
        return np.asarray(self.scores)[order][counts], states[counts] == TRUE, int(self.counts[k, s])

    def figures(self, score_threshold: float = 0.5) -> dict[str, float]:
        """``AP``, ``AP50``, ``AP75``, ``APS``, ``APM``, ``APL`` of the masks and, as ``box_AP`` and so on, of
        the boxes; ``precision``, ``recall``, ``F1`` of the masks at IoU 0.5 for a fixed score, with an S, M or L
        behind for a size; ``best_F1``, and as ``best_score`` the one of `recommend`; ``truths``."""
        figures: dict[str, float] = {}
        for kind in KINDS:
            prefix = "" if kind == "mask" else f"{kind}_"
            every = [self._precision(kind, "all", iou) for iou in THRESHOLDS]
            figures[f"{prefix}AP"] = float(np.mean(every))
            figures[f"{prefix}AP50"], figures[f"{prefix}AP75"] = every[0], every[5]
            for size in SIZES[1:]:
                figures[f"{prefix}AP{size[0].upper()}"] = float(
                    np.mean([self._precision(kind, size, iou) for iou in THRESHOLDS])
                )
        for size in SIZES:
            scores, hits, truths = self.ranked(size=size)
            kept = int((scores >= score_threshold).sum())
            right = int(hits[:kept].sum())
            letter = "" if size == "all" else size[0].upper()
            figures[f"precision{letter}"] = right / kept if kept else 0.0
            figures[f"recall{letter}"] = right / truths if truths else 0.0
            figures[f"F1{letter}"] = 2 * right / (kept + truths) if truths else 0.0
            figures[f"truths{letter}"] = truths
        scores, hits, truths = self.ranked()
        f1 = 2 * hits.cumsum() / (np.arange(1, len(hits) + 1) + truths) if truths else np.zeros(0)
        figures["best_F1"], figures["best_score"] = 0.0, 1.0
        if len(f1):
            figures["best_F1"] = float(f1.max())
            figures["best_score"] = float(scores[recommend(f1)])
        return figures

    def _precision(self, kind: str, size: str, iou: float) -> float:
        _, hits, truths = self.ranked(kind, size, iou)
        if not truths:
            return 0.0 if size == "all" else NOTHING
        return average_precision(hits, truths)


def recommend(f1: np.ndarray) -> int:
    """Index of the lowest score with an F1 as good as the best; float[N] is in order of falling score.

    Scores fall in places a network does not know, and what is missing costs more to draw than what is wrong to delete.
    """
    return int(np.flatnonzero(f1 >= f1.max() - NEAR)[-1])


class _Truth:
    """The buildings of one image.

    Args:
        labels: int32[H, W].
    """

    def __init__(self, labels: np.ndarray) -> None:
        rows, cols = np.nonzero(labels > 0)
        values = labels[rows, cols]
        self.count = int(values.max(initial=0)) + 1
        self.areas = np.bincount(values, minlength=self.count)
        self.boxes = np.zeros((self.count, 4))
        self.boxes[:, :2] = np.inf
        np.minimum.at(self.boxes[:, 0], values, cols)
        np.minimum.at(self.boxes[:, 1], values, rows)
        np.maximum.at(self.boxes[:, 2], values, cols + 1)
        np.maximum.at(self.boxes[:, 3], values, rows + 1)
        self.boxes[self.areas == 0] = 0
        in_range = (self.areas >= RANGES[:, :1]) & (self.areas <= RANGES[:, 1:]) & (self.areas > 0)
        self.is_in_range = np.stack([in_range] * len(KINDS))  # bool[2, 4, count]

    def mask_overlaps(self, under: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels hit by the labels under a prediction, int64[K], and their IoU float64[K]."""
        shared = np.bincount(under[under > 0], minlength=1)
        hits = np.flatnonzero(shared)
        return hits, shared[hits] / (under.size + self.areas[hits] - shared[hits])

    def box_overlaps(self, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `mask_overlaps`, of a box float64[4]."""
        sides = np.minimum(self.boxes[:, 2:], box[2:]) - np.maximum(self.boxes[:, :2], box[:2])
        shared = sides.clip(min=0).prod(axis=1)
        hits = np.flatnonzero(shared)
        areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1)
        return hits, shared[hits] / ((box[2:] - box[:2]).prod() + areas[hits] - shared[hits])


def _match(
    hits: np.ndarray, iou: np.ndarray, taken: np.ndarray, is_counted: np.ndarray, *, in_range: np.ndarray
) -> np.ndarray:
    """Give a prediction its building, for every size and threshold.

    Args:
        hits, iou: labels it overlaps, and how much.
        taken: bool[4, 10, count], whose are already given away; changed.
        is_counted: bool[4, count], buildings of each size; others may be taken, but count for nothing.
        in_range: bool[4], sizes the prediction has.

    Returns:
        int8[4, 10] of `TRUE`, `FALSE`, `IGNORED`.
    """
    outcome = np.where(in_range[:, None], np.int8(FALSE), np.int8(IGNORED)).repeat(len(THRESHOLDS), axis=1)
    if not len(hits) or iou.max() < THRESHOLDS[0]:
        return outcome
    fits = ~taken[:, :, hits] & (iou >= THRESHOLDS[:, None])  # [4, 10, K]
    counted = is_counted[:, None, hits]
    rank = np.where(fits, iou + 2.0 * counted, -1.0)  # buildings that count come first
    best = rank.argmax(axis=2)
    s, t = np.nonzero(rank.max(axis=2) >= 0)
    label = best[s, t]
    taken[s, t, hits[label]] = True
    outcome[s, t] = np.where(counted[s, 0, label], TRUE, IGNORED)
    return outcome


def average_precision(hits: np.ndarray, truths: int) -> float:
    """Interpolated average precision at 101 recall points of bool[N] hits in order of falling score."""
    found = hits.cumsum()
    recall = found / truths
    precision = found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    if not len(precision):
        return 0.0
    return float(np.where(at < len(precision), precision[np.minimum(at, len(precision) - 1)], 0.0).mean())
