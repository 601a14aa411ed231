"""Losses, each documented with shapes, what it does with empty masks, and its source."""

from .dense import dense_loss

__all__ = ["dense_loss"]
