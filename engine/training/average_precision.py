"""COCO average precision of masks, small enough to travel with the training code.

Definitions as pycocotools (Lin et al. 2014): greedy matching by falling score, 101 recall points,
thresholds 0.50:0.05:0.95; without its cap on detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

THRESHOLDS = np.round(np.arange(0.5, 1.0, 0.05), 2)


@dataclass
class MatchCollector:
    """Collects image by image; figures come at the end."""

    scores: list[float] = field(default_factory=list)
    matched: list[np.ndarray] = field(default_factory=list)  # bool[10] each
    truths: int = 0

    def add(
        self, boxes: Sequence[tuple[int, int, int, int]], masks: Sequence[np.ndarray], scores: Sequence[float],
        labels: np.ndarray,
    ) -> None:  # fmt: skip
        """Match the predictions of one image.

        Args:
            boxes, masks: half-open pixel boxes and bool masks of the predictions.
            scores: their scores.
            labels: int32[H, W] truth; predictions mostly in unknown areas (-1) do not count.
        """
        areas = np.bincount(labels[labels > 0]) if (labels > 0).any() else np.zeros(1, int)
        self.truths += int((areas > 0).sum())
        taken = np.zeros((len(THRESHOLDS), len(areas)), bool)
        for index in np.argsort(-np.asarray(scores), kind="stable"):
            x0, y0, x1, y1 = boxes[index]
            under = labels[y0:y1, x0:x1][masks[index]]
            if not under.size or (under < 0).mean() > 0.5:
                continue
            shared = np.bincount(under[under > 0], minlength=1)
            hits = np.flatnonzero(shared)
            matched = np.zeros(len(THRESHOLDS), bool)
            if hits.size:
                iou = shared[hits] / (under.size + areas[hits] - shared[hits])
                for k, threshold in enumerate(THRESHOLDS):
                    free = np.where(taken[k, hits], -1.0, iou)
                    best = int(free.argmax())
                    if free[best] >= threshold:
                        taken[k, hits[best]] = matched[k] = True
            self.scores.append(float(scores[index]))
            self.matched.append(matched)

    def figures(self, score_threshold: float = 0.5) -> dict[str, float]:
        """AP, AP50, AP75; precision, recall, F1 at IoU 0.5 for a fixed score; the best F1 and its score."""
        if not self.truths or not self.scores:
            return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0, "precision": 0.0, "recall": 0.0, "F1": 0.0,
                    "best_F1": 0.0, "best_score": 1.0, "truths": self.truths}  # fmt: skip
        order = np.argsort(-np.asarray(self.scores), kind="stable")
        scores = np.asarray(self.scores)[order]
        hits = np.asarray(self.matched)[order]
        aps = [average_precision(hits[:, k], self.truths) for k in range(len(THRESHOLDS))]
        found = hits[:, 0].cumsum()
        f1 = 2 * found / (np.arange(1, len(found) + 1) + self.truths)
        kept = int((scores >= score_threshold).sum())
        true = int(found[kept - 1]) if kept else 0
        best = int(f1.argmax())
        return {
            "AP": float(np.mean(aps)),
            "AP50": aps[0],
            "AP75": aps[5],
            "precision": true / kept if kept else 0.0,
            "recall": true / self.truths,
            "F1": 2 * true / (kept + self.truths),
            "best_F1": float(f1[best]),
            "best_score": float(scores[best]),
            "truths": self.truths,
        }


def average_precision(hits: np.ndarray, truths: int) -> float:
    """Interpolated average precision at 101 recall points of bool[N] hits in order of falling score."""
    found = hits.cumsum()
    recall = found / truths
    precision = found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.where(at < len(precision), precision[np.minimum(at, len(precision) - 1)], 0.0).mean())
