"""Training pairs: a crop of the image, a coarse mask, its neighbours, and the truth.

Three sources, one interface: true outlines with synthetic damage, predictions of a real detector
matched with the truth, and a folder of mask pairs as the paper uses it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ...models.refiners.crops import MAX_ZOOM
from ..errors import TrainingError
from .chips import Chip, require_distinct_names
from .damage import blob, bounding_box, damage_mask, mask_iou
from .rough_mask_files import LOOK, RoughMask
from .view import View, draw_move, draw_view, photometric, through_working_grid

BLANK = 115
"""Grey that stands for "no image here": the mean the networks subtract."""


@dataclass(frozen=True)
class Pair:
    """One example, all arrays of the same height and width.

    Attributes:
        image: uint8[H, W, 3] RGB.
        coarse, others: uint8[H, W] probability of this building and of any other, 0..255.
        truth: uint8[H, W], 0..255; soft only where a coarser truth was enlarged.
        known: bool[H, W]; False where the truth is not known.
        source: where it comes from.
        pixel_m: ground size of a crop pixel; 0 where unknown.
    """

    image: np.ndarray
    coarse: np.ndarray
    others: np.ndarray
    truth: np.ndarray
    known: np.ndarray
    source: str
    pixel_m: float


class PairSource(Protocol):
    """Anything training pairs can be drawn from."""

    def __len__(self) -> int:
        """Number of buildings."""

    def draw(self, rng: np.random.Generator, size: int, *, augment: bool) -> Pair:
        """One pair of `size` x `size`; the same generator state gives the same pair."""


class DamagedTruth:
    """Buildings of chips, each draw with fresh synthetic damage.

    Sources are drawn in proportion to the square root of their buildings, so that one dense town does
    not outweigh everything else.
    """

    def __init__(self, chips: Sequence[Chip], *, min_area_px: int = 30) -> None:
        self._chips = list(chips)
        entries: list[tuple[int, int]] = []
        lengths: list[int] = []
        for index, chip in enumerate(self._chips):
            areas = np.bincount(chip.labels.clip(min=0).ravel())
            boxes = label_boxes(chip.labels)
            for label in np.flatnonzero(areas[1:] >= min_area_px) + 1:
                x_min, y_min, x_max, y_max = boxes[int(label)]
                entries.append((index, int(label)))
                lengths.append(max(x_max - x_min, y_max - y_min))
        if not entries:
            raise TrainingError(
                "The chips hold no building large enough to learn from",
                "Use chips with outlined buildings of at least "
                f"{min_area_px} pixels",
            )
        self._entries = entries
        self._lengths = np.array(lengths)
        self._boxes = [label_boxes(chip.labels) for chip in self._chips]
        self._weights = balance([self._chips[index].source for index, _ in entries])

    def __len__(self) -> int:
        return len(self._entries)

    def draw(self, rng: np.random.Generator, size: int, *, augment: bool = True) -> Pair:
        """See `PairSource.draw`."""
        index, label = self._entries[int(rng.choice(len(self), p=suit(self._weights, self._lengths, size)))]
        chip = self._chips[index]
        # Damage is drawn in one view, then the crop is laid around the damaged mask, as in inference:
        # a crop laid around the truth would give its place and size away.
        view = draw_view(self._boxes[index][label], chip.labels.shape, size, rng, augment=augment)
        labels, _ = self._look(view, chip, label)
        if not (labels == label).any():  # a building of a few pixels, turned or cut away
            return self.draw(rng, size, augment=augment)
        damaged = damage_mask(labels, label, rng)
        move = draw_move(bounding_box(damaged >= 128), size, rng, augment=augment)
        view = view.moved(move, chip.labels.shape)
        labels, truth = self._look(view, chip, label)
        coarse = cv2.warpAffine(damaged, move, (size, size), flags=cv2.INTER_LINEAR)
        image = view.show(view.cut(chip.image), BLANK)
        return Pair(
            image=photometric(image, rng) if augment else image,
            coarse=through_working_grid(coarse, rng),
            others=damage_neighbours(labels, label, rng),
            truth=truth,
            known=labels >= 0,
            source=chip.source,
            pixel_m=chip.pixel_m / view.zoom,
        )

    @staticmethod
    def _look(view: View, chip: Chip, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels int32[size, size] and soft truth uint8[size, size] of a view, which agree."""
        labels = view.show_labels(view.cut(chip.labels))
        truth = view.show((view.cut(chip.labels) == label) * np.uint8(255), 0)
        labels[(labels == label) & (truth < 128)] = 0
        labels[truth >= 128] = label
        return labels, truth


