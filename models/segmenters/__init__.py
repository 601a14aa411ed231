"""Semantic segmenters: every pixel judged at once, in place of Mask R-CNN."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...engine.errors import ModelPackageError
from .base import FIELDS, STRIDE, Segmenter
from .compact import CompactSegmenter, take_over
from .deeplab import DeepLabSegmenter

ARCHITECTURES: dict[str, Callable[..., Segmenter]] = {
    "compact": CompactSegmenter,
    "deeplabv3_resnet50": partial(DeepLabSegmenter, "deeplabv3_resnet50"),
    "deeplabv3_mobilenet_v3": partial(DeepLabSegmenter, "deeplabv3_mobilenet_v3"),
}


def build_segmenter(architecture: str, parameters: dict[str, Any] | None = None) -> Segmenter:
    """An untrained segmenter; raises `ModelPackageError` for an unknown architecture or parameter."""
    if architecture not in ARCHITECTURES:
        raise ModelPackageError(
            f"Segmenter architecture {architecture!r} is unknown", f"Known are {', '.join(ARCHITECTURES)}"
        )
    try:
        return ARCHITECTURES[architecture](**(parameters or {}))
    except (TypeError, ValueError) as error:
        raise ModelPackageError(
            f"Segmenter {architecture!r} cannot be built ({error})", "Use a package made by this version"
        ) from error


__all__ = ["ARCHITECTURES", "FIELDS", "STRIDE", "Segmenter", "build_segmenter", "take_over"]
