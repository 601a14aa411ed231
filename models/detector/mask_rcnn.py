"""The detector: trunk, region proposals, box and mask heads, dense head."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork

from ...engine.errors import ModelPackageError
from .heads import BoxHead, BoxPredictor, DenseHead, Float32RPNHead, MaskHead
from .roi_align import PyramidRoIAlign
from .trunk import ResNetFPN

LEVELS = ["0", "1", "2", "3"]
STRIDES = [4, 8, 16, 32]
IGNORED_SHARE = 0.5
LOWEST_SCORE = 0.05  # detections below are not even given a mask
LEAST_OBJECTNESS = 0.5  # proposals below are not looked at, so that their number follows the town: .004 of AP at most
LIMITED_PX = 512 * 512  # the area that the limits on proposals and detections are meant for

COMPACT: dict[str, Any] = {
    "widths": [48, 96, 192, 256],
    "blocks": [2, 2, 2, 2],
    "fpn_channels": 96,
    "rpn_channels": 64,
    "box_width": 256,
    "mask_width": 64,
    "dense_width": 64,
    "anchor_sizes": [14, 28, 56, 112, 224],
    "aspect_ratios": [0.5, 1.0, 2.0],
}
# Mask R-CNN with FPN as published (He et al. 2017; Le et al. 2020 and Vinokurov 2025 build on it), but with
# GroupNorm, the anchors of buildings, the dense head, and one convolution in place of a layer in the box head.
RESNET34: dict[str, Any] = {
    **COMPACT,
    "widths": [64, 128, 256, 512],
    "blocks": [3, 4, 6, 3],
    "fpn_channels": 256,
    "rpn_channels": 256,
    "box_width": 1024,
    "mask_width": 256,
}
RESNET50: dict[str, Any] = {
    **RESNET34,
    "widths": [256, 512, 1024, 2048],
    "block": "bottleneck",
    "stem_width": 64,
}
ARCHITECTURES = {
    "compact": COMPACT,
    "resnet34": RESNET34,
    "resnet50": RESNET50,
    "resnet101": {**RESNET50, "blocks": [3, 4, 23, 3]},
}


class _UnknownAreas:
    """Keeps boxes that lie mostly where nothing is known out of the loss (label -1)."""

    unknown: list[torch.Tensor] | None = None  # per image the integral of the unknown mask, [H+1, W+1]

    def is_ignored(self, image: int, boxes: torch.Tensor) -> torch.Tensor:
        """bool[N] for float[N, 4] boxes."""
        assert self.unknown is not None
        integral = self.unknown[image]
        height, width = integral.shape[0] - 1, integral.shape[1] - 1
        x = boxes[:, 0::2].round().long().clamp(0, width)
        y = boxes[:, 1::2].round().long().clamp(0, height)
        area = ((x[:, 1] - x[:, 0]) * (y[:, 1] - y[:, 0])).clamp(min=1)
        inside = (
            integral[y[:, 1], x[:, 1]] - integral[y[:, 0], x[:, 1]]
            - integral[y[:, 1], x[:, 0]] + integral[y[:, 0], x[:, 0]]
        )
        return inside / area > IGNORED_SHARE


class ProposalNetwork(_UnknownAreas, RegionProposalNetwork):
    """Region proposals that learn nothing from background anchors in unknown areas."""

    def assign_targets_to_anchors(self, anchors, targets):  # type: ignore[no-untyped-def]
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        if self.unknown is not None:
            for image, (label, boxes) in enumerate(zip(labels, anchors, strict=True)):
                label[(label == 0) & self.is_ignored(image, boxes)] = -1
        return labels, matched

    def compute_loss(self, objectness, pred_bbox_deltas, labels, regression_targets):  # type: ignore[no-untyped-def]
        if all((label < 0).all() for label in labels):  # nothing is known: the mean over no anchor is no number
            return objectness.new_zeros(()), pred_bbox_deltas.new_zeros(())
        return super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)


class BuildingHeads(_UnknownAreas, RoIHeads):
    """Box and mask heads that learn nothing from background proposals in unknown areas.

    Attributes:
        samples: proposals, matched targets and labels per image that the last training pass learnt from.
    """

    samples: tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]] | None = None

    def forward(self, features, proposals, image_shapes, targets=None):  # type: ignore[no-untyped-def]
        detections, losses = super().forward(features, proposals, image_shapes, targets)
        if self.training and self.samples is not None and not any(map(len, self.samples[0])):
            losses = {name: torch.zeros_like(loss) for name, loss in losses.items()}  # means over no proposal
        return detections, losses

    def select_training_samples(self, proposals, targets):  # type: ignore[no-untyped-def]
        found = super().select_training_samples(proposals, targets)
        self.samples = found[:3]
        return found

    def assign_targets_to_proposals(self, proposals, gt_boxes, gt_labels):  # type: ignore[no-untyped-def]
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        if self.unknown is not None:
            for image, (label, boxes) in enumerate(zip(labels, proposals, strict=True)):
                label[(label == 0) & self.is_ignored(image, boxes)] = -1
        return matched, labels


class MaskRCNN(nn.Module):
    """Mask R-CNN for one class on tiles of one size.

    Args:
        parameters: entries of `COMPACT`.
        proposals: kept at most per 512 x 512 pixels at inference; as many as a slum needs.
        detections: kept per 512 x 512 pixels at inference.
    """

    def __init__(self, parameters: dict[str, Any], *, proposals: int = 1000, detections: int = 300) -> None:
        super().__init__()
        p = parameters
        self.trunk = ResNetFPN(
            p["widths"], p["blocks"], p["fpn_channels"],
            block=p.get("block", "basic"), stem_width=p.get("stem_width", 0),
        )  # fmt: skip
        channels = p["fpn_channels"]
        anchors = AnchorGenerator(
            tuple((s,) for s in p["anchor_sizes"]), (tuple(p["aspect_ratios"]),) * len(p["anchor_sizes"])
        )
        self.rpn = ProposalNetwork(
            anchors,
            _narrow_rpn(channels, p["rpn_channels"], len(p["aspect_ratios"])),
            fg_iou_thresh=0.6, bg_iou_thresh=0.3, batch_size_per_image=128, positive_fraction=0.5,
            pre_nms_top_n={"training": 600, "testing": proposals},
            post_nms_top_n={"training": 400, "testing": proposals},
            nms_thresh=0.75,
        )  # fmt: skip
        self.roi_heads = BuildingHeads(
            PyramidRoIAlign(LEVELS, STRIDES, 7),
            BoxHead(channels, 7, p["box_width"]),
            BoxPredictor(p["box_width"]),
            fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=64, positive_fraction=0.33,
            bbox_reg_weights=None, score_thresh=LOWEST_SCORE, nms_thresh=0.5, detections_per_img=detections,
            mask_roi_pool=PyramidRoIAlign(LEVELS, STRIDES, 14),
            mask_head=MaskHead(channels, p["mask_width"]),
            mask_predictor=nn.Identity(),  # the head ends in logits
        )  # fmt: skip
        self.dense = DenseHead(channels, p["dense_width"])
        self.proposals, self.detections = proposals, detections
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor([0.45, 0.45, 0.42]).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.full((1, 3, 1, 1), 0.22 * 255), persistent=False)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8[B, 3, H, W] RGB to float32, about zero mean and unit variance."""
        return (images.float() - self.mean) / self.std

    def forward(
        self, images: torch.Tensor, targets: list[dict[str, torch.Tensor]] | None = None, *, heads: bool = True
    ) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]], torch.Tensor]:
        """Detect, or compute the detector's losses.

        Args:
            images: uint8[B, 3, H, W] RGB; H and W multiples of 64.
            targets: per image ``boxes`` float[N, 4], ``labels`` int64[N] (1), ``masks`` uint8[N, H, W],
                ``unknown`` bool[H, W]; only when training.
            heads: whether box and mask heads run at all (off while the trunk warms up).

        Returns:
            losses (empty at inference), detections per image (``boxes``, ``scores``,
            ``masks`` float[N, 1, 28, 28]; empty when training), dense logits float[B, 3, H/4, W/4].
        """
        x = self.normalise(images).contiguous(memory_format=torch.channels_last)
        features = self.trunk(x)
        sizes = [tuple(images.shape[-2:])] * len(images)
        unknown = None if targets is None else [_integral(t["unknown"]) for t in targets]
        self.rpn.unknown = self.roi_heads.unknown = unknown
        self._set_limits(images.shape[-2] * images.shape[-1])
        try:
            proposals, losses = self.rpn(ImageList(x, sizes), features, targets)
            detections: list[dict[str, torch.Tensor]] = []
            if heads:
                detections, roi_losses = self.roi_heads(features, proposals, sizes, targets)
                losses = {**losses, **roi_losses}
        finally:
            self.rpn.unknown = self.roi_heads.unknown = None
        return losses, detections, self.dense(features["0"]).float()

    def _set_limits(self, area_px: int) -> None:
        """Let larger tiles hold more buildings, so that density and not tile size decides what is kept; in
        training poor proposals are what the box head learns from."""
        share = max(area_px / LIMITED_PX, 1.0)
        self.rpn.score_thresh = 0.0 if self.training else LEAST_OBJECTNESS
        self.rpn._pre_nms_top_n["testing"] = round(self.proposals * share)
        self.rpn._post_nms_top_n["testing"] = round(self.proposals * share)
        self.roi_heads.detections_per_img = round(self.detections * share)


