"""Simplification of outlines within a guaranteed distance."""

from __future__ import annotations

from .douglas_peucker import simplify_douglas_peucker
from .refit import refit_polygons, simplify_refit
from .visvalingam import simplify_visvalingam

__all__ = ["refit_polygons", "simplify_douglas_peucker", "simplify_refit", "simplify_visvalingam"]
