"""Synthetic damage: true masks made to look like what a Mask R-CNN gets wrong, or a person draws.

Every function takes and gives bool[H, W] (or int32[H, W] labels), works on a copy, and draws from the
generator it is given only, so a seed fixes the result. Sizes are relative to the building's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

MIN_IOU = 0.4
"""Damage below this IoU with the truth would be another building's mask: it is drawn again, milder."""
MIN_IOU_BY_HAND = 0.15
"""A thin stroke or a loose box has less, and still says which building is meant."""


def damage_mask(labels: np.ndarray, target: int, rng: np.random.Generator) -> np.ndarray:
    """A plausible coarse mask of one building.

    Args:
        labels: int32[H, W]; 0 background, 1..n buildings, negative unknown.
        target: the building to damage; must be present.

    Returns:
        uint8[H, W], 0..255 = probability 0..1; IoU of ``>= 128`` with the truth at least `MIN_IOU`
        (`MIN_IOU_BY_HAND` for the one in eight that is drawn as a person would) except where even the
        mildest damage destroys a mask of a few pixels, which is then returned whole.
    """
    truth = labels == target
    drawn_by_hand = rng.random() < 0.12
    for strength in (1.0, 0.6, 0.3, 0.1):
        if drawn_by_hand:
            probability = 255 * draw_by_hand(truth, rng, strength).astype(np.uint8)
        else:
            mask = truth
            for defect in choose_defects(rng, strength):
                mask = defect(mask, labels, target, rng, strength)
            probability = predict_on_grid(mask, rng)
        if mask_iou(probability >= 128, truth) >= (MIN_IOU_BY_HAND if drawn_by_hand else MIN_IOU):
            return probability
    return 255 * truth.astype(np.uint8)


Defect = Callable[[np.ndarray, np.ndarray, int, np.random.Generator, float], np.ndarray]


def choose_defects(rng: np.random.Generator, strength: float) -> list[Defect]:
    """Which defects this mask gets, in the order they are applied."""
    likely: list[tuple[Defect, float]] = [
        (fuse_neighbour, 0.18),
        (split_off, 0.12),
        (bite_or_bulge, 0.55),
        (cut_gap, 0.10),
        (punch_holes, 0.12),
        (perturb_outline, 0.45),
        (round_corners, 0.40),
        (shift, 0.60),
        (clip_box, 0.25),
    ]
    return [defect for defect, share in likely if rng.random() < share * (0.5 + 0.5 * strength)]


