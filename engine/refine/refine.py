"""The refine stage: every instance is shown to the network with its surroundings, and redrawn.

The result of an instance depends on the image, on the instance and on the instances around it, never
on the order or on which crops share a batch: batches have one fixed size, the last one is filled up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
import torch

from ...models.refiners import MaskRefiner
from ...models.refiners.crops import Window, choose_window
from ..ahead import ahead
from ..contracts import Instance
from ..progress import Reporter
from .crops import overlap_iou, paste_window, resize_square, tight_box, trim_instance
from .neighbours import keep_apart

Read = Callable[..., tuple[np.ndarray, np.ndarray]]
"""``read(box, size=(width, height))`` -> uint8[3, height, width], bool[height, width]; the box is in
working-grid pixels and may hang over the raster's edge."""

BLANK = 0.45
"""What the network sees where there is no image: the mean it subtracts."""


@dataclass(frozen=True)
class Gate:
    """When the input is kept.

    Attributes:
        min_area_px: smaller masks are not shown to the network at all.
        min_iou: a redrawn mask overlapping its input less is another building.
        min_certainty: the answer must expect at least this IoU of itself, see `expected_iou`.
    """

    min_area_px: int = 16
    min_iou: float = 0.35
    min_certainty: float = 0.75

    def accepts(self, before: Instance, after: Instance, certainty: float) -> bool:
        """Whether `after`, of which the network is certain to this degree, may replace `before`."""
        return certainty >= self.min_certainty and overlap_iou(before, after) >= self.min_iou


@dataclass(frozen=True)
class Crop:
    """One instance ready for the network, arrays of ``window.size`` on a side."""

    index: int
    window: Window
    image: np.ndarray
    valid: np.ndarray
    coarse: np.ndarray
    others: np.ndarray


class Refiner:
    """Runs a refiner network over instances.

    Args:
        model: the network, with its weights.
        device: where it runs.
        bfloat16: run its convolutions in bfloat16.
        gate: when the input is kept.
    """

    def __init__(
        self,
        model: MaskRefiner,
        *,
        device: torch.device | str = "cpu",
        bfloat16: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)
        self.bfloat16 = bfloat16
        self.gate = gate or Gate()

    def refine_instances(
        self,
        instances: Sequence[Instance],
        read: Read,
        *,
        batch_size: int = 16,
        context: Sequence[Instance] = (),
        reporter: Reporter | None = None,
    ) -> list[Instance]:
        """Redraw every instance; same order, same ids.

        An instance the gate refuses, or that does not change by a pixel, is returned as it is;
        the others carry ``refined=True``. Redrawn neighbours do not overlap.

        Args:
            read: see `Read`.
            batch_size: crops of 128 px in a batch; fewer of larger ones.
            context: further instances that are neighbours only.
            reporter: receives progress and may cancel.
        """
        reporter = reporter or Reporter()
        instances = list(instances)
        everything = [*instances, *context]
        redrawn: list[Instance | None] = [None] * len(instances)
        done = 0
        for batch in ahead(self._batches(instances, everything, read, batch_size)):
            reporter.progress(done / len(instances), f"{done} of {len(instances)} masks")
            for crop, answer in zip(batch, self._ask(batch, batch_size), strict=True):
                redrawn[crop.index] = self._accept(instances[crop.index], crop, answer)
            done += len(batch)
        results = [new or old for new, old in zip(redrawn, instances, strict=True)]
        results = keep_apart(results, instances, context)
        reporter.progress(1.0, f"{sum(i.refined for i in results)} of {len(results)} masks refined")
        return results

    def _batches(
        self, instances: list[Instance], everything: list[Instance], read: Read, batch_size: int
    ) -> Iterator[list[Crop]]:
        """Crops of one size each, in reading order, so that the raster's blocks are decoded once."""
        tree = shapely.STRtree(shapely.box(*np.array([i.box for i in everything], float).reshape(-1, 4).T))
        waiting: dict[int, list[Crop]] = {}
        for index, window in self._windows(instances):
            near = [everything[n] for n in tree.query(shapely.box(*window.box)) if n != index]
            crop = cut_crop(index, instances[index], near, window, read)
            batch = waiting.setdefault(window.size, [])
            batch.append(crop)
            if len(batch) == per_batch(batch_size, window.size):
                yield waiting.pop(window.size)
        yield from waiting.values()

    def _windows(self, instances: list[Instance]) -> list[tuple[int, Window]]:
        """Where each instance worth refining is looked at, top to bottom, left to right."""
        windows = []
        for index, instance in enumerate(instances):
            box = tight_box(instance)
            if box is not None and np.count_nonzero(instance.mask) >= self.gate.min_area_px:
                windows.append((index, choose_window(box, self.model.crop_sizes_px)))
        return sorted(windows, key=lambda entry: (entry[1].y // 256, entry[1].x, entry[0]))

    @torch.inference_mode()
    def _ask(self, batch: list[Crop], batch_size: int) -> list[np.ndarray]:
        """Probabilities, float32[size, size], of the crops."""
        size = batch[0].window.size
        empty = per_batch(batch_size, size) - len(batch)

        def stack(arrays: list[np.ndarray]) -> torch.Tensor:
            stacked = np.stack(arrays + [np.zeros_like(arrays[0])] * empty).astype(np.float32) / 255
            return torch.from_numpy(stacked).to(self.device)

        image = stack([crop.image for crop in batch])
        valid = stack([crop.valid for crop in batch])[:, None] * 255
        image = torch.where(valid > 0, image, BLANK).contiguous(memory_format=torch.channels_last)
        coarse = stack([crop.coarse for crop in batch])[:, None]
        others = stack([crop.others for crop in batch])[:, None]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(image, coarse, others).logits
        return list(torch.sigmoid(logits[: len(batch), 0].float()).cpu().numpy())

    def _accept(self, before: Instance, crop: Crop, answer: np.ndarray) -> Instance | None:
        """The redrawn instance on the working grid, or None to keep the input."""
        if np.array_equal(answer >= 0.5, crop.coarse >= 128):
            return None  # the way to the crop and back alone must not change a pixel
        side = crop.window.side
        probability = np.round(255 * resize_square(answer, side)).clip(0, 255).astype(np.uint8)
        valid = resize_square(crop.valid.astype(np.float32), side) > 0.5
        after = trim_instance(before, crop.window, probability, valid)
        if after is None or not self.gate.accepts(before, after, expected_iou(answer)):
            return None
        return None if overlap_iou(before, after) == 1.0 else after


def cut_crop(
    index: int, instance: Instance, near: Sequence[Instance], window: Window, read: Read
) -> Crop:
    """Image, coarse mask and neighbours of one window at the network's scale."""
    image, valid = read(window.box, size=(window.size, window.size))
    return Crop(
        index=index,
        window=window,
        image=image,
        valid=valid,
        coarse=resize_square(paste_window([instance], window), window.size),
        others=resize_square(paste_window(near, window), window.size),
    )


def expected_iou(probability: np.ndarray) -> float:
    """IoU of the mask ``probability >= 0.5`` with a truth drawn from the probabilities, approximately:
    the expected intersection over the expected union. 1 for a sure answer, 0 for an empty one."""
    mask = probability >= 0.5
    inside, outside = float(probability[mask].sum()), float(probability[~mask].sum())
    return inside / (np.count_nonzero(mask) + outside) if inside else 0.0


def per_batch(batch_size: int, size: int) -> int:
    """How many crops of `size` cost as much as `batch_size` crops of 128 px, at least one."""
    return max(1, round(batch_size * (128 / size) ** 2))
