"""Average precision after COCO (Lin et al. 2014), on sparse overlaps and without a cap on detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .overlap import Pairs

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
SMALL_PX2, LARGE_PX2 = 32.0**2, 96.0**2


@dataclass(frozen=True)
class Matching:
    """One-to-one assignment of predictions to references at one IoU threshold.

    Attributes:
        reference_of: int64[N], the reference of each prediction, -1 for none.
        pair_of: int64[N], index of that pair, -1 for none.
        ignored: bool[N], predictions that count neither as right nor as wrong.
    """

    reference_of: np.ndarray
    pair_of: np.ndarray
    ignored: np.ndarray


def match(
    pairs: Pairs,
    scores: np.ndarray,
    *,
    threshold: float,
    reference_ignored: np.ndarray,
    predicted_ignorable: np.ndarray,
) -> Matching:
    """Match predictions, best score first, each to the free reference it overlaps most.

    Equal to ``COCOeval.evaluateImg`` with the whole layer as one image: an ignored reference is taken only
    when no other is left; a prediction on it is ignored; so is an unmatched ignorable prediction.

    Args:
        pairs: overlaps of N predictions and M references.
        scores: float64[N].
        threshold: least IoU of a match.
        reference_ignored: bool[M], references that need not be found.
        predicted_ignorable: bool[N], predictions that are not wrong when unmatched.
    """
    eligible = np.flatnonzero(pairs.iou >= min(threshold, 1 - 1e-10))
    predicted, reference = pairs.predicted[eligible], pairs.reference[eligible]
    pair_of = np.full(len(scores), -1)
    # A pair whose two sides have no other candidate needs no competition.
    alone = np.bincount(predicted, minlength=len(scores))[predicted] == 1
    alone &= np.bincount(reference, minlength=len(reference_ignored))[reference] == 1
    pair_of[predicted[alone]] = eligible[alone]
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    rest = np.flatnonzero(~alone)
    # Real references first, ignored ones after, each by index: COCO's order, in which a tie goes to the later.
    rest = rest[np.lexsort((reference[rest], reference_ignored[reference[rest]], rank[predicted[rest]]))]
    _match_in_order(
        predicted[rest].tolist(),
        reference[rest].tolist(),
        pairs.iou[eligible[rest]].tolist(),
        reference_ignored[reference[rest]].tolist(),
        eligible[rest].tolist(),
        pair_of,
    )
    found = pair_of >= 0
    reference_of = np.full(len(scores), -1)
    reference_of[found] = pairs.reference[pair_of[found]]
    ignored = predicted_ignorable & ~found
    ignored[found] = reference_ignored[reference_of[found]]
    return Matching(reference_of, pair_of, ignored)


def _match_in_order(
    predicted: list[int],
    reference: list[int],
    iou: list[float],
    ignored: list[bool],
    index: list[int],
    pair_of: np.ndarray,
) -> None:
    """Walk through candidates sorted by prediction and write the winners into `pair_of`."""
    taken: set[int] = set()
    position, count = 0, len(predicted)
    while position < count:
        current, best, best_iou = predicted[position], -1, 0.0
        while position < count and predicted[position] == current:
            if reference[position] not in taken:
                settled = best >= 0 and ignored[position] and not ignored[best]
                if not settled and iou[position] >= best_iou:
                    best, best_iou = position, iou[position]
            position += 1
        if best >= 0:
            taken.add(reference[best])
            pair_of[current] = index[best]


@dataclass(frozen=True)
class Curve:
    """Precision and recall over the falling score threshold, ignored predictions left out.

    Attributes:
        scores, precision, recall: float64[K], K <= N; `scores` falls, `recall` rises.
        references: number of references to be found.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    references: int

    def average_precision(self) -> float:
        """Mean over 101 recall points of the highest precision at that or a higher recall; NaN without references."""
        if not self.references:
            return float("nan")
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        at = np.searchsorted(self.recall, RECALL_POINTS, side="left")
        return float(np.append(envelope, 0.0)[at].mean())

    def best_f1(self) -> tuple[float, float]:
        """Greatest F1 over the score thresholds, and the threshold; NaN without predictions or references."""
        if not len(self.scores) or not self.references:
            return float("nan"), float("nan")
        last_of_tie = np.append(self.scores[1:] != self.scores[:-1], True)
        scores, precision, recall = (v[last_of_tie] for v in (self.scores, self.precision, self.recall))
        total = precision + recall
        f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
        best = int(np.argmax(f1))
        return float(f1[best]), float(scores[best])


def precision_recall(
    matching: Matching, scores: np.ndarray, reference_ignored: np.ndarray, *, scored: bool = True
) -> Curve:
    """Precision and recall of a matching.

    Args:
        matching: of `match`.
        scores: float64[N].
        reference_ignored: bool[M].
        scored: False where the scores mean nothing: then the curve is the one point of all predictions,
            and does not depend on their order.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[~matching.ignored[order]]
    right = matching.reference_of[order] >= 0
    true, false = np.cumsum(right), np.cumsum(~right)
    references = int(np.count_nonzero(~reference_ignored))
    if not scored:
        order, true, false = order[-1:], true[-1:], false[-1:]
    recall = true / references if references else np.zeros(len(true))
    return Curve(scores[order], true / (true + false + np.spacing(1)), recall, references)


def average_precisions(
    pairs: Pairs,
    scores: np.ndarray,
    *,
    reference_ignored: np.ndarray,
    predicted_ignorable: np.ndarray,
    scored: bool = True,
) -> np.ndarray:
    """AP at IoU .50, .55 ... .95, float64[10]; NaN where there is nothing to be found."""
    curves = []
    for threshold in IOU_THRESHOLDS:
        matching = match(
            pairs,
            scores,
            threshold=float(threshold),
            reference_ignored=reference_ignored,
            predicted_ignorable=predicted_ignorable,
        )
        curves.append(precision_recall(matching, scores, reference_ignored, scored=scored).average_precision())
    return np.array(curves)
