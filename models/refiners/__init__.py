"""Mask refiners by name: the paper's, NeuralSegmentello's and our default."""

from __future__ import annotations

from typing import Any

from ...engine.errors import ModelPackageError
from .base import MaskRefiner, Refinement
from .guided import GuidedRefiner
from .segmentello import PRESETS, SegmentelloNet
from .vinokurov import VinokurovRefiner

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "guided": ("guided", {"width": 24}),
    "vinokurov": ("vinokurov", {}),
    **{
        name: ("segmentello", {"family": family, "narrow": narrow, "wide": wide})
        for name, (family, narrow, wide) in PRESETS.items()
    },
    "vinokurov16": ("vinokurov", {"width": 16}),
}
"""What can be trained: variant -> (architecture, its parameters)."""

ARCHITECTURES: dict[str, type[MaskRefiner]] = {
    "guided": GuidedRefiner,
    "vinokurov": VinokurovRefiner,
    "segmentello": SegmentelloNet,
}


def build_refiner(architecture: str, parameters: dict[str, Any] | None = None) -> MaskRefiner:
    """An untrained refiner; raises `ModelPackageError` for an unknown architecture or parameter."""
    if architecture not in ARCHITECTURES:
        raise ModelPackageError(
            f"Refiner architecture {architecture!r} is unknown", f"Known are {', '.join(ARCHITECTURES)}"
        )
    try:
        return ARCHITECTURES[architecture](**(parameters or {}))
    except (TypeError, ValueError) as error:
        raise ModelPackageError(
            f"Refiner {architecture!r} cannot be built ({error})", "Use a package made by this version"
        ) from error


__all__ = ["ARCHITECTURES", "VARIANTS", "MaskRefiner", "Refinement", "build_refiner"]
