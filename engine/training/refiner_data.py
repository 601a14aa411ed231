"""What a refiner learns from and what its weights are selected by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import TrainRefinerConfig
from ..errors import TrainingError
from .chips import Chip, load_chips
from .pairs import DamagedTruth, MaskPairs, Pair, PairSource, PredictedMasks
from .rough_mask_files import RoughMask, load_rough_masks

PAIRS_PER_SOURCE = 48
"""Validation examples of each source."""


def open_data(
    config: TrainRefinerConfig, size: int
) -> tuple[list[tuple[PairSource, float]], dict[str, list[Pair]]]:
    """Training sources with their shares, and the fixed validation pairs of each source."""
    if config.pairs:
        learn, select = MaskPairs(config.pairs, pixel_m=config.pairs_pixel_m).split(5)
        return [(learn, 1.0)], {"pairs": draw_fixed(select, size, config.seed)}
    folders = [load_chips(folder, "train") for folder in config.chips]
    train = [chip for chips in folders for chip in chips]
    val = [chip for folder in config.chips for chip in load_chips(folder, "val")]
    weights = np.array(config.chip_shares or (1.0,) * len(folders))
    predictions = load_rough_masks(config.predictions) if config.predictions else {}
    damaged_share = 1 - config.predicted_share if predictions else 1.0
    sources: list[tuple[PairSource, float]] = [
        (DamagedTruth(chips), damaged_share * float(weight))
        for chips, weight in zip(folders, weights / weights.sum(), strict=True)
    ]
    if predictions:
        sources.append((PredictedMasks(train, predictions), config.predicted_share))
    return sources, validation_pairs(val or train, predictions, size, config.seed)


def validation_pairs(
    chips: Sequence[Chip], predictions: dict[str, list[RoughMask]], size: int, seed: int
) -> dict[str, list[Pair]]:
    """Fixed pairs per source: predicted masks where there are some, else synthetic damage."""
    pairs = {}
    for source in sorted({chip.source for chip in chips}):
        found = pairs_of_source([chip for chip in chips if chip.source == source], predictions, size, seed)
        if found:
            pairs[source] = found
    if not pairs:
        raise TrainingError("The validation chips hold no buildings", "Mark chips with buildings as val")
    return pairs


def pairs_of_source(
    chips: Sequence[Chip], predictions: dict[str, list[RoughMask]], size: int, seed: int
) -> list[Pair]:
    """Fixed pairs of chips; none where they show no building."""
    if predictions:
        try:
            predicted = PredictedMasks(chips, predictions)
            chosen = np.linspace(0, len(predicted) - 1, min(len(predicted), PAIRS_PER_SOURCE)).astype(int)
            rng = np.random.default_rng(seed)
            return [predicted.show(int(entry), rng, size) for entry in chosen]
        except TrainingError:
            pass  # the detector found none of these buildings
    try:
        return draw_fixed(DamagedTruth(chips), size, seed)
    except TrainingError:
        return []


def draw_fixed(source: PairSource, size: int, seed: int) -> list[Pair]:
    """The same pairs at every call, not augmented."""
    count = min(2 * len(source), PAIRS_PER_SOURCE)
    return [
        source.draw(np.random.default_rng((seed, 7, index)), size, augment=False) for index in range(count)
    ]
