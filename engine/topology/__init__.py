"""Topology: no overlaps, shared walls shared, no slivers, a fixed precision."""

from __future__ import annotations

from .resolve import resolve

__all__ = ["resolve"]
