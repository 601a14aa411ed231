"""Tiles to instances."""

from .detector import Detector, usual_batch

__all__ = ["Detector", "usual_batch"]