class PredictedMasks:
    """Masks a detector predicted on chips it was not trained on, matched with the truth.

    Args:
        predictions: chip name, or a further look at it (`LOOK`) -> masks; chips without an entry are left out.
        min_iou: a prediction that overlaps its best building less is a false alarm and left out.

    Raises:
        TrainingError: no prediction lies on a building, or two chips have the same name.
    """

    def __init__(
        self, chips: Sequence[Chip], predictions: dict[str, list[RoughMask]], *, min_iou: float = 0.4
    ) -> None:
        require_distinct_names(chips)
        named = {chip.name: chip for chip in chips}
        seen = {name: named.get(name) or named.get(name.rpartition(LOOK)[0]) for name in predictions}
        looks = {name: chip for name, chip in seen.items() if chip is not None}
        self._chips = list(looks.values())
        self._masks = [predictions[name] for name in looks]
        self._entries: list[tuple[int, int, int]] = []
        lengths: list[int] = []
        for index, chip in enumerate(self._chips):
            for number, rough in enumerate(self._masks[index]):
                label = match_label(chip.labels, rough, min_iou=min_iou)
                if label:
                    self._entries.append((index, number, label))
                    lengths.append(max(rough.probability.shape))
        if not self._entries:
            raise TrainingError(
                "No predicted mask lies on a building of the chips",
                "Check that predictions and chips carry the same names and splits",
            )
        self._lengths = np.array(lengths)
        self._weights = balance([self._chips[index].source for index, _, _ in self._entries])

    def __len__(self) -> int:
        return len(self._entries)

    def draw(self, rng: np.random.Generator, size: int, *, augment: bool = True) -> Pair:
        """See `PairSource.draw`."""
        entry = int(rng.choice(len(self), p=suit(self._weights, self._lengths, size)))
        return self.show(entry, rng, size, augment=augment)

    def show(self, entry: int, rng: np.random.Generator, size: int, *, augment: bool = False) -> Pair:
        """The pair of one prediction."""
        index, number, label = self._entries[entry]
        chip, masks = self._chips[index], self._masks[index]
        rough = masks[number]
        x, y = rough.box[:2]
        x_min, y_min, x_max, y_max = bounding_box(rough.probability >= 128)
        box = (x + x_min, y + y_min, x + x_max, y + y_max)
        view = draw_view(box, chip.labels.shape, size, rng, augment=augment)
        others = np.zeros(chip.labels.shape, np.uint8)
        for other_number, other in enumerate(masks):
            if other_number != number:
                paste_max(others, other)
        own = np.zeros(chip.labels.shape, np.uint8)
        paste_max(own, rough)
        image = view.show(view.cut(chip.image), BLANK)
        labels = view.cut(chip.labels)
        return Pair(
            image=photometric(image, rng) if augment else image,
            coarse=view.show(view.cut(own), 0),
            others=view.show(view.cut(others), 0),
            truth=view.show((labels == label) * np.uint8(255), 0),
            known=view.show_labels(labels) >= 0,
            source=chip.source,
            pixel_m=chip.pixel_m / view.zoom,
        )


