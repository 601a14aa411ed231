"""What the engine's environment holds and where it can compute."""

from __future__ import annotations

import importlib
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from .config import Config
from .errors import EngineEnvironmentError
from .progress import Reporter

REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"
MODULES = {"opencv-python-headless": "cv2", "scikit-image": "skimage"}


def probe(config: Config, reporter: Reporter) -> dict[str, Any]:
    """Import every requirement; ``python``, ``versions`` by package, ``devices``.

    Raises:
        EngineEnvironmentError: a package is missing or does not import.
    """
    versions = {}
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        match = re.match(r"[A-Za-z0-9_-]+", line)
        if not match:
            continue
        package = match.group()
        try:
            importlib.import_module(MODULES.get(package, package))
            versions[package] = metadata.version(package)
        except Exception as error:  # a broken binary raises whatever it likes
            raise EngineEnvironmentError(
                f"Package {package} does not work in the engine's environment ({error})",
                "Run 'Set up the environment' again",
            ) from error
    from ..models.device import describe_devices

    return {"python": platform.python_version(), "versions": versions, "devices": describe_devices()}
