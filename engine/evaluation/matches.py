"""What became of every building: right, wrong, missed, split or merged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .overlap import Pairs
from .precision import Matching

PIECE_INSIDE = 0.5
"""A polygon is a piece of another when at least this share of its own area lies in it,"""
PIECE_COVERS = 0.1
"""and it covers at least this share of the other."""
DOUBLE_COVER = 1.2
"""Pieces that together cover more than this are duplicates, not a division."""


@dataclass(frozen=True)
class Divisions:
    """Polygons of one layer that are several in the other.

    Attributes:
        whole: int64[K], rising, index of the divided polygon, once for each piece.
        piece: int64[K], index of the piece in the other layer.
    """

    whole: np.ndarray
    piece: np.ndarray

    def wholes(self) -> np.ndarray:
        """int64[N]: the divided polygons."""
        return np.unique(self.whole)

    def pieces_of(self) -> dict[int, list[int]]:
        """Pieces by divided polygon."""
        found: dict[int, list[int]] = {}
        for whole, piece in zip(self.whole.tolist(), self.piece.tolist(), strict=True):
            found.setdefault(whole, []).append(piece)
        return found


def find_splits(pairs: Pairs, predicted_area: np.ndarray, reference_area: np.ndarray) -> Divisions:
    """References that were found as two or more pieces, covering at least half of them together."""
    return _divide(pairs.reference, pairs.predicted, pairs.intersection, reference_area, predicted_area)


def find_merges(pairs: Pairs, predicted_area: np.ndarray, reference_area: np.ndarray) -> Divisions:
    """Predictions that swallowed two or more references, which make up at least half of them together."""
    return _divide(pairs.predicted, pairs.reference, pairs.intersection, predicted_area, reference_area)


def _divide(
    whole: np.ndarray, piece: np.ndarray, common: np.ndarray, whole_area: np.ndarray, piece_area: np.ndarray
) -> Divisions:
    covered = common / whole_area[whole]
    is_piece = (common / piece_area[piece] >= PIECE_INSIDE) & (covered >= PIECE_COVERS)
    whole, piece, covered = whole[is_piece], piece[is_piece], covered[is_piece]
    count = np.bincount(whole, minlength=len(whole_area))
    total = np.bincount(whole, weights=covered, minlength=len(whole_area))
    divided = (count >= 2) & (total >= 0.5) & (total <= DOUBLE_COVER)
    kept = divided[whole]
    order = np.lexsort((piece[kept], whole[kept]))
    return Divisions(whole[kept][order], piece[kept][order])


@dataclass(frozen=True)
class Outcome:
    """The fate of every polygon at IoU 0.5, ignored ones left out.

    Attributes:
        true_predicted, true_reference: int64[K], matched pairs.
        pair: int64[K], their index in the overlaps.
        false_predicted: int64, predictions without a match.
        missed_reference: int64, references without a match.
        splits, merges: see `find_splits`, `find_merges`.
    """

    true_predicted: np.ndarray
    true_reference: np.ndarray
    pair: np.ndarray
    false_predicted: np.ndarray
    missed_reference: np.ndarray
    splits: Divisions
    merges: Divisions

    def counts(self) -> dict[str, int]:
        """``tp``, ``fp``, ``fn``, ``splits`` and ``merges``."""
        return {
            "tp": len(self.true_predicted),
            "fp": len(self.false_predicted),
            "fn": len(self.missed_reference),
            "splits": len(self.splits.wholes()),
            "merges": len(self.merges.wholes()),
        }


def decide_outcome(
    pairs: Pairs,
    matching: Matching,
    reference_ignored: np.ndarray,
    predicted_area: np.ndarray,
    reference_area: np.ndarray,
) -> Outcome:
    """Sort all polygons by their fate.

    Args:
        pairs: overlaps of the layers.
        matching: at IoU 0.5.
        reference_ignored: bool[M].
        predicted_area, reference_area: float64[N], float64[M].
    """
    found = np.flatnonzero((matching.reference_of >= 0) & ~matching.ignored)
    missed = ~reference_ignored
    missed[matching.reference_of[matching.reference_of >= 0]] = False
    counted = ~(reference_ignored[pairs.reference] | matching.ignored[pairs.predicted])
    return Outcome(
        found,
        matching.reference_of[found],
        matching.pair_of[found],
        np.flatnonzero((matching.reference_of < 0) & ~matching.ignored),
        np.flatnonzero(missed),
        find_splits(pairs.where(counted), predicted_area, reference_area),
        find_merges(pairs.where(counted), predicted_area, reference_area),
    )