class MaskPairs:
    """The paper's data: a folder with ``predicted/`` and ``exact/``, and optionally ``image/``.

    Files pair up by name. Grey values from 128 count as mask.

    Args:
        pixel_m: ground size of their pixels; 0 where unknown.

    Raises:
        TrainingError: no pairs, a mask without its partner, unequal sizes, or an unreadable file.
    """

    def __init__(self, folder: str | Path, *, pixel_m: float = 0.0) -> None:
        self._folder, self._pixel_m = Path(folder), pixel_m
        self._pairs = [self._read(name) for name in pair_names(self._folder)]

    def __len__(self) -> int:
        return len(self._pairs)

    def split(self, every: int) -> tuple[MaskPairs, MaskPairs]:
        """The pairs to learn from, and every n-th one to select with; all in both when there are few."""
        learn, select = copy.copy(self), copy.copy(self)
        if len(self) >= every:
            select._pairs = self._pairs[::every]
            learn._pairs = [pair for index, pair in enumerate(self._pairs) if index % every]
        return learn, select

    def draw(self, rng: np.random.Generator, size: int, *, augment: bool = True) -> Pair:
        """See `PairSource.draw`; the whole pair is shown, resized."""
        pair = self._pairs[rng.integers(len(self._pairs))]
        turn, mirror = (int(rng.integers(4)), bool(rng.integers(2))) if augment else (0, False)

        def show(array: np.ndarray) -> np.ndarray:
            resized = cv2.resize(array, (size, size), interpolation=cv2.INTER_LINEAR)
            turned = np.rot90(resized, turn)
            return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)

        coarse = show(pair.coarse)
        return Pair(
            image=show(pair.image),
            coarse=coarse,
            others=np.zeros_like(coarse),
            truth=show(pair.truth),
            known=np.ones(coarse.shape, bool),
            source=pair.source,
            pixel_m=pair.pixel_m * max(pair.coarse.shape) / size,
        )

    def _read(self, name: str) -> Pair:
        coarse = read_picture(self._folder / "predicted" / name, cv2.IMREAD_GRAYSCALE)
        truth = read_picture(self._folder / "exact" / name, cv2.IMREAD_GRAYSCALE)
        if coarse.shape != truth.shape:
            raise TrainingError(
                f"The masks of pair {name} have unequal sizes, {coarse.shape[::-1]} and {truth.shape[::-1]}",
                "Cut both from the same window",
            )
        image = np.full((*coarse.shape, 3), BLANK, np.uint8)
        if (self._folder / "image" / name).exists():
            image = read_picture(self._folder / "image" / name, cv2.IMREAD_COLOR)[:, :, ::-1]
            if image.shape[:2] != coarse.shape:
                raise TrainingError(
                    f"The image of pair {name} has another size than its masks",
                    "Cut all from the same window",
                )
        return Pair(
            image=np.ascontiguousarray(image),
            coarse=binarize(coarse),
            others=np.zeros_like(coarse),
            truth=binarize(truth),
            known=np.ones(coarse.shape, bool),
            source=self._folder.name,
            pixel_m=self._pixel_m,
        )


def damage_neighbours(labels: np.ndarray, target: int, rng: np.random.Generator) -> np.ndarray:
    """uint8[H, W]: the other buildings as a detector would give them; some are missed, sometimes all."""
    others = [label for label in np.unique(labels) if label > 0 and label != target]
    size = labels.shape[0]
    seen = np.zeros(labels.shape, np.float32)
    if others and rng.random() > 0.15:
        groups = rng.integers(4, size=len(others))  # the first group is missed, mostly
        for group in range(int(rng.random() < 0.85), 4):
            found = np.isin(labels, [o for o, g in zip(others, groups, strict=True) if g == group])
            for _ in range(rng.poisson(1.5)):
                place = tuple(rng.integers(size, size=2).tolist())
                found[blob(labels.shape, place, size * rng.uniform(0.02, 0.08), rng)] &= rng.random() < 0.3
            move = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
            move[:, 2] = size * rng.normal(0, 0.012, 2)
            blurred = cv2.GaussianBlur(found.astype(np.float32), (0, 0), size * rng.uniform(0.006, 0.03))
            moved = cv2.warpAffine(blurred, move, (size, size))
            level = rng.uniform(0.35, 0.65)
            logits = rng.uniform(5, 12) * (moved - level)
            np.maximum(seen, np.where(moved > 0.03, 1 / (1 + np.exp(-logits)), 0), out=seen)
    if rng.random() < 0.12:  # a second detection of a part of this very building
        rows, cols = np.nonzero(labels == target)
        if len(rows):
            index = rng.integers(len(rows))
            part = blob(labels.shape, (cols[index], rows[index]), size * rng.uniform(0.1, 0.3), rng)
            seen[part & (labels == target)] = rng.uniform(0.5, 1.0)
    return np.round(255 * seen).astype(np.uint8)


