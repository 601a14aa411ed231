"""The version, read from metadata.txt, where QGIS reads it too. Standard library only."""

from __future__ import annotations

import configparser
from pathlib import Path


def read_version() -> str:
    """``version`` of metadata.txt."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(Path(__file__).resolve().parent.parent / "metadata.txt", encoding="utf-8")
    return parser.get("general", "version", fallback="unknown")


VERSION = read_version()
