"""Outlines to a layer."""

from .buildings import write_buildings

__all__ = ["write_buildings"]
