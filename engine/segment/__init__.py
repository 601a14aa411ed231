"""Probabilities of every pixel to instances."""

from .instances import split_buildings
from .segment import segment

__all__ = ["segment", "split_buildings"]
