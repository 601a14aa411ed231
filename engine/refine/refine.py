"""The refine stage: every instance is shown to the network with its surroundings, and redrawn.

The result of an instance depends on the image, on the instance and on the instances around it, never
on the order or on which crops share a batch: batches have one fixed size, the last one is filled up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
import torch

from ...models.device import is_out_of_memory
from ...models.refiners import MaskRefiner
from ...models.refiners.crops import Window, choose_window
from ..ahead import ahead
from ..contracts import Instance
from ..fills import filled_areas
from ..progress import Reporter
from .crops import overlap_iou, paste_window, resize_square, tight_box, trim_instance
from .neighbours import keep_apart

Read = Callable[..., tuple[np.ndarray, np.ndarray]]
"""``read(box, size=(width, height))`` -> uint8[3, height, width], bool[height, width]; the box is in
working-grid pixels and may hang over the raster's edge."""

BLANK = 0.45
"""What the network sees where there is no image: the mean it subtracts."""
BATCH = 8
"""Crops of 128 px in a batch. With 16, one place in eight of 300 buildings' batches was empty; with fewer, the
network takes longer a crop."""


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

    def refusal(self, overlap: float, certainty: float) -> str:
        """Why an answer with this IoU with the input, and this certain, is refused; empty if it is not."""
        if overlap < self.min_iou:
            return ANOTHER_BUILDING
        return NOT_CERTAIN if certainty < self.min_certainty else ""


@dataclass(frozen=True)
class Answer:
    """What became of one instance.

    Attributes:
        instance: redrawn, or the input itself.
        certainty: the IoU the network expects of its answer, see `expected_iou`; 0 where it was not asked.
        kept: why the input was kept, one of the texts below; empty where it was redrawn.
    """

    instance: Instance
    certainty: float = 0.0
    kept: str = ""


TOO_SMALL = "too small to refine"
NO_IMAGE = "no image there"
NOTHING_SEEN = "no building seen there"
ANOTHER_BUILDING = "the image shows something else there"
NOT_CERTAIN = "the network is not certain"
UNCHANGED = "already fits the image"
COVERED = "others cover it"


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
        self._parts = 1  # in which a batch is asked

    def refine_instances(
        self,
        instances: Sequence[Instance],
        read: Read,
        *,
        batch_size: int = BATCH,
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
        answers = self.answer(instances, read, batch_size=batch_size, context=context, reporter=reporter)
        return [answer.instance for answer in answers]

    def answer(
        self,
        instances: Sequence[Instance],
        read: Read,
        *,
        batch_size: int = BATCH,
        context: Sequence[Instance] = (),
        reporter: Reporter | None = None,
    ) -> list[Answer]:
        """As `refine_instances`, with how certain the network is of each, or why it was kept."""
        reporter = reporter or Reporter()
        instances = list(instances)
        answers = self.redraw(instances, read, batch_size=batch_size, context=context, reporter=reporter)
        apart, covered = keep_apart([answer.instance for answer in answers], instances, context)
        for index, (answer, instance) in enumerate(zip(answers, apart, strict=True)):
            if instance is not answer.instance:
                answers[index] = replace(answer, instance=instance, kept=COVERED if index in covered else "")
        reporter.progress(1.0)
        return answers

    def redraw(
        self,
        instances: Sequence[Instance],
        read: Read,
        *,
        batch_size: int = BATCH,
        context: Sequence[Instance] = (),
        reporter: Reporter | None = None,
    ) -> list[Answer]:
        """As `answer`, before neighbours are kept apart: each depends on the instances in its window alone."""
        reporter = reporter or Reporter()
        instances = list(instances)
        everything = [*instances, *context]
        answers = [Answer(instance, kept=TOO_SMALL) for instance in instances]
        done = 0
        for batch in ahead(self._batches(instances, everything, read, batch_size)):
            reporter.progress(done / len(instances))
            for crop, probability in zip(batch, self._ask(batch, batch_size, reporter), strict=True):
                answers[crop.index] = self._judge(instances[crop.index], crop, probability)
            done += len(batch)
        return answers

    def choose_window(self, instance: Instance) -> Window | None:
        """Where the network looks at an instance; None for one too small to be worth it."""
        box = tight_box(instance)
        if box is None or np.count_nonzero(instance.mask) < self.gate.min_area_px:
            return None
        return choose_window(box, self.model.crop_sizes_px)

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
        chosen = [(index, self.choose_window(instance)) for index, instance in enumerate(instances)]
        windows = [(index, window) for index, window in chosen if window is not None]
        return sorted(windows, key=lambda entry: (entry[1].y // 256, entry[1].x, entry[0]))

    def _ask(self, batch: list[Crop], batch_size: int, reporter: Reporter) -> list[np.ndarray]:
        """Probabilities, float32[size, size], of the crops; in smaller batches for good once memory runs out."""
        while True:
            fixed = max(1, per_batch(batch_size, batch[0].window.size) // self._parts)
            try:
                parts = [self._forward(batch[n : n + fixed], fixed) for n in range(0, len(batch), fixed)]
            except (MemoryError, RuntimeError) as error:
                if fixed == 1 or not is_out_of_memory(error):
                    raise
                self._parts *= 2
                reporter.warn(f"Memory of {self.device} ran out; the refiner goes on with smaller batches")
                continue
            return [answer for part in parts for answer in part]

    @torch.inference_mode()
    def _forward(self, batch: list[Crop], fixed: int) -> list[np.ndarray]:
        """Probabilities of at most `fixed` crops, which are filled up to that many."""
        empty = fixed - len(batch)

        def stack(arrays: list[np.ndarray]) -> torch.Tensor:
            return torch.from_numpy(np.stack(arrays + [np.zeros_like(arrays[0])] * empty)).to(self.device)

        valid = stack([crop.valid for crop in batch])[:, None]
        image = torch.where(valid, stack([crop.image for crop in batch]) / 255, BLANK)
        coarse = stack([crop.coarse for crop in batch])[:, None] / 255
        others = stack([crop.others for crop in batch])[:, None] / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(image, coarse, others).logits
        return list(torch.sigmoid(logits[: len(batch), 0].float()).cpu().numpy())

    def _judge(self, before: Instance, crop: Crop, probability: np.ndarray) -> Answer:
        """The redrawn instance on the working grid, or the input and why it is kept."""
        if not crop.valid[crop.coarse >= 128].any():
            return Answer(before, kept=NO_IMAGE)
        known = crop.valid
        if before.edge:  # what ends at a margin of one colour does not grow into it
            known = known & ~(filled_areas(crop.image, side_px=crop.window.size // 8) & (crop.coarse < 128))
        certainty = expected_iou(np.where(known, probability, 0))
        if np.array_equal(probability >= 0.5, crop.coarse >= 128):
            return Answer(before, certainty, UNCHANGED)  # the way to the crop and back must not change a pixel
        side = crop.window.side
        drawn = np.round(255 * resize_square(probability, side)).clip(0, 255).astype(np.uint8)
        valid = resize_square(known.astype(np.float32), side) > 0.5
        after = trim_instance(before, crop.window, drawn, valid)
        if after is None:
            return Answer(before, certainty, NOTHING_SEEN)
        overlap = overlap_iou(before, after)
        if overlap == 1.0:
            return Answer(before, certainty, UNCHANGED)
        kept = self.gate.refusal(overlap, certainty)
        return Answer(before if kept else after, certainty, kept)


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
