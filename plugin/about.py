"""What the plugin says about itself, read once from metadata.txt. Standard library only."""

from __future__ import annotations

import configparser
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESOURCES = ROOT / "resources"


@lru_cache(maxsize=1)
def about() -> dict[str, str]:
    """The ``[general]`` section of metadata.txt."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "metadata.txt", encoding="utf-8")
    return dict(parser["general"])


def version() -> str:
    """The plugin's version."""
    return about()["version"]
