"""Corner accuracy beside the classes of cadastral and mapping rules, and what may be concluded from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..accuracy_limits import GOST_R_59562, LEAST_POINTS, ORDER_P0393


@dataclass(frozen=True)
class AccuracyClass:
    """One line of the table.

    Attributes:
        rule: where the class comes from.
        name: of the class.
        limit_m: its limit, metres.
        within, within_twice: share of matched corners within it and within twice it; None without corners.
        below: the measured value does not exceed the limit, against this reference; None without corners.
    """

    rule: str
    name: str
    limit_m: float
    within: float | None
    within_twice: float | None
    below: bool | None


def classify(shift: np.ndarray, *, limit_m: float, pixel_m: float) -> list[AccuracyClass]:
    """Put corner differences beside the limits.

    Args:
        shift: float64[K, 2], matched corners, predicted less reference.
        limit_m: the user's own limit.
        pixel_m: ground pixel, 0 when unknown.
    """
    length = np.hypot(*shift.T) if len(shift) else np.empty(0)
    rmse = float(np.sqrt((length**2).mean())) if len(length) else None

    def entry(rule: str, name: str, limit: float) -> AccuracyClass:
        if rmse is None:
            return AccuracyClass(rule, name, limit, None, None, None)
        return AccuracyClass(
            rule, name, limit, float((length <= limit).mean()), float((length <= 2 * limit).mean()), rmse <= limit
        )

    classes = [entry("chosen limit", "", limit_m)]
    classes += [entry("order P/0393 (2020)", name, limit) for name, limit in ORDER_P0393]
    if rmse is not None:
        # ASPRS 2023 has no fixed classes: the class is the RMSE itself, here rounded up to whole centimetres.
        aspr = float(np.ceil(rmse * 100) / 100)
        classes.append(entry("ASPRS 2023", f"{aspr * 100:.0f} cm horizontal class", aspr))
    if pixel_m:
        classes += [
            AccuracyClass("GOST R 59562-2021, ground pixel", f"scale {scale}", limit, None, None, pixel_m <= limit)
            for scale, limit in GOST_R_59562
        ]
    return classes


def explain(points: int, unmatched_share: float | None, gate_m: float, *, surveyed: bool) -> list[str]:
    """Plain sentences on what the corner figures can and cannot prove.

    Args:
        points: matched corners.
        unmatched_share: share of the reference's corners without a partner; None without corners.
        gate_m: farthest a partner could be.
        surveyed: the user declares that the reference was measured in the field, independently.
    """
    sentences = []
    if unmatched_share is not None:
        sentences.append(
            f"{unmatched_share:.0%} of the reference corners of matched buildings found no partner within"
            f" {gate_m:.2f} m; they are outside every figure below, so the figures are a lower bound of the error."
        )
    if points < LEAST_POINTS:
        sentences.append(
            f"Only {points} corners were matched. Below {LEAST_POINTS} points no accuracy class can be stated."
        )
    if not surveyed:
        sentences.append(
            "The reference is taken to be digitised from imagery. The figures say how well two outlines agree,"
            " not how far either is from the truth on the ground; no compliance with any limit follows from them."
        )
    if surveyed and points >= LEAST_POINTS:
        sentences.append(
            "The reference was declared to be an independent field survey. The figures estimate absolute"
            " accuracy as far as that survey is at least three times more accurate than the limit."
        )
    sentences.append(
        "Roof edges seen in an orthophoto are not walls: overhang and relief displacement remain in the outlines."
    )
    return sentences
