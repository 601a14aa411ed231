"""What the heads made of the true buildings of a batch, kept for the discriminators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from ..detector.mask_rcnn import LEVELS, STRIDES, MaskRCNN
from .regions import pool_regions


@dataclass(frozen=True)
class Instances:
    """The N proposals of a batch that lie on a building.

    Attributes:
        features: the detached pyramid maps, finest first.
        images: int64[N], which image of the batch.
        levels: int64[N], which map, by the size of the true box.
        proposals: float[N, 4], what the mask head's masks span.
        boxes: float[N, 4], as the box head moved the proposals; with a gradient.
        true_boxes: float[N, 4].
        masks: float[N, 1, M, M], probabilities; with a gradient.
        true_masks: float[N, 1, M, M].
    """

    features: tuple[Tensor, ...]
    images: Tensor
    levels: Tensor
    proposals: Tensor
    boxes: Tensor
    true_boxes: Tensor
    masks: Tensor
    true_masks: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def regions(self, boxes: Tensor, size: int, *, samples: int = 2) -> Tensor:
        """float[N, C, size, size] features under one box per instance; see `pool_regions`."""
        return pool_regions(self.features, STRIDES, boxes, self.images, self.levels, size=size, samples=samples)

    def thinned(self, most: int) -> Instances:
        """At most so many of them, evenly over the batch."""
        if len(self) <= most:
            return self
        kept = torch.linspace(0, len(self) - 1, most, device=self.images.device).long()
        names = [f.name for f in fields(self) if f.name != "features"]
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


class HeadTap:
    """Listens to the heads of a detector in training; `take` gives what the last forward pass made.

    Args:
        model: gets forward hooks; nothing about what it computes changes.
    """

    def __init__(self, model: MaskRCNN) -> None:
        self._heads = heads = model.roi_heads
        self._seen: dict[str, Any] = {}
        heads.register_forward_pre_hook(self._on_heads)
        heads.box_predictor.register_forward_hook(self._keep("regression", lambda output: output[1]))
        heads.mask_predictor.register_forward_hook(self._keep("mask_logits", lambda output: output))

    def _on_heads(self, module: Any, arguments: tuple[Any, ...]) -> None:
        self._seen = {"features": arguments[0], "targets": arguments[3]}

    def _keep(self, name: str, pick: Callable[[Any], Tensor]) -> Callable[..., None]:
        def hook(module: Any, arguments: Any, output: Any) -> None:
            self._seen[name] = pick(output)

        return hook

    def take(self) -> Instances | None:
        """The instances of the last forward pass, once; None if its heads did not run."""
        seen, self._seen = self._seen, {}
        if "mask_logits" not in seen or self._heads.samples is None:
            return None
        proposals, matched, labels = self._heads.samples
        targets = seen["targets"]
        positive = [label > 0 for label in labels]
        matched = [m[p] for m, p in zip(matched, positive, strict=True)]
        spans = [b[p] for b, p in zip(proposals, positive, strict=True)]
        logits = seen["mask_logits"][:, 1:2]
        true_masks = [
            project_masks_on_boxes(t["masks"], b, m, logits.shape[-1])
            for t, b, m in zip(targets, spans, matched, strict=True)
        ]
        true_boxes = torch.cat([t["boxes"][m] for t, m in zip(targets, matched, strict=True)])
        places = torch.cat(spans)
        return Instances(
            features=tuple(seen["features"][name].detach() for name in LEVELS),
            images=torch.repeat_interleave(
                torch.arange(len(spans), device=places.device),
                torch.tensor([len(b) for b in spans], device=places.device),
            ),
            levels=self._heads.box_roi_pool.levels_of(true_boxes, len(LEVELS)),
            proposals=places,
            boxes=self._heads.box_coder.decode_single(seen["regression"][torch.cat(positive)][:, 4:], places),
            true_boxes=true_boxes,
            masks=torch.sigmoid(logits),
            true_masks=torch.cat(true_masks)[:, None],
        )
