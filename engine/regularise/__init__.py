"""Regularisation: straight walls in the building's own directions."""

from __future__ import annotations

from .squaring import find_frames, regularise

__all__ = ["find_frames", "regularise"]
