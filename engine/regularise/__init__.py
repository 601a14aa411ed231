"""Regularisation: straight walls in the building's own directions."""

from __future__ import annotations

from .regularise import regularise

__all__ = ["regularise"]