def label_boxes(labels: np.ndarray) -> dict[int, tuple[int, int, int, int]]:
    """Tight half-open box of each positive label."""
    rows, cols = np.nonzero(labels > 0)
    values = labels[rows, cols]
    count = int(values.max(initial=0)) + 1
    low = np.full((count, 2), np.iinfo(np.int64).max)
    high = np.zeros((count, 2), np.int64)
    for axis, positions in enumerate((cols, rows)):
        np.minimum.at(low[:, axis], values, positions)
        np.maximum.at(high[:, axis], values, positions + 1)
    return {
        int(label): (int(low[label, 0]), int(low[label, 1]), int(high[label, 0]), int(high[label, 1]))
        for label in np.unique(values)
    }


def match_label(labels: np.ndarray, rough: RoughMask, *, min_iou: float) -> int:
    """The building a predicted mask covers best, or 0 when it covers none well enough."""
    x_min, y_min, x_max, y_max = rough.box
    mask = np.zeros(labels.shape, bool)
    mask[y_min:y_max, x_min:x_max] = rough.probability >= 128
    inside = labels[mask]
    inside = inside[inside > 0]
    if len(inside) == 0:
        return 0
    label = int(np.bincount(inside).argmax())
    return label if mask_iou(mask & (labels >= 0), labels == label) >= min_iou else 0


def paste_max(canvas: np.ndarray, rough: RoughMask) -> None:
    """Write a mask's probability into uint8[H, W], keeping the greater value."""
    x_min, y_min, x_max, y_max = rough.box
    part = canvas[y_min:y_max, x_min:x_max]
    np.maximum(part, rough.probability, out=part)


def suit(weights: np.ndarray, lengths: np.ndarray, size: int) -> np.ndarray:
    """Probabilities of buildings in crops of `size`: large crops show those with as much detail, at least a third of
    a pixel a crop pixel, and small ones those that need not be reduced to half."""
    suited = weights
    if size > 128:
        suited = weights * (lengths * MAX_ZOOM >= 0.4 * size)
    elif size < 128:
        suited = weights * (lengths <= size)
    if not suited.any():
        suited = weights
    return suited / suited.sum()


def balance(sources: Sequence[str]) -> np.ndarray:
    """Probability of each entry such that a source counts with the square root of its size."""
    names, index, counts = np.unique(np.array(sources), return_inverse=True, return_counts=True)
    share = np.sqrt(counts) / np.sqrt(counts).sum()
    return (share / counts)[index]


def pair_names(folder: Path) -> list[str]:
    """File names present in ``predicted/`` and ``exact/``; raises `TrainingError` for none or strays."""
    predicted, exact = (
        {f.name for f in (folder / part).glob("*") if f.suffix.lower() in (".png", ".tif", ".tiff", ".bmp")}
        for part in ("predicted", "exact")
    )
    if not predicted & exact:
        raise TrainingError(
            f"{folder} holds no mask pairs", "Put masks of the same names into its folders predicted and exact"
        )
    strays = sorted(predicted ^ exact)
    if strays:
        raise TrainingError(
            f"{len(strays)} masks lack their partner, {strays[0]} for one", "Remove them or add the partner"
        )
    return sorted(predicted)


def read_picture(file: Path, mode: int) -> np.ndarray:
    """cv2.imread that raises `TrainingError`."""
    picture = cv2.imread(str(file), mode)
    if picture is None:
        raise TrainingError(f"The picture {file} cannot be read", "Store it as 8-bit PNG")
    return picture


def binarize(mask: np.ndarray) -> np.ndarray:
    """0 or 255 from grey values; a mask of 0 and 1 is taken as such."""
    return np.where(mask >= (128 if mask.max(initial=0) > 1 else 1), 255, 0).astype(np.uint8)
