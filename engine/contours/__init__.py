"""From masks and probabilities to polygons: pixel space is left here, and only here."""

from __future__ import annotations

from .level_set import trace_distance, trace_probability
from .outlines import outline_instance
from .pixel_edges import trace_mask

__all__ = ["outline_instance", "trace_distance", "trace_mask", "trace_probability"]
