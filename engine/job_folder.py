"""A job folder belongs to one job, and is made of plain files: what is written there must not end up elsewhere.

Standard library only, because the QGIS side looks, too.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from .errors import JobFolderError

_MAX_ENTRIES = 1_000_000


def require_plain(folder: Path) -> None:
    """Raise `JobFolderError` if anything inside is a link, a pipe or a device; the folder itself may be a link.

    A folder somebody else prepared could otherwise lead the software to write over files outside.
    """
    waiting, count = [os.fspath(folder)], 0
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode):
                        waiting.append(entry.path)
                    elif not stat.S_ISREG(mode) or count > _MAX_ENTRIES:
                        raise JobFolderError(
                            f"The job folder {folder} holds {entry.name}, which no job has put there",
                            "Choose an empty folder",
                        )
    except FileNotFoundError:
        return  # nothing there yet
    except OSError as error:
        raise JobFolderError(
            f"The job folder {folder} cannot be read ({error.strerror})", "Choose another folder"
        ) from error


def claim(folder: Path, name: str, facts: dict[str, Any]) -> None:
    """Make `folder` the own of the job that `facts` describe, in a file of this name.

    Raises:
        JobFolderError: it belongs to another job, or cannot be used.
    """
    mark = json.dumps(facts, sort_keys=True)
    file = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(mark, encoding="utf-8")
        elif file.read_text(encoding="utf-8") != mark:
            raise JobFolderError(f"The work folder {folder} belongs to another job", "Choose another one, or empty it")
    except OSError as error:
        raise JobFolderError(
            f"The work folder {folder} cannot be used ({error.strerror})", "Choose another one"
        ) from error
