"""Topology: no overlaps, shared walls shared, no slivers, a fixed precision."""

from __future__ import annotations

from .grid import GRID_M
from .resolve import resolve

__all__ = ["GRID_M", "resolve"]
