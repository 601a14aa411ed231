"""Reports and figures as files."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import OutputError


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises `OutputError`."""
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        shutil.move(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({error.strerror})", "Choose another place") from error