def fuse_neighbour(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Swallow a touching or close neighbour, or the part of it that is near."""
    length = longest_side(mask)
    near = cv2.dilate(mask.astype(np.uint8), ellipse(max(2, 0.12 * length))) > 0
    candidates = [label for label in np.unique(labels[near]) if label > 0 and label != target]
    if not candidates:
        return mask
    other = labels == candidates[rng.integers(len(candidates))]
    reach = rng.uniform(0.05, 0.45) * strength * length
    other &= cv2.dilate(mask.astype(np.uint8), ellipse(max(2, reach))) > 0
    fused = (mask | other).astype(np.uint8)
    return cv2.morphologyEx(fused, cv2.MORPH_CLOSE, ellipse(0.06 * length)) > 0


def split_off(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Lose everything on one side of a line: a wing of an L-shape or the end of a long roof."""
    rows, cols = np.nonzero(mask)
    if len(rows) == 0:
        return mask
    angle = rng.choice([0.0, 0.5, 1.0, 1.5]) * math.pi + rng.normal(0, 0.3)
    along = cols * math.cos(angle) + rows * math.sin(angle)
    limit = np.quantile(along, 1.0 - strength * rng.uniform(0.05, 0.45))
    kept = np.zeros_like(mask)
    kept[rows, cols] = along <= limit
    return kept


def bite_or_bulge(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Blobs on the edge: trees and shadows eat the mask, yards and cars are added to it."""
    damaged = mask.copy()
    edge = np.argwhere(mask & ~(cv2.erode(mask.astype(np.uint8), ellipse(1)) > 0))
    if len(edge) == 0:
        return mask
    length = longest_side(mask)
    for _ in range(1 + rng.poisson(0.8)):
        row, col = edge[rng.integers(len(edge))]
        radius = strength * length * rng.uniform(0.05, 0.22)
        damaged[blob(mask.shape, (col, row), radius, rng)] = rng.random() < 0.45
    return damaged


def cut_gap(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """A strip missing across the mask, as between the panels of a hall roof."""
    rows, cols = np.nonzero(mask)
    if len(rows) == 0:
        return mask
    index = rng.integers(len(rows))
    length = longest_side(mask)
    angle = rng.uniform(0, math.pi)
    dx, dy = 2 * length * math.cos(angle), 2 * length * math.sin(angle)
    centre = (float(cols[index]), float(rows[index]))
    canvas = mask.astype(np.uint8)
    ends = [(round(centre[0] + sign * dx), round(centre[1] + sign * dy)) for sign in (-1, 1)]
    cv2.line(canvas, ends[0], ends[1], 0, max(1, round(strength * length * rng.uniform(0.02, 0.10))))
    return canvas > 0


def punch_holes(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """False holes inside, as skylights, dark panels and chimneys cause them."""
    damaged = mask.copy()
    inside = np.argwhere(mask)
    if len(inside) == 0:
        return mask
    for _ in range(1 + rng.poisson(0.7)):
        row, col = inside[rng.integers(len(inside))]
        radius = strength * longest_side(mask) * rng.uniform(0.03, 0.12)
        damaged[blob(mask.shape, (col, row), radius, rng)] = False
    return damaged


def perturb_outline(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """CascadePSP's perturbation (Cheng et al. 2020): delete and move vertices, redraw, then grow and
    shrink random sub-boxes until the IoU falls below a drawn bound."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return mask
    length = longest_side(mask)
    canvas = np.zeros(mask.shape, np.uint8)
    for contour in contours:
        points = contour[:: max(1, round(0.04 * length)), 0].astype(np.float64)
        kept = points[rng.random(len(points)) > rng.uniform(0.0, 0.5) * strength]
        if len(kept) >= 3:
            kept = kept + rng.normal(0, strength * length * rng.uniform(0.0, 0.02), kept.shape)
            cv2.fillPoly(canvas, [np.round(kept).astype(np.int32)], 1)
    bound = 1.0 - strength * rng.uniform(0.0, 0.2)
    rows, cols = np.nonzero(canvas)
    for _ in range(12 if len(rows) else 0):
        if mask_iou(canvas > 0, mask) < bound:
            break
        index = rng.integers(len(rows))
        half = max(2, round(length * rng.uniform(0.05, 0.25)))
        row, col = rows[index], cols[index]
        part = np.s_[max(0, row - half) : row + half, max(0, col - half) : col + half]
        change = cv2.dilate if rng.random() < 0.5 else cv2.erode
        canvas[part] = change(canvas[part], ellipse(max(1.0, length * rng.uniform(0.01, 0.04))))
    return canvas > 0


def round_corners(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Round off corners and narrow parts: blur, then cut at a level that grows or shrinks a little."""
    sigma = max(0.5, strength * longest_side(mask) * rng.uniform(0.03, 0.12))
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
    return blurred >= 0.5 + strength * rng.uniform(-0.15, 0.15)


def shift(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Move by up to 5 % of the length, scale by up to 7 %, turn by up to 5 degrees."""
    rows, cols = np.nonzero(mask)
    if len(rows) == 0:
        return mask
    centre = (float(cols.mean()), float(rows.mean()))
    turn = cv2.getRotationMatrix2D(
        centre, strength * rng.uniform(-5, 5), 1.0 + strength * rng.uniform(-0.07, 0.07)
    )
    turn[:, 2] += strength * longest_side(mask) * rng.uniform(-0.05, 0.05, 2)
    moved = cv2.warpAffine(mask.astype(np.uint8), turn, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return moved > 0


def clip_box(
    mask: np.ndarray, labels: np.ndarray, target: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Cut one or two sides straight, as a detector's box that is too small does."""
    x_min, y_min, x_max, y_max = bounding_box(mask)
    clipped = mask.copy()
    for _ in range(1 + (rng.random() < 0.3)):
        share = strength * rng.uniform(0.03, 0.15)
        side = rng.integers(4)
        if side == 0:
            clipped[:, : round(x_min + share * (x_max - x_min))] = False
        elif side == 1:
            clipped[:, round(x_max - share * (x_max - x_min)) :] = False
        elif side == 2:
            clipped[: round(y_min + share * (y_max - y_min))] = False
        else:
            clipped[round(y_max - share * (y_max - y_min)) :] = False
    return clipped


def predict_on_grid(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a mask head makes of a mask: soft values on a coarse grid over its box, pasted bilinearly.

    Returns uint8[H, W] probabilities. The grid is 28 x 28, 56 x 56 or 14 x 14; the values are blurred
    by up to a cell and get smooth noise.
    """
    x_min, y_min, x_max, y_max = bounding_box(mask)
    if x_max <= x_min:
        return np.zeros(mask.shape, np.uint8)
    width, height = x_max - x_min, y_max - y_min
    margin = rng.uniform(-0.01, 0.06, 4)
    left, top = x_min - margin[0] * width, y_min - margin[1] * height
    right, bottom = x_max + margin[2] * width, y_max + margin[3] * height
    cells = int(rng.choice([28, 56, 14], p=[0.6, 0.3, 0.1]))
    to_grid = np.array(
        [[cells / (right - left), 0, -left * cells / (right - left)],
         [0, cells / (bottom - top), -top * cells / (bottom - top)]]
    )  # fmt: skip
    to_grid[:, 2] += 0.5 * np.diag(to_grid) - 0.5  # from pixel centres to cell centres
    # Averaging over a cell: blur on the crop before sampling it.
    sigma_px = 0.4 / max(min(to_grid[0, 0], to_grid[1, 1]), 1e-3)
    source = mask.astype(np.float32)
    if sigma_px > 0.4:
        source = cv2.GaussianBlur(source, (0, 0), sigma_px)
    grid = cv2.warpAffine(source, to_grid, (cells, cells), flags=cv2.INTER_LINEAR)
    grid = cv2.GaussianBlur(grid, (0, 0), rng.uniform(0.3, 1.2) * cells / 28)
    noise = cv2.resize(rng.normal(0, 1, (5, 5)), (cells, cells), interpolation=cv2.INTER_CUBIC)
    logits = rng.uniform(4, 14) * (grid - 0.5 + rng.uniform(0.0, 0.12) * noise)
    values = 1.0 / (1.0 + np.exp(-logits))
    pasted = cv2.warpAffine(
        values, to_grid, mask.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return np.round(255 * pasted).clip(0, 255).astype(np.uint8)


def draw_by_hand(truth: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A rough polygon, a bounding box, a box with air around, a turned box, a hull or a brush stroke."""
    contours, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return truth
    contour = max(contours, key=cv2.contourArea)
    length = longest_side(truth)
    kind = rng.integers(6)
    canvas = np.zeros(truth.shape, np.uint8)
    if kind == 0:
        points = cv2.approxPolyDP(contour, strength * length * rng.uniform(0.03, 0.12), True)[:, 0]
    elif kind == 1:
        x, y, width, height = cv2.boundingRect(contour)
        points = np.array([[x, y], [x + width - 1, y], [x + width - 1, y + height - 1], [x, y + height - 1]])
    elif kind == 2:
        points = cv2.boxPoints(cv2.minAreaRect(contour))
    elif kind == 3:
        points = cv2.convexHull(contour)[:, 0]
    elif kind == 4:
        x, y, width, height = cv2.boundingRect(contour)
        left, top, right, bottom = strength * length * rng.uniform(0.0, 0.2, 4)
        points = np.array([[x - left, y - top], [x + width + right, y - top],
                           [x + width + right, y + height + bottom], [x - left, y + height + bottom]])  # fmt: skip
    else:
        middle, (width, height), angle = cv2.minAreaRect(contour)
        along = math.radians(angle if width >= height else angle + 90)
        reach = 0.5 * (max(width, height) - 0.6 * min(width, height))
        step = np.array([math.cos(along), math.sin(along)]) * reach
        ends = np.array([np.array(middle) - step, np.array(middle) + step])
        ends = np.round(ends + rng.normal(0, 0.05 * strength * length, ends.shape)).astype(int)
        thickness = max(1, round(min(width, height) * rng.uniform(0.2, 0.95)))
        cv2.line(canvas, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1, thickness)
        return canvas > 0
    points = points + rng.normal(0, 0.03 * strength * length, points.shape)
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 1)
    return canvas > 0


def blob(
    shape: tuple[int, ...], centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> np.ndarray:
    """bool[H, W]: a lobed disc around `centre` (x, y)."""
    angles = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    radii = np.full(24, radius)
    for waves in (2, 3, 5):
        radii *= 1 + rng.uniform(0, 0.25) * np.cos(waves * angles + rng.uniform(0, 2 * math.pi))
    points = np.column_stack((centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)))
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 1)
    return canvas > 0


def ellipse(radius: float) -> np.ndarray:
    """Round structuring element of at least 3 x 3."""
    size = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight half-open box ``(x_min, y_min, x_max, y_max)``; zeros for an empty mask."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


def longest_side(mask: np.ndarray) -> int:
    """Longer side of the bounding box, at least 1."""
    x_min, y_min, x_max, y_max = bounding_box(mask)
    return max(x_max - x_min, y_max - y_min, 1)


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of two bool[H, W]; 1 where both are empty."""
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 1.0
