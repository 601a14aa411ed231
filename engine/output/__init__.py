"""Outlines to a layer, reports to files."""

from .buildings import require_writable, write_buildings
from .text import write_text

__all__ = ["require_writable", "write_buildings", "write_text"]
