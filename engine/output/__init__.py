"""Outlines to a layer."""

from .buildings import require_writable, write_buildings

__all__ = ["require_writable", "write_buildings"]
