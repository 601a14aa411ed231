"""DeepLabV3 (Chen et al. 2017) as torchvision builds it, from scratch and with GroupNorm."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import segmentation

from ..detector.trunk import GROUP_CHANNELS
from .base import STRIDE, Segmenter

BACKBONES = {
    "deeplabv3_resnet50": segmentation.deeplabv3_resnet50,
    "deeplabv3_mobilenet_v3": segmentation.deeplabv3_mobilenet_v3_large,
}


class DeepLabSegmenter(Segmenter):
    """torchvision's DeepLabV3 without its last enlargement; logits come at stride 4 as from every segmenter.

    The classifier answers at stride 8 (ResNet-50) or 16 (MobileNetV3); what is between is linear. BatchNorm gives
    way to GroupNorm: batches are small, and no pretrained statistics are there to freeze.

    Args:
        backbone: a key of `BACKBONES`.
        fields: 1 for the building alone, 3 for its rim and core as well, which part touching buildings.
    """

    def __init__(self, backbone: str = "deeplabv3_resnet50", fields: int = 3) -> None:
        super().__init__(fields)
        network = BACKBONES[backbone](weights=None, weights_backbone=None, num_classes=fields, aux_loss=False)
        self.backbone, self.classifier = network.backbone, network.classifier
        replace_batch_norm(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.classifier(self.backbone(self.normalise(images))["out"]).float()
        size = [side // STRIDE for side in images.shape[-2:]]
        return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def replace_batch_norm(module: nn.Module) -> None:
    """Put GroupNorm in the place of every BatchNorm inside `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            groups = max(1, channels // GROUP_CHANNELS)
            while channels % groups:
                groups -= 1
            setattr(module, name, nn.GroupNorm(groups, channels))
        else:
            replace_batch_norm(child)
