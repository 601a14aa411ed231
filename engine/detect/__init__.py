"""Tiles to instances."""

from .detector import Detector

__all__ = ["Detector"]
