"""Files beside the layers: figures and report, moved to where the user wants them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from html import escape
from pathlib import Path

from qgis.PyQt.QtCore import QUrl

from ..engine.errors import OutputError


def publish(made: Path, target: Path) -> None:
    """Copy a file of the engine to its destination, whole or not at all. Raises `OutputError`."""
    partial = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(made, partial)
        os.replace(partial, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(
            f"The file {target} cannot be written ({error.strerror or error})", "Check the folder and the free space"
        ) from error


def publish_figures(made: Path, target: Path, parameters: dict) -> None:
    """The same for figures, with `parameters` in the user's terms in the place of the engine's temporary files."""
    content = json.loads(made.read_text(encoding="utf-8"))
    content["parameters"] = parameters
    made.write_text(json.dumps(content, indent=2), encoding="utf-8")
    publish(made, target)


def push_link(feedback, label: str, path: Path) -> None:
    """Tell the log where a file is; a link to click where QGIS can show one."""
    url = QUrl.fromLocalFile(str(path)).toString()
    if hasattr(feedback, "pushFormattedMessage"):  # QGIS 3.36
        feedback.pushFormattedMessage(f'{escape(label)}: <a href="{escape(url)}">{escape(url)}</a>', f"{label}: {url}")
    else:
        feedback.pushInfo(f"{label}: {url}")