def _narrow_rpn(channels: int, width: int, ratios: int) -> Float32RPNHead:
    """torchvision's RPN head with a narrower hidden convolution."""
    head = Float32RPNHead(channels, ratios)
    head.conv[0][0] = nn.Conv2d(channels, width, 3, padding=1)
    head.cls_logits = nn.Conv2d(width, ratios, 1)
    head.bbox_pred = nn.Conv2d(width, 4 * ratios, 1)
    for layer in (head.conv[0][0], head.cls_logits, head.bbox_pred):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    return head


def _integral(mask: torch.Tensor) -> torch.Tensor:
    """bool[H, W] to float32[H + 1, W + 1] summed-area table."""
    sums = mask.float().cumsum(0).cumsum(1)
    return nn.functional.pad(sums, (1, 0, 1, 0))


def build_detector(architecture: str, parameters: dict[str, Any] | None = None) -> MaskRCNN:
    """An untrained detector; raises `ModelPackageError` for an unknown architecture or parameter."""
    if architecture not in ARCHITECTURES:
        raise ModelPackageError(
            f"Detector architecture {architecture!r} is unknown", f"Known are {', '.join(ARCHITECTURES)}"
        )
    try:
        return MaskRCNN({**ARCHITECTURES[architecture], **(parameters or {})})
    except (TypeError, ValueError, KeyError) as error:
        raise ModelPackageError(
            f"Detector {architecture!r} cannot be built ({error})", "Use a package made by this version"
        ) from error
