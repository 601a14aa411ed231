"""Average precision of a detector on whole chips, per source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from ...models.detector import MaskRCNN, Prediction, predict
from ..progress import Reporter
from .average_precision import MatchCollector
from .chips import UNKNOWN, Chip

STRIDE = 64


def validate_detector(
    model: MaskRCNN,
    chips: Sequence[Chip],
    *,
    pixel_m: float,
    bfloat16: bool,
    score_threshold: float = 0.5,
    reporter: Reporter | None = None,
) -> dict[str, dict[str, float]]:
    """Figures per source and pooled (``all``); keys as `MatchCollector.figures`.

    Every chip is resampled to `pixel_m` and seen in one piece. Scores are compared as they are
    across chips, so a model whose scores do not transfer between places pays for it.
    """
    collectors = collect_matches(model, chips, pixel_m=pixel_m, bfloat16=bfloat16, reporter=reporter)
    return {name: collector.figures(score_threshold) for name, collector in collectors.items()}


def collect_matches(
    model: MaskRCNN,
    chips: Sequence[Chip],
    *,
    pixel_m: float,
    bfloat16: bool,
    group: Callable[[Chip], str] = lambda chip: chip.source,
    reporter: Reporter | None = None,
) -> dict[str, MatchCollector]:
    """What a detector finds on whole chips, matched with the truth; see `match_chips`."""

    def find(image: torch.Tensor) -> list[Prediction]:
        return predict(model, image, bfloat16=bfloat16)[0]

    return match_chips(model, find, chips, pixel_m=pixel_m, group=group, reporter=reporter)


def match_chips(
    model: torch.nn.Module,
    find: Callable[[torch.Tensor], list[Prediction]],
    chips: Sequence[Chip],
    *,
    pixel_m: float,
    group: Callable[[Chip], str],
    reporter: Reporter | None = None,
) -> dict[str, MatchCollector]:
    """What a network finds on whole chips, matched with the truth, by the `group` of the chips and pooled (``all``).

    Args:
        model: put into evaluation mode; images go to its device.
        find: buildings on uint8[1, 3, h, w].
    """
    device = next(model.parameters()).device
    model.eval()
    collectors: dict[str, MatchCollector] = {"all": MatchCollector()}
    for chip in chips:
        image, labels = resample_chip(chip, pixel_m)
        found = find(torch.from_numpy(image).permute(2, 0, 1)[None].to(device))
        for name in (group(chip), "all"):
            collectors.setdefault(name, MatchCollector()).add(
                [p.box for p in found], [p.probability >= 128 for p in found], [p.score for p in found], labels
            )
        if reporter is not None:
            reporter.check()
    return collectors


def resample_chip(chip: Chip, pixel_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8[H, W, 3] and labels int32[H, W] at `pixel_m`, padded to multiples of 64 with unknown."""
    scale = chip.pixel_m / pixel_m
    size = (max(round(chip.labels.shape[1] * scale), 1), max(round(chip.labels.shape[0] * scale), 1))
    image = cv2.resize(chip.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    labels = cv2.resize(chip.labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
    bottom, right = -size[1] % STRIDE, -size[0] % STRIDE
    image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=0)
    return image, cv2.copyMakeBorder(labels, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=UNKNOWN)
