"""Several looks at the same tiles, turned by quarters: what all agree on is surer, what one alone saw is less so.

A network sees a building a little differently in every direction. Detections of all looks that overlap are one
building, whose mask and score are the means of theirs, as weighted boxes fusion does it with boxes (Solovyev,
Wang and Gabruseva 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...models.detector import Prediction

TURNS = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}
"""Number of looks -> quarter turns, counter-clockwise."""

SAME_IOU = 0.5
"""Masks of two looks that overlap more are one building; of two buildings that overlap more, the weaker goes."""

WEAKEST_SHARE = 0.5
"""Share of the score threshold that a single look's detection must reach: with the others it may still pass."""


def look_around(
    find: Callable[..., list[list[Prediction]]], model: Any, images: torch.Tensor, *, looks: int, bfloat16: bool,
    score_threshold: float,
) -> list[list[Prediction]]:  # fmt: skip
    """Buildings of every tile, best first, from so many looks at it, one after the other.

    Args:
        find: called as `models.detector.predict`.
        images: uint8[B, 3, H, W]; H and W multiples of 64.
        looks: a key of `TURNS`; one leaves `find` its word.
        score_threshold: of the mean score.
    """
    if looks == 1:
        return find(model, images, bfloat16=bfloat16, score_threshold=score_threshold)
    shape = int(images.shape[-2]), int(images.shape[-1])
    seen = []
    for turns in TURNS[looks]:
        turned = torch.rot90(images, turns, (-2, -1)).contiguous()
        found = find(model, turned, bfloat16=bfloat16, score_threshold=WEAKEST_SHARE * score_threshold)
        seen.append([[turn_back(p, turns, shape) for p in items] for items in found])
    return [
        [p for p in agree(of_tile) if p.score >= score_threshold]
        for of_tile in zip(*seen, strict=True)
    ]  # fmt: skip


def turn_back(prediction: Prediction, turns: int, shape: tuple[int, int]) -> Prediction:
    """What was found in an image turned by so many quarters, in the image itself.

    Args:
        shape: height and width of the image before it was turned.
    """
    x0, y0, x1, y1 = prediction.box
    height, width = shape if turns % 2 == 0 else shape[::-1]
    for _ in range(turns % 4):
        x0, y0, x1, y1 = height - y1, x0, height - y0, x1
        height, width = width, height
    probability = np.ascontiguousarray(np.rot90(prediction.probability, -turns))
    return Prediction((x0, y0, x1, y1), probability, prediction.score)


def agree(looks: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """One detection for all that overlap, at most one of each look; best first.

    The mask is the mean of theirs, weighted by score; the score is the sum of theirs over the number of looks.
    The same set gives the same result in any order of the detections.
    """
    items = [_Seen(p, number) for number, found in enumerate(looks) for p in found]
    items.sort(key=lambda s: (-s.prediction.score, s.look, s.prediction.box))
    groups: list[_Group] = []
    boxes = np.zeros((len(items), 4), np.int64)  # of the groups' first members
    for item in items:
        best, home = SAME_IOU, None
        for index in _meeting(boxes[: len(groups)], item.prediction.box):
            group = groups[index]
            overlap = 0.0 if item.look in group.looks else _iou(group.members[0], item)
            if overlap > best:
                best, home = overlap, group
        if home is None:
            boxes[len(groups)] = item.prediction.box
            home = _Group()
            groups.append(home)
        home.looks.add(item.look)
        home.members.append(item)
    means = (_mean([m.prediction for m in group.members], len(looks)) for group in groups)
    fused = sorted((p for p in means if p is not None), key=lambda p: (-p.score, p.box))
    return _without_doubles(fused)


class _Seen:
    """A detection of one look, with the mask it is compared by."""

    __slots__ = ("area", "look", "mask", "prediction")

    def __init__(self, prediction: Prediction, look: int) -> None:
        self.prediction, self.look = prediction, look
        self.mask = prediction.probability >= 128
        self.area = int(np.count_nonzero(self.mask))


@dataclass
class _Group:
    """Detections of one building, best first, and the looks they are from."""

    looks: set[int] = field(default_factory=set)
    members: list[_Seen] = field(default_factory=list)


def _mean(members: Sequence[Prediction], looks: int) -> Prediction | None:
    """The mean of detections of one building; None where no pixel of it is sure enough."""
    left, top, right, bottom = zip(*(p.box for p in members), strict=True)
    x0, y0, x1, y1 = min(left), min(top), max(right), max(bottom)
    total = np.zeros((y1 - y0, x1 - x0), np.float64)
    scores = sum(p.score for p in members)
    for p in members:
        total[p.box[1] - y0 : p.box[3] - y0, p.box[0] - x0 : p.box[2] - x0] += p.score * p.probability
    probability = np.rint(total / scores).astype(np.uint8)
    return Prediction((x0, y0, x1, y1), probability, scores / looks) if (probability >= 128).any() else None


def _without_doubles(found: Sequence[Prediction]) -> list[Prediction]:
    """Detections, best first, without those that overlap a better one."""
    kept: list[_Seen] = []
    boxes = np.zeros((len(found), 4), np.int64)
    for prediction in found:
        item = _Seen(prediction, 0)
        if not any(_iou(kept[i], item) > SAME_IOU for i in _meeting(boxes[: len(kept)], prediction.box)):
            boxes[len(kept)] = prediction.box
            kept.append(item)
    return [item.prediction for item in kept]


def _meeting(boxes: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Indices of the boxes int[N, 4] that share pixels with one."""
    x0, y0, x1, y1 = box
    return np.flatnonzero((boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0))


def _iou(a: _Seen, b: _Seen) -> float:
    """Of the masks of two detections whose boxes meet."""
    (ax, ay, *_), (bx, by, *_) = a.prediction.box, b.prediction.box
    x0, y0 = max(ax, bx), max(ay, by)
    x1, y1 = min(a.prediction.box[2], b.prediction.box[2]), min(a.prediction.box[3], b.prediction.box[3])
    common = int(np.count_nonzero(
        a.mask[y0 - ay : y1 - ay, x0 - ax : x1 - ax] & b.mask[y0 - by : y1 - by, x0 - bx : x1 - bx]
    ))  # fmt: skip
    return common / (a.area + b.area - common)
